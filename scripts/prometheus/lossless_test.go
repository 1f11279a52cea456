package prometheus

import (
	"errors"
	"fmt"
	"math"
	"sync"
	"testing"
	"time"

	"github.com/nekoctl/neko/scripts/freeport"
	"github.com/nekoctl/neko/scripts/load"
)

// answers are when clients had an answer, all of its bytes.
type answers struct {
	sync.Mutex
	at []time.Time
}

func (a *answers) note(*load.Response) error {
	a.Lock()
	defer a.Unlock()
	a.at = append(a.at, time.Now())
	return nil
}

// until is how many there were at a time.
func (a *answers) until(end time.Time) (n int) {
	a.Lock()
	defer a.Unlock()
	for _, at := range a.at {
		if !at.After(end) {
			n++
		}
	}
	return n
}

const (
	served   = `neko_http_requests_total{app="api",handler="graphql",code="200"}`
	counters = `neko_.*_total|neko_.*_(count|bucket|sum)|process_cpu_seconds_total|go_.*_total`
)

// clients send requests to the app api all the time.
type clients struct {
	*testing.T
	*server
	runs []*load.Run
	seen answers
}

const each = 6 // clients that keep their connections, and as many that do not

func startClients(t *testing.T, p *server, address string) *clients {
	t.Helper()
	c := &clients{T: t, server: p}
	for _, mode := range []load.Mode{load.NewConnection, load.KeepAlive} {
		run, err := load.Start(t.Context(), load.Config{
			URL: "http://" + address + "/graphql", Mode: mode, Header: []string{"Content-Type: application/json"}, Body: []byte(queries[0]),
			Clients: each, ThinkMin: 5 * time.Millisecond, ThinkMax: 30 * time.Millisecond, Status: 200, Check: c.seen.note,
		})
		if err != nil {
			t.Fatal(err)
		}
		c.runs = append(c.runs, run)
	}
	return c
}

// pass lets each client meet what has happened, and Prometheus see it.
func (c *clients) pass() {
	c.T.Helper()
	for _, run := range c.runs {
		if err := run.WaitRequests(c.T.Context(), 60); err != nil {
			c.T.Fatal(err)
		}
	}
	c.scraped()
}

// scraped waits until Prometheus has asked once more.
func (c *clients) scraped() {
	c.T.Helper()
	now := float64(time.Now().UnixMilli()) / 1000
	eventually(c.T, patience, func() error {
		found, err := c.query(`timestamp(up{job="neko"} == 1)`)
		if err == nil && (len(found) == 0 || found[0].Value.value <= now) {
			err = errors.New("no scrape")
		}
		return err
	})
}

// stop ends them: so many answers they had, and so many requests without one.
func (c *clients) stop() (answered, failed int) {
	c.T.Helper()
	for _, run := range c.runs {
		report := run.Stop()
		answered += int(report.OK)
		failed += int(report.Failures())
		c.T.Log(report)
	}
	if answered != len(c.seen.at) {
		c.T.Fatalf("%d answers, and %d noted", answered, len(c.seen.at))
	}
	return answered, failed
}

// counted is what Prometheus has of that.
func (c *clients) counted() (int, error) {
	c.T.Helper()
	c.scraped()
	found, err := c.query(served)
	if err == nil && len(found) != 1 {
		err = fmt.Errorf("%d series of %s", len(found), served) // none if the scrape after that one took too long
	}
	if err != nil {
		return 0, err
	}
	return int(found[0].Value.value), nil
}

// wait waits until between least and most are counted. That may be a moment after the clients have their answers.
func (c *clients) wait(least, most int) (counted int) {
	c.T.Helper()
	eventually(c.T, patience, func() (err error) {
		if counted, err = c.counted(); err == nil && (counted < least || counted > most) {
			err = fmt.Errorf("counted are %d, and should be %d to %d", counted, least, most)
		}
		return err
	})
	return counted
}

// Prometheus takes a counter that goes back for a process that began anew, and adds what it has then to what it
// had before: a merged counter that goes back once shows requests that nobody has sent. So nothing may, whatever
// happens to workers and master; and what is counted at the end is what the clients have counted.
func TestCountersNeverGoBackAndLoseNothing(t *testing.T) {
	t.Parallel()
	address := freeport.Address(t)
	d := startDaemon(t, fmt.Sprintf(`
apps:
  - name: api
    command: [%s, --rate-limits, off]
    listen: %s
    listen_pid: false
    wait_ready: true
    instances: 2
    restart_delay: 0
`, nekoAPI, address))
	p := startPrometheus(t, d, "")

	// Nothing of this costs anything.
	c := startClients(t, p, address)
	c.pass()
	d.nekoctl("reload", "api")
	c.pass()
	master := d.ping().Master
	d.kill(master)
	eventually(t, patience, func() error {
		if d.ping().Master == master {
			return errors.New("there is no new master")
		}
		return nil
	})
	c.pass()
	d.nekoctl("upgrade", nekoctlB)
	c.pass()
	d.nekoctl("scale", "api", "1")
	c.pass()
	all, failed := c.stop()
	if failed > 0 {
		t.Errorf("%d requests have failed", failed)
	}
	c.wait(all, all)

	// A worker that is killed takes with it what it has served since it was last asked; and asked it was, when as
	// many are counted as the clients have.
	c = startClients(t, p, address)
	c.pass()
	victim := d.list("api")[0].PID
	told := c.wait(all+c.seen.until(time.Now()), math.MaxInt)
	d.kill(victim)
	eventually(t, patience, func() error {
		if list := d.list("api"); len(list) != 1 || list[0].State != "online" || list[0].PID == victim {
			return fmt.Errorf("there is no other: %v", list)
		}
		return nil
	})
	replaced := time.Now()
	c.pass()
	answered, failed := c.stop()
	all += answered

	// Those are at most what the clients had when it was gone, and one more for each, which was on its way still, less
	// what is known to have been counted. And it may have counted requests whose answers it could not give any more.
	untold := all - answered + c.seen.until(replaced) + len(c.runs)*each - told
	counted := c.wait(all-untold, all+failed)
	t.Logf("clients had %d answers, and %d requests without one; counted are %d; what the killed one may not have told are at most %d",
		all, failed, counted, untold)

	series, err := p.query(`{job="neko",__name__=~"` + counters + `"}[5m]`)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range series {
		for i, v := range s.Values {
			if i > 0 && v.value < s.Values[i-1].value {
				t.Errorf("%v: at %s it went from %v back to %v", s.Metric, v.at.Format("15:04:05.000"), s.Values[i-1].value, v.value)
			}
		}
	}
	if len(series) < 100 {
		t.Errorf("these are all counters: %d series", len(series))
	}
}

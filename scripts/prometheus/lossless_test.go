package prometheus

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

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

func (a *answers) between(from, to time.Time) (n int) {
	for _, at := range a.at {
		if !at.Before(from) && !at.After(to) {
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
	eventually(c.T, 10*time.Second, func() error {
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
func (c *clients) counted() int {
	c.T.Helper()
	c.scraped()
	found, err := c.query(served)
	if err != nil || len(found) != 1 {
		c.T.Fatalf("%v, %d series", err, len(found))
	}
	return int(found[0].Value.value)
}

// Prometheus takes a counter that goes back for a process that began anew, and adds what it has then to what it
// had before: a merged counter that goes back once shows requests that nobody has sent. So nothing may, whatever
// happens to workers and master; and what is counted at the end is what the clients have counted.
func TestCountersNeverGoBackAndLoseNothing(t *testing.T) {
	t.Parallel()
	address := freeAddress(t)
	build(t)
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
	eventually(t, 20*time.Second, func() error {
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
	eventually(t, 10*time.Second, func() error { // until the last that drains has said all
		if counted := c.counted(); counted != all {
			return fmt.Errorf("clients had %d answers, and counted are %d", all, counted)
		}
		return nil
	})

	// Whoever is killed has not told what it served since it was asked last.
	c = startClients(t, p, address)
	c.pass()
	victim := d.list("api")[0].PID
	killing := time.Now()
	d.kill(victim)
	eventually(t, 20*time.Second, func() error {
		if list := d.list("api"); len(list) != 1 || list[0].State != "online" || list[0].PID == victim {
			return fmt.Errorf("there is no other: %v", list)
		}
		return nil
	})
	replaced := time.Now()
	c.pass()
	answered, failed := c.stop()
	all += answered
	counted := c.counted()

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
	// When it was asked last: a scrape that began before the kill, and that knew all that clients had until then. On a
	// busy machine a worker may have been too slow for one or two.
	values, err := p.query(served + "[5m]")
	if err != nil || len(values) != 1 {
		t.Fatalf("%v, %v", err, values)
	}
	var last time.Time
	for _, v := range values[0].Values {
		if v.at.Before(killing) && int(v.value) >= all-answered+c.seen.between(time.Time{}, v.at)-2*each {
			last = v.at
		}
	}
	if ago := killing.Sub(last); ago > 5*time.Second {
		t.Errorf("it was asked %s before the kill, and then no more", ago)
	}
	// A process does not end at once, and clients that wait for a CPU see late what it has answered: so until another
	// serves in its place.
	unknown := c.seen.between(last, replaced) + 2*each
	account := fmt.Sprintf("clients had %d answers, and %d requests without one; counted are %d; it was asked last %s before the kill, and from then until another served there were at most %d answers",
		all, failed, counted, killing.Sub(last).Round(time.Millisecond), unknown)
	if counted < all-unknown || counted > all+failed {
		t.Error(account)
	}
	t.Log(account)
}

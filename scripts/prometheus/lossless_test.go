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
	served   = `sum(neko_http_requests_total{app="api",handler="graphql",code="200"})`
	counters = `{__name__=~"neko_.*_total|neko_.*_(count|bucket|sum)|process_cpu_seconds_total|go_.*_total"}`
)

// Prometheus takes a counter that goes back for a process that began anew, and adds what it has then to what it
// had before: a merged counter that goes back once shows requests that nobody has sent. So nothing may, whatever
// happens to workers and master; and what is counted at the end is what the clients have counted.
func TestCountersNeverGoBackAndLoseNothing(t *testing.T) {
	url := freeAddress(t)
	build(t)
	d := startDaemon(t, fmt.Sprintf(`
apps:
  - name: api
    command: [%s, --rate-limits, off]
    listen: %s
    listen_pid: false
    wait_ready: true
    instances: 3
    restart_delay: 0
`, nekoAPI, url))
	p := startPrometheus(t, d, "")
	seen := &answers{}
	var runs []*load.Run
	for _, mode := range []load.Mode{load.NewConnection, load.KeepAlive} {
		run, err := load.Start(t.Context(), load.Config{
			URL: "http://" + url + "/graphql", Mode: mode, Header: []string{"Content-Type: application/json"}, Body: []byte(queries[0]),
			Clients: 8, ThinkMin: time.Millisecond, ThinkMax: 20 * time.Millisecond, Status: 200, Check: seen.note,
		})
		if err != nil {
			t.Fatal(err)
		}
		runs = append(runs, run)
	}
	pass := func() { // so that each client has met what has happened, and Prometheus has seen it
		t.Helper()
		for _, run := range runs {
			if err := run.WaitRequests(t.Context(), 100); err != nil {
				t.Fatal(err)
			}
		}
		now := time.Now()
		eventually(t, 10*time.Second, func() error {
			found, err := p.query(`timestamp(up{job="neko"} == 1)`)
			if err == nil && (len(found) == 0 || found[0].Value.value < float64(now.UnixMilli())/1000) {
				err = errors.New("no scrape")
			}
			return err
		})
	}
	online := func(n int) {
		t.Helper()
		eventually(t, 20*time.Second, func() error {
			list := d.list("api")
			if len(list) != n {
				return fmt.Errorf("%d workers, not %d", len(list), n)
			}
			for _, w := range list {
				if w.State != "online" {
					return fmt.Errorf("worker %d is %s", w.Slot, w.State)
				}
			}
			return nil
		})
	}

	pass()
	d.nekoctl("reload", "api")
	pass()
	d.nekoctl("scale", "api", "2")
	pass()
	master := d.ping().Master
	d.kill(master)
	eventually(t, 20*time.Second, func() error {
		if d.ping().Master == master {
			return errors.New("there is no new master")
		}
		return nil
	})
	pass()
	d.nekoctl("upgrade", nekoctlB)
	pass()
	var failed int64
	for _, run := range runs {
		if stats := run.Stats(); stats.Failed() {
			t.Errorf("before anything was killed that served:\n%s", stats)
		}
	}
	// Whoever is killed has not told what it served since it was asked last.
	killed := time.Now()
	d.kill(d.list("api")[0].PID)
	online(2)
	pass()
	d.nekoctl("reload", "api")
	ended := 0
	for _, run := range runs {
		report := run.Stop()
		ended += int(report.OK)
		failed += report.Failures()
	}
	if ended != len(seen.at) {
		t.Fatalf("%d answers, and %d noted", ended, len(seen.at))
	}

	// The last scrape that had begun before the kill.
	var last time.Time
	found, err := p.query(fmt.Sprintf("%s[1m:]", served))
	if err == nil {
		found, err = p.query(`neko_http_requests_total{app="api",handler="graphql",code="200"}[5m]`)
	}
	if err != nil || len(found) != 1 {
		t.Fatalf("%v, %d series", err, len(found))
	}
	before := -1.0
	for _, v := range found[0].Values {
		if v.at.Before(killed) {
			last = v.at
		}
		if v.value < before {
			t.Errorf("at %s it went from %v back to %v", v.at.Format(time.TimeOnly), before, v.value)
		}
		before = v.value
	}
	unknown := seen.between(last, killed.Add(time.Second/10)) // SIGKILL takes a moment
	eventually(t, 10*time.Second, func() error {
		found, err := p.query(served)
		if err != nil || len(found) != 1 {
			return fmt.Errorf("%v, %d series", err, len(found))
		}
		counted := int(found[0].Value.value)
		t.Logf("clients had %d answers and %d failures, counted are %d; %d in the %s before the kill", ended, failed, counted, unknown, killed.Sub(last).Round(time.Millisecond))
		if counted < ended-unknown || counted > ended+int(failed) {
			return fmt.Errorf("counted are %d requests, and clients had %d answers, %d of them since the last scrape before the kill", counted, ended, unknown)
		}
		return nil
	})
	back, err := p.query(`resets(` + counters + `[5m]) > 0`)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range back {
		t.Errorf("%v went back %v times", s.Metric, s.Value.value)
	}
	if looked, err := p.query(`count(` + counters + `)`); err != nil || len(looked) != 1 || looked[0].Value.value < 100 {
		t.Errorf("these are all counters: %v, %v", looked, err)
	}
}

package main

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/nekoctl/neko/scripts/slowproxy"
)

// failing is what clients have seen of a store that hangs, with breakers as they are by
// default.
type failing struct {
	longest float64   // s, of an error before the breaker has opened
	opened  float64   // s, from the beginning of the outage to the first error at once
	quick   float64   // ms, the 95th percentile of errors while it was open, without trials
	trials  []float64 // s, from when the breaker had opened to when it was tried again
	back    float64   // s, from the end of the outage to the first answer
}

// asked is one request: when, since the outage began, and what has come of it.
type asked struct {
	at, took float64 // s
	ok       bool
}

// atOnce is how long an error may take that is known before, and a trial takes longer, as
// it waits for the store: it is between what is measured, not a bound that is claimed.
const atOnce = 1.0

// outage lets the network to the store hang, until it has been tried once in vain, and
// waits until it is tried again.
func (c *claims) outage() (*failing, error) {
	if c.failing != nil {
		return c.failing, nil
	}
	m, err := startMongo(c.b)
	if err != nil {
		return nil, err
	}
	defer m.end()
	way, err := slowproxy.New(m.address)
	if err != nil {
		return nil, err
	}
	defer way.Close()
	s, err := c.b.serve(serving{workers: 2, store: "mongodb://" + way.Addr() + "/neko", args: open("--cache", "off")})
	if err != nil {
		return nil, err
	}
	defer s.end()
	body := requestBody(`{ threatActors(first: 1) { nodes { id } } }`, nil)
	if _, err := c.b.untilOK(target{"http://" + s.address + "/graphql", body}, time.Now()); err != nil {
		return nil, err
	}

	var mu sync.Mutex
	var all []asked
	var broken error
	stop := make(chan struct{})
	var wg sync.WaitGroup
	way.Stall()
	began := time.Now()
	for range 32 {
		wg.Go(func() {
			client := &http.Client{Transport: &http.Transport{}, Timeout: 20 * time.Second}
			defer client.CloseIdleConnections()
			for {
				select {
				case <-stop:
					return
				case <-time.After(50 * time.Millisecond):
				}
				sent := time.Now()
				resp, err := client.Post("http://"+s.address+"/graphql", "application/json", bytes.NewReader(body))
				var text []byte
				if err == nil {
					text, err = io.ReadAll(resp.Body)
					resp.Body.Close()
				}
				one := asked{at: sent.Sub(began).Seconds(), took: time.Since(sent).Seconds(), ok: err == nil && resp.StatusCode == 200 && !bytes.Contains(text, []byte(`"errors"`))}
				mu.Lock()
				if err != nil || !one.ok && !bytes.Contains(text, []byte("UNAVAILABLE")) {
					broken = fmt.Errorf("a client has got %v %.200s", err, text)
				}
				all = append(all, one)
				mu.Unlock()
			}
		})
	}
	// What has happened is read from what clients have seen.
	look := func(until time.Duration, what string, seen func(*failing) bool) (*failing, error) {
		for {
			mu.Lock()
			f, err := readFailing(all), broken
			mu.Unlock()
			switch {
			case err != nil:
				return nil, err
			case c.b.ctx.Err() != nil:
				return nil, c.b.ctx.Err()
			case seen(f):
				return f, nil
			case time.Since(began) > until:
				return nil, fmt.Errorf("%s was not seen in %s", what, until)
			}
			time.Sleep(20 * time.Millisecond)
		}
	}
	f, err := look(60*time.Second, "a trial that failed", func(f *failing) bool { return len(f.trials) == 1 })
	var ended time.Duration
	if err == nil {
		if err = way.Resume(); err == nil {
			ended = time.Since(began)
			f, err = look(150*time.Second, "an answer after the outage", func(f *failing) bool { return f.back > 0 })
		}
	}
	close(stop)
	wg.Wait()
	if err != nil {
		return nil, err
	}
	f.back -= ended.Seconds()
	c.failing = f
	return f, nil
}

// readFailing reads what clients have seen. Back is from the beginning of the outage.
func readFailing(all []asked) *failing {
	f := &failing{}
	byTime := slices.SortedFunc(slices.Values(all), func(a, b asked) int {
		switch {
		case a.at < b.at:
			return -1
		case a.at > b.at:
			return 1
		}
		return 0
	})
	var quick []float64
	since := 0.0 // when the breaker has opened, or a trial has ended
	for _, a := range byTime {
		switch {
		case a.ok:
			if end := a.at + a.took; f.back == 0 || end < f.back {
				f.back = end
			}
		case f.opened == 0 && a.took < atOnce && a.at > 0:
			f.opened, since = a.at, a.at
			quick = append(quick, a.took)
		case f.opened == 0:
			f.longest = max(f.longest, a.took)
		case a.took < atOnce:
			quick = append(quick, a.took)
		case a.at > since+atOnce:
			f.trials = append(f.trials, a.at-since)
			since = a.at + a.took
		default: // it was sent before the breaker has opened, to the other worker
			f.longest = max(f.longest, a.took)
		}
	}
	if len(quick) > 0 {
		slices.Sort(quick)
		f.quick = 1000 * quick[len(quick)*95/100]
	}
	return f
}

func (c *claims) failFast() (finding, error) {
	f, err := c.outage()
	if err != nil {
		return finding{}, err
	}
	// Three seconds, and what a busy machine takes to say so.
	return found(f.longest <= 3.25 && f.quick <= 50, "a store that hangs: the longest wait for an error was %.2f s, for the first %.1f s; after that 95 %% of the errors took %.1f ms at most",
		f.longest, f.opened, f.quick), nil
}

func (c *claims) triedAgain() (finding, error) {
	f, err := c.outage()
	if err != nil {
		return finding{}, err
	}
	// 30 s, 20 % more or less, and once more after the trial has failed.
	ok := f.back <= 37
	for _, t := range f.trials {
		ok = ok && t >= 23.5 && t <= 37
	}
	return found(ok, "tried again %.1f s after it was known (30 s, up to a fifth more or less, so that not all try at once); the outage was over then, and the first answer came %.1f s later", f.trials[0], f.back), nil
}

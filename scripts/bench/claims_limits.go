package main

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"
)

// The default rule: 1000 in a minute, and a burst of as many.
const (
	limitBurst = 1000.0
	limitRate  = 1000.0 / 60
)

func (c *claims) limitOfHost() (finding, error) {
	s, err := c.b.serve(serving{workers: 2})
	if err != nil {
		return finding{}, err
	}
	defer s.end()
	return c.limited([]*cacheServer{s}, 0)
}

// limitOfHosts has two hosts, as neko knows them: run folders with workers of their own, and
// one Redis for both. scripts/limits has a network between, and kills them.
func (c *claims) limitOfHosts() (finding, error) {
	redis, err := startRedis(c.b)
	if err != nil {
		return finding{}, err
	}
	defer redis.end()
	var hosts []*cacheServer
	for range 2 {
		s, err := c.b.serve(serving{workers: 2, args: []string{"--redis", redis.url}})
		if err != nil {
			return finding{}, err
		}
		defer s.end()
		hosts = append(hosts, s)
	}
	return c.limited(hosts, 1)
}

// limited asks all hosts as one client, far more often than it may, and counts what passes.
// The bound is that of docs/limits.md; more is the seconds for which leases may be ahead.
func (c *claims) limited(hosts []*cacheServer, more float64) (finding, error) {
	// The client was silent, so its bucket is full.
	const lasts = 15 * time.Second
	var mu sync.Mutex
	passed, refused := 0, 0
	var failed error
	var wg sync.WaitGroup
	began := time.Now()
	for i := range 8 {
		wg.Go(func() {
			client := &http.Client{Transport: &http.Transport{}, Timeout: 10 * time.Second}
			defer client.CloseIdleConnections()
			url := "http://" + hosts[i%len(hosts)].address + "/graphql"
			for time.Since(began) < lasts && c.b.ctx.Err() == nil {
				resp, err := client.Post(url, "application/json", bytes.NewReader([]byte(`{"query":"{ __typename }"}`)))
				status := 0
				if err == nil {
					status = resp.StatusCode
					_, err = io.Copy(io.Discard, resp.Body)
					resp.Body.Close()
				}
				mu.Lock()
				switch {
				case err != nil:
					failed = err
				case status == 200:
					passed++
				case status == 429:
					refused++
				default:
					failed = fmt.Errorf("an answer with status %d", status)
				}
				stop := failed != nil
				mu.Unlock()
				if stop {
					return
				}
				time.Sleep(2 * time.Millisecond) // it is still far more than may pass
			}
		})
	}
	wg.Wait()
	took := time.Since(began).Seconds()
	if failed != nil {
		return finding{}, failed
	}
	least, most := limitBurst+limitRate*took, limitBurst+limitRate*(took+more)
	if float64(passed+refused) < 2*most {
		return finding{}, fmt.Errorf("only %d were asked in %.1f s: the machine is too busy to reach the limit", passed+refused, took)
	}
	// A token more is what a bucket has that fills while it is looked at.
	ok := float64(passed) <= most+1 && float64(passed) >= 0.97*least
	text := fmt.Sprintf("of %d requests of one client in %.1f s to %d workers of ", passed+refused, took, 2*len(hosts))
	if len(hosts) == 1 {
		return found(ok, text+"one host %d passed: a burst of 1000 and %.1f that have come in make %.0f", passed, limitRate*took, least), nil
	}
	return found(ok, text+"%d hosts with one Redis %d passed: the bound is %.0f, a second's worth, %.0f, more than one host's, as hosts take tokens ahead", len(hosts), passed, most, limitRate*more), nil
}

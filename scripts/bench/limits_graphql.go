package main

import (
	"errors"
	"fmt"
	"time"

	"github.com/nekoctl/neko/scripts/load"
)

// withoutLimits is the peer of what limits cost: the same worker without them.
const withoutLimits = "limits off"

// generous is a rate that the load does not reach, in the place of the default one; the other rules
// that there are by default stay.
const generous = "1000000/1s"

// limitedAnswers is how much a worker answers with limits and without, and what CPU time an
// answer takes: of a query that goes to the store, and of the least that there is.
func limitedAnswers() measurement {
	queries := []struct {
		name string
		body []byte
	}{
		{"a small query", query},
		{"{ __typename }", []byte(`{"query":"{ __typename }"}`)},
	}
	kinds := []string{"limits on", "limits on, by Redis"}
	var rows []*figure
	for _, q := range queries {
		for _, kind := range kinds {
			name := kind + ": neko-api, " + q.name
			note := "the same worker, one CPU"
			rows = append(rows,
				&figure{Name: name + ": answers", Unit: "/s", Times: atLeast(0.95), Beside: withoutLimits, Note: note},
				&figure{Name: name + ": CPU of one", Unit: "µs", Beside: withoutLimits, Note: note})
		}
	}
	return measurement{"what limits cost neko-api", rows, func(b *bench) {
		redis, err := startRedis(b)
		if err != nil {
			failAll(rows, err)
			return
		}
		defer redis.end()
		var workers []*limitedWorker
		for _, args := range [][]string{
			{"--rate-limits", "off"},
			{"--rate-limit", generous},
			{"--rate-limit", generous, "--redis", redis.url},
		} {
			w, err := b.startLimited(args...)
			if err != nil {
				failAll(rows, err)
				return
			}
			defer w.side.end()
			workers = append(workers, w)
		}
		for round := range b.rounds {
			for i, q := range queries {
				mine := rows[i*4 : i*4+4]
				if !wanted(mine) {
					continue
				}
				// Each comes first as often as the others.
				for turn := range workers {
					k := (round + turn) % len(workers)
					perSecond, cpu, err := workers[k].answers(q.body)
					if b.ctx.Err() != nil {
						return
					}
					for j := 0; j < len(mine); j += 2 {
						switch k {
						case 0:
							mine[j].Peer.add(perSecond, err)
							mine[j+1].Peer.add(cpu, err)
						case 1 + j/2:
							mine[j].Neko.add(perSecond, err)
							mine[j+1].Neko.add(cpu, err)
						}
					}
				}
			}
		}
	}}
}

// limitedWorker is one worker of neko-api on one CPU.
type limitedWorker struct {
	side *side
	url  string
	pids []int
}

func (b *bench) startLimited(args ...string) (*limitedWorker, error) {
	s, err := b.neko()
	if err != nil {
		return nil, err
	}
	s.keys = `, env: {GOMAXPROCS: "1"}`
	t, err := startWorker(s, "1", append([]string{b.api()}, args...)...)
	w := &limitedWorker{side: s, url: t.url + "graphql"}
	if err == nil {
		w.pids, err = s.online("app", 1)
	}
	if err == nil {
		_, err = load.Do(b.ctx, w.load(query, 0))
	}
	if err != nil {
		s.end()
		return nil, err
	}
	return w, nil
}

// load is 16 clients that do nothing but ask: more would wait for the CPU of the clients.
func (w *limitedWorker) load(body []byte, measured time.Duration) load.Config {
	cfg := load.Config{
		URL: w.url, Body: body, Header: []string{"Content-Type: application/json"},
		Mode: load.KeepAlive, Clients: 16, Duration: measured, Check: noErrors,
	}
	if measured == 0 {
		cfg.Requests = 5000
	}
	return cfg
}

func (w *limitedWorker) answers(body []byte) (perSecond, cpu float64, err error) {
	before, err := ticks(w.pids)
	if err != nil {
		return 0, 0, err
	}
	r, err := load.Do(w.side.b.ctx, w.load(body, 1500*time.Millisecond))
	if err != nil {
		return 0, 0, err
	}
	if r.Failed() {
		return 0, 0, fmt.Errorf("under load: %s", r)
	}
	after, err := ticks(w.pids)
	if err == nil && r.OK == 0 {
		err = errors.New("no answer")
	}
	return r.PerSecond, float64(after-before) * 10_000 / float64(r.OK), err // a tick is a hundredth of a second
}

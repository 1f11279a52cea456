package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"github.com/nekoctl/neko/scripts/load"
)

// What users of PM2's cluster mode have today: a Node server that knows nothing of
// any supervisor, and is started by the same words on both sides.

// spareClusterApp is clusterApp under neko, with a spare for each process.
func spareClusterApp(s *side, instances string) (target, error) {
	file := filepath.Join(s.home, "neko.yaml")
	return start(s, func(string) []string {
		text := fmt.Sprintf("apps: [{name: app, script: %q, instances: %s, spare: 1}]\n", s.b.node, instances)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			return []string{err.Error()}
		}
		return []string{file}
	})
}

// patientClusterApp is clusterApp where a process may take a minute to listen: when many
// start beside a load they can take longer than either side waits.
func patientClusterApp(s *side, instances string) (target, error) {
	return start(s, func(string) []string {
		return []string{s.b.node, "--name", "app", "-i", instances, "--listen-timeout", "60000"}
	})
}

// throughput is how much two workers answer that are never out of work, and what CPU
// time an answer costs them and the supervisor: on a machine that has other things to
// do, too, that is the steadier figure. The clients have the same CPUs.
func throughput() measurement {
	modes := []load.Mode{load.KeepAlive, load.NewConnection}
	var rows []*figure
	for i, kind := range []string{"keep-alive", "a connection for each"} {
		const note = "the same, cluster mode"
		rows = append(rows,
			&figure{Name: "answers of 2 Node workers, " + kind, Unit: "/s", Times: atLeast(float64(1 + i)), Note: note},
			&figure{Name: "CPU of an answer, " + kind, Unit: "µs", Note: note})
	}
	return measurement{"throughput of 2 Node workers", rows, func(b *bench) {
		b.sides(rows[0], func(neko, pm2 *side) {
			at := map[*side]target{}
			for range min(b.rounds, 5) {
				for i, mode := range modes {
					pair := rows[2*i : 2*i+2]
					if !wanted(pair) {
						continue
					}
					for _, s := range []*side{neko, pm2} {
						if s == nil || pair[0].of(s).Error != "" || b.ctx.Err() != nil {
							continue
						}
						err := error(nil)
						if at[s].url == "" {
							at[s], err = s.twoWorkers()
						}
						var perSecond, cpu float64
						if err == nil {
							perSecond, cpu, err = s.answers(at[s], mode)
						}
						pair[0].of(s).add(perSecond, err)
						pair[1].of(s).add(cpu, err)
					}
				}
			}
		})
	}}
}

// twoWorkers starts them, and has them answer until Node has compiled what it runs.
func (s *side) twoWorkers() (target, error) {
	t, err := clusterApp(s, "2")
	if err == nil {
		_, err = s.b.untilAllAnswer(t, 2, nil)
	}
	if err == nil {
		_, err = load.Do(s.b.ctx, load.Config{URL: t.url, Mode: load.KeepAlive, Clients: 64, Requests: 20_000, BodyUntilEOF: true})
	}
	return t, err
}

// answers is how many a second 64 clients get that do nothing but ask, and how many
// microseconds of CPU time each has cost.
func (s *side) answers(t target, mode load.Mode) (perSecond, cpu float64, err error) {
	const measured = 1500 * time.Millisecond
	pids, err := s.online("app", 2)
	if err != nil {
		return 0, 0, err
	}
	daemon, err := s.daemon(s)
	if err != nil {
		return 0, 0, err
	}
	pids = append(pids, daemon...)
	before, err := ticks(pids)
	if err != nil {
		return 0, 0, err
	}
	r, err := load.Do(s.b.ctx, load.Config{URL: t.url, Mode: mode, Clients: 64, Duration: measured, BodyUntilEOF: true})
	if err != nil {
		return 0, 0, err
	}
	if r.Failed() {
		return 0, 0, fmt.Errorf("under load: %s", r)
	}
	after, err := ticks(pids)
	return r.PerSecond, float64(after-before) * 10_000 / float64(r.OK), err // a tick is a hundredth of a second
}

// fleet is what a cluster of far more workers than CPUs takes.
func fleet() measurement {
	var rows []*figure
	for _, row := range [][2]string{
		{"start of 24 Node workers, until all answer", "ms"},
		{"reload of 24 Node workers, until all are new", "ms"},
		{"memory of the supervisor, 24 Node workers", "MiB"},
		{"stop of 24 Node workers", "ms"},
	} {
		rows = append(rows, &figure{Name: row[0], Unit: row[1], Note: "the same, cluster mode"})
	}
	return measurement{"24 Node workers", rows, func(b *bench) {
		round := func(supervisor func() (*side, error), result func(*figure) *rounds) {
			if result(rows[0]).Error != "" || b.ctx.Err() != nil {
				return
			}
			s, err := supervisor()
			if err == nil {
				defer s.end()
				err = s.commandFleet(24, func(row int, v float64) { result(rows[row]).add(v, nil) })
			}
			if err != nil {
				for _, f := range rows {
					result(f).add(0, err)
				}
			}
		}
		for range min(b.rounds, 3) {
			round(b.neko, func(f *figure) *rounds { return &f.Neko })
			if b.pm2 != "" {
				round(b.pm2Side, func(f *figure) *rounds { return &f.Peer })
			}
		}
	}}
}

// commandFleet fills the rows of fleet.
func (s *side) commandFleet(n int, add func(row int, v float64)) error {
	// The daemon is there before it is measured.
	if err := s.startSleepers("first", 1); err != nil {
		return err
	}
	if _, err := s.run("delete", "first"); err != nil {
		return err
	}
	began := time.Now()
	t, err := clusterApp(s, strconv.Itoa(n))
	if err != nil {
		return err
	}
	first, err := s.b.untilAllAnswer(t, n, nil)
	if err != nil {
		return err
	}
	add(0, ms(time.Since(began)))
	time.Sleep(settle)

	began = time.Now()
	if _, err := s.run("reload", "app"); err != nil {
		return err
	}
	second, err := s.b.untilAllAnswer(t, n, first)
	if err != nil {
		return err
	}
	add(1, ms(time.Since(began)))
	time.Sleep(settle)

	daemon, err := s.daemon(s)
	if err != nil {
		return err
	}
	weight, err := pss(daemon...)
	if err != nil {
		return err
	}
	add(2, weight)

	began = time.Now()
	if _, err := s.run("stop", "app"); err != nil {
		return err
	}
	add(3, ms(time.Since(began)))
	for pid := range second {
		if runs(pid) {
			return fmt.Errorf("%s: process %d runs after the stop", s.name, pid)
		}
	}
	return nil
}

// untilAllAnswer asks until n processes have answered that are none of others, and
// returns their pids.
func (b *bench) untilAllAnswer(t target, n int, others map[int]bool) (map[int]bool, error) {
	ctx, cancel := context.WithTimeout(b.ctx, time.Minute)
	defer cancel()
	var mu sync.Mutex
	pids := map[int]bool{}
	run, err := load.Start(ctx, load.Config{
		URL: t.url, Clients: 4, ThinkMax: 2 * time.Millisecond, Timeout: 3 * time.Second, BodyUntilEOF: true,
		Check: func(r *load.Response) error {
			mu.Lock()
			defer mu.Unlock()
			if pid := whoAnswered(r.Body); !others[pid] {
				pids[pid] = true
			}
			if len(pids) >= n {
				cancel()
			}
			return nil
		},
	})
	if err != nil {
		return nil, err
	}
	if r := run.Wait(); len(pids) < n {
		return nil, fmt.Errorf("%d of %d processes answer: %s", len(pids), n, r)
	}
	return pids, nil
}

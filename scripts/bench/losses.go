package main

import (
	"fmt"
	"syscall"
	"time"
)

// incident is something that happens to an app while clients use it. All that
// neko runs for it is set beside the same of PM2.
type incident struct {
	name    string
	rounds  int // at most
	aspects []aspect
	cases   []situation
	pm2     situation
}

// aspect is what counts of an incident: one row for each case.
type aspect struct {
	name string
	unit string
	of   func(loss) float64
}

// situation is an app, and how the incident is brought about.
type situation struct {
	name      string
	app       app
	instances string
	happen    func(*side, *watch) error
	goals     []*float64 // one for each aspect
}

var (
	errorCount = aspect{"errors", "errors", func(l loss) float64 { return float64(l.errors) }}
	longestGap = aspect{"longest gap", "ms", func(l loss) float64 { return ms(l.gap) }}
	refused    = aspect{"refused", "refused", func(l loss) float64 { return float64(l.refused) }}
	firstOK    = aspect{"first answer", "ms", func(l loss) float64 { return ms(l.back) }}
)

func incidents() []incident {
	const cluster = "a Node server, cluster mode"
	none := []*float64{atMost(0), nil}
	within := func(ms float64) []*float64 { return []*float64{atMost(0), atMost(ms)} }
	return []incident{
		{
			"reload ×3", 1, []aspect{errorCount},
			[]situation{{"Node server", drainingApp, "2", reload, none}, {"Node server, unmodified", clusterApp, "2", reload, none}, {"neko-api", apiApp, "2", reload, none}},
			situation{cluster, clusterApp, "2", reload, nil},
		}, {
			"reload ×3, draining", 1, []aspect{errorCount},
			[]situation{{"Node server", drainingApp, "2", reload, none}},
			situation{"the same, cluster mode", drainingClusterApp, "2", reload, nil},
		}, {
			"reload of 24 workers", 1, []aspect{errorCount},
			[]situation{{"Node server, unmodified", patientClusterApp, "24", command("reload", "app"), none}},
			situation{cluster, patientClusterApp, "24", command("reload", "app"), nil},
		}, {
			"scale 4 → 2 → 4", 2, []aspect{errorCount},
			[]situation{{"Node server", drainingApp, "4", scale, none}},
			situation{cluster, clusterApp, "4", scale, nil},
		}, {
			"new supervisor", 3, []aspect{errorCount, longestGap},
			[]situation{{"upgrade", drainingApp, "2", command("upgrade"), none}},
			situation{"update; " + cluster, clusterApp, "2", command("update"), nil},
		}, {
			"kill -9 of the daemon", 2, []aspect{errorCount, longestGap},
			[]situation{{"master", drainingApp, "2", killDaemon(1), none}, {"keeper", drainingApp, "2", killDaemon(0), none}},
			situation{cluster, clusterApp, "2", killDaemon(0), nil},
		}, {
			"kill -9 under load", 5, []aspect{refused, firstOK},
			[]situation{
				{"bare worker", bareApp, "1", killWorker, within(8)},
				{"bare worker with spare", spare(bareApp), "1", killWorker, within(3)},
				{"Node server", drainingApp, "1", killWorker, none},
				{"Node server with spare", spare(drainingApp), "1", killWorker, within(3)},
				{"Node server, unmodified", clusterApp, "1", killWorker, none},
				{"Node server, unmodified, with spare", spareClusterApp, "1", killWorker, none},
			},
			situation{cluster, clusterApp, "1", killWorker, nil},
		},
	}
}

// measurement makes the rows of an incident.
func (i incident) measurement() measurement {
	m := measurement{name: i.name}
	rows := make([][]*figure, len(i.cases))
	for c, situation := range i.cases {
		for a, aspect := range i.aspects {
			rows[c] = append(rows[c], &figure{
				Name: fmt.Sprintf("%s, %s: %s", i.name, aspect.name, situation.name),
				Unit: aspect.unit, Count: aspect.unit != "ms", Goal: situation.goals[a], Note: i.pm2.name,
			})
		}
		m.rows = append(m.rows, rows[c]...)
	}
	m.run = func(b *bench) {
		for range min(b.rounds, i.rounds) {
			for c, situation := range i.cases {
				if wanted(rows[c]) && rows[c][0].Neko.Error == "" && b.ctx.Err() == nil {
					l, err := b.suffer(b.neko, situation)
					for a, f := range rows[c] {
						f.Neko.add(i.aspects[a].of(l), err)
					}
				}
			}
			if b.pm2 != "" && m.rows[0].Peer.Error == "" && b.ctx.Err() == nil {
				l, err := b.suffer(b.pm2Side, i.pm2)
				for n, f := range m.rows {
					f.Peer.add(i.aspects[n%len(i.aspects)].of(l), err)
				}
			}
		}
	}
	return m
}

func wanted(rows []*figure) bool {
	for _, f := range rows {
		if f.wanted {
			return true
		}
	}
	return false
}

func reload(s *side, _ *watch) error {
	for range 3 {
		if _, err := s.run("reload", "app"); err != nil {
			return err
		}
	}
	return nil
}

func scale(s *side, _ *watch) error {
	for _, n := range []string{"2", "4"} {
		if _, err := s.run("scale", "app", n); err != nil {
			return err
		}
	}
	_, err := s.online("app", 4)
	return err
}

// command is the incident that one command of the supervisor is.
func command(words ...string) func(*side, *watch) error {
	return func(s *side, _ *watch) error {
		_, err := s.run(words...)
		return err
	}
}

// killDaemon ends one of the supervisor's own processes. What clients see within
// two seconds counts: some things never come back.
func killDaemon(which int) func(*side, *watch) error {
	return func(s *side, w *watch) error {
		time.Sleep(settle)
		pids, err := s.daemon(s)
		if err != nil {
			return err
		}
		w.begin(0)
		if err := syscall.Kill(pids[which], syscall.SIGKILL); err != nil {
			return err
		}
		time.Sleep(2*time.Second - aftermath)
		return nil
	}
}

// killWorker ends the only worker and waits for an answer of another process.
func killWorker(s *side, w *watch) error {
	time.Sleep(settle)
	pids, err := s.online("app", 1)
	if err != nil {
		return err
	}
	w.begin(pids[0])
	if err := syscall.Kill(pids[0], syscall.SIGKILL); err != nil {
		return err
	}
	select {
	case <-w.another:
		return nil
	case <-s.b.ctx.Done():
		return s.b.ctx.Err()
	case <-time.After(30 * time.Second):
		return fmt.Errorf("nobody serves in the place of process %d", pids[0])
	}
}

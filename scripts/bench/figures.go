package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/nekoctl/neko/scripts/load"
)

// query is one that neko-api answers from its store.
var query = []byte(`{"query":"{ threatActors(first: 1) { totalCount } }"}`)

// settle is how long a process is left alone before it is killed or weighed.
// Both supervisors take a process that lives for less than a second for one
// that cannot start, and wait before they start it again.
const settle = 1300 * time.Millisecond

// measurement fills one row of the table, or some that come from the same rounds.
type measurement struct {
	name string
	rows []*figure
	run  func(b *bench)
}

// want marks the rows whose name is wanted, and returns them.
func (m *measurement) want(name func(string) bool) (rows []*figure) {
	for _, f := range m.rows {
		if f.wanted = name(f.Name); f.wanted {
			rows = append(rows, f)
		}
	}
	return rows
}

func single(f figure, run func(*bench, *figure)) measurement {
	return measurement{f.Name, []*figure{&f}, func(b *bench) { run(b, &f) }}
}

func atMost(v float64) *float64  { return &v }
func atLeast(v float64) *float64 { return &v }

func (b *bench) measurements() []measurement {
	list := []measurement{
		single(figure{Name: "cold start to first 200", Unit: "ms", Note: "a Node server, a worker for each CPU"}, coldStart),
		single(figure{Name: "kill -9 to first 200: bare worker", Unit: "ms", Goal: atMost(8), Note: "a Node server, cluster mode"}, killed(bareApp, clusterApp)),
		single(figure{Name: "kill -9 to first 200: neko-api", Unit: "ms", Note: "a Node server, cluster mode"}, killed(apiApp, clusterApp)),
		single(figure{Name: "kill -9 to first 200: Node server", Unit: "ms", Note: "the same, fork mode"}, killed(nodeApp, forkApp)),
		single(figure{Name: "list, 100 processes, over /bin/true", Unit: "ms", Goal: atMost(4), Note: "list, 100 processes"}, list),
		single(figure{Name: "memory of the supervisor, empty", Unit: "MiB", Goal: atMost(12), Note: "its daemon, empty"}, emptyMemory),
		single(figure{Name: "memory of a worker: bare worker", Unit: "MiB", Note: "a Node server, cluster mode"}, workerMemory(bareApp, clusterApp)),
		single(figure{Name: "memory of a worker: neko-api", Unit: "MiB", Note: "a Node server, cluster mode"}, workerMemory(apiApp, clusterApp)),
		single(figure{Name: "memory of a worker: Node server, unmodified", Unit: "MiB", Note: "the same, cluster mode"}, workerMemory(clusterApp, clusterApp)),
	}
	list = append(list, many(), lines(), throughput(), fleet())
	for _, i := range incidents() {
		list = append(list, i.measurement())
	}
	list = append(list, limits(), limitedAnswers(), cached(), capacity())
	return list
}

// app starts one app under a side and says where it answers. Its name is "app".
type app func(s *side, instances string) (target, error)

// start runs the start command with PORT set to a free port.
func start(s *side, args func(port string) []string) (target, error) {
	port, err := freePort()
	if err != nil {
		return target{}, err
	}
	p := strconv.Itoa(port)
	s.env = append(s.env, "PORT="+p)
	_, err = s.run(append([]string{"start"}, args(p)...)...)
	return target{url: "http://127.0.0.1:" + p + "/"}, err
}

func bareApp(s *side, instances string) (target, error) {
	t, err := startWorker(s, instances, s.b.bare)
	return target{t.url + "graphql", []byte(`{"query":"{ hello }"}`)}, err
}

func apiApp(s *side, instances string) (target, error) {
	if s.b.bundle != "" {
		cmd := exec.CommandContext(s.b.ctx, s.b.api(), "import", s.b.bundle)
		cmd.Env = append(os.Environ(), s.env...)
		if out, err := cmd.CombinedOutput(); err != nil {
			return target{}, fmt.Errorf("neko-api import: %w: %s", err, out)
		}
	}
	// A rate that nobody here gets to: what limits cost is in the figure.
	t, err := startWorker(s, instances, s.b.api(), "--rate-limit", "1000000/1s")
	return target{t.url + "graphql", query}, err
}

// startWorker starts a program on package worker.
func startWorker(s *side, instances string, command ...string) (target, error) {
	words, err := json.Marshal(command)
	if err != nil {
		return target{}, err
	}
	return startFile(s, fmt.Sprintf("command: %s, instances: %s, wait_ready: true", words, instances))
}

// startFile starts an app that takes its socket from neko, from a neko.yaml.
func startFile(s *side, keys string) (target, error) {
	file := filepath.Join(s.home, "neko.yaml")
	return start(s, func(port string) []string {
		text := fmt.Sprintf("apps: [{name: app, listen: \"127.0.0.1:%s\", listen_pid: false, %s%s}]\n", port, keys, s.keys)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			return []string{err.Error()}
		}
		return []string{file}
	})
}

// drainingApp is the Node server that takes its socket from neko, and drains.
func drainingApp(s *side, instances string) (target, error) {
	return startFile(s, fmt.Sprintf("command: [node, %q], instances: %s", s.b.drains, instances))
}

// spare is an app of which each process has a spare.
func spare(a app) app {
	return func(s *side, instances string) (target, error) {
		s.keys = ", spare: 1"
		return a(s, instances)
	}
}

// drainingClusterApp is the same program under PM2.
func drainingClusterApp(s *side, instances string) (target, error) {
	return start(s, func(string) []string { return []string{s.b.drains, "--name", "app", "-i", instances} })
}

func nodeApp(s *side, _ string) (target, error) {
	return start(s, func(string) []string { return []string{"node", "--name", "app", "--", s.b.node} })
}

func clusterApp(s *side, instances string) (target, error) {
	return start(s, func(string) []string { return []string{s.b.node, "--name", "app", "-i", instances} })
}

func forkApp(s *side, _ string) (target, error) {
	return start(s, func(string) []string { return []string{s.b.node, "--name", "app"} })
}

// eachRound calls neko and then pm2, b.rounds times, until one fails.
func (b *bench) eachRound(f *figure, neko, pm2 func() (float64, error)) {
	for range b.rounds {
		if f.Neko.Error == "" && b.ctx.Err() == nil {
			f.Neko.add(neko())
		}
		if b.pm2 != "" && f.Peer.Error == "" && b.ctx.Err() == nil {
			f.Peer.add(pm2())
		}
	}
}

// fewer is b with at most three rounds.
func (b *bench) fewer() *bench {
	c := *b
	c.rounds = min(b.rounds, 3)
	return &c
}

// sides makes both sides and calls use. What cannot be made is noted in f.
func (b *bench) sides(f *figure, use func(neko, pm2 *side)) {
	neko, err := b.neko()
	if err != nil {
		f.Neko.add(0, err)
		return
	}
	defer neko.end()
	var pm2 *side
	if b.pm2 != "" {
		if pm2, err = b.pm2Side(); err != nil {
			f.Peer.add(0, err)
			return
		}
		defer pm2.end()
	}
	use(neko, pm2)
}

// coldStart is from the start command, with no daemon, no home and no data, to
// the first answer. It does not wait for the command to return.
func coldStart(b *bench, f *figure) {
	once := func(s *side, err error, t func(port string) target, args ...string) (float64, error) {
		if err != nil {
			return 0, err
		}
		defer s.end()
		port, err := freePort()
		if err != nil {
			return 0, err
		}
		p := strconv.Itoa(port)
		s.env = append(s.env, "PORT="+p)
		cmd := s.command(args...)
		t0 := time.Now()
		if err := cmd.Start(); err != nil {
			return 0, err
		}
		took, err := b.untilOK(t(p), t0)
		cmd.Wait()
		return ms(took), err
	}
	b.eachRound(f, func() (float64, error) {
		s, err := b.neko()
		return once(s, err, func(port string) target { return target{"http://127.0.0.1:" + port + "/graphql", query} }, "start")
	}, func() (float64, error) {
		s, err := b.pm2Side()
		return once(s, err, func(port string) target { return target{"http://127.0.0.1:" + port + "/", nil} },
			"start", b.node, "--name", "app", "-i", "max")
	})
}

// killed is from the SIGKILL of an app's only worker to the next answer.
func killed(nekoApp, pm2App app) func(*bench, *figure) {
	return func(b *bench, f *figure) {
		b.sides(f, func(neko, pm2 *side) {
			var at [2]target
			var err error
			if at[0], err = nekoApp(neko, "1"); err != nil {
				f.Neko.add(0, err)
			}
			if pm2 != nil {
				if at[1], err = pm2App(pm2, "1"); err != nil {
					f.Peer.add(0, err)
				}
			}
			once := func(s *side, t target) (float64, error) {
				if _, err := b.untilOK(t, time.Now()); err != nil {
					return 0, err
				}
				time.Sleep(settle)
				pids, err := s.online("app", 1)
				if err != nil {
					return 0, err
				}
				t0 := time.Now()
				if err := syscall.Kill(pids[0], syscall.SIGKILL); err != nil {
					return 0, err
				}
				took, err := b.untilOK(t, t0)
				return ms(took), err
			}
			b.eachRound(f,
				func() (float64, error) { return once(neko, at[0]) },
				func() (float64, error) { return once(pm2, at[1]) })
		})
	}
}

// list is how long the list command takes for 100 processes, less what it takes
// to start any process at all.
func list(b *bench, f *figure) {
	const processes = 100
	b.sides(f, func(neko, pm2 *side) {
		for _, of := range []struct {
			side   *side
			result *rounds
		}{{neko, &f.Neko}, {pm2, &f.Peer}} {
			if of.side == nil {
				continue
			}
			if err := of.side.startSleepers("app", processes); err != nil {
				of.result.add(0, err)
			} else if _, err := of.side.online("app", processes); err != nil {
				of.result.add(0, err)
			}
		}
		time.Sleep(settle)
		// A round is the difference of two medians; PM2 needs fewer, as what it
		// takes is far from nothing.
		once := func(s *side, n int) (float64, error) {
			var with, without []float64
			for range n {
				v, err := wall(exec.Command("/bin/true"))
				if err != nil {
					return 0, err
				}
				without = append(without, v)
				if v, err = wall(s.command("list")); err != nil {
					return 0, err
				}
				with = append(with, v)
			}
			return median(with) - median(without), nil
		}
		b.eachRound(f,
			func() (float64, error) { return once(neko, 41) },
			func() (float64, error) { return once(pm2, 1) })
	})
}

// wall is how long a command takes, its output thrown away.
func wall(cmd *exec.Cmd) (float64, error) {
	t0 := time.Now()
	err := cmd.Run()
	return ms(time.Since(t0)), err
}

// emptyMemory weighs a daemon that has had an app and has none now.
func emptyMemory(b *bench, f *figure) {
	once := func(s *side, err error, args ...string) (float64, error) {
		if err != nil {
			return 0, err
		}
		defer s.end()
		if _, err := s.run(append([]string{"start"}, args...)...); err != nil {
			return 0, err
		}
		if _, err := s.run("delete", "app"); err != nil {
			return 0, err
		}
		time.Sleep(settle)
		pids, err := s.daemon(s)
		if err != nil {
			return 0, err
		}
		return pss(pids...)
	}
	b = b.fewer()
	b.eachRound(f, func() (float64, error) {
		s, err := b.neko()
		return once(s, err, "sleep", "--name", "app", "--", "infinity")
	}, func() (float64, error) {
		s, err := b.pm2Side()
		return once(s, err, "sleep", "--name", "app", "--interpreter", "none", "--", "infinity")
	})
}

// workerMemory weighs one worker of two after some thousand requests.
func workerMemory(nekoApp, pm2App app) func(*bench, *figure) {
	return func(b *bench, f *figure) {
		once := func(s *side, err error, start app) (float64, error) {
			if err != nil {
				return 0, err
			}
			defer s.end()
			t, err := start(s, "2")
			if err != nil {
				return 0, err
			}
			if _, err := b.untilOK(t, time.Now()); err != nil {
				return 0, err
			}
			cfg := load.Config{URL: t.url, Body: t.body, Clients: 16, Requests: 5000, BodyUntilEOF: true}
			if t.body != nil {
				cfg.Header = []string{"Content-Type: application/json"}
				cfg.Check = noErrors
			}
			r, err := load.Do(b.ctx, cfg)
			if err != nil {
				return 0, err
			}
			if r.Failed() {
				return 0, fmt.Errorf("under load: %s", r)
			}
			time.Sleep(settle)
			pids, err := s.online("app", 2)
			if err != nil {
				return 0, err
			}
			sum, err := pss(pids...)
			return sum / float64(len(pids)), err
		}
		b = b.fewer() // memory varies little, and each round is a new daemon
		b.eachRound(f, func() (float64, error) {
			s, err := b.neko()
			return once(s, err, nekoApp)
		}, func() (float64, error) {
			s, err := b.pm2Side()
			return once(s, err, pm2App)
		})
	}
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// Pods compares two ways to use the same CPUs and memory: one nekoctl with two workers, and two nekoctl with one worker
// each, as two pods behind a Service that takes turns. Each is in control groups of its own, with a quota of CPU and a
// limit of memory, as a container is. The two take turns, and a figure is the median of its rounds.
//
//	make build && go run ./scripts/container/pods -bin bin                  # as root
//	go run ./scripts/container/pods -bin bin -cpus 1 -rate 300              # half a CPU for each worker: throttled
//
// docs/containers.md has what came of it. The clients share the machine's CPUs: ratios say more than numbers.
package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"
)

type settings struct {
	bin, data     string
	cpus          float64
	memory        int // MiB
	rounds, rate  int
	clients, keys int
	lasts         time.Duration
	temp          string
}

func main() {
	var s settings
	flag.StringVar(&s.bin, "bin", "bin", "the `FOLDER` of nekoctl and neko-api")
	flag.StringVar(&s.data, "data", "", "a STIX bundle to serve; the sample data if not given")
	flag.Float64Var(&s.cpus, "cpus", 2, "how many CPUs both workers have together")
	flag.IntVar(&s.memory, "memory", 1024, "how many MiB they have together")
	flag.IntVar(&s.rounds, "rounds", 5, "how often each figure is measured")
	flag.IntVar(&s.rate, "rate", 1000, "requests a second")
	flag.IntVar(&s.clients, "clients", 32, "connections")
	flag.IntVar(&s.keys, "keys", 2000, "different queries, asked for by Zipf's law with s = 1.1")
	flag.DurationVar(&s.lasts, "lasts", 10*time.Second, "how long each load is")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := s.run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

// shape is how the same CPUs are cut.
type shape struct {
	name          string
	pods, workers int
}

var shapes = []shape{{"1 pod of 2", 1, 2}, {"2 pods of 1", 2, 1}}

func (s settings) run(ctx context.Context) (err error) {
	if os.Geteuid() != 0 {
		return errors.New("only root can make control groups")
	}
	if s.bin, err = filepath.Abs(s.bin); err != nil {
		return err
	}
	if s.temp, err = os.MkdirTemp("", "neko-pods"); err != nil {
		return err
	}
	defer os.RemoveAll(s.temp)
	if err := s.prepare(ctx); err != nil {
		return err
	}
	var names []string
	found := map[string]map[string][]float64{} // figure, shape
	note := func(what string, on shape, value float64) {
		if found[what] == nil {
			found[what] = map[string][]float64{}
			names = append(names, what)
		}
		found[what][on.name] = append(found[what][on.name], value)
	}
	for round := range s.rounds {
		for _, on := range shapes {
			if err := s.measure(ctx, on, func(what string, value float64) { note(what, on, value) }); err != nil {
				return fmt.Errorf("%s: %w", on.name, err)
			}
		}
		fmt.Fprintf(os.Stderr, "round %d of %d\n", round+1, s.rounds)
	}
	for _, on := range shapes {
		if err := s.shares(ctx, on, func(what string, value float64) { note(what, on, value) }); err != nil {
			return fmt.Errorf("%s: %w", on.name, err)
		}
	}
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight|tabwriter.Debug)
	fmt.Fprintf(w, "%g CPU, %d MiB, %d requests/s, %d queries\t%s\t%s\t\n", s.cpus, s.memory, s.rate, s.keys, shapes[0].name, shapes[1].name)
	for _, name := range names {
		fmt.Fprintf(w, "%s\t%s\t%s\t\n", name, text(found[name][shapes[0].name]), text(found[name][shapes[1].name]))
	}
	return w.Flush()
}

// text is a median, and of several rounds what it lies between.
func text(rounds []float64) string {
	if len(rounds) == 0 {
		return "not tried"
	}
	slices.Sort(rounds)
	if len(rounds) == 1 {
		return fmt.Sprintf("%.4g", rounds[0])
	}
	return fmt.Sprintf("%.4g (%.3g–%.3g)", rounds[len(rounds)/2], rounds[0], rounds[len(rounds)-1])
}

// prepare makes a store, which each pod gets a copy of.
func (s settings) prepare(ctx context.Context) error {
	if s.data == "" {
		return nil
	}
	return s.command(ctx, filepath.Join(s.temp, "store"), "neko-api", "import", "--quiet", s.data).Run()
}

func (s settings) command(ctx context.Context, home, program string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, filepath.Join(s.bin, program), args...)
	cmd.Env = append(slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "NEKO_") }), "NEKO_HOME="+home)
	cmd.Stderr = os.Stderr
	return cmd
}

func (s settings) start(ctx context.Context, on shape, env ...string) (all pods, err error) {
	for i := range on.pods {
		p, err := s.startPod(ctx, i, s.cpus/float64(on.pods), s.memory/on.pods, on.workers, env)
		if p != nil {
			all = append(all, p)
		}
		if err != nil {
			return all, errors.Join(err, all.stop())
		}
	}
	return all, nil
}

// measure is one round.
func (s settings) measure(ctx context.Context, on shape, note func(string, float64)) (err error) {
	began := time.Now()
	all, err := s.start(ctx, on, "NEKO_API_RATE_LIMITS=off")
	if err != nil {
		return err
	}
	defer func() { err = cmp.Or(err, all.stop()) }()
	if err := all.ready(ctx); err != nil {
		return err
	}
	note("start until all answer, ms", ms(time.Since(began)))
	queries, err := all.queries(ctx, s.keys)
	if err != nil {
		return err
	}
	memory := func(what string) error {
		pss, err := all.pss()
		note(what, pss)
		return err
	}
	if err := memory("memory at rest, MiB"); err != nil {
		return err
	}

	throttled := all.throttled()
	got := s.load(ctx, all, queries, nil)
	note("served, /s", got.perSecond())
	note("p50, ms", got.percentile(0.5))
	note("p99, ms", got.percentile(0.99))
	note("periods throttled", float64(all.throttled()-throttled))
	note("errors", float64(got.errors))
	hits, err := all.hits(ctx)
	if err != nil {
		return err
	}
	note("hit ratio, per cent", hits)
	if err := memory("memory after the load, MiB"); err != nil {
		return err
	}

	got = s.load(ctx, all, queries, func() error { return all[0].killWorker(ctx) })
	note("kill -9 of a worker: errors", float64(got.errors))
	note("kill -9 of a worker: p99, ms", got.percentile(0.99))
	note("kill -9 of a worker: longest, ms", got.percentile(1))
	if err := all.ready(ctx); err != nil {
		return err
	}
	all.resetPeak()
	got = s.load(ctx, all, queries, func() error { return all.reload(ctx) })
	note("reload of all: errors", float64(got.errors))
	note("reload of all: p99, ms", got.percentile(0.99))
	note("reload of all: peak of memory, MiB", all.peak())
	return errors.Join(got.failed)
}

// shares are the figures that need no rounds: what limits count together, and connections.
func (s settings) shares(ctx context.Context, on shape, note func(string, float64)) (err error) {
	const limit = 100
	env := []string{fmt.Sprintf("NEKO_API_RATE_LIMIT=%d/1h", limit)}
	all, err := s.start(ctx, on, env...)
	if err != nil {
		return err
	}
	if err := all.ready(ctx); err != nil {
		return errors.Join(err, all.stop())
	}
	passed := all.ask(ctx, 5*limit)
	note(fmt.Sprintf("a limit of %d without Redis lets pass", limit), float64(passed))
	if err := all.stop(); err != nil {
		return err
	}
	server, err := exec.LookPath("redis-server")
	if err != nil {
		fmt.Fprintln(os.Stderr, "without redis-server nothing is said of Redis")
		return nil
	}
	r, err := startRedis(ctx, server, s.temp)
	if err != nil {
		return err
	}
	defer r.stop()
	if all, err = s.start(ctx, on, append(env, "NEKO_API_REDIS="+r.url)...); err != nil {
		return err
	}
	defer func() { err = cmp.Or(err, all.stop()) }()
	if err := all.ready(ctx); err != nil {
		return err
	}
	note(fmt.Sprintf("a limit of %d with Redis lets pass", limit), float64(all.ask(ctx, 5*limit)))
	connections, err := r.connections(ctx)
	note("connections to Redis", float64(connections))
	return err
}

func ms(d time.Duration) float64 { return float64(d) / 1e6 }

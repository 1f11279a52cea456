package supervisor_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/nekoctl/neko/supervisor/control"
	"github.com/nekoctl/neko/supervisor/keeper"
	"github.com/nekoctl/neko/supervisor/spec"
)

// Several clients give commands at random, upgrades too, while workers, masters and
// keepers are killed.
// Whatever the order, when it is over nothing is stuck, lost, doubled or leaked.
//
// It takes 5 s; NEKO_STRESS=10m makes it longer, and NEKO_STRESS_SEED repeats a
// sequence as far as the timing lets it.
func TestNoOrderOfEventsLeavesAnythingBehind(t *testing.T) {
	t.Parallel()
	length := 5 * time.Second
	if text := os.Getenv("NEKO_STRESS"); text != "" {
		var err error
		if length, err = time.ParseDuration(text); err != nil {
			t.Fatal(err)
		}
	}
	seed := rand.Uint64()
	if text := os.Getenv("NEKO_STRESS_SEED"); text != "" {
		var err error
		if seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("NEKO_STRESS_SEED=%d", seed)

	d := newDaemon(t)
	d.killMaster() // the last one of the test will have inherited, too
	before := d.fewestDescriptors()
	apps := []spec.App{web("web", 2), app("parent", 2, "child"), app("mule", 1, "stubborn")}
	for i := range apps {
		a := &apps[i]
		a.DrainTimeout, a.KillTimeout = spec.Duration(200*time.Millisecond), spec.Duration(100*time.Millisecond)
		a.MinUptime, a.MaxRestarts = spec.Duration(time.Millisecond), 1000 // what we kill is no fault of its own
	}
	apps[0].ShutdownDelay, apps[1].CronRestart, apps[2].RestartDelay = spec.Duration(50*time.Millisecond), "* * * * * *", spec.Duration(5*time.Millisecond)
	apps[0].Readiness, apps[0].Liveness = often(spec.Probe{HTTP: "/livez"}), often(spec.Probe{TCP: "http"})
	apps[2].Startup, apps[2].Liveness = often(shell("test -n $NEKO_PID")), often(shell("sleep 0.1 & wait"))
	d.start(apps...)

	var commands atomic.Int64
	var all sync.WaitGroup
	end := time.Now().Add(length)
	for i := range uint64(4) {
		random := rand.New(rand.NewPCG(seed, i))
		all.Go(func() {
			for time.Now().Before(end) {
				d.randomCommand(random, apps)
				commands.Add(1)
			}
		})
	}
	random := rand.New(rand.NewPCG(seed, 100))
	all.Go(func() {
		for time.Now().Before(end) {
			time.Sleep(time.Duration(random.IntN(40)) * time.Millisecond) // no synchronisation: chance
			d.randomBlow(random)
		}
	})
	all.Wait()
	t.Logf("%d commands", commands.Load())

	// Nothing is stuck.
	list := d.until("at rest", func(list []control.Process) bool {
		return !slices.ContainsFunc(list, func(p control.Process) bool {
			return p.State != control.Online && p.State != control.Stopped && p.State != control.Errored
		})
	})
	ids := map[int]bool{}
	for _, p := range list {
		if ids[p.ID] {
			t.Errorf("two processes have the id %d: %+v", p.ID, list)
		}
		ids[p.ID] = true
	}
	// All of it can still be used.
	d.start(apps...)
	d.command("restart", "all")
	for _, a := range apps {
		d.scale(a.Name, strconv.Itoa(a.Instances))
	}
	list = d.list()
	if got, want := strings.Count(states(list), "online"), 5; got != want || len(list) != want {
		t.Errorf("%d of %d are online, want %d: %s", got, len(list), want, states(list))
	}
	slots := map[string]bool{}
	for _, p := range list {
		if p.Name == "web" {
			for range 50 {
				slot, _, _ := strings.Cut(get(t, p.Listeners[0]), " ")
				slots[slot] = true
			}
		}
	}
	if len(slots) != 2 {
		t.Errorf("new connections go to the slots %v of web, which has two", slots)
	}
	// No process is left that the list does not show. The parents' children are
	// in their parents' groups.
	d.eventually("every process is in the list", func() bool {
		workers, zombies := d.family()
		list := d.list() // cron_restart goes on
		return len(zombies) == 0 && !slices.ContainsFunc(workers, func(pid int) bool {
			group, err := syscall.Getpgid(pid)
			return err == nil && !slices.ContainsFunc(list, func(p control.Process) bool { return p.PID == group })
		})
	})
	d.command("delete", "all")
	d.nobodyRuns()
	d.killMaster()
	d.sameDescriptors(before)
	if list := d.list(); len(list) != 0 {
		t.Errorf("a deleted app is back: %+v", list)
	}
}

// randomCommand may fail, but it must end.
func (d *daemon) randomCommand(random *rand.Rand, apps []spec.App) {
	ctx, cancel := context.WithTimeout(d.t.Context(), 30*time.Second)
	defer cancel()
	a := apps[random.IntN(len(apps))]
	target := a.Name
	if random.IntN(4) == 0 {
		target = strconv.Itoa(random.IntN(5))
	}
	var err error
	what := "start " + a.Name
	switch n := random.IntN(20); {
	case n == 0 && random.IntN(4) == 0:
		what = "upgrade"
		_, err = d.Upgrade(ctx, control.UpgradeRequest{Program: a.Command[0]}, nil)
	case n < 6:
		if random.IntN(2) == 0 {
			a.Env = map[string]string{"PATH": a.Env["PATH"], "GORACE": a.Env["GORACE"], "VERSION": fmt.Sprint(random.IntN(2))}
		}
		_, err = d.Start(ctx, control.StartRequest{Apps: []spec.App{a}, Reload: random.IntN(2) == 0, Restart: random.IntN(4) == 0, Parallel: random.IntN(3)}, nil)
	case n < 9:
		instances := []string{"1", "2", "3", "+1", "-1"}[random.IntN(5)]
		what = fmt.Sprint("scale ", a.Name, instances)
		_, err = d.Scale(ctx, control.ScaleRequest{Name: a.Name, Instances: instances}, nil)
	default:
		command := []string{"stop", "restart", "reload", "reload", "restart", "delete"}[random.IntN(6)]
		what = command + " " + target
		_, err = d.Command(ctx, command, control.TargetRequest{Targets: []string{target}, Parallel: random.IntN(3)}, nil)
	}
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		d.t.Errorf("%s does not end: %v", what, err)
	}
}

// randomBlow kills or stops something. That it may be gone already is no matter.
func (d *daemon) randomBlow(random *rand.Rand) {
	if random.IntN(25) == 0 {
		if ping, err := d.Ping(d.t.Context()); err == nil && random.IntN(3) > 0 {
			_ = syscall.Kill(ping.Master, syscall.SIGKILL)
		} else if err == nil {
			_ = syscall.Kill(ping.Keeper, syscall.SIGKILL)
			d.eventually("another keeper", func() bool { // or both would be dead
				now, err := d.Ping(d.t.Context())
				if errors.Is(err, control.ErrNoDaemon) { // there was no master at that instant: as the command line does
					if pid, err := keeper.Spawn(d.home); err == nil {
						d.keeper = pid
					}
				}
				return err == nil && now.Keeper != ping.Keeper
			})
		}
		return
	}
	detail, err := d.App(d.t.Context(), []string{"web", "parent", "mule"}[random.IntN(3)])
	if err != nil {
		return
	}
	var pids []int
	for _, p := range detail.Processes {
		for _, pid := range append(p.Draining, p.PID, p.Starting) {
			if pid > 1 {
				pids = append(pids, pid)
			}
		}
	}
	if len(pids) == 0 {
		return
	}
	pid := pids[random.IntN(len(pids))]
	if random.IntN(3) > 0 {
		_ = syscall.Kill(pid, syscall.SIGKILL)
		return
	}
	_ = syscall.Kill(pid, syscall.SIGSTOP)
	time.Sleep(time.Duration(random.IntN(50)) * time.Millisecond)
	_ = syscall.Kill(pid, syscall.SIGCONT)
}

// descriptors are what keeper and master have open.
func (d *daemon) descriptors() (open [2][]string) {
	d.t.Helper()
	ping, err := d.Ping(d.t.Context())
	if err != nil {
		d.t.Fatal(err)
	}
	for i, pid := range []int{ping.Keeper, ping.Master} {
		links, err := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
		if err != nil {
			d.t.Fatal(err)
		}
		for _, link := range links {
			if target, err := os.Readlink(link); err == nil {
				open[i] = append(open[i], target)
			}
		}
		slices.Sort(open[i])
	}
	return open
}

// fewestDescriptors are those that stay: a look may see a connection, or a file
// of /proc, that is closed in the next moment.
func (d *daemon) fewestDescriptors() [2][]string {
	d.t.Helper()
	fewest := d.descriptors()
	for range 20 {
		for i, now := range d.descriptors() {
			if len(now) < len(fewest[i]) {
				fewest[i] = now
			}
		}
	}
	return fewest
}

// sameDescriptors waits until keeper and master have no more descriptors than
// before: what they hold for processes goes with the processes' last words.
func (d *daemon) sameDescriptors(before [2][]string) {
	d.t.Helper()
	var now [2][]string
	defer func() {
		if d.t.Failed() {
			d.t.Logf("keeper and master had\n%q\n%q\nand have\n%q\n%q", before[0], before[1], now[0], now[1])
		}
	}()
	d.eventually("keeper and master have the descriptors of the beginning", func() bool {
		now = d.descriptors()
		return len(now[0]) <= len(before[0]) && len(now[1]) <= len(before[1])
	})
}

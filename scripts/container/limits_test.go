package container

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nekoctl/neko/scripts/load"
	"github.com/nekoctl/neko/supervisor/control"
)

// limits are a control group of the test's own with a CPU quota and a memory limit,
// of whichever version the machine has.
type limits struct {
	t           *testing.T
	cpu, memory string // folders; in version 2 the same
	two         bool
}

func newLimits(t *testing.T) *limits {
	t.Helper()
	mustBeRoot(t)
	l := &limits{t: t}
	name := fmt.Sprintf("neko-test-%d-%s", rand.Uint64(), strings.ToLower(t.Name())) // pids come again, in a CI of containers
	if there("/sys/fs/cgroup/cgroup.controllers") {
		l.two, l.cpu = true, filepath.Join("/sys/fs/cgroup", name)
		l.memory = l.cpu
		_ = os.WriteFile("/sys/fs/cgroup/cgroup.subtree_control", []byte("+cpu +memory"), 0) // they may be there
	} else {
		l.cpu, l.memory = filepath.Join("/sys/fs/cgroup/cpu", name), filepath.Join("/sys/fs/cgroup/memory", name)
	}
	for _, folder := range l.groups() {
		if err := os.Mkdir(folder, 0o755); err != nil {
			if os.Getenv("CI") == "true" {
				t.Fatal(err)
			}
			t.Skip("no control group can be made: ", err)
		}
		t.Cleanup(func() { // when the container, which was launched later, has ended
			err := os.Remove(folder)
			for end := time.Now().Add(10 * time.Second); errors.Is(err, unix.EBUSY) && time.Now().Before(end); err = os.Remove(folder) {
				time.Sleep(10 * time.Millisecond) // the kernel is not through with the last process
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
	return l
}

func there(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

func (l *limits) groups() []string {
	if l.two {
		return []string{l.cpu}
	}
	return []string{l.cpu, l.memory}
}

func (l *limits) set(folder, file, text string) {
	l.t.Helper()
	if err := os.WriteFile(filepath.Join(folder, file), []byte(text), 0); err != nil {
		l.t.Fatal(err)
	}
}

// grant sets a quota in tenths of a CPU and a limit in MiB.
func (l *limits) grant(tenths, mib int) {
	l.t.Helper()
	if l.two {
		l.set(l.cpu, "cpu.max", fmt.Sprintf("%d 100000", tenths*10000))
		l.set(l.memory, "memory.max", strconv.Itoa(mib<<20))
		return
	}
	l.set(l.cpu, "cpu.cfs_quota_us", strconv.Itoa(tenths*10000))
	l.set(l.memory, "memory.limit_in_bytes", strconv.Itoa(mib<<20))
}

// sizes are what the processes of a list were told of their share, each once.
func (c *container) sizes(list []control.Process) map[string]bool {
	found := map[string]bool{}
	for _, p := range list {
		var told []string
		for entry := range strings.SplitSeq(c.read(fmt.Sprintf("/proc/%d/environ", p.PID)), "\x00") {
			if strings.HasPrefix(entry, "GOMAXPROCS=") || strings.HasPrefix(entry, "GOMEMLIMIT=") {
				told = append(told, entry)
			}
		}
		found[strings.Join(told, " ")] = true
	}
	return found
}

func share(mib, processes int) string {
	return fmt.Sprintf("GOMAXPROCS=1 GOMEMLIMIT=%d", int64(float64(mib<<20)*0.9/float64(processes+1)))
}

func TestMaxFollowsWhatTheControlGroupGrantsAndLosesNoRequest(t *testing.T) {
	t.Parallel()
	l := newLimits(t)
	l.grant(9, 1000)
	c := launch(t, options{Args: start("-i", "max"), Env: []string{"NEKO_API_LISTEN=127.0.0.1:0"}, Cgroups: l.groups()}, "/dev/shm/neko-65532")
	list := c.untilOnline(1) // less than a CPU is one
	if got := c.sizes(list); !got[share(1000, 1)] {
		t.Errorf("it was told %v", got)
	}
	var loads []*load.Run
	for _, mode := range []load.Mode{load.NewConnection, load.KeepAlive} {
		run, err := load.Start(t.Context(), load.Config{URL: "http://" + list[0].Listeners[0] + "/livez", Mode: mode, Clients: 4,
			ThinkMin: 1e6, ThinkMax: 2e7})
		if err != nil {
			t.Fatal(err)
		}
		loads = append(loads, run)
	}
	follow := func(what string, n int, told string) {
		t.Helper()
		c.until(what, func() bool {
			list, err := c.Processes(t.Context())
			got := c.sizes(list)
			return err == nil && len(list) == n && len(got) == 1 && got[told]
		})
	}
	l.grant(15, 1000)
	follow("there are two processes, which know it", 2, share(1000, 2))
	l.grant(15, 800)
	follow("they know that there is less memory", 2, share(800, 2))
	l.grant(10, 800)
	follow("there is one process again", 1, share(800, 1))
	for _, run := range loads {
		if report := run.Stop(); report.Failed() {
			t.Error(report)
		}
	}
	c.term()
	if code := c.wait(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	if text := c.stderr.String(); strings.Count(text, "granted now: ") != 3 {
		t.Errorf("it says %q", text)
	}
}

func TestAGrantThatChangesWithoutAMasterIsFollowedByTheNext(t *testing.T) {
	t.Parallel()
	l := newLimits(t)
	l.grant(10, 1000)
	c := launch(t, options{Args: start("/program", "-i", "max", "--", "run"), Cgroups: l.groups()}, "/dev/shm/neko-65532")
	c.untilOnline(1)
	ping, err := c.Ping(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if out, err := c.outside("kill", "-STOP", strconv.Itoa(ping.Master)); err != nil {
		t.Fatal(out, err)
	}
	l.grant(20, 1000)
	if out, err := c.outside("kill", "-KILL", strconv.Itoa(ping.Master)); err != nil {
		t.Fatal(out, err)
	}
	c.untilOnline(2)
}

package chaos

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nekoctl/neko/scripts/load"
	"github.com/nekoctl/neko/supervisor/control"
)

func TestTenReloadsLoseNothing(t *testing.T) {
	d := serve(t, 2)
	c := d.load()
	for range 10 {
		before := d.list()
		d.nekoctl("reload", "api")
		for i, p := range d.list() {
			if p.PID == before[i].PID || p.State != control.Online {
				t.Fatalf("not reloaded: %+v, then %+v", before[i], p)
			}
		}
		c.wait(100)
	}
	c.nothingLost()
}

func TestScalingUpAndDownFiveTimesLosesNothing(t *testing.T) {
	d := serve(t, 4)
	c := d.load()
	for range 5 {
		for _, n := range []string{"2", "4"} {
			d.nekoctl("scale", "api", n)
			if got := fmt.Sprint(len(d.list())); got != n {
				t.Fatalf("scale %s: %s processes", n, got)
			}
			c.wait(100)
		}
	}
	c.nothingLost()
}

// A client's request may fail only if the dead worker had accepted its
// connection. To count these exactly, the worker is stopped before it is killed:
// it accepts no more, and what it has accepted is in its descriptors.
func TestAKilledWorkerLosesOnlyWhatItHadAccepted(t *testing.T) {
	d := serve(t, 4)
	c := d.load()
	accepted := 0
	for i := range 10 {
		victim := d.list()[i%4]
		freeze(t, victim.PID)
		accepted += sockets(t, victim.PID) - 1 // less the listener
		if err := syscall.Kill(victim.PID, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		back := func() bool {
			p := d.list()[i%4]
			return p.PID != victim.PID && p.State == control.Online
		}
		for deadline := time.Now().Add(20 * time.Second); !back(); {
			if time.Now().After(deadline) {
				t.Fatalf("slot %d is not back: %+v", i%4, d.list())
			}
		}
		c.wait(100)
	}
	failed := 0
	for _, report := range c.stop() {
		failed += int(report.Failures())
		if n := report.Failures(load.KindReset, load.KindEOF, load.KindTruncated); n != report.Failures() {
			t.Errorf("errors that no accepted connection explains:\n%s", report)
		}
		t.Logf("%s: %d requests, %d errors", report.Mode, report.Requests, report.Failures())
	}
	if failed > accepted {
		t.Errorf("%d requests failed, and the dead workers had accepted %d", failed, accepted)
	}
	t.Logf("the ten had accepted %d connections", accepted)
}

func TestAKilledMasterLosesNothing(t *testing.T) {
	d := serve(t, 2)
	before := d.list()
	c := d.load()
	for range 3 {
		var master int
		if _, err := fmt.Sscanf(afterWord(d.nekoctl("ping", "--json"), `"master":`), "%d", &master); err != nil {
			t.Fatal(err)
		}
		if err := syscall.Kill(master, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		for i, p := range d.list() { // the command waits for the next master
			if p.PID != before[i].PID || p.ID != before[i].ID || p.State != control.Online {
				t.Errorf("before %+v, after %+v", before[i], p)
			}
		}
		c.wait(100)
	}
	d.nekoctl("reload", "api")
	c.wait(100)
	c.nothingLost()
}

// freeze stops a process and returns when none of its threads runs any more.
func freeze(t *testing.T, pid int) {
	t.Helper()
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	frozen := func() bool {
		stats, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pid))
		if err != nil || len(stats) == 0 {
			t.Fatalf("pid %d has no threads (%v)", pid, err)
		}
		for _, stat := range stats {
			text, err := os.ReadFile(stat)
			if err != nil || !strings.HasPrefix(afterWord(string(text), ") "), "T") {
				return false
			}
		}
		return true
	}
	for deadline := time.Now().Add(10 * time.Second); !frozen(); {
		if time.Now().After(deadline) {
			t.Fatalf("pid %d does not stop", pid)
		}
	}
}

// sockets counts the stream sockets among the descriptors of a process.
func sockets(t *testing.T, pid int) int {
	t.Helper()
	links, err := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, link := range links {
		if target, err := os.Readlink(link); err == nil && strings.HasPrefix(target, "socket:") {
			n++
		}
	}
	return n
}

func afterWord(text, word string) string {
	_, rest, _ := strings.Cut(text, word)
	return rest
}

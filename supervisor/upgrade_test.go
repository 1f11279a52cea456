package supervisor_test

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nekoctl/neko/supervisor/control"
)

// program is a copy of the test binary: one that ends in .doomed passes every
// check, and its master dies.
func program(t *testing.T, name string) string {
	t.Helper()
	own, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	copied := filepath.Join(t.TempDir(), name)
	if err := os.Link(own, copied); err == nil {
		return copied
	}
	text, err := os.ReadFile(own)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(copied, text, 0o700); err != nil {
		t.Fatal(err)
	}
	return copied
}

// upgrade returns when the new master is sure to stay, or the old program is back.
func (d *daemon) upgrade(program string) control.Ping {
	d.t.Helper()
	before, err := d.Ping(d.t.Context())
	if err != nil {
		d.t.Fatal(err)
	}
	if _, err := d.Upgrade(d.t.Context(), control.UpgradeRequest{Program: program}, nil); err != nil {
		d.t.Fatal(err)
	}
	return d.untilUpgraded(before)
}

func (d *daemon) untilUpgraded(before control.Ping) (now control.Ping) {
	d.t.Helper()
	d.eventually("upgraded", func() bool {
		var err error
		now, err = d.Ping(d.t.Context())
		return err == nil && now.Master != before.Master && !now.Upgrading
	})
	return now
}

func executable(pid int) string {
	path, _ := os.Readlink("/proc/" + strconv.Itoa(pid) + "/exe") // "": it has just ended
	return path
}

func TestAnUpgradeReplacesKeeperAndMasterAndNoWorker(t *testing.T) {
	t.Parallel()
	d := newDaemon(t)
	before := d.start(web("api", 2)).Processes
	for _, name := range []string{"one", "two"} {
		next := program(t, name)
		now := d.upgrade(next)
		if now.Keeper != d.keeper || len(now.Warnings) > 0 {
			t.Errorf("after the upgrade: %+v", now)
		}
		for _, pid := range []int{now.Keeper, now.Master} {
			if got := executable(pid); got != next {
				t.Errorf("pid %d runs %s, not %s", pid, got, next)
			}
		}
		for i, p := range d.list() {
			if p.PID != before[i].PID || p.Restarts != before[i].Restarts || p.State != control.Online {
				t.Errorf("before %+v, after %+v", before[i], p)
			}
		}
	}
	d.killMaster()
	kill(t, before[0].PID, syscall.SIGKILL)
	d.until("the crashed worker is back", func(l []control.Process) bool {
		return l[0].PID != before[0].PID && l[0].State == control.Online
	})
	if got := d.lastExit("api"); got != "signal: killed" {
		t.Errorf("the last exit is %q", got)
	}
	d.command("reload", "api")
}

func TestUSR2UpgradesToWhatIsAtThePlaceOfTheProgram(t *testing.T) {
	t.Parallel()
	d := newDaemon(t)
	d.start(web("api", 1))
	first := program(t, "first")
	before := d.upgrade(first)
	// What an installation does: the new file takes the place of the old one.
	if err := os.Rename(program(t, "second"), first); err != nil {
		t.Fatal(err)
	}
	kill(t, before.Keeper, syscall.SIGUSR2)
	now := d.untilUpgraded(before)
	if got := executable(now.Keeper); got != first || len(now.Warnings) > 0 {
		t.Errorf("runs %s: %+v", got, now)
	}
}

func TestAnUpgradeToWhatIsNoNekoctlChangesNothing(t *testing.T) {
	t.Parallel()
	d := newDaemon(t)
	d.start(web("api", 1))
	before, err := d.Ping(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	script := filepath.Join(t.TempDir(), "script")
	syscall.ForkLock.RLock() // or what another test starts may have it open for writing, and nobody can run it
	err = os.WriteFile(script, []byte("#!/bin/sh\nexit 3\n"), 0o700)
	syscall.ForkLock.RUnlock()
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		"/bin/true": "it is not a nekoctl", script: "exit status 3", "/nowhere": "no such file",
		"/etc/passwd": "it is not executable", "/etc": "it is no file", "bin/nekoctl": "no absolute path",
	} {
		_, err := d.Upgrade(t.Context(), control.UpgradeRequest{Program: path}, nil)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", path, err)
		}
	}
	if now, err := d.Ping(t.Context()); err != nil || now.Master != before.Master {
		t.Errorf("before %+v, after %+v (%v)", before, now, err)
	}
}

func TestAnUpgradeWhoseMasterDiesGoesBack(t *testing.T) {
	t.Parallel()
	d := newDaemon(t)
	before := d.start(web("api", 2)).Processes
	own := executable(d.keeper)
	now := d.upgrade(program(t, "next.doomed"))
	if !strings.Contains(now.UpgradeFailed, "the master of the new program ended") || now.Keeper != d.keeper {
		t.Errorf("got %+v", now)
	}
	if got := executable(now.Master); got != own {
		t.Errorf("the master runs %s, not %s", got, own)
	}
	for i, p := range d.list() {
		if p.PID != before[i].PID || p.State != control.Online {
			t.Errorf("before %+v, after %+v", before[i], p)
		}
	}
	if now := d.upgrade(program(t, "next")); len(now.Warnings) > 0 {
		t.Errorf("after one that succeeded: %+v", now)
	}
}

// One that comes while the one before is on trial waits for that to be over: it would else go
// back to what was there before both.
func TestAnUpgradeWhoseMasterDiesGoesBackToTheOneJustBefore(t *testing.T) {
	t.Parallel()
	d := newDaemon(t)
	d.start(web("api", 1))
	next := program(t, "next")
	before, err := d.Ping(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.Upgrade(t.Context(), control.UpgradeRequest{Program: next}, nil); err != nil {
		t.Fatal(err)
	}
	d.eventually("the next program is on trial", func() bool {
		now, err := d.Ping(t.Context())
		return err == nil && now.Master != before.Master
	})
	if now := d.upgrade(program(t, "next.doomed")); !strings.Contains(now.UpgradeFailed, "the master of the new program ended") {
		t.Errorf("got %+v", now)
	} else if got := executable(now.Master); got != next {
		t.Errorf("the master runs %s, not %s", got, next)
	}
}

// Commands that come while the master is replaced are done by the next.
func TestCommandsAreNotLostInAnUpgrade(t *testing.T) {
	t.Parallel()
	d := newDaemon(t)
	d.start(web("api", 2))
	next := program(t, "next")
	sideBySide(
		func() { d.upgrade(next) },
		func() {
			for range 4 {
				d.command("reload", "api")
			}
		},
		func() {
			for range 100 {
				d.list()
			}
		},
	)
}

// Nothing is open in the keeper but what it had at its start, and so the program
// gets the lowest of all numbers there.
func TestADaemonThatHasDoneNothingYetCanBeUpgraded(t *testing.T) {
	t.Parallel()
	d := newDaemon(t)
	next := program(t, "next")
	now := d.upgrade(next)
	if now.UpgradeFailed != "" || executable(now.Master) != next || executable(now.Keeper) != next {
		t.Errorf("after the upgrade: %+v", now)
	}
}

// The master that is on trial takes the keeper's place, and is not on trial any more.
func TestAnUpgradeIsOverWhenTheKeeperIsKilledMeanwhile(t *testing.T) {
	t.Parallel()
	d := newDaemon(t)
	d.start(web("api", 2))
	next := program(t, "next")
	if _, err := d.Upgrade(t.Context(), control.UpgradeRequest{Program: next}, nil); err != nil {
		t.Fatal(err)
	}
	var before control.Ping
	d.eventually("the new master is on trial", func() bool {
		var err error
		before, err = d.Ping(t.Context())
		return err == nil && before.Upgrading && executable(before.Master) == next
	})
	kill(t, before.Keeper, syscall.SIGKILL)
	now := d.untilUpgraded(before)
	if now.UpgradeFailed != "" || executable(now.Master) != next || executable(now.Keeper) != next {
		t.Errorf("after the upgrade: %+v", now)
	}
}

// A keeper that stands still has all of it to see to at once when it goes on: that
// the upgrade is proven, and what has come meanwhile.
func (d *daemon) upgradeToAKeeperThatStandsStill(next string) control.Ping {
	d.t.Helper()
	if _, err := d.Upgrade(d.t.Context(), control.UpgradeRequest{Program: next}, nil); err != nil {
		d.t.Fatal(err)
	}
	var now control.Ping
	d.eventually("the new master serves", func() bool {
		var err error
		now, err = d.Ping(d.t.Context())
		return err == nil && now.Upgrading && executable(now.Master) == next
	})
	d.freeze(now.Keeper)
	return now
}

func TestATERMIsHeardByAKeeperThatIsBeingUpgraded(t *testing.T) {
	t.Parallel()
	next := program(t, "next")
	for range 4 {
		d := newDaemon(t)
		d.start(app("api", 1))
		now := d.upgradeToAKeeperThatStandsStill(next)
		kill(t, now.Keeper, syscall.SIGTERM)
		time.Sleep(1200 * time.Millisecond) // the new master has proven itself
		kill(t, now.Keeper, syscall.SIGCONT)
		d.hasEnded()
		d.nobodyRuns()
	}
}

func TestWhatAMasterHadSentIsNotLostIfItEndsWhenTheKeeperIsUpgraded(t *testing.T) {
	t.Parallel()
	next := program(t, "next")
	for range 4 {
		d := newDaemon(t)
		now := d.upgradeToAKeeperThatStandsStill(next)
		d.start(app("api", 1))
		kill(t, now.Master, syscall.SIGKILL)
		time.Sleep(1200 * time.Millisecond)
		kill(t, now.Keeper, syscall.SIGCONT)
		d.until("the app is known", func(l []control.Process) bool { return states(l) == "api:0 online" })
	}
}

func TestTwoUpgradesAtOnceComeOneAfterTheOther(t *testing.T) {
	t.Parallel()
	d := newDaemon(t)
	d.start(web("api", 1))
	one, two := program(t, "one"), program(t, "two")
	upgrade := func(program string) func() {
		return func() {
			if _, err := d.Upgrade(t.Context(), control.UpgradeRequest{Program: program}, nil); err != nil {
				t.Error(err)
			}
		}
	}
	sideBySide(upgrade(one), upgrade(two))
	d.eventually("the daemon is one of them", func() bool {
		now, err := d.Ping(t.Context())
		return err == nil && !now.Upgrading && (executable(now.Keeper) == one || executable(now.Keeper) == two)
	})
}

func TestAnUpgradeFailsForWhichTheKeeperHasNoDescriptor(t *testing.T) {
	t.Parallel()
	d := newDaemon(t)
	d.start(web("api", 1))
	open := d.fewestDescriptors()[0]
	var before unix.Rlimit
	set := func(limit *unix.Rlimit) {
		if err := unix.Prlimit(d.keeper, unix.RLIMIT_NOFILE, limit, &before); err != nil {
			t.Fatal(err)
		}
	}
	set(&unix.Rlimit{Cur: uint64(len(open)), Max: 1 << 10})
	began, err := d.Ping(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.Upgrade(t.Context(), control.UpgradeRequest{Program: program(t, "next")}, nil); err != nil {
		t.Fatal(err)
	}
	d.eventually("the keeper says so", func() bool {
		text, err := os.ReadFile(d.home.Log())
		return err == nil && strings.Contains(string(text), "UPGRADE: a message was cut short")
	})
	set(&unix.Rlimit{Cur: 1 << 10, Max: 1 << 10})
	if now := d.untilUpgraded(began); !strings.Contains(now.UpgradeFailed, "no descriptor left") {
		t.Errorf("got %+v", now)
	}
}

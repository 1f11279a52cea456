package supervisor_test

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/nekoctl/neko/supervisor/control"
	"github.com/nekoctl/neko/supervisor/spec"
)

const nobody = 65534

// nobodys is an app whose processes run as nobody, with a program that they can
// reach: that of the test is not.
func nobodys(t *testing.T, a spec.App) spec.App {
	t.Helper()
	if os.Geteuid() != 0 {
		if os.Getenv("CI") == "true" {
			t.Fatal("only root can be another user")
		}
		t.Skip("only root can be another user")
	}
	folder, err := os.MkdirTemp("", "nobody")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(folder) })
	if err := os.Chmod(folder, 0o755); err != nil {
		t.Fatal(err)
	}
	from, err := os.Open(a.Command[0])
	if err != nil {
		t.Fatal(err)
	}
	defer from.Close()
	a.Command[0] = filepath.Join(folder, "program")
	to, err := os.OpenFile(a.Command[0], os.O_WRONLY|os.O_CREATE, 0o755)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(to, from); err != nil {
		t.Fatal(err)
	}
	if err := to.Close(); err != nil {
		t.Fatal(err)
	}
	a.UID = fmt.Sprint(nobody)
	return a
}

// has reads a line of /proc/PID/status or limits, with single blanks.
func has(t *testing.T, pid int, file, line string) string {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", pid, file))
	if err != nil {
		t.Fatal(err)
	}
	for l := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(l, line); ok {
			return strings.Join(strings.Fields(rest), " ")
		}
	}
	t.Fatalf("/proc/%d/%s has no line %q", pid, file, line)
	return ""
}

func TestAProcessIsOfItsUserForGood(t *testing.T) {
	t.Parallel()
	a := nobodys(t, web("api", 2))
	d := newDaemon(t)
	d.start(a)
	for _, p := range d.list() {
		if got := has(t, p.PID, "status", "Uid:"); got != "65534 65534 65534 65534" {
			t.Errorf("its uids are %s", got)
		}
		if got := has(t, p.PID, "status", "Gid:"); got != "65534 65534 65534 65534" {
			t.Errorf("its gids are %s", got)
		}
		if got := has(t, p.PID, "status", "Groups:"); got != "65534" && got != "" {
			t.Errorf("its groups are %s", got)
		}
		if got := has(t, p.PID, "status", "CapPrm:"); got != "0000000000000000" {
			t.Errorf("its capabilities are %s", got)
		}
		env, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", p.PID))
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains("\x00"+string(env), "\x00USER=nobody\x00") {
			t.Errorf("USER is not nobody in %q", env)
		}
		folder, err := os.Stat(runDir(t, p.PID))
		if err != nil {
			t.Fatal(err)
		}
		if owner := folder.Sys().(*syscall.Stat_t).Uid; owner != nobody || folder.Mode().Perm() != 0o700 {
			t.Errorf("its run folder is uid %d's, with mode %v", owner, folder.Mode())
		}
	}
}

func TestAProcessOfAnotherUserSaysItIsReadyAndIsReloadedAndOutlivesMasterAndKeeper(t *testing.T) {
	t.Parallel()
	a := nobodys(t, web("api", 2))
	a.Watchdog = spec.Duration(1e9)
	probe := spec.DefaultProbe()
	probe.HTTP, probe.Interval = "/livez", spec.Duration(50e6)
	a.Liveness = &probe
	d := newDaemon(t)
	d.start(a)
	before := d.list()
	d.command("reload", "api")
	reloaded := d.list()
	for i := range reloaded {
		if before[i].PID == reloaded[i].PID {
			t.Errorf("%+v was not reloaded", before[i])
		}
	}
	d.killMaster()
	d.upgrade(program(t, "next"))
	d.killKeeper()
	after := d.list()
	if got := states(after); got != "api:0 online, api:1 online" {
		t.Errorf("afterwards %s", got)
	}
	for i := range after {
		if after[i].PID != reloaded[i].PID {
			t.Errorf("%+v became %+v", reloaded[i], after[i])
		}
	}
	d.command("reload", "api") // its READY=1 is heard by the new daemon
}

func TestAProcessOfAnotherUserIsFoundAgainAfterBothWereKilled(t *testing.T) {
	t.Parallel()
	a := nobodys(t, web("api", 2))
	a.Watchdog = spec.Duration(1e9)
	d := newDaemon(t)
	d.start(a)
	before := d.list()
	d.killBoth()
	d.spawn()
	after := d.list()
	for i := range after {
		if after[i].PID != before[i].PID || after[i].State != control.Online {
			t.Errorf("%+v became %+v", before[i], after[i])
		}
	}
	d.command("reload", "api")
}

func TestAProcessHasTheLimitsOfItsApp(t *testing.T) {
	t.Parallel()
	d := newDaemon(t)
	a := web("api", 3)
	a.Umask = "027"
	a.Rlimits = map[string]spec.Rlimit{"nofile": {Soft: 321, Hard: 654}, "memlock": {Soft: 4096, Hard: 8192}, "core": {}}
	a.Nice = 7
	a.Pin = true
	d.start(a)
	var mask unix.CPUSet
	if err := unix.SchedGetaffinity(0, &mask); err != nil {
		t.Fatal(err)
	}
	var cpus []int
	for cpu := range 1024 {
		if mask.IsSet(cpu) {
			cpus = append(cpus, cpu)
		}
	}
	for i, p := range d.list() {
		if got := has(t, p.PID, "status", "Umask:"); got != "0027" {
			t.Errorf("its umask is %s", got)
		}
		if got := has(t, p.PID, "limits", "Max open files"); !strings.HasSuffix(got, " 654 files") { // Go raises the soft limit
			t.Errorf("it may open %s", got)
		}
		if got := has(t, p.PID, "limits", "Max locked memory"); got != "4096 8192 bytes" {
			t.Errorf("it may lock %s", got)
		}
		if got := has(t, p.PID, "limits", "Max core file size"); got != "0 0 bytes" {
			t.Errorf("its core files may have %s", got)
		}
		if nice, err := unix.Getpriority(unix.PRIO_PROCESS, p.PID); err != nil || 20-nice != 7 {
			t.Errorf("it is nice %d, %v", 20-nice, err)
		}
		if got := has(t, p.PID, "status", "Cpus_allowed_list:"); got != fmt.Sprint(cpus[i%len(cpus)]) {
			t.Errorf("%s runs on CPUs %s", p.Name, got)
		}
	}
}

func TestWhatTheShimCannotSetIsTheReasonOfTheFailedStart(t *testing.T) {
	t.Parallel()
	d := newDaemon(t)
	a := app("api", 1)
	a.WaitReady = false
	a.Rlimits = map[string]spec.Rlimit{"nofile": {Soft: 1 << 40, Hard: 1 << 41}} // above fs.nr_open, for root too
	_, err := d.Start(t.Context(), control.StartRequest{Apps: []spec.App{a}}, nil)
	if err == nil || !strings.Contains(err.Error(), "api:0: cannot be run: rlimit nofile: operation not permitted (the daemon's hard limit is ") {
		t.Errorf("the start says %v", err)
	}
}

func TestAProgramThatItsUserMayNotRunIsTheReasonOfTheFailedStart(t *testing.T) {
	t.Parallel()
	a := nobodys(t, app("api", 1))
	if err := os.Chmod(a.Command[0], 0o700); err != nil {
		t.Fatal(err)
	}
	d := newDaemon(t)
	_, err := d.Start(t.Context(), control.StartRequest{Apps: []spec.App{a}}, nil)
	if want := "api:0: cannot be run: run " + a.Command[0] + " as uid 65534, gid 65534: permission denied"; err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("the start says %v, and not %q", err, want)
	}
}

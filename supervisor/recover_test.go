package supervisor_test

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/nekoctl/neko/supervisor/control"
	"github.com/nekoctl/neko/supervisor/keeper"
)

// What was started after the state was saved is replaced, and its socket, with what
// has queued there, is not lost.
func TestASocketIsFoundInAProcessThatIsOnNoRecord(t *testing.T) {
	t.Parallel()
	d := newDaemon(t)
	before := d.start(web("api", 1)).Processes[0]
	older, err := os.ReadFile(d.home.State())
	if err != nil {
		t.Fatal(err)
	}
	kill(t, before.PID, syscall.SIGKILL)
	unrecorded := d.until("it is back", func(l []control.Process) bool {
		return l[0].PID != before.PID && l[0].State == control.Online
	})[0]
	d.killBoth()
	if err := os.WriteFile(d.home.State(), older, 0o600); err != nil {
		t.Fatal(err)
	}
	d.spawn()
	d.until("another serves", func(l []control.Process) bool {
		return len(l) == 1 && l[0].PID != unrecorded.PID && l[0].State == control.Online
	})
	get(t, before.Listeners[0])
	d.eventually("the one on no record has ended", func() bool { return syscall.Kill(unrecorded.PID, 0) != nil })
}

// It was told the notify socket of the home, as all that a worker starts.
func TestWhatAWorkerHasStartedInASessionOfItsOwnIsLeftAlone(t *testing.T) {
	t.Parallel()
	d := newDaemon(t)
	file := filepath.Join(t.TempDir(), "pid")
	a := app("parent", 1)
	a.Command = []string{"/bin/sh", "-c", "setsid sleep 1000 & echo $! > " + file + ".new; mv " + file + ".new " + file + "; wait"}
	a.WaitReady = false
	d.start(a)
	pid := 0
	d.eventually("it has started something", func() bool {
		text, _ := os.ReadFile(file)
		pid, _ = strconv.Atoi(strings.TrimSpace(string(text)))
		session, err := syscall.Getpgid(pid)
		return pid > 0 && err == nil && session == pid
	})
	t.Cleanup(func() { kill(t, pid, syscall.SIGKILL) })
	d.killBoth()
	d.spawn()
	text, err := os.ReadFile(d.home.Log())
	if err != nil || strings.Contains(string(text), "on no record") {
		t.Errorf("pid %d: %v\n%s", pid, err, text)
	}
}

// A state that makes no sense kills nobody, and nobody falls over it.
func TestAStateThatMakesNoSenseDoesNoHarm(t *testing.T) {
	t.Parallel()
	stranger := exec.Command("/bin/sleep", "1000")
	stranger.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := stranger.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := stranger.Process.Signal(syscall.SIGKILL); err != nil {
			t.Error(err)
		}
		if _, err := stranger.Process.Wait(); err != nil {
			t.Error(err)
		}
	})
	start, err := keeper.StartTime(stranger.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	a := web("api", 1)
	a.DrainTimeout, a.KillTimeout = 0, 0
	spec, err := json.Marshal(a)
	if err != nil {
		t.Fatal(err)
	}
	slot := func(role string) string {
		return fmt.Sprintf(`{"id":0,"want":"stop","processes":[{"launch":1,"pid":%d,"start":%d,"role":"%s"}]}`, stranger.Process.Pid, start, role)
	}
	good := fmt.Sprintf(`{"order":0,"size":1,"spec":%s}`, spec)
	for _, c := range []struct {
		what    string
		records map[string]string
		inodes  map[string][]uint64
	}{
		{"a stranger that leaves", map[string]string{"app/api": good, "slot/api/0": slot("leaving")}, nil},
		{"a stranger that serves", map[string]string{"app/api": good, "slot/api/0": slot("serving")}, nil},
		{"an unknown role", map[string]string{"app/api": good, "slot/api/0": slot("king")}, nil},
		{"no spec", map[string]string{"app/api": `{}`, "slot/api/0": slot("serving")}, nil},
		{"a slot of no app", map[string]string{"slot/api/0": slot("serving")}, nil},
		{"another name", map[string]string{"app/../../x": good}, nil},
		{"a negative size", map[string]string{"app/api": strings.Replace(good, `"size":1`, `"size":-1`, 1)}, nil},
		{"a negative index", map[string]string{"app/api": good}, map[string][]uint64{"socket/api/0/-1": {1}, "pipes/api/-1/1": {1, 2}}},
		{"a huge index", map[string]string{"app/api": good}, map[string][]uint64{"socket/api/0/99999999999": {1}}},
	} {
		t.Run(c.what, func(t *testing.T) {
			t.Parallel()
			d := newDaemon(t)
			d.start(app("other", 1)) // that lives, so that all of it is looked at
			text, err := os.ReadFile(d.home.State())
			if err != nil {
				t.Fatal(err)
			}
			good := text
			var state map[string]any
			if err := json.Unmarshal(text, &state); err != nil {
				t.Fatal(err)
			}
			for name, record := range c.records {
				state["records"].(map[string]any)[name] = record
			}
			for name, inodes := range c.inodes {
				state["inodes"].(map[string]any)[name] = inodes
			}
			if text, err = json.Marshal(state); err != nil {
				t.Fatal(err)
			}
			d.killBoth()
			if err := os.WriteFile(d.home.State(), text, 0o600); err != nil {
				t.Fatal(err)
			}
			d.eventually("a daemon, or a word about it", func() bool {
				pid, err := keeper.Spawn(d.home)
				if err == nil {
					d.keeper = pid
					return true
				}
				if strings.Contains(err.Error(), "is damaged") {
					if err := os.WriteFile(d.home.State(), good, 0o600); err != nil {
						t.Fatal(err)
					}
				}
				return false
			})
			if got := states(d.list()); !strings.Contains(got, "other:0 online") {
				t.Errorf("got %q", got)
			}
			if _, err := d.Kill(t.Context(), nil); err != nil {
				t.Fatal(err)
			}
			if now, err := keeper.StartTime(stranger.Process.Pid); err != nil || now != start || !(keeper.Child{PID: stranger.Process.Pid, Start: start}).Alive() {
				t.Error("the stranger was killed")
			}
		})
	}
}

package supervisor_test

import (
	"strings"
	"syscall"
	"testing"
)

// exitingWith is a foreground daemon of a job and something beside it, that ends
// with the job.
func exitingWith(t *testing.T, script string) *foreground {
	t.Helper()
	t.Setenv("EXIT_WITH", "job")
	job := app("job", 1)
	job.Command, job.WaitReady, job.Autorestart = []string{"/bin/sh", "-c", script}, false, false
	return newForeground(t, web("beside", 1), job)
}

func TestADaemonPassesOnTheExitCodeOfTheAppItEndsWith(t *testing.T) {
	f := exitingWith(t, "exit 42")
	if code := f.wait(); code != 42 {
		t.Errorf("exit code %d", code)
	}
	if text := strings.Join(f.stderr, "\n"); !strings.Contains(text, "job:0 has ended: pid ") {
		t.Errorf("standard error is %q", text)
	}
}

func TestADaemonThatEndsWithAnAppThatHasDoneItsWorkEndsWell(t *testing.T) {
	if code := exitingWith(t, "sleep 0.3").wait(); code != 0 {
		t.Errorf("exit code %d", code)
	}
}

func TestADaemonPassesOnTheSignalOfTheAppItEndsWith(t *testing.T) {
	if code := exitingWith(t, "kill -SEGV $$").wait(); code != 128+int(syscall.SIGSEGV) {
		t.Errorf("exit code %d", code)
	}
}

func TestADaemonPassesOnAnExitCodeThatAnotherMasterSaw(t *testing.T) {
	f := exitingWith(t, "trap 'exit 7' TERM; while :; do sleep 0.01; done")
	f.told()
	before := f.list()
	f.killMaster()
	kill(t, before[1].PID, syscall.SIGTERM)
	if code := f.wait(); code != 7 {
		t.Errorf("exit code %d", code)
	}
}

// Who stops it by a command wants it to be started again, or to look around.
func TestADaemonDoesNotEndWithAnAppThatIsStopped(t *testing.T) {
	f := exitingWith(t, "sleep 1000")
	f.told()
	f.command("stop", "job")
	f.command("restart", "job")
	if got := states(f.list()); got != "beside:0 online, job:0 online" {
		t.Errorf("it is %s", got)
	}
}

package supervisor

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// A name is in parentheses in /proc/PID/stat, and may look like anything.
func TestUsageIsThatOfAProcessWhoseNameLooksLikeFields(t *testing.T) {
	program := filepath.Join(t.TempDir(), ") S 1 2 (x")
	sleep, err := exec.LookPath("sleep")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(sleep, program); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program, "1000")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = cmd.Process.Signal(unix.SIGKILL)
		_ = cmd.Wait()
	}()
	u, err := readUsage(cmd.Process.Pid)
	if err != nil || u.memory > 1<<30 || u.ticks > 1000 {
		t.Errorf("%+v, %v", u, err)
	}
}

// It is read for a thousand processes every few seconds, in a process that is to
// stay small.
func TestReadingUsageLeavesNoGarbage(t *testing.T) {
	if n := testing.AllocsPerRun(100, func() {
		if _, err := readUsage(os.Getpid()); err != nil {
			t.Fatal(err)
		}
	}); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

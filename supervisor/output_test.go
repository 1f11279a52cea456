package supervisor_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/nekoctl/neko/supervisor/control"
)

func logText(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	return string(text)
}

func TestAProcessThatPrintsAndExitsAtOnceLosesNoLine(t *testing.T) {
	t.Parallel()
	d := newDaemon(t)
	a := script("brief", "seq 20000; seq 20000 >&2")
	a.Autorestart = false
	d.start(a)
	for _, file := range []string{d.home.OutLog("brief", 0), d.home.ErrLog("brief", 0)} {
		d.eventually("all is there", func() bool { return strings.Count(logText(t, file), "\n") == 20_000 })
	}
}

// As logrotate does: rename, SIGUSR1, and all that comes from then on is in the new
// file.
func TestSIGUSR1OpensLogsAnew(t *testing.T) {
	t.Parallel()
	d := newDaemon(t)
	dir := t.TempDir()
	a := script("clock", "i=0; while :; do echo $i; i=$((i+1)); sleep 0.01; done")
	a.OutFile = filepath.Join(dir, "own.log")
	d.start(a)
	d.eventually("it prints", func() bool { return logText(t, a.OutFile) != "" })
	if err := os.Rename(a.OutFile, a.OutFile+".1"); err != nil {
		t.Fatal(err)
	}
	kill(t, d.keeper, syscall.SIGUSR1)
	d.eventually("it prints to the new one", func() bool { return strings.Count(logText(t, a.OutFile), "\n") > 2 })
	before, after := logText(t, a.OutFile+".1"), logText(t, a.OutFile)
	last := before[strings.LastIndexByte(strings.TrimSuffix(before, "\n"), '\n')+1:]
	first, _, _ := strings.Cut(after, "\n")
	if !strings.HasSuffix(before, "\n") || len(first) == 0 || bytes.Equal([]byte(strings.TrimSpace(last)), []byte(first)) {
		t.Errorf("it ends with %q and goes on with %q", last, first)
	}
}

// What a log that cannot be written lacks is told there when it can be, even if nobody
// prints to it any more.
func TestWhatALogLacksIsToldInIt(t *testing.T) {
	t.Parallel()
	d := newDaemon(t)
	dir := filepath.Join(t.TempDir(), "later")
	a := script("talker", "i=0; while :; do echo $i; i=$((i+1)); sleep 0.01; done")
	a.OutFile = filepath.Join(dir, "own.log") // of which the folder is a file
	if err := os.WriteFile(dir, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	d.start(a)
	lost := func() []control.Lost {
		detail, err := d.App(t.Context(), "talker")
		if err != nil {
			t.Fatal(err)
		}
		return detail.Processes[0].Lost
	}
	d.eventually("it is known", func() bool { return len(lost()) == 1 && lost()[0].Lines > 0 })
	d.command("stop", "talker")
	if err := os.Remove(dir); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	d.eventually("the log says so", func() bool { return strings.HasPrefix(logText(t, a.OutFile), "[neko] ") })
	d.eventually("nothing is lost any more", func() bool { return len(lost()) == 0 })
}

package supervisor_test

import (
	"bytes"
	"os"
	"strconv"
	"syscall"
	"testing"

	"github.com/nekoctl/neko/supervisor/control"
)

// A daemon runs for months: what a reload, a restart, a scaling or a crash costs,
// it must give back.
func TestChangesCostNothingThatStays(t *testing.T) {
	t.Parallel()
	rounds := 8
	if text := os.Getenv("NEKO_LEAK_ROUNDS"); text != "" {
		rounds, _ = strconv.Atoi(text)
	}
	d := newDaemon(t)
	d.start(app("api", 2), web("web", 1))
	change := func() {
		d.command("reload", "all")
		d.command("restart", "all")
		d.scale("api", "4")
		d.scale("api", "2")
		pid := d.list()[0].PID
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		d.until("the crashed one is back", func(l []control.Process) bool {
			return l[0].PID != pid && l[0].State == control.Online
		})
		d.start(app("other", 1))
		d.command("delete", "other")
	}
	change()
	before := d.fewestDescriptors()
	for range rounds {
		change()
	}
	d.sameDescriptors(before)
	// The loop, the listeners, and for each process two pumps and two that wait.
	if n := d.goroutines(); n < 10 || n > 40 {
		t.Errorf("the master had %d goroutines", n)
	}
}

// goroutines lets the master end with a list of its goroutines, and counts them.
func (d *daemon) goroutines() int {
	d.t.Helper()
	ping, err := d.Ping(d.t.Context())
	if err != nil {
		d.t.Fatal(err)
	}
	kill(d.t, ping.Master, syscall.SIGQUIT)
	d.nextMaster(ping)
	text, err := os.ReadFile(d.home.Log())
	if err != nil {
		d.t.Fatal(err)
	}
	return bytes.Count(text, []byte("\ngoroutine "))
}

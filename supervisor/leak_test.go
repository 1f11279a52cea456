package supervisor_test

import (
	"bytes"
	"os"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/nekoctl/neko/supervisor/control"
	"github.com/nekoctl/neko/supervisor/spec"
)

// A daemon runs for months: what a reload, a restart, a scaling, a crash or an
// upgrade costs, it must give back. NEKO_LEAK_ROUNDS=1000 are 1,000 reloads of each
// app and 100 upgrades.
func TestChangesCostNothingThatStays(t *testing.T) {
	t.Parallel()
	rounds := 8
	if text := os.Getenv("NEKO_LEAK_ROUNDS"); text != "" {
		rounds, _ = strconv.Atoi(text)
	}
	d := newDaemon(t)
	d.killMaster() // the last one of the test will have inherited, too
	before := d.fewestDescriptors()
	api, web := app("api", 2), web("web", 1)
	api.MinUptime, web.MinUptime = spec.Duration(time.Millisecond), spec.Duration(time.Millisecond) // the trial of a reload
	d.start(api, web)
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
	for range rounds {
		change()
	}
	// The loop, the listeners, and for each process two pumps and two that wait.
	if n := d.goroutines(); n < 10 || n > 40 {
		t.Errorf("the master had %d goroutines", n)
	}
	next := program(t, "next")
	for range (rounds + 9) / 10 {
		if ping := d.upgrade(next); ping.Keeper != d.keeper || len(ping.Warnings) > 0 {
			t.Errorf("after an upgrade: %+v", ping)
		}
	}
	if n := d.goroutines(); n < 10 || n > 40 {
		t.Errorf("after upgrades the master had %d goroutines", n)
	}
	d.command("delete", "all")
	d.sameDescriptors(before)
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
	return bytes.Count(text[bytes.LastIndex(text, []byte("SIGQUIT")):], []byte("\ngoroutine "))
}

package supervisor_test

import (
	"strings"
	"syscall"
	"testing"

	"github.com/nekoctl/neko/supervisor/control"
)

// answering are the slots that answer new connections, none of which may hang.
func answering(t *testing.T, address string) map[string]bool {
	t.Helper()
	slots := map[string]bool{}
	for range 60 {
		slot, _, _ := strings.Cut(get(t, address), " ")
		slots[slot] = true
	}
	return slots
}

// The socket of a slot without a process is nobody's but the daemon's: it is lost when
// keeper and master are killed, and the kernel sends connections to any that is open then.
// So it is not opened until somebody serves there.
func TestNoConnectionGoesToASlotWithoutAProcessOfAnAppThatCannotBeSteered(t *testing.T) {
	t.Parallel()
	for _, how := range []string{"stop", "delete"} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			d := newDaemon(t)
			address := d.start(web("api", 3)).Processes[0].Listeners[0]
			d.command(how, "1")
			d.killBoth()
			d.spawn()
			if got := answering(t, address); len(got) != 2 {
				t.Errorf("the slots that answer are %v, of two", got)
			}
			d.scale("api", "3")
			d.command("restart", "1")
			if got := answering(t, address); len(got) != 3 {
				t.Errorf("the slots that answer are %v, of three", got)
			}
			d.command("stop", "2")
			if got := answering(t, address); len(got) != 2 {
				t.Errorf("one is stopped, and the slots that answer are %v", got)
			}
			d.killMaster()
			if got := answering(t, address); len(got) != 2 {
				t.Errorf("after the death of the master the slots that answer are %v", got)
			}
		})
	}
}

// The socket that it got in place of the lost one is held by the keeper as any other is.
func TestTheSocketInPlaceOfALostOneOutlivesTheMaster(t *testing.T) {
	t.Parallel()
	d := newDaemon(t)
	before := d.start(web("api", 2)).Processes
	address := before[0].Listeners[0]
	d.start(web("other", 1))
	d.killBoth()
	kill(t, before[0].PID, syscall.SIGKILL)
	d.eventually("its socket is closed", func() bool { return listeners(t, address) == 1 })
	d.spawn()
	d.until("both serve", func(l []control.Process) bool { return strings.Count(states(l), "online") == 3 })
	d.killMaster()
	if got := listeners(t, address); got != 2 {
		t.Errorf("%d sockets listen, of two", got)
	}
	if got := answering(t, address); len(got) != 2 {
		t.Errorf("the slots that answer are %v, of two", got)
	}
}

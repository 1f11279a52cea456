package supervisor_test

import (
	"strings"
	"testing"
	"time"

	"github.com/nekoctl/neko/supervisor/control"
	"github.com/nekoctl/neko/supervisor/spec"
)

// A program that says nothing is ready when it waits for connections, in any of
// the ways that there are, and not when it waits for something else.
func TestAProgramThatSaysNothingIsSeenAccepting(t *testing.T) {
	t.Parallel()
	d := newDaemon(t)
	for _, program := range []struct {
		waitsIn string
		ready   bool
	}{
		{"silent", true}, // epoll, as Go and Node do
		{"accept", true},
		{"poll", true}, // which does not show for what: after a second
		{"accept-elsewhere", false},
		{"epoll-nothing", false},
	} {
		a := web(program.waitsIn, 1, "silent", program.waitsIn)
		a.WaitReady = false
		if !program.ready {
			a.ListenTimeout, a.MaxRestarts = spec.Duration(700*time.Millisecond), 0
		}
		_, err := d.Start(t.Context(), control.StartRequest{Apps: []spec.App{a}}, nil)
		switch {
		case program.ready && err != nil:
			t.Errorf("%s: %v", program.waitsIn, err)
		case !program.ready && (err == nil || !strings.Contains(err.Error(), "was not ready within")):
			t.Errorf("%s: taken for ready (%v)", program.waitsIn, err)
		}
	}
}

// What a shell script does: a short-lived child says it, with systemd-notify.
func TestAChildOfAProgramMaySayThatItIsReady(t *testing.T) {
	t.Parallel()
	d := newDaemon(t)
	a := app("script", 1)
	a.Command = []string{"/bin/sh", "-c", a.Command[0] + " say READY=1; exec sleep 1000"}
	for range 5 {
		d.start(a)
		d.command("delete", "script")
	}
}

// A worker that floods the socket, or sends nonsense, disturbs nobody else.
func TestNotifyTakesAnything(t *testing.T) {
	t.Parallel()
	d := newDaemon(t)
	d.start(app("loud", 1, "flood"))
	for range 20 {
		d.start(app("api", 1))
		d.command("delete", "api")
	}
	detail, err := d.App(t.Context(), "loud")
	if err != nil {
		t.Fatal(err)
	}
	if status := detail.Processes[0].Status; len(status) > 700 {
		t.Errorf("the status has %d bytes", len(status))
	}
}

// Many a program of PM2's has wait_ready and says nothing.
func TestAProgramThatDoesNotSayThatItIsReadyMayCountAsReadyInTheEnd(t *testing.T) {
	t.Parallel()
	d := newDaemon(t)
	a := web("api", 1, "silent", "silent")
	a.WaitReady, a.ReadyAnyway, a.ListenTimeout = true, true, spec.Duration(300*time.Millisecond)
	first := d.start(a).Processes[0]
	if first.State != control.Online {
		t.Fatalf("it is %s", first.State)
	}
	second := d.command("reload", "api").Processes[0]
	if second.State != control.Online || second.PID == first.PID || second.Restarts != 1 {
		t.Errorf("after a reload it is %+v", second)
	}
}

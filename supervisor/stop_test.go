package supervisor_test

import (
	"testing"
	"time"

	"github.com/nekoctl/neko/supervisor/control"
	"github.com/nekoctl/neko/supervisor/spec"
)

// A start waits for a program to say that it is ready, for minutes if it is told to. Who
// stops the program meanwhile does not wait with it.
func TestAStopDoesNotWaitForWhatHasNotComeUp(t *testing.T) {
	for _, command := range []string{"stop", "delete"} {
		t.Run(command, func(t *testing.T) {
			t.Parallel()
			d := newDaemon(t)
			a := app("silent", 2)
			a.Command, a.WaitReady, a.ListenTimeout = []string{"/bin/sh", "-c", "exec sleep 600"}, true, spec.Duration(10*time.Minute)
			started := make(chan error, 1)
			go func() {
				_, err := d.Start(t.Context(), control.StartRequest{Apps: []spec.App{a}}, nil)
				started <- err
			}()
			d.until("launching", func(l []control.Process) bool { return len(l) == 2 && l[1].PID > 0 })
			d.command(command, "silent")
			if err := <-started; err != nil {
				t.Error(err)
			}
			for _, p := range d.list() {
				if p.State != control.Stopped {
					t.Errorf("%d is %s", p.ID, p.State)
				}
			}
		})
	}
}

package supervisor_test

import (
	"fmt"
	"io"
	"net/http"
	"syscall"
	"testing"
	"time"

	"github.com/nekoctl/neko/supervisor/spec"
)

// A process that does nothing is given up soon, however long a drain may be.
func TestWhoHasNoConnectionNeedNotDrain(t *testing.T) {
	t.Parallel()
	d := newDaemon(t)
	idle, serving := script("idle", "trap '' TERM; echo on; while :; do sleep 0.01; done"), web("serving", 1, "stubborn")
	for _, a := range []*spec.App{&idle, &serving} {
		a.DrainConnections, a.DrainTimeout, a.KillTimeout = true, spec.Duration(time.Hour), spec.Duration(50*time.Millisecond)
	}
	d.start(idle, serving)
	d.eventually("the signal is ignored", func() bool { return logText(t, d.home.OutLog("idle", 0)) != "" })
	d.command("stop", "idle")
	if d.log("of idle:0 did not stop in time and was killed") != 1 {
		t.Error("it was not killed")
	}

	p := d.list()[1]
	answered := make(chan error, 1)
	began := make(chan struct{})
	go func() {
		client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
		response, err := client.Get("http://" + p.Listeners[0] + "/?flush&sleep=1500ms")
		close(began)
		if err == nil {
			var text []byte
			text, err = io.ReadAll(response.Body)
			response.Body.Close()
			if err == nil && string(text) != fmt.Sprintf("0 %d", p.PID) {
				err = fmt.Errorf("the answer is %q", text)
			}
		}
		answered <- err
	}()
	<-began // the head of the answer
	d.command("stop", "serving")
	if err := <-answered; err != nil {
		t.Errorf("it was killed while it served: %v", err)
	}
	if err := syscall.Kill(p.PID, 0); err == nil {
		t.Error("it lives on")
	}
}

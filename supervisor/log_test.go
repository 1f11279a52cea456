package supervisor_test

import (
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/nekoctl/neko/supervisor/control"
	"github.com/nekoctl/neko/supervisor/ownlog"
	"github.com/nekoctl/neko/supervisor/spec"
	"golang.org/x/sys/unix"
)

const traceID, spanID = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"

// A daemon that was started so writes neko.log for machines: what a line is about stands
// by itself, and what comes of a command has the trace that the command belongs to.
func TestLogOfJSON(t *testing.T) {
	t.Setenv(ownlog.Variable, "json")
	d := newDaemon(t)
	t.Setenv(control.TraceVariable, "00-"+traceID+"-"+spanID+"-01")
	traced := control.NewClient(d.home.Control())
	bad := web("bad", 1, "die-at-start")
	if _, err := traced.Start(t.Context(), control.StartRequest{Apps: []spec.App{bad}}, nil); err == nil {
		t.Fatal("it started")
	}
	os.Unsetenv(control.TraceVariable)
	killed := d.start(web("api", 1)).Processes[0].PID
	if err := unix.Kill(killed, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	find := func(has ...string) (found map[string]any) {
		d.eventually("a line with "+strings.Join(has, ", "), func() bool {
			text, err := os.ReadFile(d.home.Log())
			if err != nil {
				t.Fatal(err)
			}
			for line := range strings.Lines(string(text)) {
				object := map[string]any{}
				if err := json.Unmarshal([]byte(line), &object); err != nil {
					t.Fatalf("%v: %s", err, line)
				}
				all := true
				for _, h := range has {
					all = all && strings.Contains(line, h)
				}
				if all {
					found = object
					return true
				}
			}
			return false
		})
		return found
	}
	line := find(`"app":"bad"`, " ended: ")
	if line["slot"] != 0.0 || line["pid"] == nil || line["trace_id"] != traceID || line["span_id"] != spanID || line["process"] != "master" || line["time"] == nil || line["level"] != "INFO" {
		t.Errorf("%v", line)
	}
	if line := find(`"app":"api"`, " ended: "); line["pid"] != float64(killed) || line["trace_id"] != nil {
		t.Errorf("%v", line)
	}
	seen, crashes := map[string]int{}, 0
	if err := d.Events(t.Context(), control.EventsRequest{Last: 100}, func(e control.Event) error {
		if e.Name == "bad" && e.Kind == control.EventCrash {
			crashes++
		}
		switch traced := e.TraceID == traceID && e.SpanID == spanID; {
		case e.Name == "bad" && (e.Kind == control.EventStart || e.Kind == control.EventCrash && crashes == 1) && !traced, // not what the backoff starts later
			e.Name == "api" && e.TraceID != "":
			t.Errorf("%v", e)
		}
		seen[e.Name]++
		return nil
	}, nil); err != nil || seen["bad"] == 0 || seen["api"] == 0 {
		t.Errorf("%v, %v", seen, err)
	}
	master, err := d.Ping(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Kill(master.Master, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if line := find("the master (pid "); line["process"] != "keeper" {
		t.Errorf("%v", line)
	}
}

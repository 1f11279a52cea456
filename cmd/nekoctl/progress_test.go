package main

import (
	"encoding/json"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/charmbracelet/x/ansi"

	"github.com/nekoctl/neko/supervisor/control"
)

// scripted is a master that answers a command as a test wants it.
type scripted chan control.Answer

func newScripted(t *testing.T) scripted {
	home := t.TempDir()
	t.Setenv("NEKO_HOME", home)
	l, err := net.Listen("unix", filepath.Join(home, "neko.sock"))
	if err != nil {
		t.Fatal(err)
	}
	answers := make(scripted)
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusOK)
		w.(http.Flusher).Flush()
		for a := range answers {
			_ = json.NewEncoder(w).Encode(a)
			w.(http.Flusher).Flush()
			if a.Done != nil || a.Error != nil {
				return
			}
		}
	})}
	go server.Serve(l)
	t.Cleanup(func() { server.Close() })
	return answers
}

func (s scripted) step(p control.Progress) { s <- control.Answer{Progress: &p} }

func (s scripted) done() {
	s <- control.Answer{Done: &control.Done{Processes: []control.Process{{Name: "web", State: control.Online, Listeners: []string{"127.0.0.1:80"}}}}}
}

// command runs nekoctl at a terminal, and returns what waits for its end.
func (s *screen) command(args ...string) (code func() int) {
	codes := make(chan int, 1)
	go func() { codes <- run(args, s.terminal, s.terminal) }()
	return func() int {
		select {
		case code := <-codes:
			return code
		case <-time.After(time.Minute):
			s.t.Fatal("the command does not end")
			return -1
		}
	}
}

// Who waits at a terminal sees a line for each worker, with what it waits for and for how
// long already, and when all is over what has come of it and nothing else.
func TestALineForEachWorkerTicksOnATerminal(t *testing.T) {
	s, master := newScreen(t, 70, 10), newScripted(t)
	code := s.command("reload", "web")
	master.step(control.Progress{Name: "web", Slot: 0, State: control.Launching, Message: "waits for READY=1", SinceMS: 3200, LimitMS: 60_000})
	master.step(control.Progress{Name: "web", Slot: 1, State: control.Stopping, Message: "draining", Connections: 12, LimitMS: 60_000})
	first := s.until(`^web:0 launching: waits for READY=1 \((\d+\.?\d?)s of 1m0s\)\nweb:1 stopping: draining, 12 connections \(\d+(\.\d)?s of 1m0s\)$`)
	began, _ := strconv.ParseFloat(first[1], 64)
	if began < 3.4 || began > 10 { // patience, and what there was before
		t.Errorf("it waits for %v s", began)
	}
	second := s.until(`READY=1 \((3\.[89]|[4-9]\.?\d?)s of`)
	if later, _ := strconv.ParseFloat(second[1], 64); later < 3.8 {
		t.Errorf("after %v s it waits for %v s", began, later)
	}
	master.step(control.Progress{Name: "web", Slot: 0, State: control.Online})
	s.until(`^web:0 online\nweb:1 stopping: draining, 12 connections \(.*\)$`)
	master.step(control.Progress{Name: "web", Whole: true, Message: "waits for its turn"})
	s.until(`(?m)^web: waits for its turn \(.*\)$`)
	master.step(control.Progress{Name: "web", Whole: true})
	s.until(`^web:0 online\nweb:1 stopping: .*$`)
	master.done()
	if code() != exitOK {
		t.Error("it failed")
	}
	s.until(`^reloaded web: 1 online on 127.0.0.1:80$`)
}

// However narrow or low a terminal is, or becomes, lines stay lines: none is broken, and
// nothing is left of them.
func TestLiveLinesFitTheTerminal(t *testing.T) {
	s, master := newScreen(t, 44, 8), newScripted(t)
	code := s.command("reload", "web")
	for slot := range 40 {
		state, message := control.Online, ""
		if slot >= 37 {
			state, message = control.Launching, "waits for it to pass startup (/healthz): 猫猫猫猫 refused"
		}
		master.step(control.Progress{Name: "web", Slot: slot, State: state, Message: message})
	}
	// Those that wait are not among those that are left out.
	s.until(`^web:0 online\nweb:1 online\nweb:2 online\n(web:3[789] launching: waits for .*…\n){3}and 34 more: 34 online$`)
	for _, width := range []int{20, 60, 15, 100} {
		s.resize(width, 8)
		master.step(control.Progress{Name: "web", Slot: 39, State: control.Launching, Message: "waits for " + strings.Repeat("x", width)})
		for end := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
			lines := strings.Split(s.text(), "\n")
			if slices.IndexFunc(lines, func(l string) bool { return ansi.StringWidth(l) > width-1 }) < 0 && len(lines) == 7 &&
				strings.HasPrefix(lines[5], fit("web:39 launching: waits for xxxxxxxxxxxxxxxxxxxxxxxxxxxx", width-6)[:6]) {
				break
			}
			if time.Now().After(end) {
				t.Fatalf("on %d columns:\n%s", width, s.text())
			}
		}
	}
	master.done()
	if code() != exitOK {
		t.Error("it failed")
	}
	s.until(`reloaded web: 1 online on 127.0.0.1:80$`)
}

// Where a terminal is none that lines can be drawn anew on, or is read later as a file,
// there is a line for each step, and without colours if nobody wants them.
func TestProgressOnTerminalsOfOtherKinds(t *testing.T) {
	for name, test := range map[string]struct {
		variable, value string
		moves, colours  bool
	}{
		"a terminal": {"TERM", "xterm", true, true},
		"no colours": {"NO_COLOR", "1", true, false},
		"dumb":       {"TERM", "dumb", false, false},
		"CI":         {"CI", "true", false, true},
	} {
		t.Run(name, func(t *testing.T) {
			s, master := newScreen(t, 80, 10), newScripted(t)
			t.Setenv(test.variable, test.value)
			code := s.command("reload", "web")
			step := control.Progress{Name: "web", Slot: 0, State: control.Launching, Message: "waits for READY=1", LimitMS: 10_000}
			master.step(step)
			s.until(`web:0 launching: waits for READY=1`)
			step.Connections = 3 // is no other step
			master.step(step)
			master.step(control.Progress{Name: "web", Slot: 0, State: control.Online})
			s.until(`web:0 online`)
			master.done()
			code()
			if test.moves {
				s.until(`^reloaded web`)
			} else {
				s.until(`^web:0 launching: waits for READY=1 \(at most 10s\)\nweb:0 online\nreloaded web`)
			}
			raw := s.raw()
			if strings.Contains(raw, "\x1b[J") != test.moves {
				t.Errorf("the cursor is moved: %q", raw)
			}
			if strings.Contains(raw, "\x1b[33m") != test.colours {
				t.Errorf("colours: %q", raw)
			}
		})
	}
}

// A command that comes while the daemon is replaced says so, and goes on with the next
// master.
func TestProgressGoesOnWithTheNextMaster(t *testing.T) {
	s, master := newScreen(t, 80, 10), newScripted(t)
	code := s.command("reload", "web")
	again := control.Answer{Error: &control.Error{Message: "the daemon is about to be replaced", Again: true}}
	stop := time.After(patience + 500*time.Millisecond)
	for waiting := true; waiting; {
		select {
		case master <- again:
		case <-stop:
			waiting = false
		}
	}
	s.until(`^waits for the next master: the daemon is being replaced \(.*\)$`)
	master.step(control.Progress{Name: "web", Slot: 0, State: control.Launching, Message: "waits for READY=1"})
	s.until(`^web:0 launching: waits for READY=1 \(.*\)$`)
	master.done()
	if code() != exitOK {
		t.Error("it failed")
	}
}

package monit

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	tea "charm.land/bubbletea/v2"

	"github.com/nekoctl/neko/supervisor/control"
)

var update = flag.Bool("update", false, "write the golden screens and the picture in docs anew")

func golden(t *testing.T, file, got string) {
	t.Helper()
	if *update {
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s is another (go test ./supervisor/monit -update writes it anew):\n%s\nwant\n%s", file, got, want)
	}
}

// busy is the evening after a minute.
func busy(t *testing.T, w, h int) *screen {
	s := evening()
	x := newScreen(t, s, w, h)
	for n := range 60 {
		s.second(n)
		x.tick()
	}
	x.log.lines = []logLine{
		{0, false, "\x1b[32mINFO\x1b[0m listening on 0.0.0.0:4000"},
		{2, false, "\x1b[32mINFO\x1b[0m import of enterprise-attack: 24,812 objects in 3.1 s"},
		{1, true, "\x1b[33mWARN\x1b[0m store: timeout after 2 s, 1 of 2 tries"},
		{3, true, "\x1b[31mERROR\x1b[0m store: connection refused, breaker OPEN for 30 s"},
		{3, false, "\x1b[32mINFO\x1b[0m breaker of store CLOSED"},
		{0, false, "GET /graphql 200 1.2ms {\"operation\":\"threatActors\"}"},
	}
	x.dirty = true
	return x
}

func TestScreens(t *testing.T) {
	for _, c := range []struct {
		name string
		w, h int
		at   func(x *screen)
	}{
		{"80x24", 80, 24, func(*screen) {}},
		{"100x30", 100, 30, func(*screen) {}},
		{"220x50", 220, 50, func(*screen) {}},
		{"worker", 150, 30, func(x *screen) { x.press("down", "down") }},
		{"node", 80, 24, func(x *screen) { x.press("enter", "down") }},
		{"errored", 80, 24, func(x *screen) { x.press("enter", "down", "down", "down") }},
		{"filter", 80, 24, func(x *screen) { x.press("f", "m", "a") }},
		{"order", 80, 24, func(x *screen) { x.press("enter", "o", "o", "o", "o") }},
		{"confirm", 80, 24, func(x *screen) { x.press("r") }},
		{"requests", 100, 24, func(x *screen) { x.press("c") }},
		{"search", 80, 24, func(x *screen) { x.press("tab", "/", "S", "t", "o", "r", "e", "enter") }},
		{"errors", 80, 24, func(x *screen) { x.press("l", "l") }},
		{"events", 80, 24, func(x *screen) {
			one := 1
			x.Update(eventMsg{ID: 1, Time: noon, Kind: "crash", Name: "web", Slot: &one, Message: "exit code 1 after 3s"})
			x.Update(eventMsg{ID: 2, Time: noon, Kind: "reload", Name: "web", Message: "2 workers"})
			x.press("e")
		}},
		{"help", 80, 24, func(x *screen) { x.press("?") }},
		{"help-wide", 160, 24, func(x *screen) { x.press("?") }},
		{"small", 60, 12, func(*screen) {}},
		{"tiny", 30, 5, func(*screen) {}},
		{"reconnecting", 80, 24, func(x *screen) { x.asked = x.stage.at.Add(-5 * time.Second) }},
		{"gone", 80, 24, func(x *screen) { x.stage.err = control.ErrNoDaemon; x.tick() }},
		{"warning", 80, 24, func(x *screen) {
			x.stage.ping.Warnings = []string{"the state file cannot be written: no space left on device"}
			x.tick()
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			x := busy(t, c.w, c.h)
			c.at(x)
			text := x.text()
			golden(t, filepath.Join("testdata", "screens", c.name+".txt"), text)
			for i, line := range strings.Split(strings.TrimSuffix(text, "\n"), "\n") {
				if width(line) > c.w {
					t.Errorf("line %d is %d columns wide, of %d", i, width(line), c.w)
				}
			}
		})
	}
}

// What scripts get by --once is the same figures.
func TestText(t *testing.T) {
	x := busy(t, 80, 24)
	golden(t, filepath.Join("testdata", "screens", "once.txt"), textOf(x.state, 0))
}

func TestNoScreenBreaks(t *testing.T) {
	for w := 0; w < 250; w += 19 {
		for h := 0; h < 60; h += 5 {
			x := busy1(t, w, h)
			for _, keys := range [][]string{nil, {"?"}, {"?", "r"}, {"n", "tab"}, {"f", "x"}, {"esc", "S"}} {
				x.press(keys...)
				c := x.draw()
				if c.w != w || c.h != h || strings.Count(c.ansi(), "\n") != max(0, h-1) {
					t.Fatalf("%d×%d became %d×%d", w, h, c.w, c.h)
				}
			}
		}
	}
}

func busy1(t *testing.T, w, h int) *screen {
	s := evening()
	x := newScreen(t, s, w, h)
	for n := range 2 {
		s.second(n)
		x.tick()
	}
	return x
}

// Names and lines that would like to take over the terminal.
func TestWhatOthersWriteDoesNoHarm(t *testing.T) {
	s := evening()
	evil := "\x1b]0;owned\x07\x1b[2J\x9b31m\r\n\t日本語e\u0301\u0301\u0301\u0301\u0301\u200d\u202egnp.exe\U0001F469\u200d\U0001F680\U0001F1E9\U0001F1EA\u2028\xff"
	s.list[4].Name, s.list[4].Title = "shop", evil
	s.list[6].Reason = evil
	s.list[5].Unready = evil
	s.ping.Version, s.ping.Warnings = evil, []string{evil}
	s.list[4].Metrics[evil] = json1(evil)
	for _, size := range [][2]int{{80, 24}, {200, 50}, {41, 7}} {
		x := newScreen(t, s, size[0], size[1])
		for n := range 3 {
			s.second(n)
			x.tick()
		}
		x.press("enter", "down")
		x.log.lines = []logLine{{0, false, evil}, {0, true, strings.Repeat(evil, 500)}, {0, false, "\x1b[31mred\x1b[0m and \x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\ \x1b[5A\x1b[?1049h end"}}
		x.dirty = true
		out := x.draw().ansi()
		for i, r := range out {
			if r == '\x1b' && !sgr.MatchString(out[i:]) || r < ' ' && r != '\x1b' && r != '\n' || 0x7f <= r && r < 0xa0 || r == '\u202e' || r == '\u200d' || r == '\u2028' {
				t.Fatalf("%q gets through: %q", r, out[max(0, i-20):min(len(out), i+20)])
			}
		}
		if size[0] > 60 {
			x.has("red and link  end")
		}
	}
}

// The keys that change something ask first, and say what came of it.
func TestCommandsAskTwice(t *testing.T) {
	for _, c := range []struct {
		name     string
		keys     []string
		question string
		asked    string
	}{
		{"reload an app", []string{"r"}, "reload neko-api (4 workers)?", "reload neko-api"},
		{"restart an app", []string{"R"}, "restart neko-api (4 workers)?", "restart neko-api"},
		{"reload one worker", []string{"down", "down", "r"}, "reload neko-api:1 (1 of 4 workers)?", "reload 1"},
		{"stop", []string{"s"}, "stop neko-api (4 workers)?", "stop neko-api"},
		{"start what is errored", []string{"enter", "down", "down", "down", "s"}, "start reports (1 worker)?", "start reports"},
		{"start what is stopped", []string{"end", "s"}, "start nightly (1 worker)?", "start nightly"},
		{"one more", []string{"+"}, "scale neko-api from 4 to 5?", "scale neko-api 5"},
		{"one less", []string{"-"}, "scale neko-api from 4 to 3?", "scale neko-api 3"},
		{"a number", []string{"S", "1", "7", "backspace", "2", "enter"}, "scale neko-api from 4 to 12?", "scale neko-api 12"},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, answer := range []string{"n", "esc", "x", "y"} {
				x := busy1(t, 80, 24)
				x.stage.done = control.Done{Processes: []control.Process{{State: control.Online}, {State: control.Online}}, Notes: []string{"a note"}}
				x.press(c.keys...)
				x.has(c.question)
				x.press(answer)
				switch {
				case answer != "y":
					if len(x.stage.asked) != 0 {
						t.Errorf("%s: %q was done", answer, x.stage.asked)
					}
				case len(x.stage.asked) != 1 || x.stage.asked[0] != c.asked:
					t.Errorf("%q was done, want %q", x.stage.asked, c.asked)
				default:
					x.has("done in 0s: 2 online; a note")
				}
			}
		})
	}
}

// A command does not keep the screen waiting, and its failure is told with what to do.
func TestACommandOnItsWay(t *testing.T) {
	x := busy1(t, 120, 30)
	x.press("r")
	_, cmd := x.Update(tea.KeyPressMsg{Code: 'y', Text: "y"})
	x.has("reload neko-api …")
	x.Update(stepMsg{x.jobs[0], control.Progress{Name: "neko-api", Slot: 2, State: control.Launching, Message: "waits for READY=1"}})
	x.has("reload neko-api … neko-api:2 launching: waits for READY=1")
	x.press("down", "down")
	x.tick() // the screen goes on
	x.stage.doneErr = &control.Error{Message: "neko-api:2 was not ready in 10s", Hint: "see its log", Output: []string{"cannot open the database"}}
	x.run(cmd)
	x.has("reload neko-api failed: neko-api:2 was not ready in 10s | cannot open the database — see its log")
	x.stage.at = x.stage.at.Add(time.Minute)
	x.Update(tickMsg{})
	x.lacks("failed")
}

// Rows come and go; what is selected stays.
func TestTheSelectionStays(t *testing.T) {
	x := busy1(t, 80, 24)
	x.press("down", "down", "down")
	if x.selected != (row{"neko-api", 2}) {
		t.Fatalf("%+v is selected", x.selected)
	}
	x.press("o", "o") // by cpu: nothing moves it
	x.tick()
	if x.selected != (row{"neko-api", 2}) {
		t.Errorf("after sorting %+v is selected", x.selected)
	}
	x.stage.list = append(x.stage.list[:1:1], x.stage.list[4:]...) // scaled down to one
	x.tick()
	if x.selected != (row{"neko-api", -1}) {
		t.Errorf("after the worker has gone %+v is selected", x.selected)
	}
	x.stage.list = x.stage.list[1:]
	x.tick()
	if !strings.Contains(fmt.Sprint(x.rows), fmt.Sprint(x.selected)) {
		t.Errorf("after the app has gone %+v is selected, of %v", x.selected, x.rows)
	}
	x.stage.list = nil
	x.tick()
	x.has("no app runs")
	x.press("r", "s", "+", "S", "enter", "down", "up", "n", "tab", "l")
	if x.confirm != nil || x.input != nil {
		t.Error("something is asked about no app")
	}
}

func TestTheMouse(t *testing.T) {
	x := busy1(t, 80, 24)
	x.draw()
	click := func(text string) {
		t.Helper()
		for y, line := range strings.Split(x.text(), "\n") {
			if i := strings.Index(line, text); i >= 0 {
				_, cmd := x.Update(tea.MouseClickMsg{X: width(line[:i]), Y: y, Button: tea.MouseLeft})
				x.run(cmd)
				x.draw()
				return
			}
		}
		t.Fatalf("there is no %q in\n%s", text, x.text())
	}
	click(":2")
	if x.selected != (row{"neko-api", 2}) {
		t.Errorf("%+v is selected", x.selected)
	}
	click("neko-api ×4")
	click("neko-api ×4")
	x.lacks(":2 ")
	click("s stop")
	x.has("stop neko-api (4 workers)?")
	click("n no")
	x.lacks("workers)?")
	click("r reload")
	click("y yes")
	if len(x.stage.asked) != 1 || x.stage.asked[0] != "reload neko-api" {
		t.Errorf("%q was done", x.stage.asked)
	}
	click("log of")
	if x.focus != logPane {
		t.Error("a click on the log does not choose it")
	}
	for i := range 100 {
		x.log.lines = append(x.log.lines, logLine{0, false, fmt.Sprint("line ", i)})
	}
	x.has("line 99")
	x.draw()
	x.Update(tea.MouseWheelMsg{X: 10, Y: 20, Button: tea.MouseWheelUp})
	x.lacks("line 99")
	x.has("line 96", "3 below")
	x.Update(tea.MouseWheelMsg{X: 10, Y: 20, Button: tea.MouseWheelDown})
	x.has("line 99")
}

func TestNoColor(t *testing.T) {
	x := busy(t, 80, 24)
	colors := regexp.MustCompile(`\x1b\[[0-9;]*;(3|9)[0-7]m`)
	if !colors.MatchString(x.View().Content) {
		t.Error("there are no colors")
	}
	x.options.NoColor, x.dirty = true, true
	if found := colors.FindString(x.View().Content); found != "" || !strings.Contains(x.View().Content, "\x1b[0;1;7m") {
		t.Errorf("there is %q, or no mark of what is chosen", found)
	}
}

// Between two answers with metrics, the others go on and the figures stay.
func TestMetricsAreNotAskedForEachTime(t *testing.T) {
	x := busy1(t, 80, 24)
	before := x.state.Apps[0].RequestsPerSecond
	x.stage.list[0].CPUPercent = 77
	s, err := takeSome(t.Context(), x.stage, x.stage.now, false)
	x.Update(sampleMsg{s, err})
	if a := x.state.Apps[0]; a.RequestsPerSecond != before || !before.is || a.InFlight.v == 0 || a.Workers[0].CPUPercent.v != 77 || len(a.Breakers) != 2 {
		t.Errorf("%+v", a.Figures)
	}
	w := &x.watch
	w.state(sample{at: noon, readings: map[worker]*reading{}, took: 30 * time.Millisecond})
	if w.next.Sub(noon) != 3*time.Second {
		t.Errorf("asked again after %v", w.next.Sub(noon))
	}
	w.state(sample{at: noon, readings: map[worker]*reading{}, took: time.Second})
	if w.next.Sub(noon) != longestBetween {
		t.Errorf("asked again after %v", w.next.Sub(noon))
	}
}

func TestTheDaemonComesAndGoes(t *testing.T) {
	s := evening()
	x := newScreen(t, s, 80, 24)
	x.has("asking the daemon")
	s.err = control.ErrNoDaemon
	x.tick()
	x.has("no daemon runs")
	s.err = nil
	s.second(0)
	x.tick()
	x.has("8 apps"[:1], "neko-api")
	s.err = errors.New("the daemon gave no answer")
	x.tick()
	x.has("reconnecting", "neko-api")
	s.err = nil
	s.ping.Version = "v1.5.0"
	x.tick()
	x.has("v1.5.0")
	x.lacks("reconnecting")
}

var sgr = regexp.MustCompile(`^\x1b\[[0-9;]*m`)

func json1(text string) json.RawMessage {
	b, err := json.Marshal(map[string]string{"value": text, "unit": text})
	if err != nil {
		panic(err)
	}
	return b
}

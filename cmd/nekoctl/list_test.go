package main

import (
	"bytes"
	"cmp"
	"encoding/json"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/charmbracelet/x/ansi"
	"pgregory.net/rapid"

	"github.com/nekoctl/neko/supervisor/control"
)

func shown(list []control.Process, width int) string {
	var out bytes.Buffer
	c := &cli{out: terminal{Writer: &out, width: width}}
	c.list(list)
	return out.String()
}

// On a terminal it is the table that people know from PM2.
func TestListOnATerminal(t *testing.T) {
	list := processes(2)
	list[1].Reason = "pid 4711 ended: exit code 1; gave up after 10 restarts within 1m0s, which is a long story"
	for width, want := range map[int]string{
		100: `┌────┬──────┬──────┬─────────┬─────────┬───┬────────┬───────┬────────┬───────────────────┐
│ id │ name │ slot │     pid │ state   │ ↺ │ uptime │   cpu │ memory │ listening         │
├────┼──────┼──────┼─────────┼─────────┼───┼────────┼───────┼────────┼───────────────────┤
│  0 │ web  │    0 │ 1234567 │ online  │ 0 │     1m │ 12.3% │ 50.5mb │ 127.0.0.1:4000 +1 │
│  1 │ web  │    1 │       - │ errored │ 1 │      - │     - │      - │ 127.0.0.1:4000 +1 │
└────┴──────┴──────┴─────────┴─────────┴───┴────────┴───────┴────────┴───────────────────┘
web:1 errored: pid 4711 ended: exit code 1; gave up after 10 restarts within 1m0s, which is a long
    story
`,
		80: `┌────┬──────┬──────┬─────────┬─────────┬───┬────────┬───────┬────────┐
│ id │ name │ slot │     pid │ state   │ ↺ │ uptime │   cpu │ memory │
├────┼──────┼──────┼─────────┼─────────┼───┼────────┼───────┼────────┤
│  0 │ web  │    0 │ 1234567 │ online  │ 0 │     1m │ 12.3% │ 50.5mb │
│  1 │ web  │    1 │       - │ errored │ 1 │      - │     - │      - │
└────┴──────┴──────┴─────────┴─────────┴───┴────────┴───────┴────────┘
web:1 errored: pid 4711 ended: exit code 1; gave up after 10 restarts within
    1m0s, which is a long story
`,
		30: `┌────┬──────┬─────────┬───┐
│ id │ name │ state   │ ↺ │
├────┼──────┼─────────┼───┤
│  0 │ web  │ online  │ 0 │
│  1 │ web  │ errored │ 1 │
└────┴──────┴─────────┴───┘
web:1 errored: pid 4711 ended:
    exit code 1; gave up after
    10 restarts within 1m0s,
    which is a long story
`,
	} {
		if got := shown(list, width); got != want {
			t.Errorf("%d columns:\n%swant:\n%s", width, got, want)
		}
	}
}

var wildNames = rapid.OneOf(
	rapid.StringMatching(`[a-z0-9._-]{1,60}`),
	rapid.SampledFrom([]string{"猫猫猫猫猫猫猫猫猫猫猫猫猫猫猫猫猫猫猫猫", "👩‍👩‍👧‍👦👩‍👩‍👧‍👦👩‍👩‍👧‍👦👩‍👩‍👧‍👦👩‍👩‍👧‍👦👩‍👩‍👧‍👦👩‍👩‍👧‍👦", "e\u0301\u0301\u0301te\u0301", "a\tb", "\x1b[2Jx", "\u202egnorw", "🇨🇭🇨🇭🇨🇭🇨🇭🇨🇭🇨🇭🇨🇭", "ｗｉｄｅ", "a\nb"}),
	rapid.String(),
)

// Whatever apps are called, and however wide a terminal is, no line is wider, all lines
// of the table are equally wide, and nothing that others wrote moves the cursor.
func TestNoLineOfAListIsWiderThanTheTerminal(t *testing.T) {
	states := []control.State{control.Online, control.Launching, control.Stopping, control.Stopped, control.Errored, control.WaitingRestart}
	rapid.Check(t, func(t *rapid.T) {
		list := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) control.Process {
			return control.Process{
				ID: rapid.IntRange(0, 99_999).Draw(t, "id"), Name: "name", Title: wildNames.Draw(t, "title"), Namespace: wildNames.Draw(t, "namespace"),
				Slot: rapid.IntRange(0, 1023).Draw(t, "slot"), PID: rapid.IntRange(0, 4_194_304).Draw(t, "pid"), State: rapid.SampledFrom(states).Draw(t, "state"),
				Restarts: rapid.IntRange(0, 1_000_000).Draw(t, "restarts"), UptimeMS: rapid.Int64Range(0, 1<<40).Draw(t, "uptime"),
				MemoryBytes: rapid.Int64Range(0, 1<<45).Draw(t, "memory"), CPUPercent: rapid.Float64Range(0, 12_800).Draw(t, "cpu"),
				Listeners: rapid.SliceOfN(wildNames, 0, 3).Draw(t, "listeners"), Reason: wildNames.Draw(t, "reason"), Unready: wildNames.Draw(t, "unready"),
			}
		}), 0, 5).Draw(t, "list")
		width := rapid.IntRange(10, 130).Draw(t, "width")
		text := shown(list, width)
		lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
		for i, line := range lines {
			if w := ansi.StringWidth(line); w > width {
				t.Errorf("%d columns of %d: %q", w, width, line)
			}
			if width >= 40 && i < len(list)+4 && ansi.StringWidth(line) != ansi.StringWidth(lines[0]) {
				t.Errorf("of another width than the first: %q", line)
			}
			if strings.ContainsAny(line, "\x1b\t\r\u202e") {
				t.Errorf("%q", line)
			}
		}
		if width >= 80 && !strings.Contains(lines[0], "┐") {
			t.Errorf("80 columns have no room for the table:\n%s", text)
		}
		// In a pipe there is a line for each, and nothing is cut.
		piped := strings.Split(shown(list, 0), "\n")
		for i, p := range list {
			if !strings.Contains(piped[i+1], cell(p.ShownName())) {
				t.Errorf("%q does not have the name %q", piped[i+1], p.ShownName())
			}
		}
	})
}

func TestListOrders(t *testing.T) {
	list := []control.Process{
		{ID: 0, Name: "b", PID: 7, State: control.Stopped, Restarts: 2, UptimeMS: 1, CPUPercent: 3, MemoryBytes: 9},
		{ID: 1, Name: "a", PID: 9, State: control.Online, Restarts: 1, UptimeMS: 3, CPUPercent: 1, MemoryBytes: 9},
		{ID: 2, Name: "b", PID: 8, State: control.Errored, Restarts: 1, UptimeMS: 2, CPUPercent: 2, MemoryBytes: 1},
	}
	for text, want := range map[string]string{
		"id": "012", "id:desc": "210", "id:asc": "012", "name": "102", "name:desc": "021", "pid": "021", "state": "210", "status:desc": "012",
		"restarts": "120", "uptime:desc": "120", "cpu:desc": "021", "memory": "201", "mem:desc": "012",
	} {
		by, err := parseOrder(text)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		sorted := slices.Clone(list)
		by.sort(sorted)
		got := ""
		for _, p := range sorted {
			got += string(rune('0' + p.ID))
		}
		if got != want {
			t.Errorf("%s: %s, want %s", text, got, want)
		}
	}
	for text, hint := range map[string]string{"": "", "memroy": "did you mean memory?", "cpu:down": "", "cpu:": ""} {
		if _, err := parseOrder(text); err == nil || !strings.Contains(cmp.Or(err.(*usageError).hint, hint), hint) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestWatchTimes(t *testing.T) {
	for text, want := range map[string]string{"1s": "1s", "500ms": "500ms", "2": "2s", "0.5": "500ms", "": "0s"} {
		if got, err := parseEvery("list", text); err != nil || got.String() != want {
			t.Errorf("%q: %v, %v", text, got, err)
		}
	}
	for _, text := range []string{"0", "-1", "1ms", "x", "2h", "1e9"} {
		if got, err := parseEvery("list", text); err == nil {
			t.Errorf("%q: %v", text, got)
		}
	}
}

// listed is a master that lists what it is told to, and can be replaced by another.
type listed struct {
	t      *testing.T
	home   string
	mu     sync.Mutex
	list   []control.Process
	server *http.Server
}

func newListed(t *testing.T) *listed {
	l := &listed{t: t, home: t.TempDir()}
	t.Setenv("NEKO_HOME", l.home)
	l.begin()
	t.Cleanup(l.end)
	return l
}

func (l *listed) begin() {
	l.t.Helper()
	socket, err := net.Listen("unix", filepath.Join(l.home, "neko.sock"))
	if err != nil {
		l.t.Fatal(err)
	}
	l.server = &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		l.mu.Lock()
		defer l.mu.Unlock()
		if r.URL.Path == "/v1/ping" {
			_ = json.NewEncoder(w).Encode(control.Ping{})
			return
		}
		_ = json.NewEncoder(w).Encode(l.list)
	})}
	go l.server.Serve(socket)
}

func (l *listed) end() { l.server.Close() }

func (l *listed) set(list []control.Process) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.list = list
}

// A list that is watched is drawn at its place, follows what happens, a master that goes
// and another that comes, and a terminal that is made smaller; and when it ends the
// terminal is as it was.
func TestAListIsWatchedOnATerminal(t *testing.T) {
	for name, end := range map[string]struct {
		signal syscall.Signal
		code   int
	}{"Ctrl-C": {syscall.SIGINT, exitOK}, "kill": {syscall.SIGTERM, 143}, "the terminal goes": {syscall.SIGHUP, 129}} {
		t.Run(name, func(t *testing.T) {
			s, master := newScreen(t, 80, 12), newListed(t)
			s.terminal.WriteString("$ nekoctl list\r\n")
			s.until(`^\$ nekoctl list$`)
			list := processes(2)
			master.set(list)
			code := s.command("list", "web", "--watch=100ms", "--sort", "name:desc")
			s.until(`(?m)^┌─.*┐\n│ id │ name .*\n├.*\n│  0 │ web .* 1234567 │ online .*\n│  1 │ web`)
			s.until(`(?m)^\d\d:\d\d:\d\d  every 100ms: nekoctl list; q or Ctrl-C ends it$`)
			if !s.hidden {
				t.Error("the cursor is shown")
			}
			list = processes(2)
			list[0].State, list[0].PID = control.Stopping, 42
			master.set(list[:1])
			s.until(`(?m)^│  0 │ web .* 42 │ stopping .*\n└─.*\n\n\d\d:`)

			master.end()
			s.until(`no daemon runs on`)
			master.begin()
			s.until(`(?m)^│  0 │ web .* 42 │ stopping`)

			master.set(processes(30))
			s.until(`(?s)web.*and \d\d lines more$`)
			if lines := strings.Count(s.text(), "\n"); lines >= 12 {
				t.Errorf("%d lines on a terminal of 12:\n%s", lines+1, s.text())
			}
			s.resize(40, 12)
			_ = syscall.Kill(syscall.Getpid(), syscall.SIGWINCH)
			s.until(`(?m)^┌.{1,38}┐$`)

			_ = syscall.Kill(syscall.Getpid(), end.signal)
			if got := code(); got != end.code {
				t.Errorf("exit code %d, want %d", got, end.code)
			}
			s.until(`^\$ nekoctl list$`)
			if s.hidden || strings.Contains(s.raw(), "\x1b[2J") {
				t.Error("the cursor stays hidden, or it flickers")
			}
		})
	}
}

// In a pipe there is one table after the other, or one line of JSON.
func TestAListIsWatchedInAPipe(t *testing.T) {
	master := newListed(t)
	master.set(processes(1))
	var tables, lines lockedBuffer
	ended := make(chan int, 2)
	go func() { ended <- run([]string{"list", "--watch=100ms"}, &tables, &lockedBuffer{}) }()
	go func() {
		ended <- run([]string{"list", "--watch=100ms", "--json", "--sort", "cpu"}, &lines, &lockedBuffer{})
	}()
	waitUntil(t, "three of each", func() bool {
		return strings.Count(tables.String(), "id  name  slot") >= 3 && strings.Count(lines.String(), "\n") >= 3
	})
	_ = syscall.Kill(syscall.Getpid(), syscall.SIGTERM)
	for range 2 {
		if code := <-ended; code != exitOK {
			t.Errorf("exit code %d", code)
		}
	}
	if strings.Contains(tables.String(), "\x1b") {
		t.Errorf("%q", tables.String())
	}
	for line := range strings.Lines(lines.String()) {
		var list []control.Process
		if err := json.Unmarshal([]byte(line), &list); err != nil || len(list) != 1 || list[0].Name != "web" {
			t.Errorf("%q: %v", line, err)
		}
	}
}

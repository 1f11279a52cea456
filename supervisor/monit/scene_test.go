package monit

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strings"
	"sync"
	"testing"
	"time"

	tea "charm.land/bubbletea/v2"

	"github.com/nekoctl/neko/supervisor/control"
	"github.com/nekoctl/neko/supervisor/logs"
)

// stage is a daemon that has what a test wants it to have, at a time that passes only
// when the test says so.
type stage struct {
	mu       sync.Mutex
	at       time.Time
	ping     control.Ping
	list     []control.Process
	counters map[worker]*counters
	err      error // of all answers
	asked    []string
	done     control.Done
	doneErr  error
	steps    []control.Progress
}

// counters are what a worker tells. A process that tells nothing is not in the map.
type counters struct {
	started  float64 // seconds since 1970
	served   map[string]float64
	fast     float64 // requests that took between 1 and 2 ms; all others, between 5 and 10
	cache    map[string]float64
	allowed  float64
	denied   float64
	inFlight float64
	breaker  int
}

var noon = time.Date(2026, 11, 29, 12, 0, 0, 0, time.UTC)

func (s *stage) Ping(context.Context) (control.Ping, error) { return s.ping, s.err }

func (s *stage) Processes(context.Context) ([]control.Process, error) { return s.list, s.err }

func (s *stage) Events(ctx context.Context, _ control.EventsRequest, _ func(control.Event) error, _ func(control.Missed)) error {
	<-ctx.Done()
	return ctx.Err()
}

func (s *stage) App(context.Context, string) (control.AppDetail, error) {
	return control.AppDetail{}, errors.New("not here")
}

func (s *stage) note(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked = append(s.asked, fmt.Sprintf(format, args...))
}

func (s *stage) carryOut(progress func(control.Progress)) (control.Done, error) {
	for _, p := range s.steps {
		progress(p)
	}
	return s.done, s.doneErr
}

func (s *stage) Start(_ context.Context, r control.StartRequest, p func(control.Progress)) (control.Done, error) {
	s.note("start %s", strings.Join(r.Targets, " "))
	return s.carryOut(p)
}

func (s *stage) Command(_ context.Context, command string, r control.TargetRequest, p func(control.Progress)) (control.Done, error) {
	s.note("%s %s", command, strings.Join(r.Targets, " "))
	return s.carryOut(p)
}

func (s *stage) Scale(_ context.Context, r control.ScaleRequest, p func(control.Progress)) (control.Done, error) {
	s.note("scale %s %s", r.Name, r.Instances)
	return s.carryOut(p)
}

// Metrics are as the master tells them: all samples of a name together.
func (s *stage) Metrics(context.Context, []string, bool) ([]byte, error) {
	var names []string
	families := map[string]*strings.Builder{}
	for _, p := range s.list {
		own := fmt.Sprintf("app=%q,worker=\"%d\"", p.Name, p.Slot)
		add := func(name, kind, labels string, value float64) {
			family := strings.TrimSuffix(name, "_bucket")
			if families[family] == nil {
				names = append(names, family)
				families[family] = &strings.Builder{}
				fmt.Fprintf(families[family], "# HELP %s What it is.\n# TYPE %s %s\n", family, family, kind)
			}
			if labels != "" {
				labels = "," + labels
			}
			fmt.Fprintf(families[family], "%s{%s%s} %v\n", name, own, labels, value)
		}
		if len(p.Listeners) > 0 {
			add("neko_worker_queue_length", "gauge", `listener="listen"`, 0)
			add("neko_worker_queue_max", "gauge", `listener="listen"`, 4096)
		}
		c := s.counters[worker{p.Name, p.Slot}]
		if c == nil {
			continue
		}
		add("neko_worker_start_time_seconds", "gauge", "", c.started)
		all := 0.0
		for code, n := range c.served {
			add("neko_http_requests_total", "counter", fmt.Sprintf("handler=\"graphql\",code=%q", code), n)
			all += n
		}
		add("neko_http_requests_total", "counter", `handler="probe",code="200"`, 1234)
		for _, bound := range []float64{0.001, 0.002, 0.005, 0.01, math.Inf(1)} {
			n := 0.0
			if bound >= 0.002 {
				n = c.fast
			}
			if bound >= 0.01 {
				n = all
			}
			add("neko_http_request_duration_seconds_bucket", "histogram", fmt.Sprintf("handler=\"graphql\",le=\"%v\"", bound), n)
		}
		add("neko_http_requests_in_flight", "gauge", "", c.inFlight)
		add("neko_http_connections", "gauge", "", 64)
		for state, n := range c.cache {
			add("neko_cache_served_total", "counter", fmt.Sprintf("state=%q", state), n)
		}
		add("neko_limiter_allowed_total", "counter", `policy="minute"`, c.allowed)
		add("neko_limiter_denied_total", "counter", `policy="minute"`, c.denied)
		add("neko_breaker_state", "gauge", `name="store"`, float64(c.breaker))
		add("neko_breaker_state", "gauge", `name="redis"`, 0)
		add("go_goroutines", "gauge", "", 41)
		add("go_memstats_heap_alloc_bytes", "gauge", "", 18e6)
		add("process_open_fds", "gauge", "", 96)
		add("process_max_fds", "gauge", "", 1<<20)
	}
	var b bytes.Buffer
	for _, name := range names {
		b.WriteString(families[name].String())
	}
	return b.Bytes(), s.err
}

func (s *stage) now() time.Time { return s.at }

// screen is a model on a stage.
type screen struct {
	*model
	t     testing.TB
	stage *stage
}

func newScreen(t testing.TB, s *stage, w, h int) *screen {
	t.Helper()
	m := newModel(t.Context(), s, Options{Interval: time.Second, Logs: func(context.Context, string, int) ([]logs.Source, error) { return nil, nil }})
	m.now = s.now
	x := &screen{model: m, t: t, stage: s}
	m.send = func(msg tea.Msg) { x.Update(msg) }
	x.Update(tea.WindowSizeMsg{Width: w, Height: h})
	return x
}

// tick lets a second pass, and has the daemon asked.
func (x *screen) tick() {
	x.t.Helper()
	x.stage.at = x.stage.at.Add(time.Second)
	s, err := take(x.t.Context(), x.stage, x.stage.now)
	_, cmd := x.Update(sampleMsg{s, err})
	x.run(cmd)
}

// press presses keys; those with names are in one string each.
func (x *screen) press(keys ...string) {
	x.t.Helper()
	named := map[string]rune{"enter": tea.KeyEnter, "esc": tea.KeyEscape, "up": tea.KeyUp, "down": tea.KeyDown, "tab": tea.KeyTab, "left": tea.KeyLeft,
		"right": tea.KeyRight, "home": tea.KeyHome, "end": tea.KeyEnd, "backspace": tea.KeyBackspace, "pgup": tea.KeyPgUp}
	for _, k := range keys {
		msg := tea.KeyPressMsg{Code: []rune(k)[0], Text: k}
		if code, ok := named[k]; ok {
			msg = tea.KeyPressMsg{Code: code}
		}
		_, cmd := x.Update(msg)
		x.run(cmd)
	}
}

// run does what a program would do in the background, at once.
func (x *screen) run(cmd tea.Cmd) {
	if cmd == nil {
		return
	}
	switch msg := cmd().(type) {
	case tea.BatchMsg:
		for _, one := range msg {
			x.run(one)
		}
	case nil, tea.QuitMsg:
	default:
		_, next := x.Update(msg)
		x.run(next)
	}
}

func (x *screen) text() string { return x.draw().plain() }

func (x *screen) has(texts ...string) {
	x.t.Helper()
	for _, text := range texts {
		if !strings.Contains(x.text(), text) {
			x.t.Errorf("there is no %q in\n%s", text, x.text())
		}
	}
}

func (x *screen) lacks(text string) {
	x.t.Helper()
	if strings.Contains(x.text(), text) {
		x.t.Errorf("there is %q in\n%s", text, x.text())
	}
}

// evening is a realistic state: the API under load, a program of Node's, one in trouble.
func evening() *stage {
	s := &stage{at: noon, ping: control.Ping{Version: "v1.4.0", Master: 0, Keeper: 0, Home: "/home/neko/.neko"}, counters: map[worker]*counters{}}
	id := 0
	add := func(p control.Process) *control.Process {
		p.ID = id
		p.Namespace = "default"
		id++
		s.list = append(s.list, p)
		return &s.list[len(s.list)-1]
	}
	for i := range 4 {
		add(control.Process{Name: "neko-api", Slot: i, PID: 4711 + i, State: control.Online, UptimeMS: 3*86400_000 + 3600_000*int64(i), Restarts: i / 3,
			Listeners: []string{"0.0.0.0:4000"}})
		s.counters[worker{"neko-api", i}] = &counters{started: float64(noon.Unix() - 300000), served: map[string]float64{}, cache: map[string]float64{}}
	}
	add(control.Process{Name: "shop", PID: 5120, State: control.Online, UptimeMS: 5400_000, Restarts: 2, Listeners: []string{"127.0.0.1:3000"},
		Metrics: map[string]json.RawMessage{
			"Event Loop Latency": json.RawMessage(`{"value":"0.42","unit":"ms","type":"internal/libuv/latency/p50","historic":true}`),
			"Active handles":     json.RawMessage(`{"value":12,"type":"internal/libuv/handles","historic":true}`),
			"orders":             json.RawMessage(`{"value":1023,"type":"counter","historic":true}`),
		}})
	add(control.Process{Name: "mailer", PID: 5230, State: control.Online, UptimeMS: 86400_000})
	add(control.Process{Name: "reports", State: control.Errored, Restarts: 16, Reason: "it has crashed 16 times within 15s; exit code 1"})
	add(control.Process{Name: "nightly", State: control.Stopped})
	return s
}

// second is what happens in one: n counts them.
func (s *stage) second(n int) {
	for i := range s.list {
		p := &s.list[i]
		if p.PID == 0 {
			continue
		}
		p.UptimeMS += 1000
		wave := 1 + 0.35*math.Sin(float64(n)/6+float64(p.ID))
		p.CPUPercent = math.Round(10*[]float64{38, 36, 41, 35, 7, 1, 0, 0}[p.ID]*wave) / 10
		p.MemoryBytes = int64([]float64{61, 60, 63, 60, 88, 14, 0, 0}[p.ID] * (1 << 20) * (1 + float64(n%7)/200))
		if c := s.counters[worker{p.Name, p.Slot}]; c != nil {
			load := math.Round(950 * wave)
			c.served["200"] += load - 3
			c.served["503"] += 3
			c.fast += math.Round(load * 0.97)
			c.cache["fresh"] += math.Round(load * 0.9)
			c.cache["made"] += math.Round(load * 0.1)
			c.allowed += load
			c.denied += float64(n % 3)
			c.inFlight = float64(2 + n%4)
		}
	}
}

package worker

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nekoctl/neko/breaker"
	"github.com/nekoctl/neko/logtext"
)

var errAsleep = errors.New("it sleeps")

// bowl is a dependency whose calls can be made to fail.
func bowl(t *testing.T, o breaker.Options) (p *breaker.Policy, call func(error) error) {
	t.Helper()
	o.Name = "bowl"
	p, err := breaker.New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p, func(err error) error {
		_, err = breaker.Do(t.Context(), p, breaker.Once, func(context.Context) (int, error) { return 0, err })
		return err
	}
}

// toy is a dependency that tells nobody of its changes.
type toy struct{ state atomic.Int32 }

func (*toy) Name() string { return "toy" }

func (k *toy) Status() breaker.Status { return breaker.Status{State: breaker.State(k.state.Load())} }

// A worker without what it can do without for a while is ready, and says how it is.
func TestDependencies(t *testing.T) {
	p, call := bowl(t, breaker.Options{MinCalls: 2, OpenFor: time.Hour})
	other := &toy{}
	var broken atomic.Bool
	w := newTestWorker(t, Config{
		Dependencies: []Dependency{p, other},
		Checks: []Check{{Name: "store", OnlyToStart: true, Run: func(context.Context) error {
			if broken.Load() {
				return errAsleep
			}
			return nil
		}}},
	})
	expect := func(target string, status int, want string) {
		t.Helper()
		ctx := w.ask("GET", target, "", "")
		if got := string(ctx.Response.Body()); ctx.Response.StatusCode() != status || got != want {
			t.Errorf("%s: %d %q, want %d %q", target, ctx.Response.StatusCode(), got, status, want)
		}
	}
	type health struct {
		Status   string
		Checks   []checkResult
		Breakers []struct {
			Name, State, Reason string
			Until               time.Time
		}
	}
	status := func() (h health) {
		t.Helper()
		if err := json.Unmarshal(w.ask("GET", "/health", "", "").Response.Body(), &h); err != nil {
			t.Fatal(err)
		}
		return h
	}

	// It has to have been there once.
	broken.Store(true)
	expect("/readyz", 503, "not ready\n")
	if h := status(); h.Status != "unready" {
		t.Errorf("%+v", h)
	}
	broken.Store(false)
	expect("/readyz?verbose", 200, "[+] store ok\n[+] breaker bowl CLOSED\n[+] breaker toy CLOSED\nok\n")
	if h := status(); h.Status != "ok" || len(h.Breakers) != 2 || h.Breakers[0].Name != "bowl" || h.Breakers[0].State != "CLOSED" {
		t.Errorf("%+v", h)
	}

	broken.Store(true)
	expect("/readyz", 200, "ok\n")
	expect("/readyz?verbose", 200, "[!] store: it sleeps; what is known is served\n[+] breaker bowl CLOSED\n[+] breaker toy CLOSED\nok\n")
	if h := status(); h.Status != "degraded" || h.Checks[0].OK || !h.Checks[0].Degraded {
		t.Errorf("%+v", h)
	}
	broken.Store(false)

	_, _ = call(errAsleep), call(errAsleep)
	other.state.Store(int32(breaker.HalfOpen))
	body := string(w.ask("GET", "/readyz?verbose", "", "").Response.Body())
	if !strings.HasPrefix(body, "[+] store ok\n[!] breaker bowl OPEN for ") || !strings.HasSuffix(body, ": 2 of 2 calls failed, the last: it sleeps\n[!] breaker toy HALF_OPEN\nok\n") {
		t.Errorf("%s", body)
	}
	h := status()
	if b := h.Breakers[0]; h.Status != "degraded" || b.State != "OPEN" || b.Reason == "" || time.Until(b.Until) < 30*time.Minute {
		t.Errorf("%+v", h)
	}
}

// A check that hangs makes nobody wait long who only wants to know whether the worker is ready.
func TestACheckThatHangsDoesNotHoldUpAProbe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hangs := make(chan bool)
		close(hangs)
		w := Worker{config: Config{Checks: []Check{{Name: "store", OnlyToStart: true, Run: func(context.Context) error { <-hangs; return nil }}}}, passed: make([]atomic.Bool, 1)}
		if _, ok := w.check(t.Context()); !ok {
			t.Fatal("it has not passed")
		}
		hangs = make(chan bool)
		began := time.Now()
		results, ok := w.check(t.Context())
		if !ok || !results[0].Degraded || results[0].Error != "no answer" || time.Since(began) != 500*time.Millisecond {
			t.Errorf("%v %+v after %v", ok, results, time.Since(began))
		}
		close(hangs)
	})
}

// The log, the supervisor and the program learn of each change.
func TestChangesOfDependenciesAreTold(t *testing.T) {
	path := filepath.Join(t.TempDir(), "notify")
	l, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	var told []string // events
	said := func() string {
		t.Helper()
		if err := l.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
			t.Fatal(err)
		}
		b := make([]byte, 1000)
		n, err := l.Read(b)
		if err != nil {
			t.Fatal(err)
		}
		status, more, _ := strings.Cut(string(b[:n]), "\n")
		if event, ok := strings.CutPrefix(more, "X_NEKO_EVENT="); ok {
			told = append(told, event)
			return status
		}
		return string(b[:n])
	}
	p, call := bowl(t, breaker.Options{MinCalls: 1, OpenFor: 20 * time.Millisecond})
	other := &toy{}
	events := make(chan breaker.Change, 100)
	var text bytes.Buffer
	w := newTestWorker(t, Config{
		Log: logtext.Logger(&text), Dependencies: []Dependency{p, other}, OnBreaker: func(c breaker.Change) { events <- c },
	})
	supervisor := notifier{address: path}
	w.tell(supervisor, "READY=1", "STATUS=serving")
	if got := said(); got != "READY=1\nSTATUS=serving" {
		t.Error(got)
	}
	_ = call(errAsleep)
	for _, want := range []string{"STATUS=serving; bowl is OPEN", "STATUS=serving; bowl is HALF_OPEN"} {
		if got := said(); got != want {
			t.Errorf("%q, not %q", got, want)
		}
	}
	for call(nil) != nil {
		time.Sleep(time.Millisecond)
	}
	if got := said(); got != "STATUS=serving" {
		t.Error(got)
	}
	other.state.Store(int32(breaker.Open)) // which is looked at every second
	if got := said(); got != "STATUS=serving; toy is OPEN" {
		t.Error(got)
	}
	if len(told) != 3 || !strings.Contains(told[0], `"to":"OPEN"`) || !strings.Contains(told[1], `"to":"CLOSED"`) || !strings.Contains(told[2], `"name":"toy"`) {
		t.Errorf("events: %q", told)
	}
	for _, want := range []string{"bowl CLOSED OPEN", "bowl OPEN HALF_OPEN", "bowl HALF_OPEN CLOSED", "toy CLOSED OPEN"} {
		c := <-events
		if got := c.Name + " " + c.From.String() + " " + c.To.String(); got != want {
			t.Errorf("%s, not %s", got, want)
		}
	}
	w.tell(supervisor, "STOPPING=1", "STATUS=draining")
	if got := said(); got != "STOPPING=1\nSTATUS=draining" {
		t.Error(got)
	}
	w.Close()
	w.dependencies.mu.Lock()
	defer w.dependencies.mu.Unlock()
	lines := strings.Split(strings.TrimSpace(text.String()), "\n")
	if len(lines) != 3 || !strings.HasPrefix(lines[0], "warning: breaker bowl: CLOSED → OPEN until ") || !strings.HasSuffix(lines[0], ": 1 of 1 calls failed, the last: it sleeps") ||
		lines[1] != "breaker bowl: HALF_OPEN → CLOSED" || lines[2] != "warning: breaker toy: CLOSED → OPEN" {
		t.Errorf("%q", lines)
	}
}

// What comes and goes does not fill the log, and what is away for long is in it now and then.
func TestTheLogOfADependency(t *testing.T) {
	one := &dependency{}
	at, began := time.Now(), time.Now()
	lines := 0
	for at.Sub(began) < time.Minute {
		for _, to := range []breaker.State{breaker.Open, breaker.HalfOpen, breaker.Closed} {
			at = at.Add(50 * time.Millisecond)
			if one.toSay(breaker.Change{To: to, At: at}) {
				lines++
			}
		}
	}
	if lines < 8 || lines > 14 {
		t.Errorf("%d lines in a minute", lines)
	}
	one = &dependency{}
	var states []breaker.State
	for range 10 {
		at = at.Add(31 * time.Second)
		for _, to := range []breaker.State{breaker.Open, breaker.HalfOpen} {
			if one.toSay(breaker.Change{To: to, At: at}) {
				states = append(states, to)
			}
		}
	}
	if len(states) != 10 || states[9] != breaker.Open || !one.toSay(breaker.Change{To: breaker.Closed, At: at}) {
		t.Error(states)
	}
}

func TestMetricsOfDependencies(t *testing.T) {
	p, call := bowl(t, breaker.Options{MinCalls: 3, OpenFor: time.Hour, Places: 1, MaxWait: time.Millisecond, Timeout: 50 * time.Millisecond})
	w := newTestWorker(t, Config{Dependencies: []Dependency{p, &toy{}}})
	end := make(chan bool)
	if _, err := breaker.Do(t.Context(), p, breaker.Once, func(context.Context) (int, error) { <-end; return 0, nil }); !errors.Is(err, breaker.ErrTimeout) {
		t.Fatal(err)
	}
	for range 3 { // two that are busy, then it is open
		_ = call(nil)
	}
	path := filepath.Join(t.TempDir(), "metrics")
	m, err := w.serveMetrics(path)
	if err != nil {
		t.Fatal(err)
	}
	defer m.close()
	families := scrape(t, path)
	value := func(family, name string) float64 {
		t.Helper()
		for _, metric := range families[family].GetMetric() {
			if metric.GetLabel()[0].GetName() == "name" && metric.GetLabel()[0].GetValue() == name {
				return metric.GetGauge().GetValue() + metric.GetCounter().GetValue()
			}
		}
		return -1
	}
	for family, want := range map[string]float64{
		"neko_breaker_state": 2, "neko_breaker_calls_total": 4, "neko_breaker_failures_total": 3, "neko_breaker_rejected_total": 1, "neko_breaker_busy_total": 2,
		"neko_breaker_timeouts_total": 1, "neko_breaker_retries_total": 0, "neko_breaker_opened_total": 1, "neko_breaker_in_flight": 1,
	} {
		if got := value(family, "bowl"); got != want {
			t.Errorf("%s is %v, not %v", family, got, want)
		}
	}
	if value("neko_breaker_state", "toy") != 0 || value("neko_breaker_calls_total", "toy") != -1 {
		t.Error("what does not count has counted")
	}
	close(end)
}

package monit

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nekoctl/neko/supervisor/control"
)

// Daemon is what is asked: a [control.Client].
type Daemon interface {
	Ping(context.Context) (control.Ping, error)
	Processes(context.Context) ([]control.Process, error)
	App(ctx context.Context, name string) (control.AppDetail, error)
	// Metrics are those of the targets' workers (nil: all) in Prometheus's text format, of
	// each worker by itself.
	Metrics(ctx context.Context, targets []string, byWorker bool) ([]byte, error)
	Events(ctx context.Context, r control.EventsRequest, each func(control.Event) error, missed func(control.Missed)) error
	Start(context.Context, control.StartRequest, func(control.Progress)) (control.Done, error)
	Command(ctx context.Context, command string, r control.TargetRequest, progress func(control.Progress)) (control.Done, error)
	Scale(context.Context, control.ScaleRequest, func(control.Progress)) (control.Done, error)
}

// sample is what the daemon has said at one time.
type sample struct {
	at        time.Time
	ping      control.Ping
	processes []control.Process
	readings  map[worker]*reading // nil: they were not asked for
	took      time.Duration       // to have them
	// metricsErr is why there are no metrics; the rest is good.
	metricsErr error
}

// patience is how long the daemon may take for its answer: a master that was killed
// has a successor within milliseconds, and one with thousands of workers some seconds to
// find them again.
const patience = 10 * time.Second

// The master asks all processes when it is asked for metrics, and reads what they say. It
// is to spend a hundredth of a CPU on that at most, so with many processes it is asked less
// often than each second; it does it for itself as often as longestBetween.
const (
	metricsShare   = 100
	longestBetween = 5 * time.Second
)

// take asks the daemon, also for metrics.
func take(ctx context.Context, d Daemon, now func() time.Time) (sample, error) {
	return takeSome(ctx, d, now, true)
}

func takeSome(ctx context.Context, d Daemon, now func() time.Time, metrics bool) (sample, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	var s sample
	var err error
	if s.ping, err = d.Ping(ctx); err != nil {
		return s, err
	}
	if s.processes, err = d.Processes(ctx); err != nil {
		return s, err
	}
	if !metrics {
		s.at = now()
		return s, nil
	}
	var text []byte
	began := time.Now()
	if text, s.metricsErr = d.Metrics(ctx, nil, true); s.metricsErr == nil {
		s.readings = readMetrics(text)
	}
	if errors.Is(s.metricsErr, control.ErrNoDaemon) || ctx.Err() != nil {
		return s, s.metricsErr
	}
	s.at, s.took = now(), time.Since(began)
	return s, nil
}

// Worker is a process of an app with its figures.
type Worker struct {
	ID            int           `json:"id"`
	Slot          int           `json:"slot"`
	PID           int           `json:"pid"` // 0: none
	State         control.State `json:"state"`
	UptimeSeconds float64       `json:"uptime_seconds"`
	Restarts      int           `json:"restarts"`
	Reason        string        `json:"reason,omitempty"`
	Unready       string        `json:"unready,omitempty"`
	Listeners     []string      `json:"listeners,omitempty"`
	Figures
}

// App is an app with its workers, and the sums of their figures.
type App struct {
	Name      string                `json:"name"`
	Title     string                `json:"title,omitempty"`
	Namespace string                `json:"namespace,omitempty"`
	States    map[control.State]int `json:"states"` // how many workers are in which
	Restarts  int                   `json:"restarts"`
	Figures
	Workers []*Worker `json:"workers"`
}

// Shown is the name that people know it by.
func (a *App) Shown() string {
	if a.Title != "" {
		return a.Title
	}
	return a.Name
}

// About is the daemon.
type About struct {
	Version       string   `json:"version"`
	Home          string   `json:"home"`
	Keeper        int      `json:"keeper"` // pid
	Master        int      `json:"master"` // pid
	UptimeSeconds float64  `json:"uptime_seconds,omitempty"`
	Warnings      []string `json:"warnings,omitempty"`
}

// State is all that is known at a time.
type State struct {
	Time   time.Time `json:"time"`
	Daemon About     `json:"daemon"`
	Apps   []*App    `json:"apps"` // in the order of their ids
	// MetricsError says why there are none of the figures that workers tell themselves.
	MetricsError string `json:"metrics_error,omitempty"`
}

// Count is how many workers are in a state.
func (s *State) Count(state control.State) (n int) {
	for _, a := range s.Apps {
		n += a.States[state]
	}
	return n
}

// watch makes states of samples.
type watch struct {
	tracker
	readings   map[worker]*reading // the last
	metricsErr error
	next       time.Time // when metrics are to be asked for again
	keeper     int
	began      time.Time // the keeper
}

func (w *watch) state(s sample) *State {
	st := &State{Time: s.at, Daemon: About{
		Version: s.ping.Version, Home: s.ping.Home, Keeper: s.ping.Keeper, Master: s.ping.Master, Warnings: slices.Clone(s.ping.Warnings),
	}}
	if s.ping.UpgradeFailed != "" {
		st.Daemon.Warnings = append(st.Daemon.Warnings, s.ping.UpgradeFailed)
	}
	if w.keeper != s.ping.Keeper {
		w.keeper, w.began = s.ping.Keeper, startOf(s.ping.Keeper)
	}
	if !w.began.IsZero() {
		st.Daemon.UptimeSeconds = max(0, s.at.Sub(w.began).Seconds())
	}
	if s.readings != nil || s.metricsErr != nil {
		w.readings, w.metricsErr = s.readings, s.metricsErr
		w.next = s.at.Add(min(metricsShare*s.took, longestBetween))
	}
	if w.metricsErr != nil {
		st.MetricsError = w.metricsErr.Error()
	}
	if s.readings != nil {
		w.take(s.at, s.readings)
	}
	apps, known := map[string]*App{}, map[worker]bool{}
	for _, p := range s.processes {
		a := apps[p.Name]
		if a == nil {
			a = &App{Name: p.Name, Title: p.Title, Namespace: p.Namespace, States: map[control.State]int{}}
			apps[p.Name] = a
			st.Apps = append(st.Apps, a)
		}
		one := &Worker{
			ID: p.ID, Slot: p.Slot, PID: p.PID, State: p.State, UptimeSeconds: float64(p.UptimeMS) / 1000, Restarts: p.Restarts,
			Reason: p.Reason, Unready: p.Unready, Listeners: p.Listeners,
		}
		a.States[p.State]++
		a.Restarts += p.Restarts
		if p.PID != 0 {
			one.CPUPercent, one.MemoryBytes = some(p.CPUPercent), some(float64(p.MemoryBytes))
		}
		one.Custom = customOf(p.Metrics)
		key := worker{p.Name, p.Slot}
		known[key] = true
		one.read(w.readings[key])
		h := w.history(key)
		h.cpu = remember(h.cpu, one.CPUPercent.v)
		one.fill(h)
		h.rate = remember(h.rate, one.RequestsPerSecond.v)
		one.rate = h.rate
		a.Workers = append(a.Workers, one)
	}
	for _, a := range st.Apps {
		slices.SortFunc(a.Workers, func(x, y *Worker) int { return x.Slot - y.Slot })
		for _, one := range a.Workers {
			a.sum(&one.Figures)
		}
		if len(a.Workers) == 1 {
			a.Custom = a.Workers[0].Custom
		}
		h := w.apps[a.Name]
		if h == nil {
			h = &history{}
			w.apps[a.Name] = h
		}
		h.cpu = remember(h.cpu, a.CPUPercent.v)
		a.fill(h)
		h.rate = remember(h.rate, a.RequestsPerSecond.v)
		a.rate = h.rate
	}
	w.forget(func(one worker) bool { return known[one] })
	return st
}

// history is that of a worker, also of one that tells nothing.
func (w *watch) history(key worker) *history {
	if w.workers == nil {
		w.workers, w.apps = map[worker]*tracked{}, map[string]*history{}
	}
	if w.workers[key] == nil {
		w.workers[key] = &tracked{}
	}
	return &w.workers[key].history
}

// startOf is when a process of this machine was started, zero if that cannot be told.
func startOf(pid int) time.Time {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return time.Time{}
	}
	whole, err := os.ReadFile("/proc/stat")
	if err != nil {
		return time.Time{}
	}
	_, rest, found := strings.Cut(string(whole), "\nbtime ")
	boot, err := strconv.ParseInt(strings.TrimSpace(rest[:max(0, strings.IndexByte(rest, '\n'))]), 10, 64)
	const starttime = 22 - 3 // proc(5) counts from 1, and two fields are before the ")"
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	if !found || err != nil || len(fields) <= starttime {
		return time.Time{}
	}
	ticks, err := strconv.ParseInt(fields[starttime], 10, 64)
	if err != nil {
		return time.Time{}
	}
	return time.Unix(boot, 0).Add(time.Duration(ticks) * 10 * time.Millisecond)
}

package main

import (
	"bytes"
	"strconv"
	"sync"
	"time"

	"github.com/nekoctl/neko/scripts/load"
)

// loss is what clients have seen of an incident.
type loss struct {
	errors  int64
	refused int64         // of them: connections that nobody took
	gap     time.Duration // the longest time in which nobody got an answer
	back    time.Duration // from the kill of a process to the first answer of another
}

// aftermath is how long clients go on when the incident is over.
const aftermath = 250 * time.Millisecond

// suffer has 64 clients use an app while something happens to it. Half of them
// open a connection for each request, half keep theirs, and all wait for up to
// 50 ms between an answer and the next request, so that the machine is not full
// and a pause is seen as what it is.
func (b *bench) suffer(supervisor func() (*side, error), what situation) (loss, error) {
	s, err := supervisor()
	if err != nil {
		return loss{}, err
	}
	defer s.end()
	t, err := what.app(s, what.instances)
	if err != nil {
		return loss{}, err
	}
	if _, err := b.untilOK(t, time.Now()); err != nil {
		return loss{}, err
	}
	w := &watch{another: make(chan struct{})}
	var runs []*load.Run
	for _, mode := range []load.Mode{load.NewConnection, load.KeepAlive} {
		cfg := load.Config{
			URL: t.url, Body: t.body, Mode: mode, Clients: 32, ThinkMax: 50 * time.Millisecond,
			Timeout: 3 * time.Second, BodyUntilEOF: true, Check: w.answer,
		}
		if t.body != nil {
			cfg.Header = []string{"Content-Type: application/json"}
		}
		run, err := load.Start(b.ctx, cfg)
		if err != nil {
			return loss{}, err
		}
		defer run.Stop()
		runs = append(runs, run)
	}
	for _, run := range runs {
		if err := run.WaitRequests(b.ctx, 250); err != nil {
			return loss{}, err
		}
	}
	w.begin(0)
	if err := what.happen(s, w); err != nil {
		return loss{}, err
	}
	time.Sleep(aftermath)
	l := w.end()
	for _, run := range runs {
		r := run.Stop()
		l.errors += r.Failures()
		l.refused += r.Failures(load.KindRefused)
	}
	return l, nil
}

// watch looks at the answers that all clients get.
type watch struct {
	mu      sync.Mutex
	from    time.Time // when the incident began
	last    time.Time
	gap     time.Duration
	victim  int           // the process that was killed
	another chan struct{} // closed at the first answer of a process that is not the victim
	back    time.Duration
}

// begin is the beginning of an incident: that victim is about to be killed.
func (w *watch) begin(victim int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.from = time.Now()
	w.last, w.gap, w.victim = w.from, 0, victim
}

// answer is a check of the load.
func (w *watch) answer(r *load.Response) error {
	if err := noErrors(r); err != nil {
		return err
	}
	pid := whoAnswered(r.Body)
	w.mu.Lock()
	defer w.mu.Unlock()
	now := time.Now()
	w.gap = max(w.gap, now.Sub(w.last))
	w.last = now
	if w.victim != 0 && w.back == 0 && pid != w.victim {
		w.back = now.Sub(w.from)
		close(w.another)
	}
	return nil
}

func (w *watch) end() loss {
	w.mu.Lock()
	defer w.mu.Unlock()
	return loss{gap: max(w.gap, time.Since(w.last)), back: w.back}
}

// whoAnswered is the pid in {"data":{"hello":"hello, world, from 4711"}}.
func whoAnswered(body []byte) int {
	_, rest, _ := bytes.Cut(body, []byte("from "))
	digits, _, _ := bytes.Cut(rest, []byte(`"`))
	pid, _ := strconv.Atoi(string(digits))
	return pid
}

package worker

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// ownMetrics are the families of Config.Metrics. What a program does wrong in one of them costs
// that one: the page stays one that can be read, and is there in time.
type ownMetrics struct {
	w    *Worker
	list []*ownFamily
}

type ownFamily struct {
	MetricFamily
	reading chan struct{} // has one while somebody does; for ever, perhaps
	since   atomic.Int64  // when that began, in Unix nanoseconds

	mu         sync.Mutex
	last       []byte // as it was told last: counters do not go because once they could not be read
	complained string
	at         time.Time // when
}

// ownMetricsTime is how long reading all of them may take.
const ownMetricsTime = 250 * time.Millisecond

// mostLabels is how many labels a family may have.
const mostLabels = 8

// isName says whether s may be the name of a metric, or of a label.
func isName(s string) bool {
	return s != "" && (s[0] < '0' || s[0] > '9') && !strings.ContainsFunc(s, func(r rune) bool {
		return r != '_' && (r < '0' || r > '9') && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z')
	})
}

func newOwnMetrics(w *Worker) (*ownMetrics, error) {
	o := &ownMetrics{w: w}
	if len(w.config.Metrics) == 0 {
		return o, nil
	}
	taken := map[string]bool{}
	for _, f := range MetricFamilies() {
		for _, name := range f.names() {
			taken[name] = true
		}
	}
	for _, f := range w.config.Metrics {
		if err := f.check(); err != nil {
			return nil, fmt.Errorf("Config.Metrics: %q: %w", f.Name, err)
		}
		for _, name := range f.names() {
			if taken[name] {
				return nil, fmt.Errorf("Config.Metrics: %q: there is a family of that name already", f.Name)
			}
			taken[name] = true
		}
		f.Labels = slices.Clone(f.Labels)
		o.list = append(o.list, &ownFamily{MetricFamily: f, reading: make(chan struct{}, 1)})
	}
	return o, nil
}

// names are all names that the series of f have.
func (f *MetricFamily) names() []string {
	names := []string{f.Name}
	if f.Type == MetricHistogram || f.Type == metricSummary {
		names = append(names, f.Name+"_bucket", f.Name+"_sum", f.Name+"_count")
	}
	return names
}

// check says what Prometheus, or its conventions, would not have.
func (f *MetricFamily) check() error {
	switch {
	case !isName(f.Name):
		return errors.New("this is no name: it has to be letters, digits and _")
	case strings.HasPrefix(f.Name, "process_") || strings.HasPrefix(f.Name, "go_"):
		return errors.New("names that begin with process_ or go_ mean the same in all programs: begin with what your program is called")
	case strings.TrimSpace(f.Help) == "":
		return errors.New("it has no Help")
	case f.Read == nil:
		return errors.New("it has no Read")
	case f.Type != MetricCounter && f.Type != MetricGauge && f.Type != MetricHistogram:
		return fmt.Errorf("the type %q is none", f.Type)
	case (f.Type == MetricCounter) != strings.HasSuffix(f.Name, "_total"):
		return errors.New("names of counters end with _total, and no others do")
	case len(f.Labels) > mostLabels:
		return fmt.Errorf("it has more than %d labels", mostLabels)
	}
	series := 1
	for i, l := range f.Labels {
		switch {
		case !isName(l.Name) || strings.HasPrefix(l.Name, "__") || l.Name == "le" || l.Name == "quantile":
			return fmt.Errorf("%q is no name for a label", l.Name)
		case slices.ContainsFunc(f.Labels[:i], func(o MetricLabel) bool { return o.Name == l.Name }):
			return fmt.Errorf("it has the label %q twice", l.Name)
		}
		if series *= max(len(l.Values), 1); series > mostSeries {
			return fmt.Errorf("it has more than %d series", mostSeries)
		}
	}
	return nil
}

// append appends all families, in their order.
func (o *ownMetrics) append(b []byte) []byte {
	if len(o.list) == 0 {
		return b
	}
	ctx, cancel := context.WithTimeout(context.Background(), ownMetricsTime)
	defer cancel()
	texts := make(chan []byte, len(o.list))
	go func() {
		for _, f := range o.list {
			texts <- f.text(ctx, o.w)
		}
	}()
	for i, f := range o.list {
		select {
		case text := <-texts:
			b = append(b, text...)
			continue
		case <-ctx.Done():
		}
		// This one has not come, and so none after it.
		f.complain(o.w, fmt.Sprintf("it could not be read within %v, and is told as it was", ownMetricsTime), "")
		for _, f := range o.list[i:] {
			b = append(b, f.before()...)
		}
		break
	}
	return b
}

func (f *ownFamily) before() []byte {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.last
}

// text is what f has now, or what it had if it cannot be read.
func (f *ownFamily) text(ctx context.Context, w *Worker) []byte {
	select {
	case f.reading <- struct{}{}:
	default:
		if time.Since(time.Unix(0, f.since.Load())) > ownMetricsTime {
			return f.before() // somebody has waited in vain: others shall not wait for that
		}
		select {
		case f.reading <- struct{}{}:
		case <-ctx.Done():
			return f.before()
		}
	}
	f.since.Store(time.Now().UnixNano())
	defer func() { <-f.reading }()
	text, bad, stack := f.read()
	f.mu.Lock()
	if text != nil {
		f.last = text
	}
	text = f.last
	f.mu.Unlock()
	f.complain(w, bad, stack)
	return text
}

// read is nil if it could not be done.
func (f *ownFamily) read() (text []byte, bad, stack string) {
	s := &Samples{}
	s.begin(&f.MetricFamily)
	defer func() {
		if v := recover(); v != nil {
			text, bad, stack = nil, fmt.Sprintf("panic: %v", v), "\n"+string(debug.Stack())
		}
	}()
	f.Read(s)
	s.rest()
	s.end()
	return s.b, s.bad, ""
}

// complain says what is wrong, once as long as it is the same, and once a minute at most.
func (f *ownFamily) complain(w *Worker, bad, stack string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if bad == f.complained || bad != "" && time.Since(f.at) < time.Minute {
		return
	}
	if f.complained = bad; bad != "" {
		f.at = time.Now()
		w.config.Log.Warn(fmt.Sprintf("the metric %s: %s%s", f.Name, bad, stack))
	}
}

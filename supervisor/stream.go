package supervisor

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nekoctl/neko/supervisor/control"
)

// heartbeat is how often a reader of events hears something: that the master is there, and
// how far it has come.
const heartbeat = 15 * time.Second

// mostReaders bounds how many connections of readers there are at once.
const mostReaders = 100

// eventQuery is what a reader of events wants.
type eventQuery struct {
	apps, kinds []string
	after       int64 // the id of the last event that it has; 0: it has none
	since       time.Time
	last        int // so many of the past; -1: all
	follow      bool
}

func parseEventQuery(values url.Values, lastID string) (q eventQuery, err error) {
	q = eventQuery{apps: values["app"], follow: true}
	for _, list := range values["event"] {
		for kind := range strings.SplitSeq(list, ",") {
			if kind, err = control.ParseKind(kind); err != nil {
				return q, err
			}
			q.kinds = append(q.kinds, kind)
		}
	}
	if len(q.apps)+len(q.kinds) > 1000 {
		return q, fmt.Errorf("these are too many apps and events")
	}
	number := func(name, text string, into *int64) {
		if n, bad := strconv.ParseInt(text, 10, 64); bad == nil && n >= -1 {
			*into = n
		} else if text != "" && err == nil {
			err = fmt.Errorf("%s: %.40q is no number", name, text)
		}
	}
	last := int64(0)
	number("Last-Event-ID", lastID, &q.after)
	number("last", values.Get("last"), &last)
	q.last = int(min(last, 1<<30))
	if text := values.Get("since"); text != "" && err == nil {
		if q.since, err = time.Parse(time.RFC3339Nano, text); err != nil {
			return q, fmt.Errorf("since: %.40q is no time like 2026-01-31T15:04:05Z", text)
		}
		if !values.Has("last") {
			q.last = -1
		}
	}
	switch text := values.Get("follow"); text {
	case "", "1", "true":
	case "0", "false":
		q.follow = false
	default:
		err = fmt.Errorf("follow: %.40q is neither 0 nor 1", text)
	}
	return q, err
}

func (q *eventQuery) wants(e *control.Event) bool { return e.About(q.apps) && e.Kind.Is(q.kinds) }

// serveEvents streams events as server-sent events, as browsers have them: id, event and
// data, which is a [control.Event]. The id comes alone, without data, at the beginning and
// as the heartbeat, for who reconnects to know how far it has come (Last-Event-ID). An
// event "missed", without an id, has a [control.Missed], and "end" says that the daemon
// ends.
func (m *master) serveEvents(w http.ResponseWriter, r *http.Request) {
	q, err := parseEventQuery(r.URL.Query(), r.Header.Get("Last-Event-ID"))
	if err != nil {
		answer(w, http.StatusBadRequest, failure("docs/events.md has what there is", "%v", err))
		return
	}
	if m.readers.Add(1); m.readers.Load() > mostReaders {
		m.readers.Add(-1)
		answer(w, http.StatusServiceUnavailable, failure("end some of them", "%d readers of events are more than there can be", mostReaders))
		return
	}
	defer m.readers.Add(-1)
	cursor := q.after
	if cursor == 0 {
		if err := m.knowsApps(q.apps); err != nil {
			answer(w, http.StatusNotFound, err)
			return
		}
		cursor = m.events.Before(q.last, q.since, q.wants)
	}
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(http.StatusOK)
	flush := http.NewResponseController(w)
	over := make(chan struct{})
	defer close(over)
	go func() { // a reader that stands still must not keep the master from its end
		select {
		case <-m.ended:
			_ = flush.SetWriteDeadline(time.Now().Add(time.Second))
		case <-over:
		}
	}()
	beat := time.NewTicker(heartbeat)
	defer beat.Stop()
	fmt.Fprintf(w, "id: %d\n\n", cursor)
	for ended := false; ; {
		list, next, missed, more := m.events.Read(cursor)
		cursor = next
		if missed != nil {
			text, _ := json.Marshal(missed) // of numbers
			fmt.Fprintf(w, "event: missed\ndata: %s\n\n", text)
		}
		for i := range list {
			if e := &list[i]; q.wants(e) {
				text, err := json.Marshal(e)
				if err != nil {
					return // of texts and numbers: it cannot be
				}
				fmt.Fprintf(w, "id: %d\nevent: %s\ndata: %s\n\n", e.ID, e.Kind, text)
			}
		}
		if len(list) > 0 && !q.wants(&list[len(list)-1]) {
			fmt.Fprintf(w, "id: %d\n\n", cursor)
		}
		if flush.Flush() != nil || r.Context().Err() != nil {
			return
		}
		if more == nil {
			continue
		}
		if !q.follow || ended {
			if ended && m.stopped.Load() {
				fmt.Fprint(w, "event: end\ndata: {}\n\n")
			}
			return
		}
		select {
		case <-more:
		case <-beat.C:
			fmt.Fprintf(w, "id: %d\n\n", cursor)
		case <-r.Context().Done():
			return
		case <-m.ended: // and what it said last is read
			ended = true
		}
	}
}

// knowsApps finds a name that is of no app, and of none that there was.
func (m *master) knowsApps(names []string) error {
	if len(names) == 0 {
		return nil
	}
	var known []string
	m.look(func() {
		for _, name := range m.order {
			known = append(known, name, m.apps[name].spec.Title)
		}
	})
	for _, name := range names {
		if slices.Contains(known, name) {
			continue
		}
		any := -1
		if m.events.Before(any, time.Time{}, func(e *control.Event) bool { return e.About([]string{name}) }) == m.events.Last() {
			return m.unknownApp(name)
		}
	}
	return nil
}

func (m *master) unknownApp(name string) (err error) {
	m.look(func() { err = m.unknown(name) })
	return err
}

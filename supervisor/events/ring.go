// Package events keeps what has happened for those who have not read it yet: clients that
// follow, hooks that are to be run.
//
// There is one sequence of events, in a ring that is bounded in number and in bytes. Who
// writes never waits. Who reads has a cursor, the id of the last event that it has read:
// there is no queue for each reader, and one that is slow learns how many it has missed.
//
// The ring is also in two memfds that outlive a master (store.go), with the cursors of
// those readers that must miss nothing.
package events

import (
	"cmp"
	"encoding/json"
	"maps"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/nekoctl/neko/supervisor/control"
)

// The bounds of the ring, the bytes being those of the events as JSON.
const (
	MaxEvents = 1000
	MaxBytes  = 256 << 10
)

// Ring is safe for use by several goroutines.
type Ring struct {
	bounds
	mu      sync.Mutex
	list    []entry // their ids have no gaps
	bytes   int
	last    int64         // id of the newest; it grows over daemons
	began   int64         // id before the first of this daemon
	changed chan struct{} // closed when there is more to be read; nil: nobody waits
	told    map[string]bool
	state   State
	store   *store
	err     error // of the store
}

type entry struct {
	event control.Event
	once  string
	size  int
	held  bool // it is not complete: neither it nor what comes after it can be read
}

// bounds are smaller in tests.
type bounds struct{ events, bytesOf, segment int }

// State is what is remembered beside events.
type State struct {
	// Master, Version and Left are of the master that writes: Left, that it ends in order,
	// for another.
	Master  int    `json:"master,omitempty"`
	Version string `json:"version,omitempty"`
	Left    bool   `json:"left,omitempty"`
	// Upgrade is one that has begun and of which nobody has told yet how it ended.
	Upgrade *Upgrade `json:"upgrade,omitempty"`
	// Cursors are of those who must miss nothing: the ids of the last events that they
	// have dealt with.
	Cursors map[string]int64 `json:"cursors,omitempty"`
	// Events counts by kind, of those that are known, and Calls those of hooks by result,
	// since the daemon began.
	Events map[string]uint64 `json:"events,omitempty"`
	Calls  map[string]uint64 `json:"calls,omitempty"`
}

// Upgrade is from one version to another.
type Upgrade struct {
	From string `json:"from"`
	To   string `json:"to"`
}

func (s State) clone() State {
	s.Cursors, s.Events, s.Calls = maps.Clone(s.Cursors), maps.Clone(s.Events), maps.Clone(s.Calls)
	if s.Upgrade != nil {
		u := *s.Upgrade
		s.Upgrade = &u
	}
	return s
}

// New is an empty ring of a new daemon. Its ids begin at the time of day in milliseconds,
// which no earlier daemon can have come to with its own.
func New() *Ring {
	now := time.Now().UnixMilli()
	return &Ring{bounds: bounds{MaxEvents, MaxBytes, segment}, last: now, began: now, state: State{Events: map[string]uint64{}, Calls: map[string]uint64{}, Cursors: map[string]int64{}}}
}

// Files makes what the ring is kept in: descriptors for [Ring.Keep] and whoever keeps
// them for the next master.
func Files() ([2]*os.File, error) { return openStore() }

// Keep goes on with what files have of an earlier master, if they have anything, and
// keeps everything there from now on. It is called before all others, and takes the files
// over.
func (r *Ring) Keep(files [2]*os.File) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := &store{files: files, most: int64(r.segment)}
	lines, err := s.load()
	if err != nil {
		return err
	}
	r.replay(lines)
	r.store = s
	r.trim()
	return s.begin(r.all())
}

// replay is what an earlier master wrote, in its order.
func (r *Ring) replay(lines []line) {
	at := map[int64]int{} // places in list by id
	counted := int64(0)
	for _, l := range lines {
		switch {
		case l.State != nil:
			r.state = l.State.clone()
			r.began, r.last, counted = l.Began, max(l.Last, 0), l.Last
			if r.state.Events == nil {
				r.state.Events = map[string]uint64{}
			}
			if r.state.Calls == nil {
				r.state.Calls = map[string]uint64{}
			}
			if r.state.Cursors == nil {
				r.state.Cursors = map[string]int64{}
			}
		case l.Event != nil:
			if l.Once != "" {
				if r.told == nil {
					r.told = map[string]bool{}
				}
				r.told[l.Once] = true
			}
			e := entry{event: *l.Event, once: l.Once, size: l.size, held: l.Held}
			if i, known := at[e.event.ID]; known { // it was completed, or written again
				e.once = cmp.Or(e.once, r.list[i].once)
				r.list[i] = e
				continue
			}
			at[e.event.ID] = len(r.list)
			r.list = append(r.list, e)
		}
	}
	slices.SortFunc(r.list, func(a, b entry) int { return int(a.event.ID - b.event.ID) })
	// What is read by number is to have no gap: it begins after the last one.
	for i := len(r.list) - 1; i > 0; i-- {
		if r.list[i].event.ID != r.list[i-1].event.ID+1 {
			r.list = r.list[i:]
			break
		}
	}
	for _, e := range r.list {
		r.bytes += e.size
		if e.event.ID > counted {
			r.count(e.event.Kind)
		}
		r.last = max(r.last, e.event.ID)
	}
}

// count does so by the kinds that are known; those that programs make up are one.
func (r *Ring) count(k control.Kind) {
	name := string(k)
	if !slices.ContainsFunc(control.EventKinds, func(known control.EventKind) bool { return known.Kind == k }) {
		name = control.OwnEvents + "*"
	}
	r.state.Events[name]++
}

// Add gives an event the next id, and the time if it has none. An event that is held is
// to be completed, and nobody reads it before. It is not added, and 0 is returned, if an
// earlier master has added one of the same once, which may be "".
func (r *Ring) Add(e control.Event, once string, held bool) int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	if once != "" && r.told[once] {
		return 0
	}
	if e.Time.IsZero() {
		e.Time = time.Now().UTC()
	}
	e.ID = r.last + 1
	size := r.write(line{Event: &e, Once: once, Held: held}) // a state that goes before it does not count it
	r.last = e.ID
	r.list = append(r.list, entry{e, once, size, held})
	r.bytes += size
	r.count(e.Kind)
	r.trim()
	if !held {
		r.wake()
	}
	return e.ID
}

// Complete changes an event that is held, and lets it be read.
func (r *Ring) Complete(id int64, change func(*control.Event)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	i := r.index(id)
	if i < 0 || !r.list[i].held {
		return
	}
	e := &r.list[i]
	if change != nil {
		change(&e.event)
	}
	r.bytes -= e.size
	e.event.ID, e.held = id, false
	e.size = r.write(line{Event: &e.event, Once: e.once})
	r.bytes += e.size
	r.trim()
	r.wake()
}

// Held are those that nobody has completed.
func (r *Ring) Held() (list []control.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, e := range r.list {
		if e.held {
			list = append(list, e.event)
		}
	}
	return list
}

// Forget lets events of a once be added again.
func (r *Ring) Forget(once string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.told, once)
}

func (r *Ring) index(id int64) int {
	if len(r.list) == 0 {
		return -1
	}
	i := id - r.list[0].event.ID
	if i < 0 || i >= int64(len(r.list)) {
		return -1
	}
	return int(i)
}

// trim keeps the ring within its bounds. The newest stays.
func (r *Ring) trim() {
	n := 0
	for len(r.list)-n > r.events || r.bytes > r.bytesOf && len(r.list)-n > 1 {
		r.bytes -= r.list[n].size
		r.list[n] = entry{} // for the collector
		n++
	}
	if n > 0 {
		r.list = r.list[n:]
	}
}

func (r *Ring) wake() {
	if r.changed != nil {
		close(r.changed)
		r.changed = nil
	}
}

// write keeps a line, and returns how long it is.
func (r *Ring) write(l line) int {
	text, err := json.Marshal(l)
	if err != nil { // of texts and numbers
		r.err = err
		return 0
	}
	if r.store != nil {
		if err := r.store.append(text, r.all); err != nil && r.err == nil {
			r.err = err
		}
	}
	return len(text)
}

func (r *Ring) stateLine() line {
	s := r.state.clone()
	return line{State: &s, Began: r.began, Last: r.last}
}

// all is what a file begins with: what there is so far.
func (r *Ring) all() []line {
	lines := []line{r.stateLine()}
	for i := range r.list {
		e := &r.list[i]
		lines = append(lines, line{Event: &e.event, Once: e.once, Held: e.held})
	}
	return lines
}

// Err is the first error of keeping what there is for the next master, nil if there was
// none.
func (r *Ring) Err() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.err
}

// State is what is remembered beside events.
func (r *Ring) State() State {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.state.clone()
}

// Update changes it.
func (r *Ring) Update(change func(*State)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	change(&r.state)
	r.write(r.stateLine())
}

// Last is the id of the newest event that can be read, or of where the ring began.
func (r *Ring) Last() int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.readable()
}

func (r *Ring) readable() int64 {
	for _, e := range r.list {
		if e.held {
			return e.event.ID - 1
		}
	}
	return r.last
}

// Before is the cursor with which at most the last n events are read that are not
// older than since and are wanted. n below 0: all.
func (r *Ring) Before(n int, since time.Time, wanted func(*control.Event) bool) int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	last := r.readable()
	cursor := last
	for i := r.index(last); i >= 0 && n != 0; i-- {
		e := &r.list[i].event
		if e.Time.Before(since) {
			break
		}
		if wanted(e) {
			cursor = e.ID - 1
			n--
		}
	}
	return cursor
}

// batch is how many events one read gives.
const batch = 64

// Read gives events that come after a cursor, and the cursor after them. If there are
// none, more is closed when there may be. Missed tells of what was there and is gone.
func (r *Ring) Read(cursor int64) (list []control.Event, next int64, missed *control.Missed, more <-chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	last := r.readable()
	oldest := last + 1
	if len(r.list) > 0 {
		oldest = r.list[0].event.ID
	}
	switch {
	case cursor > r.last || cursor < r.began: // it is another daemon's, the clock may have been set back
		cursor, missed = oldest-1, &control.Missed{Restarted: true}
	case cursor < oldest-1:
		missed = &control.Missed{Events: oldest - 1 - cursor}
		cursor = oldest - 1
	}
	if i := r.index(cursor + 1); i >= 0 {
		for ; cursor < last && len(list) < batch; i++ {
			list = append(list, r.list[i].event)
			cursor++
		}
	}
	if len(list) == 0 {
		if r.changed == nil {
			r.changed = make(chan struct{})
		}
		more = r.changed
	}
	return list, cursor, missed, more
}

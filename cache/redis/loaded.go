package redis

import "sync"

// maxLoaded is how many tags changes are passed on of at most: some 10 MiB.
const maxLoaded = 1 << 16

// loaded are the tags that Load has returned, of all that are told of. Their generations are not kept: whoever
// has been told that something was invalidated, by another process of this host, must not load what was
// there before.
type loaded struct {
	mu      sync.Mutex
	tags    map[string]tag
	changed func(name string)
	lost    func()
}

type tag struct {
	returned bool // by a Load, since something was told of it
	readers  int  // calls of Load that are under way
}

func (l *loaded) watch(changed func(string), lost func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.changed, l.lost = changed, lost
}

// begin is before tags are read.
func (l *loaded) begin(names []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, name := range names {
		t, _ := l.get(name)
		t.readers++
		l.tags[name] = t
	}
}

// end is after that. A tag that had to go meanwhile may have changed without a word.
func (l *loaded) end(names []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, name := range names {
		t, ok := l.get(name)
		if !ok {
			l.tell(name)
		}
		t.returned, t.readers = true, max(t.readers-1, 0)
		l.tags[name] = t
	}
}

// get makes room for a tag that is not there.
func (l *loaded) get(name string) (t tag, ok bool) {
	if l.tags == nil {
		l.tags = map[string]tag{}
	}
	if t, ok = l.tags[name]; !ok && len(l.tags) >= maxLoaded {
		for other := range l.tags { // any; who has it must ask again
			delete(l.tags, other)
			l.tell(other)
			break
		}
	}
	return t, ok
}

func (l *loaded) tell(name string) {
	if l.changed != nil {
		l.changed(name)
	}
}

// forget is for tags that have changed.
func (l *loaded) forget(names ...string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, name := range names {
		if t, ok := l.tags[name]; ok {
			t.returned = false
			l.tags[name] = t
			l.tell(name)
		}
	}
}

// given is for a tag that a Load of ours has given its generation. Redis does not tell us of what we do,
// nor then of what somebody else has done to the tag just before: if there is anybody who may have had
// it of that, he must know.
func (l *loaded) given(name string) {
	l.mu.Lock()
	t := l.tags[name]
	l.mu.Unlock()
	if t.returned || t.readers > 1 {
		l.forget(name)
	}
}

// lose is for when any may have changed.
func (l *loaded) lose() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.lost != nil {
		l.lost()
	}
}

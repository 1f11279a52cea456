package redis

import "sync"

// maxLoaded is how many tags changes are passed on of at most: some 10 MiB.
const maxLoaded = 1 << 16

// loaded are the tags that Load has returned, of all that are told of. Their generations are not kept: whoever
// has been told that something was invalidated, by another process of this host, must not load what was
// there before.
type loaded struct {
	mu      sync.Mutex
	tags    map[string]struct{}
	changed func(name string)
	lost    func()
}

func (l *loaded) watch(changed func(string), lost func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.changed, l.lost = changed, lost
}

// begin is before tags are read.
func (l *loaded) begin(names []string) { l.add(names, false) }

// end is after that. A tag that had to go meanwhile may have changed without a word.
func (l *loaded) end(names []string) { l.add(names, true) }

func (l *loaded) add(names []string, again bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.tags == nil {
		l.tags = map[string]struct{}{}
	}
	for _, name := range names {
		if _, ok := l.tags[name]; ok {
			continue
		}
		if len(l.tags) >= maxLoaded {
			for other := range l.tags { // any; who has it must ask again
				delete(l.tags, other)
				l.tell(other)
				break
			}
		}
		l.tags[name] = struct{}{}
		if again {
			l.tell(name)
		}
	}
}

func (l *loaded) tell(name string) {
	if l.changed != nil {
		l.changed(name)
	}
}

// forget is for a tag that has changed.
func (l *loaded) forget(name string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, ok := l.tags[name]; ok {
		l.tell(name)
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

package caches

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nekoctl/neko/cache"
)

// What is promised, in the words of docs/caching.md.
const (
	// A host that has heard of Redis all the time sees a change elsewhere within a round trip. It is a
	// second here, for a machine that has other things to do; what takes longer than soon is counted.
	connected = time.Second
	soon      = 50 * time.Millisecond
	// That Redis is gone is found out within a second; then answers are used for UnconfirmedMaxAge.
	detection = time.Second
	slack     = time.Second // for this machine
	// A worker that has just started is cut off until it has connected.
	starting = time.Second
	// After a fault has ended all is as before within so long: connections are tried again, what
	// has waited is told.
	recovery = 2500 * time.Millisecond
)

// fault is a time in which something was wrong.
type fault struct {
	name       string
	host       int // -1: with Redis itself, for all
	begin, end int64
}

// reach is until when a fault can be felt.
func (f *fault) reach() int64 { return f.end + int64(recovery) }

// life is of one worker process.
type life struct {
	host    int
	began   int64
	records []record
	killed  int64 // 0: it has ended well
}

// change is one that a worker has made, and when others must have been told.
type change struct {
	host    int
	version uint64
	at      int64 // this host was told
	told    int64 // all others; 0: nobody knows
	later   bool  // not when it returned
}

// finding is a read that is worth a word.
type finding struct {
	at   int64
	text string
}

type verdict struct {
	reads, kept         int // all, and those that nobody has had to make
	states              [5]int
	shared              int
	changes, later      int
	late                int           // reads of connected hosts with what had changed elsewhere more than soon before
	latest              time.Duration // of them
	latestRead          finding
	latestCut           time.Duration // the same of hosts that something was wrong with
	own                 int           // reads that are older than a change on the same host
	violations          []finding
	judgedCut, judgedOK int
}

// judge looks at each read: which changes had been told before it began, and is what was read older?
func judge(lives []life, faults []fault) (v verdict) {
	var changes [objects][]change
	for _, l := range lives {
		for _, r := range l.records {
			if r.Kind == read {
				continue
			}
			v.changes++
			c := change{l.host, r.Version, r.After, r.After, r.Kind == changedHere}
			if r.Kind == changedHere {
				v.later++
				c.told = 0
				for _, f := range faults { // it is told when that is over
					if f.felt(l.host, r.Before, r.After) {
						c.told = max(c.told, f.reach())
					}
				}
				if c.told == 0 {
					c.told = r.After + int64(recovery) // a busy machine
				}
				if l.killed != 0 && l.killed <= c.told {
					c.told = 0
				}
			}
			changes[r.Object] = append(changes[r.Object], c)
		}
	}
	for i := range changes {
		slices.SortFunc(changes[i], func(a, b change) int { return cmp.Compare(a.version, b.version) })
	}
	for _, l := range lives {
		for _, r := range l.records {
			if r.Kind == read {
				v.judge(&l, &r, changes[r.Object], faults)
			}
		}
	}
	return v
}

// felt says whether a host may have felt a fault between two times.
func (f *fault) felt(host int, from, to int64) bool {
	return (f.host < 0 || f.host == host) && f.begin <= to && f.reach() >= from
}

func (v *verdict) judge(l *life, r *record, changes []change, faults []fault) {
	host := l.host
	v.reads++
	v.states[r.State]++
	if r.State != uint8(cache.Made) {
		v.kept++
	}
	v.shared += int(r.Shared)
	first, _ := slices.BinarySearchFunc(changes, r.Version+1, func(c change, version uint64) int { return cmp.Compare(c.version, version) })
	var own, others time.Duration // how long before the read a newer version was told
	var told int64
	var ownLater bool
	for _, c := range changes[first:] {
		if c.host == host {
			if d := time.Duration(r.Before - c.at); d > own {
				own, ownLater = d, c.later
			}
		} else if c.told != 0 {
			if d := time.Duration(r.Before - c.told); d > others {
				others, told = d, c.told
			}
		}
	}
	if own > 0 {
		v.own++
		v.violate(host, r, "changed on this host %v before (others were to be told later: %v)", own, ownLater)
	}
	if others <= 0 {
		v.judgedOK++
		return
	}
	start := fault{"its worker had just started", host, l.began, l.began + int64(starting-recovery)}
	for i := -1; i < len(faults); i++ {
		f := &start
		if i >= 0 {
			f = &faults[i]
		}
		if !f.felt(host, told, r.Before) {
			continue
		}
		v.judgedCut++
		v.latestCut = max(v.latestCut, others)
		bound := detection + unconfirmed + slack
		if r.State == uint8(cache.StaleOnError) {
			bound = staleFor + detection + slack
		}
		// As long as it lasts, and no longer, changes elsewhere are seen only as answers become too old.
		if others > bound {
			v.violate(host, r, "changed elsewhere %v before, while %s", others, f.name)
		}
		return
	}
	v.judgedOK++
	if others > v.latest {
		v.latest, v.latestRead = others, v.describe(host, r, "changed elsewhere %v before", others)
	}
	if others > soon {
		v.late++
	}
	if others > connected {
		v.violate(host, r, "changed elsewhere %v before", others)
	}
}

func (v *verdict) violate(host int, r *record, format string, args ...any) {
	if len(v.violations) < 20 {
		v.violations = append(v.violations, v.describe(host, r, format, args...))
	}
}

func (v *verdict) describe(host int, r *record, format string, args ...any) finding {
	text := fmt.Sprintf(format, args...)
	return finding{r.Before, fmt.Sprintf("host %d read version %d of %d, %v old, as state %d (made by others: %d): %s",
		host, r.Version, r.Object, time.Duration(r.Age)*time.Millisecond, r.State, r.Shared, text)}
}

// String is a table.
func (v *verdict) String() string {
	var b strings.Builder
	row := func(name string, value any) { fmt.Fprintf(&b, "%-48s %10v\n", name, value) }
	row("reads", v.reads)
	for state, name := range []string{"", "fresh", "stale, made anew meanwhile", "stale, as it could not be made", "made"} {
		if name != "" {
			row("  "+name, v.states[state])
		}
	}
	row("  of them made by somebody else just then", v.shared)
	row("changes", v.changes)
	row("  told to other hosts later", v.later)
	row("older than a change on the same host", v.own)
	row("connected: later than 50 ms", v.late)
	row("connected: latest", v.latest.Round(time.Microsecond))
	row("cut off: behind", v.judgedCut)
	row("cut off: latest", v.latestCut.Round(time.Millisecond))
	row("violations", len(v.violations))
	return b.String()
}

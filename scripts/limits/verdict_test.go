package limits

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/nekoctl/neko/limiter"
)

// request is a record, and what of it the judge looks at.
type request struct {
	record
	host, process int
}

func (r *request) is(flag uint8) bool { return r.Flags&flag == flag }

// evidence is what all workers of a stage have written down.
type evidence struct {
	*stage
	requests []request // by the time of their begin
	canaries []request
	cut      int // begun, and not finished when their worker was killed
	stats    limiter.Stats
	began    int64
	noLeases bool
}

func (s *stage) evidence() *evidence {
	s.Helper()
	e := &evidence{stage: s}
	for process, path := range s.every {
		var host int
		_, err := fmt.Sscanf(filepath.Base(path), "journal-host%d-", &host)
		must(s.T, err)
		finished := 0
		begun, err := readJournal(path, func(r *record) {
			finished++
			if x := (request{*r, host, process}); r.Flags&canary != 0 {
				e.canaries = append(e.canaries, x)
			} else {
				e.requests = append(e.requests, x)
			}
		})
		if errors.Is(err, fs.ErrNotExist) {
			continue // killed before it had one
		}
		must(s.T, err)
		e.cut += begun - finished
		text, err := os.ReadFile(path + statsSuffix)
		if errors.Is(err, fs.ErrNotExist) {
			continue // killed
		}
		must(s.T, err)
		var one limiter.Stats
		must(s.T, json.Unmarshal(text, &one))
		e.stats.Calls += one.Calls
		e.stats.Failures += one.Failures
		e.stats.Leased += one.Leased
		e.stats.Expired += one.Expired
		e.stats.Returned += one.Returned
		e.stats.Remembered += one.Remembered
		e.stats.Alone += one.Alone
		e.stats.Forgotten += one.Forgotten
	}
	if len(e.requests) == 0 {
		s.Fatal("nobody has asked for anything")
	}
	slices.SortFunc(e.requests, func(a, b request) int { return cmp.Compare(a.Before, b.Before) })
	e.began = e.requests[0].Before
	return e
}

func (e *evidence) stream(r *request) stream { return e.terms.Streams[r.Stream] }

func (c charge) tokens(r *request) int64 {
	if c.Costs {
		return int64(r.Cost)
	}
	return 1
}

// owner is a bucket: a policy's number, and a key.
type owner struct {
	policy int
	key    string
}

// account is what of one bucket was taken, by those decisions that chosen says.
func (e *evidence) accounts(chosen func(*request) bool) map[owner][]taking {
	all := map[owner][]taking{}
	for i := range e.requests {
		r := &e.requests[i]
		if !r.is(admitted) || !chosen(r) {
			continue
		}
		for _, c := range e.stream(r).Charges {
			o := owner{c.Policy, c.Key}
			all[o] = append(all[o], taking{r.Before - e.began, r.After - e.began, c.tokens(r)})
		}
	}
	return all
}

// bound is the hard promise: whatever happens to workers and hosts, no bucket gives more in
// any window, but for what gains say: what servers have forgotten.
//
// Decisions of Redis's are on Redis's clock, which runs as ours does, and is read in whole
// microseconds.
func (e *evidence) bound(gains func(owner) []taking) {
	e.Helper()
	accounts := e.accounts(func(r *request) bool { return !r.is(alone) })
	var lines []string
	for _, o := range sortedOwners(accounts) {
		p := e.terms.Policies[o.policy]
		grace := time.Microsecond
		if p.leased() && !e.noLeases {
			grace = limiter.LeaseTTL
		}
		takings := accounts[o]
		line := fmt.Sprintf("  %-12s %-12s %v", p.Name, o.key, worst(p.rule, takings, grace))
		var extra []taking
		if gains != nil {
			extra = gains(o)
		}
		w := worst(p.rule, append(takings, extra...), grace)
		if len(extra) > 0 {
			line += fmt.Sprintf("; but for what Redis has lost, %+.3f", w.over)
		}
		lines = append(lines, line)
		if w.over > 0 {
			e.Errorf("%s of %s is above its bound: %v", p.Name, o.key, w)
		}
	}
	e.Logf("most that was taken in a window, and by how much that is more than burst + rate × (W + lease):\n%s", strings.Join(lines, "\n"))
}

func sortedOwners[T any](m map[owner]T) []owner {
	var list []owner
	for o := range m {
		list = append(list, o)
	}
	slices.SortFunc(list, func(a, b owner) int {
		return cmp.Or(cmp.Compare(a.policy, b.policy), cmp.Compare(a.key, b.key))
	})
	return list
}

// conserved looks whether all that was let pass had been granted. Nobody may have been killed: what
// they were granted is known by them alone.
func (e *evidence) conserved() {
	e.Helper()
	var passed int64
	for _, takings := range e.accounts(func(r *request) bool { return !r.is(alone) }) {
		for _, t := range takings {
			passed += t.tokens
		}
	}
	granted := int64(e.stats.Leased) - int64(e.stats.Returned) - int64(e.stats.Expired)
	e.Logf("%d tokens were granted and neither given back nor lost, and %d let pass", granted, passed)
	if passed > granted {
		e.Errorf("%d more than were granted", passed-granted)
	}
}

// fairness is what clients got of what an exact limiter would have let pass.
type fairness struct {
	asked, real, exact int64 // tokens of the first charge
	requests, denied   int64
	exactDenied        int64
}

// lost is which part of what an exact limiter gives was not given.
func (f fairness) lost() float64 {
	if f.exact == 0 {
		return 0
	}
	return float64(f.exact-f.real) / float64(f.exact)
}

// falseDenials is which part of all requests was refused beyond what an exact limiter
// refuses.
func (f fairness) falseDenials() float64 {
	return float64(f.denied-f.exactDenied) / float64(max(f.requests, 1))
}

// fair feeds an exact limiter with the same requests, in the order of their begins, and
// compares, stream by stream. What stood still, or was killed in a decision, has sent
// nothing meanwhile, here and there.
func (e *evidence) fair() []fairness {
	buckets := map[owner]*bucket{}
	all := make([]fairness, len(e.terms.Streams))
	for i := range e.requests {
		r := &e.requests[i]
		if r.Refused >= noAnswer {
			continue
		}
		charges, now := e.stream(r).Charges, r.Before-e.began
		pass := true
		for _, c := range charges {
			o := owner{c.Policy, c.Key}
			if buckets[o] == nil {
				buckets[o] = newBucket(e.terms.Policies[c.Policy].rule)
			}
			if at := e.emptied[o] - e.began; at > buckets[o].at && at <= now {
				buckets[o].level, buckets[o].at = 0, at
			}
			pass = buckets[o].has(c.tokens(r), now) && pass
		}
		f, tokens := &all[r.Stream], charges[0].tokens(r)
		f.asked += tokens
		f.requests++
		if pass {
			for _, c := range charges {
				buckets[owner{c.Policy, c.Key}].take(c.tokens(r))
			}
			f.exact += tokens
		} else {
			f.exactDenied++
		}
		if r.is(admitted) {
			f.real += tokens
		} else {
			f.denied++
		}
	}
	return all
}

// describe is a line for each stream, and what all decisions took.
func (e *evidence) describe() []fairness {
	e.Helper()
	all := e.fair()
	var b strings.Builder
	fmt.Fprintf(&b, "%-34s %8s %8s %8s %7s %7s\n", "stream", "asked", "exact", "real", "lost", "false")
	for i, f := range all {
		fmt.Fprintf(&b, "%-34s %8d %8d %8d %6.2f%% %6.2f%%\n", e.name(i), f.asked, f.exact, f.real, 100*f.lost(), 100*f.falseDenials())
	}
	e.Logf("%d requests, %d cut off by a kill; stats of workers that ended well: %+v\n%s", len(e.requests), e.cut, e.stats, b.String())
	e.Log(e.times(func(*request) bool { return true }))
	return all
}

// enough looks for what clients must get: those who keep to the rate of a limit 95 % of what an
// exact limiter gives them; and of all requests no more than 5 % are refused that it would
// not have refused.
//
// Both are judged by what was really sent, and when. So a slow machine that sends less is
// no excuse and no reproach; but see tolerance.
func (e *evidence) enough(all []fairness) {
	e.Helper()
	tolerance := e.tolerance()
	var sum, steady fairness
	for i, f := range all {
		sum.requests, sum.denied, sum.exactDenied = sum.requests+f.requests, sum.denied+f.denied, sum.exactDenied+f.exactDenied
		if !e.terms.Streams[i].Steady {
			continue
		}
		steady.exact, steady.real = steady.exact+f.exact, steady.real+f.real
		if f.exact > 1000 && f.lost() > tolerance { // of less, one host that loses its power takes as much
			e.Errorf("%s got %d of %d, %.1f %%", e.name(i), f.real, f.exact, 100*(1-f.lost()))
		}
	}
	if steady.lost() > tolerance {
		e.Errorf("steady clients got %d of %d, %.1f %%", steady.real, steady.exact, 100*(1-steady.lost()))
	}
	e.Logf("of all requests %.2f %% were refused that an exact limiter lets pass; %.2f %% are tolerated on this machine", 100*sum.falseDenials(), 100*tolerance)
	if sum.falseDenials() > tolerance {
		e.Errorf("that is too much")
	}
}

// tolerance is the part that may be wrong: 5 %, or 10 in a short run, in which the beginning weighs; and
// where a machine had something else to do, what it was late with waits, compared with how
// long they were. Processes that do not run let leases come to nothing, and answers of Redis's too late.
func (e *evidence) tolerance() float64 {
	part := .05
	if !isLong() {
		part = .1
	}
	return part + e.busy(0, math.MaxInt64)
}

// busy is which part of a time processes could not run that wanted to, beyond what is usual: how
// late waits were in it, compared with how long they took.
func (e *evidence) busy(from, to int64) float64 {
	var waited, late int64
	for i := range e.canaries {
		if c := &e.canaries[i]; c.Before < to && c.After > from {
			waited += c.After - c.Before
			late += c.After - c.Before - int64(limiter.Budget)
		}
	}
	const usual = .05 // of a wait of 20 ms
	return max(float64(late)/float64(max(waited, 1))-usual, 0)
}

// latest is by how much a wait in a process of a host was late at most, in some time.
func (e *evidence) latest(host int, from, to int64) time.Duration {
	var most int64
	for i := range e.canaries {
		if c := &e.canaries[i]; c.host == host && c.Before < to && c.After > from {
			most = max(most, c.After-c.Before-int64(limiter.Budget))
		}
	}
	return time.Duration(most)
}

// name is that of a stream.
func (e *evidence) name(i int) string {
	s := e.terms.Streams[i]
	var names []string
	for _, c := range s.Charges {
		names = append(names, e.terms.Policies[c.Policy].Name+"/"+c.Key)
	}
	return s.Arrive + " " + strings.Join(names, "+")
}

// times are those that decisions took.
type times struct {
	n                   int
	p50, p99, p999, max time.Duration
	slow                int // of them took more than what is slow
	unexplained         int // of those, by more than the machine made others late
}

const slow = 100 * time.Millisecond

func (e *evidence) times(chosen func(*request) bool) times {
	var all []time.Duration
	var t times
	for i := range e.requests {
		r := &e.requests[i]
		if !chosen(r) {
			continue
		}
		d := time.Duration(r.After - r.Before)
		all = append(all, d)
		if d > slow {
			t.slow++
			if d-e.late(r) > slow {
				t.unexplained++
			}
		}
	}
	if t.n = len(all); t.n == 0 {
		return t
	}
	slices.Sort(all)
	at := func(part float64) time.Duration { return all[int(float64(len(all)-1)*part)] }
	t.p50, t.p99, t.p999, t.max = at(.5), at(.99), at(.999), at(1)
	return t
}

// late is by how much a wait of the same length was late in that process at that time.
func (e *evidence) late(r *request) time.Duration {
	var most int64
	for i := range e.canaries {
		c := &e.canaries[i]
		if c.process == r.process && c.Before < r.After && c.After > r.Before {
			most = max(most, c.After-c.Before-int64(limiter.Budget))
		}
	}
	return time.Duration(most)
}

func (t times) String() string {
	return fmt.Sprintf("p50 %v, p99 %v, p99.9 %v, max %v; %d above %v, %d of them more than the machine was late", t.p50, t.p99, t.p999, t.max, t.slow, slow, t.unexplained)
}

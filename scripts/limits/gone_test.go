package limits

import (
	"fmt"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nekoctl/neko/limiter"
)

// fault is something that happens to Redis, or to the way to it.
type fault struct {
	name    string
	begin   func(*stage)
	lasts   time.Duration
	end     func(*stage)
	forgets bool // buckets are full again
	away    bool // Redis does not answer at all
	short   bool // it is in a short run

	from, begun int64 // it began between them
	ending, to  int64 // and ended between those
}

func faults() []*fault {
	nothing := func(*stage) {}
	config := func(args ...string) func(*stage) {
		return func(s *stage) { s.Helper(); s.servers[0].cli(append([]string{"CONFIG", "SET"}, args...)...) }
	}
	path := func(command string) func(*stage) { return func(s *stage) { s.Helper(); s.onPaths(command) } }
	return []*fault{
		{name: "kill -9 and a new start", short: true, away: true, lasts: 1500 * time.Millisecond, forgets: true,
			begin: func(s *stage) { s.Helper(); must(s.T, s.servers[0].kill()) }, end: func(s *stage) { s.Helper(); s.servers[0].start() }},
		{name: "SIGSTOP", short: true, away: true, lasts: stopped(),
			begin: func(s *stage) { s.Helper(); must(s.T, s.servers[0].signal(syscall.SIGSTOP)) },
			end:   func(s *stage) { s.Helper(); must(s.T, s.servers[0].signal(syscall.SIGCONT)) }},
		{name: "cut off and refused", away: true, lasts: time.Second, begin: path("refuse"), end: path("resume")},
		{name: "silence", away: true, lasts: 1500 * time.Millisecond, begin: path("stall"), end: path("resume")},
		{name: "50 ms there and back", lasts: 1500 * time.Millisecond, begin: path("delay 25ms"), end: path("resume")},
		{name: "200 ms there and back", short: true, lasts: 1500 * time.Millisecond, begin: path("delay 100ms"), end: path("resume")},
		{name: "connections reset", lasts: 500 * time.Millisecond, begin: path("cut"), end: nothing},
		{name: "FLUSHALL", short: true, lasts: 500 * time.Millisecond, forgets: true,
			begin: func(s *stage) { s.Helper(); s.servers[0].cli("FLUSHALL") }, end: nothing},
		{name: "SCRIPT FLUSH", lasts: 500 * time.Millisecond,
			begin: func(s *stage) { s.Helper(); s.servers[0].cli("SCRIPT", "FLUSH") }, end: nothing},
		{name: "no memory", away: true, lasts: time.Second, begin: config("maxmemory", "1mb"), end: config("maxmemory", "0")},
	}
}

// stopped is for how long Redis stands still.
func stopped() time.Duration {
	if isLong() {
		return 3 * time.Second
	}
	return 1500 * time.Millisecond
}

func TestRedisGoesAndComesBack(t *testing.T) {
	sideBySide(t)
	policies := []policy{
		{Name: "local", rule: rule{300, time.Second, 300}, Fail: "local"},
		{Name: "open", rule: rule{300, time.Second, 300}, Fail: "open"},
		{Name: "closed", rule: rule{300, time.Second, 300}, Fail: "closed"},
		{Name: "local exact", rule: rule{15, time.Second, 15}, Fail: "local"},
		{Name: "open exact", rule: rule{15, time.Second, 15}, Fail: "open"},
		{Name: "closed exact", rule: rule{15, time.Second, 15}, Fail: "closed"},
	}
	var streams []stream
	for i, p := range policies {
		streams = append(streams,
			stream{Charges: []charge{{Policy: i, Key: "above"}}, Arrive: "poisson", PerSec: max(1.5*float64(p.Limit), 60)},
			stream{Charges: []charge{{Policy: i, Key: "below"}}, Arrive: "poisson", PerSec: .5 * float64(p.Limit)})
	}
	s := newStage(t, policies, streams, oneRedis)
	s.throughProxy()
	s.arrive()
	time.Sleep(hostsKnown - 1200*time.Millisecond)
	all := faults()
	if !isLong() {
		all = slices.DeleteFunc(all, func(f *fault) bool { return !f.short })
	}
	for _, f := range all {
		time.Sleep(1200 * time.Millisecond)
		f.from = monotonic()
		f.begin(s)
		f.begun = monotonic()
		time.Sleep(f.lasts)
		f.ending = monotonic()
		f.end(s)
		f.to = monotonic()
	}
	time.Sleep(1200 * time.Millisecond)
	s.leave()

	e := s.evidence()
	e.bound(func(o owner) (gains []taking) {
		for _, f := range all {
			if f.forgets {
				gains = append(gains, gain(f.from-e.began, f.to-e.began, policies[o.policy].Burst, limiter.LeaseTTL))
			}
		}
		return gains
	})
	e.describe()
	e.alonePart()
	for _, f := range all {
		f.judge(e)
	}
}

// judge looks at what was decided during a fault, and right after it.
func (f *fault) judge(e *evidence) {
	e.Helper()
	within := func(from, to int64) func(*request) bool {
		return func(r *request) bool { return r.Before >= from && r.Before < to }
	}
	t := e.times(within(f.from, f.to))
	if t.unexplained*1000 > t.n {
		e.Errorf("%s: %d decisions of %d took more than %v", f.name, t.unexplained, t.n, slow)
	}
	back := e.back(f.to)
	var b strings.Builder
	for i, p := range e.terms.Policies {
		all := e.count(i, within(f.from, f.to))
		fmt.Fprintf(&b, "\n  %-13s %+v", p.Name, all)
		switch {
		case p.Fail == "open" && all.aloneRefused > 0:
			e.Errorf("%s: %s has refused %d alone", f.name, p.Name, all.aloneRefused)
		case p.Fail == "closed" && all.aloneAdmitted > 0:
			e.Errorf("%s: %s has let %d pass alone", f.name, p.Name, all.aloneAdmitted)
		case p.Fail == "local" && f.away && float64(all.aloneTokens) < float64(e.share(p, f))*(.5-e.busy(f.begun, f.ending)):
			e.Errorf("%s: %s has let %d pass alone, and its part of the limit was %d", f.name, p.Name, all.aloneTokens, e.share(p, f))
		}
		// When it is known, and all leases have ended. What a worker has heard late, because it
		// could not run, it believes for longer.
		const sure = 100 * time.Millisecond
		later := within(f.begun+int64(limiter.LeaseTTL+sure), f.ending-int64(limiter.Budget))
		late := e.count(i, func(r *request) bool { return later(r) && e.latest(r.host, f.from, r.Before) < sure })
		switch {
		case !f.away:
		case p.Fail == "open" && late.refused > 0:
			e.Errorf("%s: %s has refused %d of %d that came a second later", f.name, p.Name, late.refused, late.refused+late.admitted)
		case p.Fail == "closed" && late.admitted > 0:
			e.Errorf("%s: %s has let %d of %d pass that came a second later", f.name, p.Name, late.admitted, late.refused+late.admitted)
		}
	}
	if back > time.Second {
		e.Errorf("%s: only %v after its end all workers have asked Redis", f.name, back)
	}
	e.Logf("%s for %v: %v; the last worker asked Redis again after %v%s", f.name, time.Duration(f.to-f.from).Round(time.Millisecond), t,
		back.Round(time.Millisecond), b.String())
}

// count is what became of requests.
type count struct{ admitted, refused, aloneAdmitted, aloneRefused, aloneTokens int }

func (e *evidence) count(policy int, chosen func(*request) bool) (c count) {
	for i := range e.requests {
		r := &e.requests[i]
		if first := e.stream(r).Charges[0]; first.Policy != policy || !chosen(r) {
			continue
		}
		switch {
		case r.is(admitted | alone):
			c.admitted++
			c.aloneAdmitted++
			c.aloneTokens += int(e.stream(r).Charges[0].tokens(r))
		case r.is(admitted):
			c.admitted++
		case r.is(alone):
			c.refused++
			c.aloneRefused++
		default:
			c.refused++
		}
	}
	return c
}

// share is what the rate of the key that is asked for too much gives during a fault.
func (e *evidence) share(p policy, f *fault) int { return int(p.tokens(p.grown(f.ending - f.begun))) }

// back is after what time the last of all workers had a decision of Redis's again, but for
// what the machine was late.
func (e *evidence) back(from int64) (last time.Duration) {
	first := map[int]*request{}
	for i := range e.requests {
		r := &e.requests[i]
		if p := e.terms.Policies[e.stream(r).Charges[0].Policy]; r.Before >= from && !p.leased() && !r.is(alone) && first[r.process] == nil {
			first[r.process] = r
		}
	}
	for _, r := range first {
		last = max(last, time.Duration(r.Before-from)-e.lateSince(r.process, from, r.Before))
	}
	if len(first) < hostsOfStage*slotsOfHost {
		return time.Hour
	}
	return last
}

// lateSince is by how much all waits of a process were late, together.
func (e *evidence) lateSince(process int, from, to int64) (sum time.Duration) {
	for i := range e.canaries {
		if c := &e.canaries[i]; c.process == process && c.After > from && c.Before < to {
			sum += time.Duration(c.After - c.Before - int64(limiter.Budget))
		}
	}
	return sum
}

// hostsKnown is after what time all hosts have heard how many there are.
const hostsKnown = 3 * time.Second

// alonePart judges what hosts let pass by themselves: each of them its part of burst and rate.
func (e *evidence) alonePart() {
	e.Helper()
	for h := range e.hosts {
		accounts := e.accounts(func(r *request) bool { return r.host == h && r.is(alone) && r.Before > e.began+int64(hostsKnown) })
		for _, o := range sortedOwners(accounts) {
			p := e.terms.Policies[o.policy]
			if p.Fail != "local" {
				continue
			}
			part := rule{p.Limit, p.Window * hostsOfStage, p.Burst / hostsOfStage}
			w := worst(part, accounts[o], time.Microsecond)
			e.Logf("%s, %s of %s alone: %v", e.hosts[h].node, p.Name, o.key, w)
			if w.over > 0 {
				e.Errorf("%s alone has let pass more than its part of %s: %v", e.hosts[h].node, p.Name, w)
			}
		}
	}
}

package breaker

import (
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nekoctl/neko/hostmem"
)

// two are the policies of two workers of a host.
func two(t *testing.T, o Options) (a, b *Policy) {
	t.Helper()
	m, err := hostmem.Anonymous(8)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	})
	o.Name, o.IsFailure = "p", isAway
	for i, p := range []**Policy{&a, &b} {
		o.Host = hostOn(t, m)
		o.Host.self = uint64(i)
		*p = mustNew(t, o)
	}
	b.clock = a.clock // so that a millisecond is the same to both
	return a, b
}

func TestTwoWhoAgreeOpenItForAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := two(t, Options{})
		fail(t, a)
		wantState(t, b, Closed)
		time.Sleep(11 * time.Second)
		fail(t, b)
		if w := word(a.record.word.Load()); w.kind() != closed {
			t.Fatal("they have opened at different times, and agree")
		}
	})
	synctest.Test(t, func(t *testing.T) {
		a, b := two(t, Options{})
		fail(t, a)
		time.Sleep(9 * time.Second)
		fail(t, b)
		var first, second *OpenError
		if !errors.As(ends(t, a, nil), &first) || !errors.As(ends(t, b, nil), &second) || first.until != second.until {
			t.Fatalf("%v %v", first, second)
		}
		time.Sleep(time.Until(first.Until) + time.Millisecond)
		if err := ends(t, b, nil); err != nil {
			t.Fatal(err)
		}
		wantState(t, a, Closed)
		if err := ends(t, a, nil); err != nil {
			t.Fatal(err)
		}
		// It is as if nothing had been.
		fail(t, a)
		wantState(t, b, Closed)
	})
}

// The others come first to make a trial after one that has failed: it may have been the
// fault of who made it.
func TestWhoHasFailedLetsOthersTry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := two(t, Options{})
		fail(t, a)
		fail(t, b)
		time.Sleep(37 * time.Second)
		if err := ends(t, a, errAway); !errors.Is(err, errAway) {
			t.Fatal(err)
		}
		until := a.Status().Until
		time.Sleep(time.Until(until) + time.Millisecond)
		if err := ends(t, a, nil); !errors.Is(err, ErrOpen) {
			t.Fatal(err)
		}
		if err := ends(t, b, errAway); !errors.Is(err, errAway) {
			t.Fatal(err)
		}
		// If nobody else comes it is its turn half a second later.
		time.Sleep(time.Until(b.Status().Until) + 501*time.Millisecond)
		if err := ends(t, b, nil); err != nil {
			t.Fatal(err)
		}
		wantState(t, a, Closed)
	})
}

func TestOthersAreToldThatItIsOpenForAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, err := hostmem.Anonymous(8)
		if err != nil {
			t.Fatal(err)
		}
		var all [3]*Policy
		for i := range all {
			h := hostOn(t, m)
			h.self = uint64(i)
			if all[i], err = New(Options{Name: "p", Host: h}); err != nil {
				t.Fatal(err)
			}
		}
		var told []Change
		all[2].Watch(func(c Change) { told = append(told, c) })
		fail(t, all[0])
		fail(t, all[1])
		if s := all[2].Status(); s.State != Open || s.Reason != "other workers of this host have found it so" {
			t.Errorf("%+v", s)
		}
		if err := ends(t, all[2], nil); !errors.Is(err, ErrOpen) {
			t.Error(err)
		}
		time.Sleep(37 * time.Second)
		if err := ends(t, all[0], nil); err != nil {
			t.Error(err)
		}
		time.Sleep(time.Second) // nobody calls, and it is seen all the same
		synctest.Wait()
		if len(told) != 3 || told[0].To != Open || told[1].To != HalfOpen || told[2].To != Closed {
			t.Errorf("%+v", told)
		}
		for _, p := range all {
			p.Close()
		}
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	})
}

func TestARestartedWorkerIsNoSecondOne(t *testing.T) {
	t.Setenv("NEKO_SLOT", "7")
	if a, b := newTestHost(t), newTestHost(t); a.self != 7 || b.self != 7 {
		t.Errorf("%d %d", a.self, b.self)
	}
	t.Setenv("NEKO_SLOT", "99999999")
	if a := newTestHost(t); a.self < firstDrawn || a.self >= 2*firstDrawn {
		t.Error(a.self)
	}
}

// When there are too many names the rest is for one worker alone.
func TestTooManyNames(t *testing.T) {
	h := newTestHost(t)
	known := map[*record]string{}
	for i := range records {
		name := fmt.Sprint("p", i)
		r := h.record(name)
		if r == nil || known[r] != "" || h.record(name) != r {
			t.Fatalf("%s has the record of %q", name, known[r])
		}
		known[r] = name
	}
	if h.record("one more") != nil {
		t.Error("there was room for one more")
	}
	p := mustNew(t, Options{Name: "one more", Host: h})
	fail(t, p)
	for name := range known {
		if r := h.record(known[name]); r.word.Load() != 0 {
			t.Error("it has written to another's")
		}
	}
}

// A worker that is killed after it has voted, and before it has opened what two agree on, leaves a vote.
func TestAVoteIsAllThatIsLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := two(t, Options{})
		if a.record.vote(0, 0, a.clock.now(), 10_000) {
			t.Fatal("one agrees with itself")
		}
		if !a.record.vote(2, 0, a.clock.now(), 10_000) {
			t.Fatal("two do not")
		}
		wantState(t, b, Closed)
		fail(t, b)
		if w := word(b.record.word.Load()); w.kind() != open {
			t.Error("the third has not opened it")
		}
		for voter := range uint64(20) { // there is always a place
			a.record.vote(voter, 0, a.clock.now(), 10_000)
			time.Sleep(time.Millisecond)
		}
		if !a.record.vote(30, 0, a.clock.now(), 10_000) {
			t.Error("the last ones are not known any more")
		}
	})
}

// Calls that are refused cost next to nothing: there may be many.
func TestARefusalAllocatesNothing(t *testing.T) {
	p := mustNew(t, Options{Name: "p", Host: newTestHost(t), OpenFor: time.Hour})
	fail(t, p)
	ctx := t.Context()
	if n := testing.AllocsPerRun(1000, func() { _, _ = Do(ctx, p, Idempotent, answer) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

package limiter

import (
	"context"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// bubble runs a test with a fleet in virtual time.
func bubble(t *testing.T, hosts, workers int, test func(t *testing.T, f *fleet)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, hosts, workers)
		defer f.close(t)
		test(t, f)
	})
}

func charge(p *Policy, key string, n int64) Charge {
	return Charge{Policy: p, Key: []byte(key), Cost: n}
}

func decide(s *Shared, charges ...Charge) Decision { return s.Decide(context.Background(), charges) }

// admits says how many of so many requests at once pass.
func admits(s *Shared, p *Policy, key string, requests int) (n int) {
	for range requests {
		if decide(s, charge(p, key, 1)).OK() {
			n++
		}
	}
	return n
}

func failing(t testing.TB, name string, limit int64, window time.Duration, burst int64, fail Fail) *Policy {
	t.Helper()
	p, err := NewPolicy(name, limit, window, burst, fail)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestABurstIsAdmittedWholeAndNotATokenMore(t *testing.T) {
	for _, burst := range []int64{1, 5, 19, 20, 100, 1000} {
		bubble(t, 2, 2, func(t *testing.T, f *fleet) {
			f.bank.set(func(b *bank) { b.delay = time.Millisecond })
			p := policy(t, "p", burst, MaxWindow, burst)
			got := 0
			for i := range burst + burst/2 + 3 {
				got += admits(f.workers[i%2][i/2%2], p, "k", 1)
			}
			// Other hosts' leases are out of reach, and come to their end.
			if got > int(burst) || got < int(burst-burst/10) || p.lease == 0 && got != int(burst) {
				t.Errorf("%d of a burst of %d were admitted", got, burst)
			}
		})
	}
	bubble(t, 1, 1, func(t *testing.T, f *fleet) {
		p := policy(t, "p", 1000, MaxWindow, 1000)
		if got := admits(f.workers[0][0], p, "k", 1200); got != 1000 {
			t.Errorf("a host alone was admitted %d of a burst of 1000", got)
		}
	})
}

func TestARefusalIsRememberedUntilThereCanBeATokenAgain(t *testing.T) {
	bubble(t, 1, 2, func(t *testing.T, f *fleet) {
		p := policy(t, "p", 2, time.Second, 2)
		a, b := f.workers[0][0], f.workers[0][1]
		if got := admits(a, p, "k", 2); got != 2 {
			t.Fatal(got)
		}
		d := decide(a, charge(p, "k", 1))
		if d.OK() || d.RetryAfter != 500*time.Millisecond {
			t.Fatalf("%+v", d)
		}
		calls := f.bank.calls()
		time.Sleep(499 * time.Millisecond)
		for range 100 {
			if d := decide(b, charge(p, "k", 1)); d.OK() || d.RetryAfter != time.Millisecond {
				t.Fatalf("the other worker says %+v", d)
			}
		}
		if f.bank.calls() != calls {
			t.Error("somebody asked for what could not be there")
		}
		time.Sleep(time.Millisecond)
		if d := decide(b, charge(p, "k", 1)); !d.OK() {
			t.Errorf("after RetryAfter it is refused: %+v", d)
		}
		if r := a.Stats().Remembered + b.Stats().Remembered; r != 101 {
			t.Errorf("%d refusals were remembered", r)
		}
	})
}

func TestWhatIsLeftIsTold(t *testing.T) {
	bubble(t, 1, 2, func(t *testing.T, f *fleet) {
		p := policy(t, "p", 1000, time.Minute, 1000)
		for i := range 300 {
			synctest.Wait() // a lease that is on its way is not seen
			charges := []Charge{charge(p, "k", 1)}
			if d := f.workers[0][i%2].Decide(context.Background(), charges); !d.OK() || charges[0].Left != int64(999-i) {
				t.Fatalf("after %d: %+v, %d left", i+1, d, charges[0].Left)
			}
			if full := charges[0].Full; full != time.Duration(i+1)*60*time.Millisecond {
				t.Fatalf("after %d it is full in %v", i+1, full)
			}
		}
	})
}

func TestSeveralChargesArePaidAllOrNone(t *testing.T) {
	bubble(t, 1, 1, func(t *testing.T, f *fleet) {
		s := f.workers[0][0]
		wide := policy(t, "wide", 1000, MaxWindow, 1000) // has leases
		narrow := policy(t, "narrow", 10, MaxWindow, 10) // has none
		closed := policy(t, "closed", 3, MaxWindow, 3)   // refuses soon
		all := func() Decision {
			return decide(s, charge(wide, "k", 1), charge(narrow, "k", 1), charge(closed, "k", 1))
		}
		for range 3 {
			if d := all(); !d.OK() {
				t.Fatalf("%+v", d)
			}
		}
		for range 20 {
			if d := all(); d.Refused != 2 {
				t.Fatalf("%+v", d)
			}
		}
		time.Sleep(2 * time.Second) // what is not believed any more is asked again
		f.bank.set(func(b *bank) { b.delay = time.Millisecond })
		began := time.Now()
		if d := all(); d.Refused != 2 {
			t.Fatalf("%+v", d)
		}
		if took := time.Since(began); took != 2*time.Millisecond { // there and back, twice
			t.Errorf("it took %v", took)
		}
		synctest.Wait()
		if left := f.bank.left(narrow, "k"); left != 7 {
			t.Errorf("of 10 tokens and 3 requests %d are left", left)
		}
		if got := admits(s, wide, "k", 1000); got != 997 {
			t.Errorf("of 1000 tokens and 3 requests %d are left", got)
		}
		if st := s.Stats(); st.Allowed["narrow"] != 3 || st.Denied["closed"] != 21 || st.Denied["narrow"] != 0 || st.Returned < 1 {
			t.Errorf("%+v", st)
		}
	})
}

func TestALeaseGetsBackWhatAnotherPolicyRefuses(t *testing.T) {
	bubble(t, 1, 1, func(t *testing.T, f *fleet) {
		s := f.workers[0][0]
		wide := policy(t, "wide", 1000, MaxWindow, 1000)
		if got := admits(s, wide, "k", 100); got != 100 {
			t.Fatal(got)
		}
		synctest.Wait()
		e, _ := s.table.find(wide.keyHash(s.table.seed, []byte("k")))
		before := e.live(s.now())
		if before == 0 {
			t.Fatal("there is no lease")
		}
		// It is not known here that this one is empty.
		shut := policy(t, "shut", 1, MaxWindow, 1)
		f.bank.set(func(b *bank) { b.buckets[bankKey{"shut", idOf([]byte("k"))}] = b.now() + shut.central.depth })
		if d := decide(s, charge(wide, "k", 1), charge(shut, "k", 1)); d.Refused != 1 {
			t.Fatalf("%+v", d)
		}
		if after := e.live(s.now()); after != before {
			t.Errorf("the lease had %d tokens, and has %d", before, after)
		}
	})
}

func TestOneBucketCanBeChargedTwiceAtOnce(t *testing.T) {
	for _, burst := range []int64{4, 100} {
		bubble(t, 1, 1, func(t *testing.T, f *fleet) {
			s, p := f.workers[0][0], policy(t, "p", burst, MaxWindow, burst)
			twice := func() Decision { return decide(s, charge(p, "k", 1), charge(p, "k", 1)) }
			for i := range burst / 2 {
				if d := twice(); !d.OK() {
					t.Fatalf("%d: %+v", i, d)
				}
			}
			if d := twice(); d.OK() {
				t.Error("more than the burst")
			}
		})
	}
	bubble(t, 1, 1, func(t *testing.T, f *fleet) {
		s, p := f.workers[0][0], policy(t, "p", 3, MaxWindow, 3)
		if d := decide(s, charge(p, "k", 2), charge(p, "k", 2)); d.OK() {
			t.Fatal("four tokens of three")
		}
		synctest.Wait()
		if left := f.bank.left(p, "k"); left != 3 {
			t.Errorf("%d of 3 are left, and nothing was admitted", left)
		}
	})
}

// Nobody is in his own way.
func TestOneBucketCanBeChargedTwiceWhereItWasEmpty(t *testing.T) {
	bubble(t, 1, 1, func(t *testing.T, f *fleet) {
		s, p := f.workers[0][0], policy(t, "p", 100, time.Second, 100)
		for range 300 { // it is empty, and known to be wanted
			time.Sleep(5 * time.Millisecond)
			decide(s, charge(p, "k", 1))
		}
		for n := 0; n < 20; n++ {
			time.Sleep(1100 * time.Millisecond) // full, and nothing is believed any more
			if d := decide(s, charge(p, "k", 40), charge(p, "k", 40)); !d.OK() {
				t.Fatalf("%d: %+v", n, d)
			}
		}
	})
}

func TestWhatABucketNeverHoldsIsRefusedForEver(t *testing.T) {
	bubble(t, 1, 1, func(t *testing.T, f *fleet) {
		p := policy(t, "p", 10, time.Second, 10)
		if d := decide(f.workers[0][0], charge(p, "k", 11)); d.OK() || d.RetryAfter != Never {
			t.Errorf("%+v", d)
		}
		if f.bank.calls() != 0 {
			t.Error("the source was asked")
		}
	})
}

// Many at once in a process are one call, or two.
func TestRequestsThatComeAtOnceAreAskedForTogether(t *testing.T) {
	bubble(t, 1, 1, func(t *testing.T, f *fleet) {
		f.bank.set(func(b *bank) { b.delay = 4 * time.Millisecond })
		p := policy(t, "p", 50, MaxWindow, 50)
		dear := policy(t, "dear", 10, MaxWindow, 10)
		var got, gotDear atomic.Int64
		var wg sync.WaitGroup
		for range 70 {
			wg.Go(func() {
				if decide(f.workers[0][0], charge(p, "k", 1)).OK() {
					got.Add(1)
				}
			})
			wg.Go(func() { // 2 a piece: 5 of them
				if decide(f.workers[0][0], charge(dear, "k", 2)).OK() {
					gotDear.Add(1)
				}
			})
		}
		wg.Wait()
		if got.Load() != 50 || gotDear.Load() != 5 {
			t.Errorf("%d of 50 and %d of 5 were admitted", got.Load(), gotDear.Load())
		}
		if f.bank.calls() > 8 {
			t.Errorf("%d calls", f.bank.calls())
		}
	})
}

// One wants more than there is: that refuses nobody else.
func TestWhoAsksForMuchDoesNotSpoilItForOthers(t *testing.T) {
	bubble(t, 1, 1, func(t *testing.T, f *fleet) {
		f.bank.set(func(b *bank) { b.delay = 4 * time.Millisecond })
		p := policy(t, "p", 10, MaxWindow, 10)
		if d := decide(f.workers[0][0], charge(p, "k", 5)); !d.OK() {
			t.Fatal(d)
		}
		var big, small Decision
		var wg sync.WaitGroup
		wg.Go(func() { decide(f.workers[0][0], charge(p, "k", 1)) })
		time.Sleep(time.Millisecond) // that is on its way: the next are asked for together
		wg.Go(func() { big = decide(f.workers[0][0], charge(p, "k", 9)) })
		synctest.Wait()
		wg.Go(func() { small = decide(f.workers[0][0], charge(p, "k", 4)) })
		wg.Wait()
		if big.OK() || !small.OK() {
			t.Errorf("%+v %+v", big, small)
		}
	})
}

func TestTheSourceGoesAndComesBack(t *testing.T) {
	bubble(t, 1, 1, func(t *testing.T, f *fleet) {
		s := f.workers[0][0]
		local := failing(t, "local", 60, time.Minute, 60, FailLocal)
		open := failing(t, "open", 1, MaxWindow, 1, FailOpen)
		shut := failing(t, "shut", 1000, time.Second, 1000, FailClosed)
		for _, p := range []*Policy{local, open, shut} {
			if d := decide(s, charge(p, "k", 1)); !d.OK() || d.Alone {
				t.Fatalf("%+v", d)
			}
		}
		f.bank.set(func(b *bank) { b.refuses = errGone })
		time.Sleep(1500 * time.Millisecond) // remembered refusals are not believed any more
		began := time.Now()
		for range 10 {
			if d := decide(s, charge(open, "k", 1)); !d.OK() || !d.Alone {
				t.Errorf("open says %+v", d)
			}
			if d := decide(s, charge(shut, "k", 1)); d.OK() || !d.Alone || d.RetryAfter != time.Second {
				t.Errorf("closed says %+v", d)
			}
		}
		if took := time.Since(began); took > 0 {
			t.Errorf("it was waited for, for %v", took)
		}
		if got := admits(s, local, "k", 100); got != 60 {
			t.Errorf("%d of 60 were admitted by this host alone", got)
		}
		if d := decide(s, charge(local, "k", 1)); d.OK() || !d.Alone || d.RetryAfter != time.Second {
			t.Errorf("local says %+v", d)
		}
		time.Sleep(time.Millisecond) // one call was let through
		calls := f.bank.calls()
		time.Sleep(2 * time.Second)
		if st := s.Stats(); !st.Away || st.Alone != 121 || st.Failures == 0 || f.bank.calls() != calls {
			t.Errorf("%+v, %d calls more", st, f.bank.calls()-calls)
		}
		f.bank.set(func(b *bank) { b.refuses = nil })
		time.Sleep(time.Second)
		if d := decide(s, charge(shut, "k", 1)); !d.OK() || d.Alone || s.Stats().Away {
			t.Errorf("a second after its return: %+v", d)
		}
		lines := strings.Split(strings.TrimSpace(f.log.String()), "\n")
		if len(lines) != 2 || !strings.Contains(lines[0], errGone.Error()) || !strings.Contains(lines[1], "121 decisions") {
			t.Errorf("the log says\n%s", f.log.String())
		}
	})
}

// A server that is stopped: nothing fails, and nothing is answered.
func TestASilentSourceIsWaitedForOnce(t *testing.T) {
	bubble(t, 1, 1, func(t *testing.T, f *fleet) {
		s, p := f.workers[0][0], failing(t, "p", 1000, time.Minute, 1000, FailOpen)
		f.bank.set(func(b *bank) { b.silent = true })
		began := time.Now()
		if d := decide(s, charge(p, "k", 1)); !d.OK() || !d.Alone || time.Since(began) != Budget {
			t.Fatalf("%+v after %v", d, time.Since(began))
		}
		for i := range 1000 {
			if d := decide(s, charge(p, fmt.Sprint(i), 1)); !d.Alone {
				t.Fatal(d)
			}
		}
		if took := time.Since(began); took != Budget {
			t.Errorf("the others were decided after %v", took)
		}
		time.Sleep(time.Second)
		waited := 0
		for i := range 5000 { // 5 s
			time.Sleep(time.Millisecond)
			began := time.Now()
			if decide(s, charge(p, fmt.Sprint(i), 1)); time.Since(began) > 0 {
				waited++
			}
		}
		if waited > 5 {
			t.Errorf("in five seconds %d waited for it", waited)
		}
		f.bank.set(func(b *bank) { b.silent = false })
		time.Sleep(time.Second)
		if d := decide(s, charge(p, "k", 1)); d.Alone {
			t.Error("a second after its return decisions are made alone")
		}
	})
}

// One node of a Cluster is away, and the others answer: who asks that one waits once.
func TestAKeyWhoseAnswerIsLateIsNotWaitedForAgain(t *testing.T) {
	bubble(t, 1, 1, func(t *testing.T, f *fleet) {
		s, p := f.workers[0][0], failing(t, "p", 1000, time.Minute, 1000, FailOpen)
		f.bank.set(func(b *bank) { b.silent = true })
		if d := decide(s, charge(p, "k", 1)); !d.Alone {
			t.Fatal(d)
		}
		f.bank.set(func(b *bank) { b.silent = false })
		time.Sleep(600 * time.Millisecond) // the first call still is under way
		if s.Stats().Away {
			t.Fatal("it is away")
		}
		began := time.Now()
		for range 100 {
			if d := decide(s, charge(p, "k", 1)); !d.OK() || !d.Alone {
				t.Fatalf("%+v", d)
			}
		}
		if decide(s, charge(p, "other", 1)).Alone || time.Since(began) > 0 {
			t.Errorf("after %v", time.Since(began))
		}
		time.Sleep(time.Second)
		if left := f.bank.left(p, "k"); left > 1000-100+20 {
			t.Errorf("the source has %d of 1000 tokens after 100 requests", left)
		}
	})
}

// Redis behind a slow line: 50 ms always.
func TestASlowSourceStillGivesLeases(t *testing.T) {
	bubble(t, 1, 2, func(t *testing.T, f *fleet) {
		f.bank.set(func(b *bank) { b.delay = 50 * time.Millisecond })
		p := failing(t, "p", 60_000, time.Minute, 60_000, FailClosed)
		late, alone, passed := 0, 0, 0
		for i := range 10_000 { // 1,000 a second
			time.Sleep(time.Millisecond)
			began := time.Now()
			d := decide(f.workers[0][i%2], charge(p, "hot", 1))
			if time.Since(began) > 0 {
				late++
			}
			if i > 2000 && d.Alone {
				alone++
			}
			if d.OK() {
				passed++
			}
		}
		if late > 4 || alone > 500 || passed < 8000 {
			t.Errorf("of 10,000 decisions %d waited; %d passed; of the last 8,000 %d were made alone", late, passed, alone)
		}
		began := time.Now()
		if d := decide(f.workers[0][0], charge(p, "new", 1)); !d.Alone || time.Since(began) > 0 {
			t.Errorf("a new key: %+v after %v", d, time.Since(began))
		}
		if calls := f.bank.calls(); calls > 1000 {
			t.Errorf("%d calls", calls)
		}
	})
}

// What passes while the source is slow is charged there afterwards.
func TestASlowSourceComesToKnowWhatHasPassed(t *testing.T) {
	bubble(t, 1, 1, func(t *testing.T, f *fleet) {
		f.bank.set(func(b *bank) { b.delay = 50 * time.Millisecond })
		s, p := f.workers[0][0], failing(t, "p", 10, MaxWindow, 10, FailOpen)
		got := 0
		for range 100 {
			got += admits(s, p, "k", 1)
			time.Sleep(10 * time.Millisecond)
		}
		if left := f.bank.left(p, "k"); left != 0 || got > 25 {
			t.Errorf("%d passed of 10, and %d are left at the source", got, left)
		}
	})
}

func TestNoClientGetsAFreshBurstWhenTheSourceGoes(t *testing.T) {
	bubble(t, 2, 1, func(t *testing.T, f *fleet) {
		time.Sleep(5 * time.Second) // both know of each other
		s, p := f.workers[0][0], failing(t, "p", 600, time.Minute, 600, FailLocal)
		if got := admits(s, p, "spent", 1000); got != 600 {
			t.Fatal(got)
		}
		if got := admits(s, p, "half", 300); got != 300 {
			t.Fatal(got)
		}
		f.bank.set(func(b *bank) { b.refuses = errGone })
		time.Sleep(2 * time.Second) // 20 tokens, of which this host has half
		for _, c := range []struct {
			key         string
			least, most int
		}{{"spent", 10, 10}, {"half", 140, 160}, {"fresh", 300, 300}} {
			if got := admits(s, p, c.key, 1000); got < c.least || got > c.most {
				t.Errorf("%s: %d are admitted by one of two hosts, and not %d to %d", c.key, got, c.least, c.most)
			}
		}
		if hosts := s.Stats().Hosts; hosts != 2 {
			t.Errorf("it knows of %d hosts", hosts)
		}
		if d := decide(s, charge(p, "dear", 600)); !d.OK() {
			t.Error("what a full bucket could pay can never be paid by its part")
		}
		time.Sleep(time.Second)
		if got := admits(s, p, "fresh", 100); got != 5 {
			t.Errorf("after another second %d are admitted, of 10 that both hosts have", got)
		}
	})
}

func TestCloseGivesBackWhatNobodyHasUsed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, 1, 2)
		f.bank.set(func(b *bank) { b.delay = time.Millisecond })
		p := policy(t, "p", 1000, MaxWindow, 1000)
		for range 100 {
			time.Sleep(5 * time.Millisecond)
			if got := admits(f.workers[0][0], p, "k", 1); got != 1 {
				t.Fatal("refused")
			}
		}
		time.Sleep(2 * time.Millisecond)
		before := f.bank.left(p, "k")
		other, ctx := f.workers[0][1], context.Background()
		if err := other.Close(ctx); err != nil || f.bank.left(p, "k") != before {
			t.Errorf("who has leased nothing has given something back, %v", err)
		}
		s := f.workers[0][0]
		if err := s.Close(ctx); err != nil {
			t.Error(err)
		}
		// A month fills 1000 tokens: age takes nothing from them.
		if left := f.bank.left(p, "k"); left != 900 {
			t.Errorf("100 of 1000 were used, and %d are left", left)
		}
		if st := s.Stats(); st.Returned != uint64(900-before) || st.Expired != 0 || st.Leased != 100+st.Returned {
			t.Errorf("%+v", st)
		}
		if !f.bank.closed {
			t.Error("the source is open")
		}
		if err := f.memory[0].Close(); err != nil {
			t.Error(err)
		}
	})
}

func TestCloseReturnsWhenItsContextEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, 1, 1)
		s, p := f.workers[0][0], policy(t, "p", 1000, time.Minute, 1000)
		admits(s, p, "k", 40)
		synctest.Wait()
		if admits(s, p, "k", 10); s.Stats().Leased <= 50 {
			t.Fatal("there is no lease")
		}
		f.bank.set(func(b *bank) { b.silent = true })
		decide(s, charge(p, "other", 1))
		ctx, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
		defer cancel()
		began := time.Now()
		if err := s.Close(ctx); err == nil || time.Since(began) != 300*time.Millisecond {
			t.Errorf("%v after %v", err, time.Since(began))
		}
		if err := s.Close(ctx); err != nil {
			t.Errorf("twice: %v", err)
		}
		if err := f.memory[0].Close(); err != nil {
			t.Error(err)
		}
	})
}

func TestTokensThatNobodyUsesExpireAndAreCounted(t *testing.T) {
	bubble(t, 1, 1, func(t *testing.T, f *fleet) {
		s, p := f.workers[0][0], policy(t, "p", 10000, time.Minute, 10000)
		admits(s, p, "k", 200)
		synctest.Wait()
		time.Sleep(5 * time.Second)
		if st := s.Stats(); st.Expired == 0 || st.Expired != st.Leased-200 {
			t.Errorf("%+v", st)
		}
	})
}

// A client that stops gets back what was leased for him, where that is more than what has filled since.
func TestWhatAClientLeavesIsGivenBackBeforeItExpires(t *testing.T) {
	bubble(t, 1, 2, func(t *testing.T, f *fleet) {
		f.bank.set(func(b *bank) { b.delay = time.Millisecond })
		slow, quick := policy(t, "slow", 1000, MaxWindow, 1000), policy(t, "quick", 1000, time.Second, 1000)
		for i := range 100 {
			time.Sleep(5 * time.Millisecond)
			if admits(f.workers[0][i%2], slow, "k", 1)+admits(f.workers[0][i%2], quick, "k", 1) != 2 {
				t.Fatal("refused")
			}
		}
		if left := f.bank.left(slow, "k"); left == 900 {
			t.Fatal("nothing is leased")
		}
		time.Sleep(2 * time.Second)
		if left := f.bank.left(slow, "k"); left != 900 {
			t.Errorf("100 of 1000 were used, and %d are left", left)
		}
		var returned, expired uint64
		for _, s := range f.workers[0] {
			returned, expired = returned+s.Stats().Returned, expired+s.Stats().Expired
		}
		if returned == 0 || expired == 0 || f.bank.returns > 4 {
			t.Errorf("%d given back by %d calls, %d expired: what fills at once is not worth a call", returned, f.bank.returns, expired)
		}
	})
}

// The clock of Redis is the wall clock of its machine, and can be set.
func TestClockStepsOfTheSourceAreSurvived(t *testing.T) {
	for _, step := range []time.Duration{time.Hour, -time.Hour} {
		bubble(t, 1, 1, func(t *testing.T, f *fleet) {
			s, p := f.workers[0][0], policy(t, "p", 10, 10*time.Minute, 10)
			if got := admits(s, p, "k", 11); got != 10 {
				t.Fatal(got)
			}
			f.bank.set(func(b *bank) { b.offset = step })
			calls := f.bank.calls()
			for range 100 {
				time.Sleep(10 * time.Millisecond)
				decide(s, charge(p, "k", 1))
			}
			if calls = f.bank.calls() - calls; calls > 2 {
				t.Errorf("%d calls in a second for a refusal", calls)
			}
			d := decide(s, charge(p, "k", 1))
			switch {
			case step > 0 && !d.OK():
				t.Errorf("an hour later: %+v", d)
			case step < 0 && (d.OK() || d.RetryAfter > 10*time.Minute):
				t.Errorf("an hour earlier: %+v", d)
			}
			// A whole bucket later all is as ever.
			time.Sleep(10 * time.Minute)
			if got := admits(s, p, "k", 20); got < 9 || got > 10 {
				t.Errorf("%v: %d of a whole bucket are admitted", step, got)
			}
		})
	}
}

// Nothing of a killed worker is waited for: its claim lapses, its leases are its host's.
func TestAKilledWorkerLeavesItsLeases(t *testing.T) {
	bubble(t, 1, 2, func(t *testing.T, f *fleet) {
		p := policy(t, "p", 1000, MaxWindow, 1000)
		killed, other := f.workers[0][0], f.workers[0][1]
		if got := admits(killed, p, "k", 100); got != 100 {
			t.Fatal(got)
		}
		synctest.Wait()
		e, tag := other.table.find(p.keyHash(other.table.seed, []byte("k")))
		lent, grants := e.live(other.now()), f.bank.calls()
		if e.claim(tag, other.now()) == 0 { // as if it were killed while it asks
			t.Fatal("there is a claim")
		}
		if got := admits(other, p, "k", int(lent)); int64(got) != lent || lent == 0 {
			t.Errorf("%d of its %d tokens could be spent", got, lent)
		}
		synctest.Wait()
		if f.bank.calls() != grants {
			t.Error("the source was asked")
		}
		time.Sleep(claimFor * time.Millisecond)
		admits(other, p, "k", 1)
		synctest.Wait()
		if e.live(other.now()) == 0 {
			t.Error("its claim holds for ever")
		}
	})
}

func TestAFloodOfNewKeysIsNoFloodOfGoroutines(t *testing.T) {
	bubble(t, 1, 1, func(t *testing.T, f *fleet) {
		s := f.workers[0][0]
		p := failing(t, "p", 100, time.Minute, 100, FailOpen)
		f.bank.set(func(b *bank) { b.delay = 15 * time.Millisecond })
		var wg sync.WaitGroup
		var alone atomic.Int64
		const clients = 2000
		for i := range clients {
			wg.Go(func() {
				if decide(s, charge(p, fmt.Sprint(i), 1)).Alone {
					alone.Add(1)
				}
			})
		}
		time.Sleep(time.Millisecond)
		if n := runtime.NumGoroutine(); n > 2*maxFlights+100 { // one that waits and one that asks
			t.Errorf("%d goroutines", n)
		}
		if f.bank.calls() > maxFlights {
			t.Errorf("%d calls at once", f.bank.calls())
		}
		wg.Wait()
		if n := alone.Load(); n < clients-maxFlights-10 || n > clients-maxNew {
			t.Errorf("%d of %d were decided alone", n, clients)
		}
	})
}

// Who pays more than a lease has at most is asked for each time: no lease is of use to him.
func TestNoLeaseIsTakenForWhoseCostItCannotPay(t *testing.T) {
	bubble(t, 1, 1, func(t *testing.T, f *fleet) {
		f.bank.set(func(b *bank) { b.delay = time.Millisecond })
		s, p := f.workers[0][0], policy(t, "p", 1000, time.Second, 1000) // leases of 50
		for range 300 {
			time.Sleep(100 * time.Millisecond)
			if !decide(s, charge(p, "k", 60)).OK() {
				t.Fatal("refused")
			}
		}
		if st := s.Stats(); st.Leased != 300*60 {
			t.Errorf("%d tokens were taken for 300 requests of 60", st.Leased)
		}
	})
}

// New keys, without end, on a source that is not fast.
func TestAFloodOfNewKeysTakesNothingFromLeases(t *testing.T) {
	for _, fail := range []Fail{FailOpen, FailLocal, FailClosed} {
		bubble(t, 1, 1, func(t *testing.T, f *fleet) {
			s := f.workers[0][0]
			hot, p := failing(t, "hot", 5000, time.Second, 50_000, FailClosed), failing(t, "p", 100, time.Minute, 100, fail)
			f.bank.set(func(b *bank) { b.delay = 10 * time.Millisecond })
			for range 2000 { // 2 s
				time.Sleep(time.Millisecond)
				decide(s, charge(hot, "k", 1))
			}
			var wg sync.WaitGroup
			refused := 0
			for i := range 1000 { // 1 s
				time.Sleep(time.Millisecond)
				for j := range 100 {
					wg.Go(func() { decide(s, charge(p, fmt.Sprint(i, "-", j), 1)) })
				}
				synctest.Wait()
				if !decide(s, charge(hot, "k", 1)).OK() {
					refused++
				}
			}
			wg.Wait()
			if refused > 0 {
				t.Errorf("%v: of 1000 requests of who lives by leases %d were refused", fail, refused)
			}
		})
	}
}

// Tokens are good from the moment before they were asked for, however late they come.
func TestALeaseEndsATTLAfterItWasAskedFor(t *testing.T) {
	bubble(t, 1, 1, func(t *testing.T, f *fleet) {
		s, p := f.workers[0][0], policy(t, "p", 10_000, time.Second, 100_000)
		for range 500 {
			time.Sleep(2 * time.Millisecond)
			admits(s, p, "k", 1)
		}
		time.Sleep(2 * time.Second)
		const late = 600 * time.Millisecond
		f.bank.set(func(b *bank) { b.delay = late })
		asked := s.now()
		admits(s, p, "k", 1)
		time.Sleep(late - time.Duration(s.now()-asked) + time.Millisecond)
		e, _ := s.table.find(p.keyHash(s.table.seed, []byte("k")))
		if e.live(s.now()) == 0 || e.live(asked+ttl-2*milli) == 0 || e.live(asked+ttl) != 0 {
			t.Errorf("of a lease there are %d tokens now, %d before its end, %d after it", e.live(s.now()), e.live(asked+ttl-2*milli), e.live(asked+ttl))
		}
	})
}

// A process that was stopped between an answer and its use finds tokens that nobody may
// have any more: they were granted longer ago than the bound allows for.
func TestAnAnswerThatIsReadTooLatePaysNothing(t *testing.T) {
	bubble(t, 1, 1, func(t *testing.T, f *fleet) {
		s, p := f.workers[0][0], failing(t, "p", 60, time.Minute, 10, FailClosed)
		e, tag := s.table.insert(p.keyHash(s.table.seed, []byte("k")), p.host.pace())
		for late, want := range map[time.Duration]payment{-time.Nanosecond: bySource, 0: unpaid, time.Minute: unpaid} {
			w := &waiter{n: 1, heard: make(chan struct{})}
			w.settle(answered{paid: bySource, until: s.now() - int64(late)})
			w.hear()
			steps := []step{{flightKey: flightKey{seat{e, tag}, p}, w: w}}
			if d := s.payBySource(t.Context(), steps, s.now()); !d.OK() || steps[0].paid != want {
				t.Errorf("%v after its end: %+v, %v and not %v", late, d, steps[0].paid, want)
			}
		}
	})
}

// The entry is another key's by the time that the source has answered.
func TestAKeyThatIsForgottenMeanwhileLosesNothing(t *testing.T) {
	bubble(t, 1, 1, func(t *testing.T, f *fleet) {
		s, p := f.workers[0][0], policy(t, "p", 1000, MaxWindow, 1000)
		for range 50 {
			time.Sleep(2 * time.Millisecond)
			admits(s, p, "k", 1)
		}
		time.Sleep(2 * time.Second)
		f.bank.set(func(b *bank) { b.delay = 10 * time.Millisecond })
		before := f.bank.left(p, "k")
		var wg sync.WaitGroup
		wg.Go(func() {
			if !decide(s, charge(p, "k", 1)).OK() {
				t.Error("refused")
			}
		})
		time.Sleep(5 * time.Millisecond)
		e, tag := s.table.find(p.keyHash(s.table.seed, []byte("k")))
		e.tag.Store(nextTag(tag, 0xabc0000))
		wg.Wait()
		time.Sleep(20 * time.Millisecond)
		if left := f.bank.left(p, "k"); left != before-1 {
			t.Errorf("%d tokens were taken for one request", before-left)
		}
		if n := e.live(s.now()); n != 0 {
			t.Errorf("another key was given %d tokens", n)
		}
	})
}

func TestDecisionsByLeasesAndMemoryAllocateNothing(t *testing.T) {
	s, err := NewShared(anonymous(t, 0), newBank(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close(context.Background())
	ctx := context.Background()
	rich, poor := policy(t, "rich", 1_000_000, time.Second, 100_000_000), policy(t, "poor", 1, MaxWindow, 1)
	paid, refused := []Charge{charge(rich, "k", 1)}, []Charge{charge(poor, "k", 1)}
	s.Decide(ctx, refused)
	for range 100 {
		s.Decide(ctx, paid)
	}
	if n := testing.AllocsPerRun(2000, func() { s.Decide(ctx, paid) }); n != 0 {
		t.Errorf("a lease: %v", n)
	}
	if n := testing.AllocsPerRun(2000, func() { s.Decide(ctx, refused) }); n != 0 {
		t.Errorf("a refusal: %v", n)
	}
}

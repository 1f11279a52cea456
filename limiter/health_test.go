package limiter

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nekoctl/neko/hostmem"
)

// A source that has forgotten all hears of the other hosts again at their next beats.
func TestFewerHostsAreNotBelievedAtOnce(t *testing.T) {
	m, err := hostmem.Open(t.TempDir(), hostmem.MinBuckets)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	s := &Shared{hostmem: m, health: newHealth(nil)}
	began := s.health.allHosts
	for _, step := range []struct {
		after  time.Duration
		counts int
		known  int
	}{
		{0, 1, 1},
		{2 * time.Second, 3, 3},
		{4 * time.Second, 1, 3}, // flushed
		{6 * time.Second, 2, 3},
		{8 * time.Second, 3, 3},
		{10 * time.Second, 2, 3}, // one has gone
		{17 * time.Second, 2, 3},
		{18 * time.Second, 2, 2},
		{19 * time.Second, 4, 4},
	} {
		if s.countHosts(step.counts, began.Add(step.after)); m.Hosts() != step.known {
			t.Errorf("%v: %d hosts are counted, and %d known", step.after, step.counts, m.Hosts())
		}
	}
}

// While a part of the source is away the log says so once, and a host that comes is known to
// the others: for what they decide by themselves it counts.
func TestWhatIsKnownWhileAPartOfTheSourceIsGone(t *testing.T) {
	bubble(t, 1, 1, func(t *testing.T, f *fleet) {
		s, p := f.workers[0][0], failing(t, "p", 1000, time.Second, 10, FailLocal)
		f.bank.set(func(b *bank) { b.broken = func(id ID) bool { return id != ID{} && id[0]%3 == 0 } })
		for i := range 6000 { // 6 s
			time.Sleep(time.Millisecond)
			if i > 1000 && i%1000 == 0 {
				if _, err := f.bank.Beat(t.Context(), "another"); err != nil {
					t.Fatal(err)
				}
			}
			decide(s, charge(p, fmt.Sprint(i%30), 1))
		}
		if n := s.Stats().Hosts; n != 2 {
			t.Errorf("%d hosts are known", n)
		}
		const gone, back = "some buckets of the source cannot be asked for", "the source is back"
		if said := f.log.String(); strings.Count(said, "\n") != 1 || !strings.Contains(said, gone) {
			t.Errorf("said:\n%s", said)
		}
		f.bank.set(func(b *bank) { b.broken = nil })
		time.Sleep(3 * quiet)
		if said := f.log.String(); strings.Count(said, "\n") != 2 || !strings.Contains(said, back) {
			t.Errorf("said, when all of it was there again:\n%s", said)
		}
		f.bank.set(func(b *bank) { b.refuses = errGone })
		time.Sleep(5 * time.Second)
		f.bank.set(func(b *bank) { b.refuses = nil })
		time.Sleep(time.Second) // and of all of it at once
		if said := f.log.String(); strings.Count(said, "\n") != 4 || strings.Count(said, back) != 2 {
			t.Errorf("said of all of it:\n%s", said)
		}
		for range 50 {
			f.bank.set(func(b *bank) { b.delay = Budget })
			time.Sleep(200 * time.Millisecond)
			f.bank.set(func(b *bank) { b.delay = 0 })
			time.Sleep(200 * time.Millisecond)
		}
		if said := f.log.String(); strings.Count(said, "\n") > 8 {
			t.Errorf("said while it was slow now and then:\n%s", said)
		}
	})
}

// A node of a cluster is gone, that of the beats or another: only whose bucket is there has
// its policy decide. The log tells of it once, and of its end.
func TestAPartOfTheSourceIsGone(t *testing.T) {
	for _, beats := range []bool{true, false} {
		for _, fail := range []Fail{FailOpen, FailClosed} {
			t.Run(fmt.Sprintf("beats %v, fail %v", beats, fail), func(t *testing.T) {
				bubble(t, 1, 1, func(t *testing.T, f *fleet) {
					time.Sleep(3 * time.Second) // it has been well
					s, p := f.workers[0][0], failing(t, "p", 1000, time.Second, 10, fail)
					f.bank.set(func(b *bank) {
						b.broken = func(id ID) bool { return id == ID{} && !beats || id != ID{} && id[0]%3 == 0 }
						b.beats["another"] = time.Now()
					})
					wrong := 0
					for i := range 3000 { // 3 s
						time.Sleep(time.Millisecond)
						key := fmt.Sprint(i % 30)
						d := decide(s, charge(p, key, 1))
						if d.Alone != (idOf([]byte(key))[0]%3 == 0) {
							wrong++
							if i > 1000 {
								t.Fatalf("decision %d: alone is %v", i, d.Alone)
							}
						}
					}
					t.Logf("%d decisions until that was known", wrong)
					if hosts := s.Stats().Hosts; beats && hosts != 2 {
						t.Errorf("%d hosts are known", hosts)
					}
					// Clients come seldom, and every other is of the part that is gone.
					for i, gone := 0, false; i < 30; i++ {
						key := fmt.Sprint(i)
						if gone != (idOf([]byte(key))[0]%3 == 0) {
							continue
						}
						time.Sleep(3 * time.Second)
						if d := decide(s, charge(p, key, 1)); d.Alone != gone {
							t.Errorf("one in three seconds: alone is %v", d.Alone)
						}
						gone = !gone
					}
					if text := f.log.String(); strings.Count(text, "\n") != 1 {
						t.Errorf("the log says\n%s", text)
					}
					f.bank.set(func(b *bank) { b.broken = nil })
					time.Sleep(2 * beatEvery)
					for i := range 30 {
						if decide(s, charge(p, fmt.Sprint(i), 1)).Alone {
							t.Errorf("key %d is still on its own", i)
						}
					}
					time.Sleep(quiet + 2*beatEvery)
					if text := f.log.String(); strings.Count(text, "\n") != 2 || !strings.Contains(text, "is back") {
						t.Errorf("the log says\n%s", text)
					}
				})
			})
		}
	}
}

// A machine that is too busy now and then takes no harm by what it logs of that.
func TestTheLogIsNotFilledByASourceThatIsNowSlowAndNowNot(t *testing.T) {
	bubble(t, 1, 1, func(t *testing.T, f *fleet) {
		time.Sleep(time.Second)
		s, p := f.workers[0][0], failing(t, "p", 10, time.Second, 10, FailOpen)
		for i := range 60_000 { // 60 s
			time.Sleep(time.Millisecond)
			f.bank.set(func(b *bank) { b.delay = time.Duration(1+i/300%2*50) * time.Millisecond })
			if i%10 == 0 {
				go decide(s, charge(p, fmt.Sprint(i%1000), 1))
			}
		}
		time.Sleep(time.Second)
		if lines := strings.Count(f.log.String(), "\n"); lines < 2 || lines > 14 {
			t.Errorf("in a minute the log says\n%s", f.log.String())
		}
	})
}

// A machine that was busy for a moment, as when a worker starts, has no more decided alone than must be.
func TestOneLateAnswerIsNoSlowSource(t *testing.T) {
	bubble(t, 1, 1, func(t *testing.T, f *fleet) {
		late := func(d time.Duration) { f.bank.set(func(b *bank) { b.delay = d }) }
		late(18 * time.Millisecond)
		time.AfterFunc(10*time.Millisecond, func() { late(0) })
		s := f.newWorker(t, 0)
		f.workers[0] = append(f.workers[0], s)
		p := failing(t, "p", 10, time.Second, 10, FailClosed)
		if d := decide(s, charge(p, "k", 1)); !d.OK() {
			t.Errorf("at the start: %+v", d)
		}
		late(18 * time.Millisecond)
		for !s.Stats().Away {
			time.Sleep(time.Millisecond)
		}
		late(0)
		time.Sleep(probeSoon + time.Millisecond)
		if d := decide(s, charge(p, "k", 1)); !d.OK() {
			t.Errorf("after one late beat: %+v", d)
		}
	})
}

package breaker

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/nekoctl/neko/hostmem"
)

// Workers of a host, of whom one may be sick, call a dependency that comes and goes. Calls begin
// and end at different times, and workers are killed in between. After each step it
// is looked at what has become of the words, and whether that was right.

type step struct {
	what   string
	worker int
	pause  time.Duration
}

type modelWorker struct {
	p     *Policy
	held  []admission // calls that have not ended
	own   word
	count uint64 // how often the host's breaker was closed when its own opened
}

type model struct {
	m       *hostmem.Mapping
	clock   clock
	workers []*modelWorker
	host    word
	up      bool
	sick    int // -1: none
	// votes are when the breakers of which workers have opened since the host's was closed last.
	votes []struct {
		worker int
		at     time.Time
	}
	trialSince time.Time // zero: the host's word is no trial
	trialOf    int       // whose it is
	openFor    time.Duration
}

const modelWindow = 10 * time.Second

func (w *model) start(t *testing.T, i int) {
	h := hostOn(t, w.m)
	h.self = uint64(i)
	if w.clock == (clock{}) {
		w.clock = h.clock
	}
	h.clock = w.clock // the kernel's is not the bubble's
	p, err := New(Options{Name: "p", Host: h, MinCalls: 3, Retries: -1, OpenFor: w.openFor})
	if err != nil {
		t.Fatal(err)
	}
	w.workers[i] = &modelWorker{p: p, own: newWord(closed, 0, 0)}
}

// begin says what is wrong with having let a call through, or not.
func (w *model) begin(i int) string {
	worker := w.workers[i]
	own, host := word(worker.p.own.Load()), word(worker.p.record.word.Load())
	a, refused := worker.p.admit()
	now := worker.p.clock.now()
	switch {
	case refused != nil:
		if host.kind() == closed && own.kind() == closed {
			return "refused, and nothing is open"
		}
		if host.kind() == closed && host.count() != worker.count {
			return "refused, though the host's breaker was closed meanwhile"
		}
		if d := refused.RetryAfter(); d > w.longest() {
			return fmt.Sprintf("refused for %v", d)
		}
		return ""
	case a.trial == &worker.p.record.word:
		if host.kind() == closed || now < host.until() {
			return "a trial too early"
		}
		if !w.trialSince.IsZero() && time.Since(w.trialSince) < worker.p.trialFor()-time.Millisecond {
			return "a second trial"
		}
		w.trialSince, w.trialOf = time.Now(), i
	case a.trial == nil && host.kind() != closed:
		return "a call that is no trial, and the host's breaker is open"
	}
	worker.held = append(worker.held, a)
	return ""
}

func (w *model) end(i int) {
	worker := w.workers[i]
	if len(worker.held) == 0 {
		return
	}
	a := worker.held[0]
	worker.held = worker.held[1:]
	if w.up && w.sick != i {
		worker.p.settle(a, success, nil)
	} else {
		worker.p.settle(a, failure, errAway)
	}
}

// look says what is wrong with how the words have changed in a step of worker i.
func (w *model) look(i int) string {
	worker := w.workers[i]
	own := word(worker.p.own.Load())
	opened := own != worker.own && own.kind() == open
	if opened {
		worker.count = w.host.count()
	}
	if opened && w.host.kind() == closed {
		w.votes = append(w.votes, struct {
			worker int
			at     time.Time
		}{i, time.Now()})
	}
	worker.own = own
	agree, mayAgree := false, false
	for _, v := range w.votes {
		agree = agree || v.worker != i && time.Since(v.at) <= modelWindow-time.Millisecond
		mayAgree = mayAgree || v.worker != i && time.Since(v.at) <= modelWindow+time.Millisecond
	}
	host := word(worker.p.record.word.Load())
	before := w.host
	w.host = host
	if host.kind() != trial {
		w.trialSince = time.Time{}
	}
	switch {
	case before == host:
		if opened && host.kind() == closed && agree {
			return "two agree, and the host's breaker is closed"
		}
	case before.kind() == closed:
		if host.kind() != open || !opened || !mayAgree {
			return fmt.Sprintf("the host's breaker has become %d, and no two agree: %v", host.kind(), w.votes)
		}
	case host.kind() == open && before.kind() == open:
		return "it is open for longer, and nobody has tried"
	case host.kind() == open && w.trialOf != i:
		return "it is open again, and whoever tried did not find it so"
	case host.kind() == closed:
		if before.kind() != trial || w.trialOf != i || !w.up || w.sick == i || host.count() != before.count()+1 {
			return "the host's breaker was closed by no good trial"
		}
		w.votes = nil
		if worker.p.State() != Closed {
			return "the trial has succeeded, and the breaker of who made it is not closed"
		}
	}
	return ""
}

var drawSteps = rapid.SliceOfN(rapid.Custom(func(r *rapid.T) step {
	s := step{worker: rapid.IntRange(0, 3).Draw(r, "worker")}
	s.what = rapid.SampledFrom([]string{"call", "call", "call", "fails", "outage", "outage", "begin", "begin", "end", "end", "kill", "sleep", "sleep", "up", "down", "sick", "well"}).Draw(r, "what")
	if s.what == "sleep" {
		s.pause = rapid.SampledFrom([]time.Duration{time.Millisecond, time.Second, 9 * time.Second, 31 * time.Second, 40 * time.Second}).Draw(r, "pause")
	}
	return s
}), 100, 200) // it would draw few of its own accord

func TestModelOfAHost(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		steps := drawSteps.Draw(r, "steps")
		openFor := rapid.SampledFrom([]time.Duration{time.Second, 30 * time.Second}).Draw(r, "open for")
		wrong := ""
		synctest.Test(t, func(t *testing.T) { wrong = live(t, steps, openFor) })
		if wrong != "" {
			r.Fatal(wrong)
		}
	})
}

// longest is how long nobody may be let through: as long as it is open, or a trial takes, and a
// millisecond for either that it is rounded by.
func (w *model) longest() time.Duration {
	return max(w.openFor*6/5+500*time.Millisecond, 4*time.Second) + 2*time.Millisecond
}

func live(t *testing.T, steps []step, openFor time.Duration) string {
	m, err := hostmem.Anonymous(8)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	}()
	w := &model{m: m, workers: make([]*modelWorker, 4), up: true, sick: -1, openFor: openFor}
	for i := range w.workers {
		w.start(t, i)
	}
	defer func() {
		for _, worker := range w.workers {
			worker.p.Close()
		}
	}()
	call := func(i int) string {
		wrong := w.begin(i)
		if wrong == "" {
			wrong = w.look(i)
		}
		if held := w.workers[i].held; wrong == "" && len(held) > 0 {
			last := held[len(held)-1]
			w.workers[i].held = append([]admission{last}, held[:len(held)-1]...)
			w.end(i)
			wrong = w.look(i)
		}
		return wrong
	}
	for n, s := range steps {
		wrong := ""
		switch s.what {
		case "call":
			wrong = call(s.worker)
		case "fails", "outage": // and opens its breaker, or all of the host
			up := w.up
			w.up = false
			for n := range 6 {
				i := s.worker
				if s.what == "outage" {
					i = (i + n) % 2
				}
				if wrong = call(i); wrong != "" {
					break
				}
			}
			w.up = up
		case "begin":
			wrong = w.begin(s.worker)
		case "end":
			w.end(s.worker)
		case "kill":
			w.workers[s.worker].p.Close()
			w.start(t, s.worker)
		case "sleep":
			time.Sleep(s.pause)
			for i := range w.workers { // who looks by himself
				if wrong == "" {
					wrong = w.look(i)
				}
			}
			continue
		case "up", "down":
			w.up = s.what == "up"
		case "sick":
			w.sick = s.worker
		case "well":
			w.sick = -1
		}
		if wrong == "" {
			wrong = w.look(s.worker)
		}
		if wrong != "" {
			return fmt.Sprintf("step %d, %+v: %s", n, s, wrong)
		}
	}
	// All is well again, and whoever has a trial is never heard of.
	w.up, w.sick = true, -1
	for i := range w.workers {
		w.workers[i].held = nil
	}
	for end := time.Now().Add(w.longest()); time.Now().Before(end); {
		time.Sleep(200 * time.Millisecond)
		for i := range w.workers {
			if wrong := call(i); wrong != "" {
				return "when all is well: " + wrong
			}
		}
	}
	for i, worker := range w.workers {
		if s := worker.p.State(); s != Closed {
			return fmt.Sprintf("when all has been well for long, worker %d is %v", i, s)
		}
	}
	synctest.Wait()
	return ""
}

// However sick one worker is, the others are let through, whoever is killed and restarted.
func TestOneSickWorkerOpensOnlyItsOwn(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		steps := drawSteps.Draw(r, "steps")
		sick := rapid.IntRange(0, 3).Draw(r, "sick")
		wrong := ""
		synctest.Test(t, func(t *testing.T) {
			m, err := hostmem.Anonymous(8)
			if err != nil {
				t.Fatal(err)
			}
			w := &model{m: m, workers: make([]*modelWorker, 4), up: true, sick: sick, openFor: time.Second}
			for i := range w.workers {
				w.start(t, i)
			}
			for n, s := range steps {
				switch s.what {
				case "kill":
					w.workers[s.worker].p.Close()
					w.start(t, s.worker)
				case "sleep":
					time.Sleep(s.pause)
				default:
					for range 3 {
						wrong = w.begin(s.worker)
						if wrong == "" && len(w.workers[s.worker].held) == 0 && s.worker != sick {
							wrong = "a worker that is well was refused"
						}
						w.end(s.worker)
					}
				}
				if wrong != "" {
					wrong = fmt.Sprintf("step %d, %+v: %s", n, s, wrong)
					break
				}
			}
			for _, worker := range w.workers {
				worker.p.Close()
			}
			if err := m.Close(); err != nil {
				t.Error(err)
			}
		})
		if wrong != "" {
			r.Fatal(wrong)
		}
	})
}

package limiter

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync/atomic"
	"time"
)

const (
	beatEvery  = 2 * time.Second        // while all is well
	probeEvery = 100 * time.Millisecond // while it is not
	silentFor  = time.Second            // while it is not, and lets wait who asks
	probeSoon  = 20 * time.Millisecond  // after the last beat, when something has failed
	beatWithin = 500 * time.Millisecond
	hostsStay  = 10 * time.Second // for which a host counts, see Source

	// The log is not flooded by a source that comes and goes: when it is back nothing is said
	// for so long, and a part of it is said to be back when nothing has failed for so long.
	quiet = 10 * time.Second
)

// state is how the source does, as this process has it.
type state int32

const (
	well state = iota
	slow       // it answers, but too late to be waited for: it is asked in the background
	away       // it fails: it is asked whether it is back, and seldom about keys, see mayAwait
)

// health watches the source. A part of it may fail, as a node of a cluster: that is a matter
// of those keys whose calls fail, as long as others are answered.
type health struct {
	now    atomic.Int32
	heard  atomic.Int64          // when a grant was answered last, on the table's clock
	tried  atomic.Int64          // when one was waited for last although the source is away; if in vain, later
	fault  atomic.Pointer[fault] // the first since the last beat
	faulty faulty
	alone  atomic.Uint64 // decisions without it, since it went
	poke   chan struct{}

	log   *slog.Logger
	began time.Time

	// Only watch knows:
	told     bool      // it has said that it is not well
	toldPart bool      // and that it is a part of it
	last     int64     // when the last beat ended
	inPart   bool      // it was only a part of it that failed then
	partAt   time.Time // when that was so last
	backAt   time.Time // when it was said to be back
	allHosts time.Time // when no fewer hosts were counted than are known here
}

func newHealth(l *slog.Logger) *health {
	h := &health{poke: make(chan struct{}, 1), log: l, began: time.Now(), allHosts: time.Now()}
	h.now.Store(int32(away)) // until it was heard of
	return h
}

func (h *health) state() state { return state(h.now.Load()) }

// isWell says whether the source is, for a key: it is not for a while after a call about it has
// failed.
func (h *health) isWell(k flightKey, now int64) bool {
	return h.state() == well && !h.faulty.isThere(k, now)
}

// mayAsk says whether the source can be asked about a key by somebody who does not wait for it.
func (h *health) mayAsk(k flightKey, now int64) bool {
	return h.state() != away && !h.faulty.isThere(k, now)
}

// mayAwait says whether the source can be asked about a key by somebody who waits for it. While
// it is away one in probeEvery can, or in silentFor if it is silent: the key may be at a part that is there.
func (h *health) mayAwait(k flightKey, now int64) bool {
	if h.state() == slow || h.faulty.isThere(k, now) {
		return false
	}
	if h.state() == well {
		return true
	}
	last := h.tried.Load()
	return now-last > int64(probeEvery) && h.tried.CompareAndSwap(last, now)
}

// silent notes that somebody has waited in vain, and nobody was answered meanwhile.
func (h *health) silent(now int64) {
	h.tried.Store(now + int64(silentFor-probeEvery))
	h.worse(slow)
}

// fault is a call about a key that has failed.
type fault struct {
	err error
	at  int64
}

// failed notes that a call has failed, and has the source looked at.
func (h *health) failed(err error, now int64) {
	h.fault.CompareAndSwap(nil, &fault{err, now})
	h.look()
}

// answered notes that a call about a key was answered.
func (h *health) answered(k flightKey, now int64) {
	h.heard.Store(now)
	h.faulty.remove(k)
}

func (h *health) look() {
	select {
	case h.poke <- struct{}{}:
	default:
	}
}

// worse makes it so, if it was better, and has it looked at.
func (h *health) worse(s state) {
	for old := h.now.Load(); old < int32(s); old = h.now.Load() {
		if h.now.CompareAndSwap(old, int32(s)) {
			h.look()
			return
		}
	}
}

// beat asks the source whether it is there, and how many hosts are.
func (s *Shared) beat(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, beatWithin)
	defer cancel()
	began := time.Now()
	s.calls.Add(1)
	hosts, err := s.source.Beat(ctx, s.hostmem.Host())
	took := time.Since(began)
	if err == nil && hosts < 1 {
		err = fmt.Errorf("it says that there are %d hosts", hosts)
	}
	if err != nil && s.ctx.Err() == nil { // else it was this process that ended it
		s.failures.Add(1)
	}
	if err == nil {
		s.countHosts(hosts, began)
		s.answersIn(int64(took))
	}
	h := s.health
	failed, heard, last := h.fault.Swap(nil), h.heard.Load(), h.last
	h.last = s.now()
	others := failed != nil && heard > failed.at // are answered
	if err == nil {
		h.inPart = others || failed != nil && h.toldPart
	} else {
		h.inPart = others || (h.inPart || h.state() == away) && heard > last
	}
	switch {
	case err != nil && s.ctx.Err() != nil:
	case err != nil && h.inPart:
		h.now.Store(int32(well))
		h.sayInPart(err, began)
	case err != nil:
		h.now.Store(int32(away))
		if h.toldPart {
			h.told, h.toldPart = false, false
		}
		h.say("rate limits: the source cannot be asked, each policy decides as its fail says: %v", err)
	case took > s.budget*3/4:
		h.now.Store(int32(slow))
		h.say("rate limits: the source takes %v to answer, and is not waited for: what no lease pays each policy decides as its fail says", took.Round(time.Millisecond))
	case h.inPart:
		h.now.Store(int32(well))
		h.sayInPart(failed.err, began)
	default:
		h.now.Store(int32(well))
		h.faulty.forget(h.last)
		switch {
		case !h.told:
			h.alone.Store(0)
		case h.toldPart && began.Sub(h.partAt) < quiet: // a key that fails is asked for now and then
		default:
			h.told, h.toldPart, h.backAt = false, false, began
			h.print(slog.LevelInfo, "rate limits: the source is back; %d decisions were made without it", h.alone.Swap(0))
		}
	}
}

func (h *health) sayInPart(err error, now time.Time) {
	h.partAt = now
	if h.say("rate limits: some buckets of the source cannot be asked for, and of these each policy decides as its fail says: %v", err) {
		h.toldPart = true
	}
}

// say says once that it is not well, and whether it has. A source that connects in the background has
// a moment to do so.
func (h *health) say(format string, args ...any) bool {
	if h.told || time.Since(h.began) <= firstWait || time.Since(h.backAt) < quiet {
		return false
	}
	h.told = true
	h.print(slog.LevelWarn, format, args...)
	return true
}

func (h *health) print(level slog.Level, format string, args ...any) {
	if h.log != nil {
		h.log.Log(context.Background(), level, fmt.Sprintf(format, args...))
	}
}

// countHosts takes over how many hosts there are. That they are fewer is believed only when it
// has been so for as long as a host counts after its last beat: a source that has
// forgotten all, because it was flushed or restarted, hears of the others at their next beats,
// and until then each host would take the whole of a limit for its part.
func (s *Shared) countHosts(hosts int, now time.Time) {
	if hosts < s.hostmem.Hosts() && now.Sub(s.health.allHosts) < hostsStay {
		return
	}
	s.health.allHosts = now
	s.hostmem.SetHosts(hosts)
}

// watch beats until ctx ends. It closes first when the source was heard of.
func (s *Shared) watch(ctx context.Context, first chan<- struct{}) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		last, before := time.Now(), s.health.state()
		s.beat(ctx)
		if first != nil && s.health.state() == well {
			close(first)
			first = nil
		}
		if s.health.state() != well {
			every := probeEvery
			if time.Since(s.health.began) < firstWait || before == well { // it may have been for a moment
				every = probeSoon
			}
			timer.Reset(max(every-time.Since(last), probeSoon))
			continue
		}
		// Many that were started at once do not go on beating at once.
		timer.Reset(beatEvery*3/4 + rand.N(beatEvery/2))
		select {
		case <-ctx.Done():
		case <-timer.C:
			timer.Reset(0)
		case <-s.health.poke:
			every := probeSoon
			if s.health.inPart { // it is known, and goes on
				every = probeEvery
			}
			timer.Reset(max(every-time.Since(last), 0))
		}
	}
}

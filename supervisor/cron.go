package supervisor

import (
	"strings"
	"time"

	"github.com/adhocore/gronx"

	"github.com/nekoctl/neko/supervisor/spec"
)

// schedule knows when a cron expression is due. It asks the clock of the wall and
// is asked at least every longestNap: timers go by another clock, which stands
// still while the machine is suspended and knows nothing of corrections.
type schedule struct {
	expression string
	next       time.Time // zero: never
	last       time.Time // it was due, or was found to have been
	looked     time.Time
}

const (
	longestNap = time.Minute
	// wrongClock is how far the clock must be set back for what was due before by it
	// not to count: less is a correction, in which nothing is due for a second time.
	wrongClock = time.Hour
)

// look says whether the expression is due, once for all that is past, and when to
// look again.
func (s *schedule) look(now time.Time) (due bool, nap time.Duration) {
	now = now.Round(0) // the clock of the wall alone
	if s.looked.IsZero() || now.Before(s.looked) {
		from := now
		if s.last.After(now) && s.last.Sub(now) <= wrongClock {
			from = s.last
		}
		s.next = nextDue(s.expression, from)
	}
	s.looked = now
	if due = !s.next.IsZero() && !now.Before(s.next); due {
		s.last = now
		s.next = nextDue(s.expression, now)
	}
	if s.next.IsZero() {
		return due, longestNap
	}
	return due, min(s.next.Sub(now), longestNap)
}

// nextDue is the first time after from at which an expression is due, in from's
// zone; zero if there is none.
//
// Where the clock is put forward, what would have been due in the gap is so at its
// end; where it is put back, what is due at certain hours is so once. What is due
// all day long (an hour of * or */n) goes by the time that passes.
func nextDue(expression string, from time.Time) time.Time {
	from = from.Truncate(time.Second)
	segments, err := gronx.Segments(expression)
	if err != nil {
		return time.Time{}
	}
	if strings.HasPrefix(segments[2], "*") {
		return nextByTime(expression, from)
	}
	return nextByHour(expression, from)
}

// face is what a clock on the wall shows at t, as if it were in UTC, where no hour
// is missing: there gronx makes no mistakes.
func face(t time.Time) time.Time {
	return time.Date(t.Year(), t.Month(), t.Day(), t.Hour(), t.Minute(), t.Second(), 0, time.UTC)
}

func nextByHour(expression string, from time.Time) time.Time {
	for shown := face(from); ; {
		var err error
		if shown, err = gronx.NextTickAfter(expression, shown, false); err != nil {
			return time.Time{}
		}
		if t := firstShown(shown, from.Location()); t.After(from) {
			return t
		}
	}
}

// firstShown is when a clock in a zone first shows this or, as it leaves that out,
// something later.
func firstShown(shown time.Time, zone *time.Location) time.Time {
	t := time.Date(shown.Year(), shown.Month(), shown.Day(), shown.Hour(), shown.Minute(), shown.Second(), 0, zone)
	begin, end := t.ZoneBounds()
	switch {
	case face(t).After(shown):
		return begin
	case face(t).Before(shown):
		return end
	case begin.IsZero():
		return t
	}
	// It may have shown the same before it was put back.
	_, offset := begin.Add(-time.Second).Zone()
	if earlier := shown.Add(-time.Duration(offset) * time.Second).In(zone); earlier.Before(begin) {
		return earlier
	}
	return t
}

func nextByTime(expression string, from time.Time) time.Time {
	for including := false; ; including = true {
		next, err := gronx.NextTickAfter(expression, face(from), including)
		if err != nil {
			return time.Time{}
		}
		t := from.Add(next.Sub(face(from)))
		_, end := from.ZoneBounds()
		if end.IsZero() || t.Before(end) {
			return t
		}
		from = end.In(from.Location()) // and by what the clock shows from then on
	}
}

// keepSchedule has the timer of an app's cron_restart run as its spec says.
func (m *master) keepSchedule(a *app) {
	if a.schedule.expression == a.spec.CronRestart {
		return
	}
	a.stopSchedule()
	if a.spec.CronRestart == "" {
		return
	}
	a.schedule.expression = a.spec.CronRestart
	m.awaitDue(a)
}

func (a *app) stopSchedule() {
	if a.due != nil {
		a.due.Stop()
		a.due = nil
	}
	a.schedule = schedule{}
}

// awaitDue answers what is due, and looks again.
func (m *master) awaitDue(a *app) {
	due, nap := a.schedule.look(time.Now())
	if due {
		m.renewDue(a)
	}
	m.later(&a.due, nap, func() { m.awaitDue(a) })
}

// renewDue renews an app unless the last time is still under way.
func (m *master) renewDue(a *app) {
	const why = "cron_restart"
	runs := func(s *slot) bool { return s.want == run && (s.serving != nil || s.starting != nil) }
	switch {
	case a.renewals[why] != nil:
		m.log("%s: %s is due again, and is still under way: left out", a, why)
	case a.spec.Type == spec.Task && a.any(runs):
		m.log("%s: %s is due, and the task still runs: left out", a, why)
	case a.any(func(s *slot) bool { return s.want == run }): // else a person has stopped it
		m.renew(a, why, a.spec.CronRestart+" was due")
	case a.spec.PM2 != nil: // whose cron starts also that
		go m.startDue(a)
	}
}

// startDue starts an app that a command has stopped.
func (m *master) startDue(a *app) {
	end, err := m.begin()
	if err == nil {
		defer end()
		var settings spec.App
		m.do(func() { settings = *a.spec })
		_, err = m.start(quiet{}, []spec.App{settings}, startOptions{named: true})
	}
	if err != nil {
		m.post(func() { m.log("%s (cron_restart): %s", a, errorText(err)) })
	}
}

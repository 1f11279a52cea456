package supervisor

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/nekoctl/neko/supervisor/control"
	"github.com/nekoctl/neko/supervisor/events"
	"github.com/nekoctl/neko/supervisor/keeper"
)

// What has happened is told where it is known, in the loop and before it is on record: a
// master that is killed in between tells of it, and the next one, which comes upon the same
// again, finds that it has been told (the once of [events.Ring.Add]).

// eventsFiles is the name of the descriptors in which events outlive a master.
const eventsFiles = "events"

// keepEvents goes on with the events of an earlier master. Without memory for them they
// are this master's alone.
func (m *master) keepEvents(in *keeper.Inheritance) {
	files := [2]*os.File{}
	var err error
	if fds := in.Files[eventsFiles]; len(fds) == len(files) {
		for i, fd := range fds {
			files[i] = os.NewFile(uintptr(fd), eventsFiles)
		}
	} else if files, err = events.Files(); err == nil {
		err = m.conn.Put(eventsFiles, int(files[0].Fd()), int(files[1].Fd()))
	}
	if err == nil {
		err = m.events.Keep(files)
	}
	if err != nil {
		m.warn("events", fmt.Sprintf("events are not kept for the next master: %v", err))
		return
	}
	m.held[eventsFiles] = []int{int(files[0].Fd()), int(files[1].Fd())}
}

// tellOfMasters tells what has become of the master before, and that this one is there.
func (m *master) tellOfMasters(in *keeper.Inheritance) {
	before := m.events.State()
	m.events.Update(func(s *events.State) {
		s.Master, s.Version, s.Left = os.Getpid(), m.version, false
	})
	reason, upgraded := in.Records[keeper.UpgradeRecord]
	switch {
	case upgraded && reason == "": // on trial: see keeperSays
	case before.Upgrade != nil && upgraded:
		m.tellOfUpgrade(errors.New(reason))
	case before.Upgrade != nil:
		m.tellOfUpgrade(nil)
	case m.recovered > 0:
		m.tellOfDaemon("recovered", "", "keeper and master of an earlier daemon were killed: %d of its processes were found again", m.recovered)
	case before.Master == 0 && len(m.order) == 0 && !m.stopping:
		m.tellOfDaemon("started", "", "neko %s has started: master %d", m.version, os.Getpid())
	case before.Master != 0 && !before.Left:
		m.tellOfDaemon("replaced", "", "the master was killed (pid %d); pid %d goes on", before.Master, os.Getpid())
	}
	for _, e := range m.events.Held() { // whose last words this master has moved into the logs
		m.complete(e.ID, m.crashedProcess(e))
	}
}

// crashedProcess is what is left of the process that an event of an earlier master is
// about, nil if nothing is.
func (m *master) crashedProcess(e control.Event) *process {
	for _, p := range m.piped {
		gone := p.PID == 0 && p.slot.app.name == e.Name && e.Slot != nil && p.slot.index == *e.Slot
		if p.PID == e.PID || gone {
			return p
		}
	}
	return nil
}

func (m *master) tellOfDaemon(state, reason, format string, args ...any) {
	details := map[string]string{"state": state, "version": m.version}
	if reason != "" {
		details["reason"] = reason
	}
	m.happened(control.Event{}, control.EventDaemon, "", details, format, args...)
}

// tellOfUpgrade tells how one has ended.
func (m *master) tellOfUpgrade(err error) {
	var u events.Upgrade
	if now := m.events.State().Upgrade; now != nil {
		u = *now
	}
	m.events.Update(func(s *events.State) { s.Upgrade = nil })
	m.tellOfUpgradeTo(u, err)
}

func (m *master) tellOfUpgradeTo(u events.Upgrade, err error) {
	if u.To == "" {
		u.To = m.version
	}
	if u.From == "" {
		u.From = "an older version" // which left no note of itself
	}
	details := map[string]string{"from": u.From, "to": u.To}
	if err != nil {
		m.happened(control.Event{}, control.EventUpgrade, "", withError(details, err), "the upgrade from %s to %s failed: %s", u.From, u.To, inOneLine(err))
		return
	}
	m.happened(control.Event{}, control.EventUpgrade, "", withError(details, nil), "upgraded from %s to %s", u.From, u.To)
}

// ofApp and ofSlot begin an event about one.
func ofApp(a *app) control.Event {
	e := control.Event{Name: a.name, Title: a.spec.Title}
	if t := a.trace.Load(); t != nil {
		e.TraceID, e.SpanID = t.Trace, t.Span
	}
	return e
}

func ofSlot(s *slot) control.Event {
	e, index := ofApp(s.app), s.index
	e.Slot = &index
	if id := s.id; id != noID {
		e.ProcessID = &id
	}
	return e
}

func ofProcess(p *process) control.Event {
	e := ofSlot(p.slot)
	e.PID = p.PID
	return e
}

// ofChosen is about an app, or one slot of it.
func ofChosen(c chosen) control.Event {
	if c.slot != nil {
		return ofSlot(c.slot)
	}
	return ofApp(c.app)
}

// withError has the result in details, and what went wrong.
func withError(details map[string]string, err error) map[string]string {
	if details["result"] = "ok"; err != nil {
		details["result"], details["error"] = "failed", inOneLine(err)
	}
	return details
}

func inOneLine(err error) string {
	var e *control.Error
	if errors.As(err, &e) && e.Message != "" && err.Error() == e.Message {
		return e.Message
	}
	return strings.ReplaceAll(err.Error(), "\n", "; ")
}

func milliseconds(d time.Duration) string { return strconv.FormatInt(d.Milliseconds(), 10) }

// The bounds of one event, in bytes.
const (
	longestMessage = 1000
	longestDetail  = 500
	longestOutput  = 2000
	mostOutput     = 20 // lines, as a stack of Node's has with the error above it
)

// clean is text in one line and of so many bytes at most.
func clean(text string, most int) string {
	text = strings.ReplaceAll(strings.TrimSpace(text), "\n", "; ")
	if len(text) > most {
		text = text[:most-len("…")] + "…"
	}
	return strings.Map(func(r rune) rune {
		if r < ' ' || 0x7f <= r && r < 0xa0 {
			return '\uFFFD'
		}
		return r
	}, strings.ToValidUTF8(text, "\uFFFD"))
}

func newEvent(about control.Event, kind control.Kind, details map[string]string, format string, args ...any) control.Event {
	about.Kind, about.Message = kind, clean(fmt.Sprintf(format, args...), longestMessage)
	for key, value := range details {
		details[key] = clean(value, longestDetail)
	}
	about.Details = details
	return about
}

// happened tells what has happened, once if that is not "".
func (m *master) happened(about control.Event, kind control.Kind, once string, details map[string]string, format string, args ...any) {
	m.events.Add(newEvent(about, kind, details, format, args...), once, false)
}

// tellOfEnd tells of the end of a process, and of its last words when they are known. The
// end is nil if it has not come, as it hangs.
func (m *master) tellOfEnd(p *process, kind control.Kind, end *ending, format string, args ...any) {
	details := map[string]string{"restarts": strconv.Itoa(p.slot.restarts)}
	if kind == control.EventExit {
		delete(details, "restarts")
	}
	if p.tookOver {
		details["uptime_ms"] = milliseconds(p.uptime())
	}
	if end != nil && end.code >= 0 {
		details["exit_code"] = strconv.Itoa(end.code)
	} else if name, ok := strings.CutPrefix(endingText(end), "signal: "); ok {
		details["signal"] = name
	}
	once := ""
	if p.PID != 0 {
		once = fmt.Sprintf("%s %d %d", kind, p.PID, p.Start)
	}
	if id := m.events.Add(newEvent(ofProcess(p), kind, details, format, args...), once, p.PID != 0); id != 0 && p.PID != 0 {
		m.complete(id, p)
	}
}

func endingText(end *ending) string {
	if end == nil {
		return ""
	}
	return end.text
}

// complete adds to an event what a process has printed last.
func (m *master) complete(id int64, p *process) {
	go func() {
		var lines []string
		if p != nil {
			lines = p.lastLines()
		}
		m.events.Complete(id, func(e *control.Event) { e.Output = lines })
	}()
}

// lastLines are the end of what p has printed, errors last.
func (p *process) lastLines() (lines []string) {
	lines = lastWords(p)
	left := longestOutput
	for i := len(lines) - 1; i >= 0; i-- {
		lines[i] = clean(lines[i], longestDetail)
		if left -= len(lines[i]); left < 0 || len(lines)-i > mostOutput {
			return lines[i+1:]
		}
	}
	return lines
}

// The reasons of restarts and reloads: the words for why processes end, and two that only an
// app has.
const (
	byCrash    = string(control.CauseCrash)
	byHang     = string(control.CauseHung)
	byItself   = string(control.CauseExit) // in order
	byCommand  = string(control.CauseCommand)
	bySettings = "settings"
	byMemory   = string(control.CauseMemory)
	byCron     = string(control.CauseCron)
	byWatch    = string(control.CauseWatch)
	byGrant    = "grant"
)

// owe says that a slot is to have another process for a reason, which is told when that
// serves.
func (s *slot) owe(reason string) {
	if s.owed == "" {
		s.owed = reason
	}
}

// tellOfRestart tells that a slot serves again.
func (m *master) tellOfRestart(p *process) {
	s := p.slot
	if s.owed == "" {
		return
	}
	reason := s.owed
	s.owed = ""
	details := map[string]string{"reason": reason, "restarts": strconv.Itoa(s.restarts)}
	if !s.exitedAt.IsZero() && reason == byCrash {
		details["duration_ms"] = milliseconds(max(time.Since(s.exitedAt), 0))
	}
	m.happened(ofProcess(p), control.EventRestart, fmt.Sprintf("restart %s %d", s.app.uniqueID, p.launch), withError(details, nil), "pid %d serves (%s)", p.PID, reason)
}

// tellOfGivingUp tells that a slot gets no process any more.
func (m *master) tellOfGivingUp(s *slot) {
	once := fmt.Sprintf("errored %s %d %d %d", s.app.uniqueID, s.index, s.restarts, s.createdAt.UnixNano())
	m.happened(ofSlot(s), control.EventErrored, once, map[string]string{"restarts": strconv.Itoa(s.restarts)}, "%s", s.reason)
}

// tellOfReplacing tells of a restart or a reload that was to be.
func (m *master) tellOfReplacing(about control.Event, kind control.Kind, reason string, processes int, began time.Time, err error) {
	if m.stopping || errors.Is(err, errStopping) || errors.Is(err, errGone) {
		return
	}
	details := map[string]string{"reason": reason, "duration_ms": milliseconds(time.Since(began))}
	what := map[control.Kind]string{control.EventReload: "reload", control.EventRestart: "restart"}[kind]
	number := "1 process"
	if processes != 1 {
		number = fmt.Sprintf("%d processes", processes)
	}
	if kind == control.EventReload {
		details["processes"] = strconv.Itoa(processes)
	}
	e := newEvent(about, kind, withError(details, err), "%s of %s in %v (%s)", what, number, time.Since(began).Round(time.Millisecond), reason)
	if err != nil {
		e.Message = clean(fmt.Sprintf("the %s failed (%s): %s", what, reason, inOneLine(err)), longestMessage)
		var failed *control.Error
		if errors.As(err, &failed) {
			for _, line := range failed.Output[max(0, len(failed.Output)-mostOutput):] {
				e.Output = append(e.Output, clean(line, longestDetail))
			}
		}
	}
	m.events.Add(e, "", false)
}

// tellOfReload tells of a reload of slots, unless none of them runs.
func (m *master) tellOfReload(c chosen, slots []*slot, reason string, began time.Time, err error) {
	n := 0
	for _, s := range slots {
		if s.want == run && s.serving != nil {
			n++
		}
	}
	if n > 0 || err != nil {
		m.tellOfReplacing(ofChosen(c), control.EventReload, reason, n, began, err)
	}
}

// tellOfCommand tells of a start, a stop or a delete.
func (m *master) tellOfCommand(about control.Event, kind control.Kind, details map[string]string, err error, done string) {
	if m.stopping || errors.Is(err, errStopping) {
		return
	}
	if details == nil {
		details = map[string]string{}
	}
	if err != nil {
		m.happened(about, kind, "", withError(details, err), "the %s failed: %s", kind, inOneLine(err))
		return
	}
	m.happened(about, kind, "", withError(details, nil), "%s", done)
}

// tellOfScale tells of another number of processes.
func (m *master) tellOfScale(a *app, from, to int, reason string, err error) {
	if from == to && err == nil || m.stopping || errors.Is(err, errStopping) {
		return
	}
	details := map[string]string{"from": strconv.Itoa(from), "to": strconv.Itoa(to), "reason": reason}
	if err != nil {
		m.happened(ofApp(a), control.EventScale, "", withError(details, err), "scaling from %d to %d failed: %s", from, to, inOneLine(err))
		return
	}
	m.happened(ofApp(a), control.EventScale, "", withError(details, nil), "scaled from %d to %d processes", from, to)
}

// tellOfLoss tells that a log cannot be written any more.
func (m *master) tellOfLoss(path, reason string) {
	var about control.Event
	for _, s := range m.slots() {
		for _, p := range m.logPaths(s.spec, s) {
			if p == path {
				about = ofApp(s.app)
			}
		}
	}
	m.happened(about, control.EventLogLost, "", map[string]string{"path": path, "error": reason}, "%s cannot be written (%s): what is printed is lost", path, reason)
}

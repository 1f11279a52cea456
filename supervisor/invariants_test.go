package supervisor

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nekoctl/neko/supervisor/spec"
)

// invariants hold after every event. It returns what does not.
func (s *scene) invariants() string {
	m := s.m
	if len(m.dirty) > 0 || len(m.onRecord) > 0 {
		return "something is still to be done"
	}
	if len(m.order) != len(m.apps) {
		return fmt.Sprintf("%d apps, and %v in order", len(m.apps), m.order)
	}
	placed := map[int]*process{}
	sockets := map[string]bool{}
	ids := map[int]bool{}
	for _, name := range m.order {
		a := m.apps[name]
		for i, g := range a.groups {
			for j := range g.FDs() {
				sockets[socketsName(name, i, j)] = true
			}
			if g.Len() > max(len(a.slots), 1) {
				return fmt.Sprintf("%s has %d sockets for %d slots", name, g.Len(), len(a.slots))
			}
		}
		for i, slot := range a.slots {
			if slot.app != a || slot.index != i || !slot.vacant && ids[slot.id] || slot.vacant != (slot.id == noID) {
				return fmt.Sprintf("slot %d of %s is %s with the id %d", i, name, slot, slot.id)
			}
			ids[slot.id] = true
			for _, problem := range []string{s.places(slot, placed), s.notStuck(slot), s.steered(slot)} {
				if problem != "" {
					return fmt.Sprintf("%s (%s): %s", slot, slot.state, problem)
				}
			}
		}
	}
	if !maps.Equal(placed, m.processes) {
		return fmt.Sprintf("in slots are %v, and the processes are %v",
			slices.Sorted(maps.Keys(placed)), slices.Sorted(maps.Keys(m.processes)))
	}
	for _, b := range s.living() {
		if placed[b.PID] != b.process {
			return fmt.Sprintf("pid %d lives, and is in no slot", b.PID)
		}
	}
	if len(placed) != len(s.bodies) {
		return fmt.Sprintf("%d processes live, and %d are in slots", len(s.bodies), len(placed))
	}
	for name := range s.names {
		if strings.HasPrefix(name, "socket/") && !sockets[name] {
			return "the keeper holds " + name + ", which is closed"
		}
	}
	for name := range sockets {
		if !s.names[name] {
			return "the keeper does not hold " + name
		}
	}
	for name := range s.records {
		if m.stopping {
			break // the keeper forgets them with itself
		}
		_, rest, _ := strings.Cut(name, "/")
		app, slot, isSlot := strings.Cut(rest, "/")
		if a := m.apps[app]; strings.HasPrefix(name, "app/") && a == nil {
			return "there is a record " + name
		} else if index, _ := strconv.Atoi(slot); isSlot && (a == nil || index >= len(a.slots)) {
			return "there is a record " + name
		}
	}
	return ""
}

// places says what is wrong with the processes of a slot, one by one.
func (s *scene) places(slot *slot, placed map[int]*process) string {
	problem := ""
	look := func(where string, p *process, leaving bool, limit time.Duration) {
		if p == nil || problem != "" {
			return
		}
		b := s.bodies[p.PID]
		switch {
		case p.slot != slot:
			problem = "another slot's process is " + where
		case placed[p.PID] != nil:
			problem = fmt.Sprintf("pid %d is %s, and has another place", p.PID, where)
		case b == nil || b.process != p:
			problem = fmt.Sprintf("pid %d is %s, and does not live", p.PID, where)
		case p.leaving != leaving:
			problem = fmt.Sprintf("pid %d is %s: leaving=%v", p.PID, where, p.leaving)
		case leaving && p.hasServed() && p.why.Kind == "":
			problem = fmt.Sprintf("pid %d is leaving, and nobody knows why", p.PID)
		default:
			placed[p.PID] = p
			if leaving && b.left.IsZero() {
				b.left = time.Now()
			}
			since := p.startedAt
			if leaving {
				since = b.left
			}
			if limit > 0 && time.Since(since) > limit {
				problem = fmt.Sprintf("pid %d is %s for too long", p.PID, where)
			} else {
				problem = s.inherits(b)
			}
		}
	}
	// While it is not ready, and then for as long as its predecessor's trial lasts.
	patience := func(p *process) time.Duration {
		switch {
		case p == nil:
			return 0
		case p.ready && p == slot.starting:
			return p.spec.ListenTimeout.D() + longestTrial
		case p.ready:
			return 0
		}
		return p.spec.ListenTimeout.D()
	}
	look("serving", slot.serving, false, 0)
	look("starting", slot.starting, false, patience(slot.starting))
	look("a stand-in", slot.standIn, false, patience(slot.standIn))
	look("a spare", slot.spare, false, patience(slot.spare))
	for _, p := range slot.leaving {
		look("leaving", p, true, p.spec.DrainTimeout.D()+p.spec.KillTimeout.D())
	}
	enough := handshakes + slot.app.spec.ListenTimeout.D() + time.Second // for what has queued
	switch p := slot.serving; {
	case problem != "":
	case p != nil && (!p.ready || !p.tookOver):
		problem = fmt.Sprintf("pid %d serves: ready=%v tookOver=%v", p.PID, p.ready, p.tookOver)
	case p != nil && slot.standIn != nil:
		problem = "it serves, and has a stand-in"
	case slot.standIn != nil && time.Since(slot.standIn.startedAt) > enough && time.Since(slot.awayAt) > enough:
		problem = "it has a stand-in for which there is nothing to do"
	case len(slot.leaving) > 12:
		problem = fmt.Sprintf("%d processes are leaving", len(slot.leaving))
	}
	for _, p := range slot.leaving {
		if problem == "" && len(p.probers) > 0 {
			problem = fmt.Sprintf("pid %d is leaving, and still asked", p.PID)
		}
	}
	if p := slot.serving; p != nil && problem == "" {
		problem = asked(p)
	}
	return problem
}

// asked says whether a process that serves is asked what it is to be asked.
func asked(p *process) string {
	questions := []*spec.Probe{p.spec.Readiness, p.spec.Liveness}
	for _, by := range p.probers {
		if i := slices.Index(questions, by.question); i >= 0 && (by.timer != nil || by.cancel != nil) {
			questions = slices.Delete(questions, i, i+1)
		}
	}
	for _, question := range questions {
		if question != nil {
			return fmt.Sprintf("pid %d is not asked: %s", p.PID, question)
		}
	}
	return ""
}

// inherits says whether the sockets that a process has are still open here.
func (s *scene) inherits(b *body) string {
	slot := b.slot
	if len(b.sockets) != len(slot.app.groups) {
		return fmt.Sprintf("pid %d has %d sockets of %d", b.PID, len(b.sockets), len(slot.app.groups))
	}
	for i, g := range slot.app.groups {
		fd := g.FD(slot.index)
		listens, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ACCEPTCONN)
		switch {
		case fd < 0 || err != nil:
			return fmt.Sprintf("pid %d lives, and its socket is closed: %v", b.PID, err)
		case listens != 1:
			return fmt.Sprintf("pid %d lives, and its socket does not listen", b.PID)
		case inodes(fd)[0] != b.sockets[i]:
			return fmt.Sprintf("pid %d lives, and its slot has another socket", b.PID)
		}
	}
	return ""
}

// notStuck says that a slot has what will bring it to what it shall be.
func (s *scene) notStuck(slot *slot) string {
	staying := slot.serving != nil || slot.starting != nil || slot.standIn != nil || slot.spare != nil
	wantsSpare := slot.want == run && !slot.cycle && !slot.errored && !slot.finished && !slot.awaits && slot.spec.Spare > 0
	switch {
	case slot.index >= slot.app.size && slot.want == run:
		return "it runs, and is beyond the app's size"
	case slot.want == stop && staying:
		return "it shall stop, and something stays"
	case slot.cycle && (staying || len(slot.leaving) == 0):
		return "it shall start again, and does not"
	case slot.want == retire && slot.retiring == nil:
		return "it shall retire, and has no timer"
	case slot.want == run && !slot.stopsAt.IsZero():
		return "it runs, and is still about to stop"
	case slot.want == retire && !slot.stopsAt.IsZero() && (time.Now().After(slot.stopsAt) || slot.serving == nil && s.m.stopping):
		return "it should have stopped"
	case slot.want == stop || slot.cycle:
		if slot.waiting != nil {
			return "it shall stop, and has a timer"
		}
	case slot.serving == nil && slot.starting == nil && slot.waiting == nil && !slot.errored && !slot.finished && !slot.awaits && slot.want != retire:
		return "it shall run, and has nothing"
	case slot.awaits && s.m.awaited(slot) == nil:
		return "it waits for what is there"
	case slot.awaits && (slot.serving != nil || slot.starting != nil):
		return "it waits, and runs"
	case slot.spare != nil && !wantsSpare:
		return "it has a spare, and shall have none"
	case slot.spare != nil && slot.spare.spec != slot.spec:
		return "it has a spare that is out of date"
	case slot.spare == nil && wantsSpare && slot.serving != nil && slot.starting == nil && slot.sparing == nil:
		return "it shall have a spare, and has no timer"
	}
	return ""
}

// steered says whether new connections are sent to a slot as they should be.
func (s *scene) steered(slot *slot) string {
	a := slot.app
	live := a.live()
	if to := slices.Contains(live, slot.index); len(live) > 0 && to != slot.steered {
		return fmt.Sprintf("steered=%v, and the live slots are %v", slot.steered, live)
	}
	for _, i := range live {
		if p := a.slots[i].serving; p != nil && p.unready != "" && slices.ContainsFunc(a.slots, proven) {
			return fmt.Sprintf("live is %d, which is not ready, and another one is", i)
		}
		if a.slots[i].serving == nil && slices.ContainsFunc(a.slots, serves) {
			return fmt.Sprintf("live is %d, which does not serve, and another one does", i)
		}
	}
	return ""
}

// serves says that new connections can be sent to a slot.
func serves(s *slot) bool { return s.want == run && !s.cycle && s.serving != nil }

// proven says that there is nothing against it.
func proven(s *slot) bool { return serves(s) && s.probation == nil && s.serving.unready == "" }

// compare says what is not as the commands have asked for.
func (s *scene) compare() string {
	for name, w := range s.model {
		busy := false
		for c := range s.commands {
			busy = busy || slices.Contains(c.apps, name)
		}
		if busy {
			continue
		}
		var runs, empty []bool
		if a := s.m.apps[name]; a != nil {
			for _, slot := range a.slots[:min(a.size, len(a.slots))] { // those beyond are about to go
				runs, empty = append(runs, slot.want == run), append(empty, slot.vacant)
			}
		}
		if w.known && (!slices.Equal(runs, w.runs) || !slices.Equal(empty, w.empty)) {
			return fmt.Sprintf("%s runs in %v, of which are vacant %v, and the commands have asked for %v and %v", name, runs, empty, w.runs, w.empty)
		}
		w.known, w.runs, w.empty = true, runs, empty
	}
	return ""
}

// atRest says what is not as it must be after a while without trouble; all slots
// that are to run must serve after a restart.
func (s *scene) atRest(online bool) string {
	for _, slot := range s.m.slots() {
		spares := 0
		if slot.spare != nil {
			spares = 1
		}
		problem := ""
		switch {
		case slot.cycle || len(slot.leaving) > 0 || slot.starting != nil || slot.standIn != nil || slot.waiting != nil || slot.retiring != nil:
			problem = "is not at rest"
		case slot.want == retire || slot.index >= slot.app.size:
			problem = "is still about to go"
		case slot.want == run && slot.serving == nil && !(slot.finished && slot.spec.Type == spec.Task) &&
			(online || !slot.errored && !slot.finished && !slot.awaits):
			problem = "does not serve"
		case slot.serving != nil && slot.probation != nil:
			problem = "is on probation"
		case slot.serving != nil && slot.serving.unready != "":
			problem = "is not ready: " + slot.serving.unready
		case slot.serving != nil && spares != slot.spec.Spare:
			problem = fmt.Sprintf("has %d spares of %d", spares, slot.spec.Spare)
		case (online || slot.app.healthy() != nil) && s.m.queued(slot) > 0:
			problem = "has connections that nobody serves"
		case online && slot.spec != slot.app.spec && !sameSpec(slot.spec, slot.app.spec):
			problem = "has another spec than its app"
		default:
			continue
		}
		return fmt.Sprintf("%s (%s) %s", slot, slot.state, problem)
	}
	return ""
}

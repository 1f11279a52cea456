package control

import (
	"fmt"
	"slices"
	"strings"
)

// The kinds of events. [EventKinds] says what each is.
const (
	EventStart   Kind = "start"
	EventStop    Kind = "stop"
	EventDelete  Kind = "delete"
	EventCrash   Kind = "crash"
	EventHung    Kind = "hung"
	EventExit    Kind = "exit"
	EventErrored Kind = "errored"
	EventRestart Kind = "restart"
	EventReload  Kind = "reload"
	EventScale   Kind = "scale"
	EventUnready Kind = "unready"
	EventReady   Kind = "ready"
	EventLogLost Kind = "log-lost"
	EventUpgrade Kind = "upgrade"
	EventDaemon  Kind = "daemon"
	EventBreaker Kind = "breaker"
	EventLimit   Kind = "limit"
)

// OwnEvents begins the kinds that programs make up themselves: app.deployed, say.
const OwnEvents = "app."

// EventKind is a line of the table of kinds.
type EventKind struct {
	Kind    Kind
	About   string   // a sentence
	Details []string // the keys that its details may have
}

// EventKinds are all kinds that neko knows; docs/events.md has the same table.
var EventKinds = []EventKind{
	{EventStart, "A command has started an app, or was to.", []string{"result", "instances", "error"}},
	{EventStop, "A command has stopped an app, or a process of one.", []string{"result", "error"}},
	{EventDelete, "A command has deleted an app, or a process of one.", []string{"result", "error"}},
	{EventCrash, "A process has ended that was not told to, or did not become ready in time.", []string{"exit_code", "signal", "uptime_ms", "restarts"}},
	{EventHung, "A process lives and does not serve: its watchdog or its liveness probe says so. It is replaced.", []string{"uptime_ms", "restarts"}},
	{EventExit, "A process has ended by itself and is to have no successor, as a task that has done its work.", []string{"exit_code", "signal", "uptime_ms"}},
	{EventErrored, "A process has crashed too often, or a task has failed: nothing is tried any more.", []string{"restarts"}},
	{EventRestart, "A process, or all of an app, was replaced by one that serves, or could not be; the reason says why.", []string{"reason", "result", "duration_ms", "restarts", "error"}},
	{EventReload, "The processes of an app were replaced one after the other, or could not be: then those before serve on.", []string{"reason", "result", "processes", "duration_ms", "error"}},
	{EventScale, "The number of an app's processes has changed, or was to.", []string{"from", "to", "reason", "result", "error"}},
	{EventUnready, "A process that serves does not pass its readiness probe: new connections go elsewhere.", []string{"failures"}},
	{EventReady, "Such a process passes its probe again.", nil},
	{EventLogLost, "What an app prints cannot be written to its log, and is lost.", []string{"path", "error"}},
	{EventUpgrade, "The daemon has become another program, or could not.", []string{"from", "to", "result", "error"}},
	{EventDaemon, "The daemon has started or stops, or its master was killed and replaced.", []string{"state", "version", "reason"}},
	{EventBreaker, "A worker says that the circuit breaker of something that it depends on has changed.", []string{"name", "from", "to", "until", "reason"}},
	{EventLimit, "A worker says that a rate limit refuses requests: at the first, then once a minute while it goes on.", []string{"policy", "refused", "seconds"}},
}

// ParseKind reads what a person asks for: a kind, one of a program's own, or with a * at
// its end all that begin so.
func ParseKind(s string) (string, error) {
	var known []string
	for _, k := range EventKinds {
		known = append(known, string(k.Kind))
	}
	prefix, all := strings.CutSuffix(s, "*")
	switch {
	case slices.Contains(known, s), isOwnKind(s):
		return s, nil
	case all && (prefix == "" || isOwnKind(prefix) || prefix == OwnEvents ||
		slices.ContainsFunc(known, func(k string) bool { return strings.HasPrefix(k, prefix) })):
		return s, nil
	}
	return "", fmt.Errorf("there is no event %q; there are %s, and %s* of programs themselves", s, strings.Join(known, ", "), OwnEvents)
}

// maxKind is how long a kind may be.
const maxKind = 64

// isOwnKind says whether a program may have made up s: app. and letters, digits, dots,
// dashes and underscores.
func isOwnKind(s string) bool {
	name, ok := strings.CutPrefix(s, OwnEvents)
	return ok && name != "" && len(s) <= maxKind && strings.IndexFunc(name, func(r rune) bool {
		return !('a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || r == '.' || r == '-' || r == '_')
	}) < 0
}

// OfWorkers says whether k is one that a worker may tell of.
func (k Kind) OfWorkers() bool {
	return k == EventBreaker || k == EventLimit || isOwnKind(string(k))
}

// Is says whether k is what one of these means; none means any.
func (k Kind) Is(patterns []string) bool {
	return len(patterns) == 0 || slices.ContainsFunc(patterns, func(p string) bool {
		prefix, all := strings.CutSuffix(p, "*")
		return p == string(k) || all && strings.HasPrefix(string(k), prefix)
	})
}

// About says whether e is about one of these apps, by name or title; none means any, and
// what is about no app.
func (e *Event) About(apps []string) bool {
	return len(apps) == 0 || slices.ContainsFunc(apps, func(a string) bool { return a != "" && (a == e.Name || a == e.Title) })
}

// Subject is what an event is about, for people: "api", "api:0", or "daemon".
func (e *Event) Subject() string {
	name := e.Title
	if name == "" {
		name = e.Name
	}
	switch {
	case name == "":
		return "daemon"
	case e.Slot != nil:
		return fmt.Sprintf("%s:%d", name, *e.Slot)
	}
	return name
}

// Missed tells a reader that events came and went before it could read them.
type Missed struct {
	// Events is how many, of any kind; 0: nobody knows, as they were another daemon's.
	Events int64 `json:"events"`
	// Restarted: the daemon has started anew since.
	Restarted bool `json:"restarted,omitempty"`
}

func (m Missed) String() string {
	if m.Restarted {
		return "the daemon has started anew, and what it said before is gone"
	}
	return fmt.Sprintf("%d events are gone that were not read in time", m.Events)
}

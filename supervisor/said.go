package supervisor

import (
	"encoding/json"
	"fmt"
	"hash/fnv"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nekoctl/neko/supervisor/control"
)

// eventVariable begins the line by which a process tells of an event, in a message of
// sd_notify(3). What follows is JSON, and nothing of it is to be believed.
const eventVariable = "X_NEKO_EVENT"

// said is that JSON.
type said struct {
	Event   string         `json:"event"`
	Message string         `json:"message"`
	Details map[string]any `json:"details"` // texts, numbers and booleans
}

// The bounds of what a process may say.
const (
	saidMessage = 300 // bytes
	saidDetail  = 200
	saidDetails = 16
	saidAtOnce  = 10          // events
	saidEvery   = time.Second // and then one in each
)

// parseSaid reads it, or says what is wrong.
func parseSaid(text string) (kind control.Kind, message string, details map[string]string, err error) {
	var s said
	if err := json.Unmarshal([]byte(text), &s); err != nil {
		return "", "", nil, fmt.Errorf("it is no JSON of an event")
	}
	if kind = control.Kind(s.Event); !kind.OfWorkers() {
		return "", "", nil, fmt.Errorf("%q is no event of a process: breaker, limit and app.NAME are", clean(s.Event, 40))
	}
	if message = clean(s.Message, saidMessage); message == "" {
		return "", "", nil, fmt.Errorf("it has no message")
	}
	details = map[string]string{}
	for _, key := range slices.Sorted(maps.Keys(s.Details)) {
		if len(details) == saidDetails {
			break
		}
		if !isDetailKey(key) {
			continue
		}
		switch v := s.Details[key].(type) {
		case string:
			details[key] = clean(v, saidDetail)
		case float64:
			details[key] = strconv.FormatFloat(v, 'g', 15, 64)
		case bool:
			details[key] = strconv.FormatBool(v)
		}
	}
	return kind, message, details, nil
}

func isDetailKey(s string) bool {
	return s != "" && len(s) <= 40 && strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789_") == ""
}

// allowance is how much a process may say.
type allowance struct {
	left    float64
	at      time.Time
	dropped int       // since it has said something that was heard
	toldAt  time.Time // that something of it was dropped
}

// take says whether it may say one more.
func (a *allowance) take(now time.Time) bool {
	if a.at.IsZero() {
		a.left = saidAtOnce
	} else {
		a.left = min(a.left+float64(now.Sub(a.at))/float64(saidEvery), saidAtOnce)
	}
	if a.at = now; a.left < 1 {
		a.dropped++
		return false
	}
	a.left--
	return true
}

// saysEvent takes note of an event that a process tells of.
func (m *master) saysEvent(p *process, text string) {
	now := time.Now()
	mute := func(format string, args ...any) {
		if now.Sub(p.saying.toldAt) > time.Minute {
			p.saying.toldAt = now
			m.log("%s: an event of pid %d is left out: %s", p.slot, p.PID, fmt.Sprintf(format, args...))
		}
	}
	if !p.saying.take(now) {
		mute("it tells of more than %d at once, or one in a second", saidAtOnce)
		return
	}
	kind, message, details, err := parseSaid(text)
	if err != nil {
		mute("%v", err)
		return
	}
	if p.saying.dropped > 0 {
		details["left_out"] = strconv.Itoa(p.saying.dropped)
		p.saying.dropped = 0
	}
	if kind == control.EventBreaker {
		details["workers"] = strconv.Itoa(p.slot.app.agree(details["name"], details["to"], p.slot.index))
	}
	hash := fnv.New64a()
	hash.Write([]byte(text))
	once := fmt.Sprintf("said %d %d %x", p.PID, p.Start, hash.Sum64())
	if !m.mayRepeat {
		m.events.Forget(once)
	}
	m.happened(ofProcess(p), kind, once, details, "%s", message)
}

// mostBreakers of an app are known at once.
const mostBreakers = 64

// agree counts the workers of an app that say the same of the breaker of that name.
func (a *app) agree(name, to string, slot int) int {
	b := a.breakers[name]
	if b == nil || b.to != to {
		if len(a.breakers) >= mostBreakers {
			clear(a.breakers)
		}
		if a.breakers == nil {
			a.breakers = map[string]*agreement{}
		}
		b = &agreement{to: to, slots: map[int]bool{}}
		a.breakers[name] = b
	}
	b.slots[slot] = true
	return len(b.slots)
}

// agreement is what workers say of a breaker.
type agreement struct {
	to    string
	slots map[int]bool // who says so
}

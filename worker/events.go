package worker

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/nekoctl/neko/breaker"
	"github.com/nekoctl/neko/limiter"
)

// Events are what the supervisor is told beside the state of this process, for whoever
// follows `nekoctl events` or has a hook: docs/worker-contract.md has the line.

// event is one, as a line of sd_notify(3). Other supervisors than neko ignore it.
func event(kind, message string, details map[string]string) string {
	text, err := json.Marshal(struct {
		Event   string            `json:"event"`
		Message string            `json:"message"`
		Details map[string]string `json:"details,omitempty"`
	}{kind, message, details})
	if err != nil { // of texts
		return ""
	}
	return "X_NEKO_EVENT=" + string(text)
}

// event is what a change of a dependency is to the supervisor: that it is away, and that
// it is back. That it was tried in between, and is away still, is none.
func (one *dependency) event(c breaker.Change) string {
	if c.To == breaker.HalfOpen || one.away == (c.To == breaker.Open) {
		return ""
	}
	one.away = c.To == breaker.Open
	from := breaker.Closed
	if !one.away {
		from = breaker.Open
	}
	details := map[string]string{"name": c.Name, "from": from.String(), "to": c.To.String()}
	if one.away && !c.Until.IsZero() {
		details["until"] = c.Until.UTC().Format(time.RFC3339)
	}
	if one.away && c.Reason != "" {
		details["reason"] = shorten(c.Reason)
	}
	return event("breaker", describeChange(breaker.Change{Name: c.Name, From: from, To: c.To, Reason: c.Reason}), details)
}

// limitLook is how often is looked whether requests were refused: nothing is counted for it
// on their way. limitQuiet is how long nothing more is told of a policy then.
const (
	limitLook  = time.Second
	limitQuiet = time.Minute
)

// refusals are those of a policy.
type refusals struct {
	told uint64 // of those that were counted
	at   time.Time
}

// watchLimits tells the supervisor of rate limits that refuse requests.
func (w *Worker) watchLimits(ctx context.Context) {
	if w.rates == nil {
		return
	}
	go func() {
		tick := time.NewTicker(limitLook)
		defer tick.Stop()
		known := map[string]refusals{}
		for {
			select {
			case <-ctx.Done():
				return
			case now := <-tick.C:
				for _, line := range limitEvents(known, w.rates.limiter.Stats(), now) {
					w.dependencies.tell(line)
				}
			}
		}
	}()
}

// limitEvents are the events about policies that have refused more than was told.
func limitEvents(known map[string]refusals, s limiter.Stats, now time.Time) (lines []string) {
	for name, denied := range s.Denied {
		k, again := known[name]
		n := denied - k.told
		if denied <= k.told || again && now.Sub(k.at) < limitQuiet {
			continue
		}
		details := map[string]string{"policy": name, "refused": strconv.FormatUint(n, 10)}
		message := fmt.Sprintf("rate limit %s has begun to refuse requests: %d", name, n)
		if since := now.Sub(k.at); again && since < 2*limitQuiet {
			seconds := strconv.Itoa(int(since.Seconds()))
			details["seconds"] = seconds
			message = fmt.Sprintf("rate limit %s has refused %d requests in %s s", name, n, seconds)
		}
		known[name] = refusals{denied, now}
		lines = append(lines, event("limit", message, details))
	}
	slices.Sort(lines)
	return lines
}

// tell says something to the supervisor, if there is one and it knows this process.
func (d *dependencies) tell(lines ...string) {
	d.mu.Lock()
	supervisor := d.supervisor
	d.mu.Unlock()
	d.sending.Lock()
	defer d.sending.Unlock()
	if len(lines) == 0 {
		return
	}
	if err := supervisor.send(lines...); err != nil {
		d.w.config.Log.Warn(err.Error())
	}
}

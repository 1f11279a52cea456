package worker

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/nekoctl/neko/breaker"
	"github.com/nekoctl/neko/limiter"
)

func TestADependencyIsAwayAndBackAndThatIsTwoEvents(t *testing.T) {
	one := &dependency{}
	until := time.Date(2026, 1, 31, 15, 4, 5, 0, time.UTC)
	for _, c := range []struct {
		change breaker.Change
		want   string
	}{
		{breaker.Change{Name: "db", From: breaker.Closed, To: breaker.Open, Until: until, Reason: "it sleeps"},
			`X_NEKO_EVENT={"event":"breaker","message":"breaker db: CLOSED → OPEN: it sleeps","details":{"from":"CLOSED","name":"db","reason":"it sleeps","to":"OPEN","until":"2026-01-31T15:04:05Z"}}`},
		{breaker.Change{Name: "db", From: breaker.Open, To: breaker.HalfOpen}, ""},
		{breaker.Change{Name: "db", From: breaker.HalfOpen, To: breaker.Open}, ""},
		{breaker.Change{Name: "db", From: breaker.HalfOpen, To: breaker.Closed},
			`X_NEKO_EVENT={"event":"breaker","message":"breaker db: OPEN → CLOSED","details":{"from":"OPEN","name":"db","to":"CLOSED"}}`},
		{breaker.Change{Name: "db", From: breaker.Closed, To: breaker.HalfOpen}, ""},
		{breaker.Change{Name: "db", From: breaker.HalfOpen, To: breaker.Closed}, ""},
	} {
		if got := one.event(c.change); got != c.want {
			t.Errorf("%+v: %s", c.change, got)
		}
	}
}

func TestRefusalsAreToldAtOnceAndThenOnceAMinute(t *testing.T) {
	known, now := map[string]refusals{}, time.Now()
	for _, c := range []struct {
		after  time.Duration
		denied uint64
		want   string // refused, seconds
	}{
		{0, 0, ""},
		{time.Second, 3, "3 "},
		{time.Second, 10, ""},
		{57 * time.Second, 20, ""},
		{2 * time.Second, 25, "22 60"},
		{59 * time.Second, 25, ""},
		{time.Second, 25, ""},
		{time.Hour, 26, "1 "},
	} {
		now = now.Add(c.after)
		got := ""
		for _, line := range limitEvents(known, limiter.Stats{Denied: map[string]uint64{"login": c.denied}}, now) {
			var e struct {
				Event   string
				Message string
				Details map[string]string
			}
			text, ok := strings.CutPrefix(line, "X_NEKO_EVENT=")
			if !ok || json.Unmarshal([]byte(text), &e) != nil || e.Event != "limit" || e.Details["policy"] != "login" || !strings.Contains(e.Message, "login") {
				t.Errorf("%q", line)
			}
			got += e.Details["refused"] + " " + e.Details["seconds"]
		}
		if got != c.want {
			t.Errorf("after %v, %d: %q and not %q", c.after, c.denied, got, c.want)
		}
	}
}

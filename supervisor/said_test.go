package supervisor

import (
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"
)

func TestAProcessMaySaySoMuch(t *testing.T) {
	var a allowance
	now := time.Now()
	for i, c := range []struct {
		after time.Duration
		times int
		want  int // heard
	}{{0, 15, saidAtOnce}, {time.Second, 2, 1}, {3 * time.Second, 10, 3}, {time.Hour, 100, saidAtOnce}, {-time.Hour, 3, 0}} {
		now = now.Add(c.after)
		heard := 0
		for range c.times {
			if a.take(now) {
				heard++
			}
		}
		if heard != c.want {
			t.Errorf("%d: %d were heard, and %d were to be", i, heard, c.want)
		}
	}
	if a.dropped != 5+1+7+90+3 {
		t.Errorf("%d were dropped", a.dropped)
	}
}

// Whatever a process says, what becomes of it is small, printable, and of a kind that is
// a process's.
func FuzzSaidEvent(f *testing.F) {
	for _, text := range []string{
		`{"event":"breaker","message":"m","details":{"name":"db","to":"OPEN"}}`, `{"event":"app.x","message":"\u001b[31m","details":{"n":1e300,"b":true,"l":[1]}}`,
		`{"event":"crash","message":"m"}`, `{"event":"limit"}`, "", "null", `{"event":"app.\n","message":"m"}`, `{"event":"limit","message":"` + strings.Repeat("é", 400) + `"}`,
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		kind, message, details, err := parseSaid(text)
		if err != nil {
			if len(err.Error()) > 200 {
				t.Errorf("a long error: %v", err)
			}
			return
		}
		if !kind.OfWorkers() || len(kind) > 64 {
			t.Errorf("the kind is %q", kind)
		}
		if len(details) > saidDetails {
			t.Errorf("%d details", len(details))
		}
		printable := func(s string, most int) {
			// A control character becomes three bytes.
			if len(s) > 3*most || !utf8.ValidString(s) || strings.ContainsFunc(s, unicode.IsControl) {
				t.Errorf("%q", s)
			}
		}
		if message == "" {
			t.Error("there is no message")
		}
		printable(message, saidMessage)
		for key, value := range details {
			if !isDetailKey(key) {
				t.Errorf("the key %q", key)
			}
			printable(value, saidDetail)
		}
	})
}

package supervisor

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

// Whatever a program says of itself takes a bounded part of the master's memory.
func TestWhatAProgramSaysOfItselfIsBounded(t *testing.T) {
	m, p := &master{}, &process{}
	tell := func(name, value string) {
		text, err := json.Marshal(map[string]any{"type": "axm:monitor", "data": map[string]any{name: map[string]string{"value": value}}})
		if err != nil {
			t.Fatal(err)
		}
		m.hearProgram(p, text)
	}
	tell("long value", strings.Repeat("x", mostText))
	tell(strings.Repeat("long name", mostText), "1")
	if len(p.metrics) != 0 {
		t.Errorf("there are %d", len(p.metrics))
	}
	for i := range 2 * mostMetrics {
		tell(fmt.Sprint("metric ", i), "1")
	}
	tell("metric 0", "2")
	if got := string(p.metrics["metric 0"]); len(p.metrics) != mostMetrics || got != `{"value":"2"}` {
		t.Errorf("there are %d, and the first is %s", len(p.metrics), got)
	}
}

package control

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

// docs/events.md has the table of kinds as it is here.
func TestEventsAreDocumented(t *testing.T) {
	text, err := os.ReadFile("../../docs/events.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, _ := strings.Cut(string(text), "| event | what has happened | details |\n|---|---|---|\n")
	table, _, _ = strings.Cut(table, "\n\n")
	lines := strings.Split(table, "\n")
	for i, k := range EventKinds {
		var details []string
		for _, d := range k.Details {
			details = append(details, "`"+d+"`")
		}
		want := fmt.Sprintf("| `%s` | %s | %s |", k.Kind, k.About, strings.Join(details, ", "))
		if i >= len(lines) || lines[i] != want {
			t.Errorf("docs/events.md, line %d of the table: want\n%s", i+1, want)
		}
	}
	if len(lines) != len(EventKinds)+1 { // and those of programs
		t.Errorf("the table has %d lines", len(lines))
	}
}

func TestKindsAreRead(t *testing.T) {
	for _, good := range []string{"crash", "log-lost", "re*", "*", "app.*", "app.deploy*", "app.deployed", "app.a-b_c.D9"} {
		if got, err := ParseKind(good); err != nil || got != good {
			t.Errorf("%s: %v", good, err)
		}
	}
	for _, bad := range []string{"", "crsh", "x*", "app.", "app.a b", "app.ä", "own", "app." + strings.Repeat("x", 61), "crash,stop"} {
		if _, err := ParseKind(bad); err == nil {
			t.Errorf("%s is no kind", bad)
		}
	}
	for kind, want := range map[Kind]bool{"breaker": true, "limit": true, "app.x": true, "crash": false, "app.": false, "app.x y": false, "": false} {
		if kind.OfWorkers() != want {
			t.Errorf("%s: %v", kind, !want)
		}
	}
}

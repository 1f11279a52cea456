package chaos

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"text/tabwriter"

	"github.com/nekoctl/neko/scripts/load"
)

// cell is one of the matrix: requests of one kind to one app during one event,
// or the lines that it printed.
type cell struct {
	requests int64
	errors   map[string]int64
	excused  map[string]int64 // what is missing, as the design says it may
	unread   int64            // bytes of excused lines
}

func cellOf(r load.Report) cell {
	c := cell{requests: r.Requests, errors: map[string]int64{}}
	for kind, n := range r.Errors {
		c.errors[string(kind)] = n
	}
	return c
}

func (c cell) failures() (n int64) {
	for _, m := range c.errors {
		n += m
	}
	return n
}

// String is "0 of 12,345", or "3 of 12,345: 2 reset, 1 eof".
func (c cell) String() string {
	if c.requests == 0 {
		return "–"
	}
	s := thousands(c.failures()) + " of " + thousands(c.requests)
	var parts []string
	for _, m := range []map[string]int64{c.errors, c.excused} {
		for _, kind := range slices.Sorted(maps.Keys(m)) {
			if m[kind] > 0 {
				parts = append(parts, thousands(m[kind])+" "+kind)
			}
		}
	}
	if len(parts) > 0 {
		s += ": " + strings.Join(parts, ", ")
	}
	return s
}

func thousands(n int64) string {
	s := strconv.FormatInt(n, 10)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// result is a line of the matrix.
type result struct {
	row, app string
	cells    [4]cell // load's modes, then the log
	accepted int64   // connections that killed workers had accepted: so many requests may fail
	broken   bool
}

// results are the lines of each cast.
var results [][]result

func printMatrix() {
	if testing.Verbose() && len(results) > 0 {
		fmt.Printf("\nLost, of all requests and of all lines printed:\n\n%s", matrixText(slices.Concat(results...)))
	}
}

func matrixText(results []result) string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 3, ' ', 0)
	fmt.Fprintln(w, "event\tworker\tnew connections\tkeep-alive\tslow requests in flight\tlog lines\tmay fail\t")
	last := ""
	for _, r := range results {
		row, may, verdict := r.row, "0", ""
		if row == last {
			row = ""
		}
		last = r.row
		if r.accepted > 0 {
			may = thousands(r.accepted) + " accepted"
		}
		if r.broken {
			verdict = "BROKEN"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", row, r.app, r.cells[0], r.cells[1], r.cells[2], r.cells[3], may, verdict)
	}
	w.Flush()
	return b.String()
}

func TestACellSaysWhatWasLostOfHowMuch(t *testing.T) {
	for _, c := range []struct {
		cell
		want string
	}{
		{cell{}, "–"},
		{cell{requests: 12345}, "0 of 12,345"},
		{cell{requests: 1000, errors: map[string]int64{"reset": 2, "eof": 1, "status": 0}}, "3 of 1,000: 1 eof, 2 reset"},
		{cell{requests: 999, excused: map[string]int64{"unread": 4}}, "0 of 999: 4 unread"},
	} {
		if got := c.String(); got != c.want {
			t.Errorf("%q, not %q", got, c.want)
		}
	}
}

func TestAnAuditFindsEveryKindOfLoss(t *testing.T) {
	const told = "[neko] %d bytes of output were lost here: no space left on device\n"
	for _, c := range []struct{ name, log, want string }{
		{"all is there", "7 1\n7 2\n7 3\n", "0 of 3"},
		{"two processes share a file", "7 1\n8 1\n7 2\n8 2\n7 3\n", "0 of 5"},
		{"nobody was answered yet", "7 1\n7 2\n7 3\n7 4\n", "0 of 4"},
		{"the last line", "7 1\n7 2\n", "1 of 2: 1 missing"},
		{"a line in the middle", "7 1\n7 3\n", "1 of 2: 1 missing"},
		{"the order", "7 2\n7 1\n7 3\n", "2 of 3: 1 missing, 1 twice or late"},
		{"a line twice", "7 1\n7 2\n7 2\n7 3\n", "1 of 4: 1 twice or late"},
		{"half a line", "7 1\n7 7 2\n7 3\n", "2 of 3: 1 missing, 1 torn"},
		{"the end of a line", "7 1\n7 2\n7 3", "2 of 3: 1 missing, 1 torn"},
		{"a loss that is confessed", "7 1\n" + fmt.Sprintf(told, 8), "0 of 1: 2 confessed"},
		{"a confession within a line", "7 1\n7" + fmt.Sprintf(told, 4) + " 3\n", "0 of 3: 4 confessed"},
		{"a confession of too little", "7 1\n" + fmt.Sprintf(told, 7), "2 of 1: 2 missing"},
	} {
		folder := t.TempDir()
		if err := os.WriteFile(folder+"/foreign-out-0.log", []byte(c.log), 0o600); err != nil {
			t.Fatal(err)
		}
		l := newLines()
		for n := range 3 {
			if err := l.hear(fmt.Appendf(nil, "7 %d\n", n+1)); err != nil {
				t.Fatal(err)
			}
		}
		if got, err := l.audit(folder + "/foreign-out-*.log"); err != nil || got.String() != c.want {
			t.Errorf("%s: %q, not %q (%v)", c.name, got, c.want, err)
		}
	}
}

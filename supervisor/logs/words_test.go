package logs

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// What a process printed last is told from what its predecessor still prints to the
// same file, and nothing is made up where it cannot be.
func TestTheLastLinesOfAPumpAreItsOwn(t *testing.T) {
	print := func(w worker, lines ...string) {
		t.Helper()
		if _, err := w.out.WriteString(strings.Join(lines, "\n") + "\n"); err != nil {
			t.Fatal(err)
		}
	}
	check := func(w worker, want ...string) {
		t.Helper()
		w.exit(t)
		if got := w.pump.LastLines(); !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	file := NewFile(filepath.Join(t.TempDir(), "out.log"))
	silent := newWorker(t, file)
	check(silent)

	alone := newWorker(t, file)
	print(alone, "one", "two")
	check(alone, "one", "two")

	next := newWorker(t, file)
	var many []string
	for i := range 30 {
		many = append(many, fmt.Sprint("line ", i))
	}
	print(next, many...)
	check(next, many[10:]...)

	long := newWorker(t, file)
	print(long, strings.Repeat("x", tailBytes), "short", "last")
	check(long, "short", "last")

	old, successor := newWorker(t, file), newWorker(t, file)
	print(old, "old")
	old.exit(t)
	print(successor, "new")
	check(successor, "new")
	if got := old.pump.LastLines(); !slices.Equal(got, []string{"old"}) {
		t.Errorf("of the predecessor: %q", got)
	}

	emptied := newWorker(t, file)
	print(emptied, "gone")
	emptied.exit(t)
	if err := os.Truncate(file.Path, 0); err != nil {
		t.Fatal(err)
	}
	if got := emptied.pump.LastLines(); len(got) > 0 {
		t.Errorf("of an emptied file: %q", got)
	}

	aside := newWorker(t, file)
	print(aside, "put aside")
	aside.exit(t)
	if err := os.Rename(file.Path, file.Path+".1"); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file.Path, []byte("somebody else's\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := aside.pump.LastLines(); len(got) > 0 {
		t.Errorf("of a file that was put aside: %q", got)
	}
}

package stix

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/creack/pty"

	"github.com/nekoctl/neko/api/store/sqlite"
)

// hasty makes progress be shown at once.
func hasty(t *testing.T) {
	before := []time.Duration{patience, ticking, telling}
	patience, ticking, telling = time.Millisecond, 5*time.Millisecond, time.Hour
	t.Cleanup(func() { patience, ticking, telling = before[0], before[1], before[2] })
}

type watched struct {
	mu  sync.Mutex
	all bytes.Buffer
}

func (w *watched) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.all.Write(p)
}

func (w *watched) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.all.String()
}

func (w *watched) until(t *testing.T, pattern string) {
	t.Helper()
	wanted := regexp.MustCompile(pattern)
	for end := time.Now().Add(10 * time.Second); !wanted.MatchString(w.String()); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("there is no %s in %q", pattern, w.String())
		}
	}
}

// Elsewhere than on a terminal there is a line for each step, and none that is for a
// terminal.
func TestAnImportTellsHowItGetsOn(t *testing.T) {
	hasty(t)
	var out watched
	p := begin(&out, "b.json")
	out.until(t, `^b\.json: 0 objects read and checked \(0(\.\d)?s\)\n$`)
	p.received(1_500_000)
	out.until(t, `\nb\.json: 1\.5 MB received \(.*s\)\n$`)
	p.report(50, 200, 1234)
	out.until(t, `\nb\.json: 1234 objects read and checked, \d+ a second, 25 % of 0\.0 MB \(.*s\)\n$`)
	p.report(60, 200, 1300) // is no other step
	p.report(200, 200, 5000)
	out.until(t, `\nb\.json: 5000 objects read and checked, writing what is new to the store \(.*s\)\n$`)
	p.end()
	if got := out.String(); strings.Count(got, "\n") != 4 || strings.Contains(got, "\x1b") {
		t.Errorf("%q", got)
	}
}

// On a terminal it is one line, which ticks, fits, and is gone at the end.
func TestAnImportTicksOnATerminal(t *testing.T) {
	hasty(t)
	t.Setenv("CI", "")
	t.Setenv("TERM", "xterm")
	ours, terminal, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer ours.Close()
	if err := pty.Setsize(ours, &pty.Winsize{Cols: 40, Rows: 5}); err != nil {
		t.Fatal(err)
	}
	var out watched
	copied := make(chan struct{})
	go func() {
		defer close(copied)
		_, _ = io.Copy(&out, ours)
	}()
	p := begin(terminal, strings.Repeat("猫", 10)+".json")
	p.report(50, 200, 1234)
	out.until(t, `\r\x1b\[K猫{10}\.json: 1234 object…\r\x1b\[K猫`)
	p.end()
	terminal.Close()
	<-copied
	if got := out.String(); strings.Contains(got, "\n") || !strings.HasSuffix(got, "\r\x1b[K") {
		t.Errorf("%q", got)
	}
}

func TestAQuietImportSaysNothing(t *testing.T) {
	hasty(t)
	st, err := sqlite.Open(t.Context(), filepath.Join(t.TempDir(), "api.db"), sqlite.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		defer write.Close()
		_, _ = io.WriteString(write, bundle(`{"type": "identity", "id": "identity--00000000-0000-4000-8000-000000000001", "name": "x"}`)[:20])
		time.Sleep(20 * time.Millisecond) // the time to say something
		_, _ = io.WriteString(write, bundle(`{"type": "identity", "id": "identity--00000000-0000-4000-8000-000000000001", "name": "x"}`)[20:])
	}()
	var out, errs watched
	if err := Command(t.Context(), st, "-", Streams{In: read, Out: &out, Err: &errs, Quiet: true}); err != nil {
		t.Fatal(err)
	}
	if out.String()+errs.String() != "" {
		t.Errorf("%q, %q", out.String(), errs.String())
	}
}

package logs

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// printed are lines as `nekoctl logs` shows them.
type printed struct {
	mu   sync.Mutex
	text strings.Builder
}

func (p *printed) show(l Name, _ time.Time, text []byte) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	_, err := fmt.Fprintf(&p.text, "%s:%d | %s\n", l.App, l.Slot, text)
	return err
}

func (p *printed) String() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.text.String()
}

func must(text []byte, err error) []byte {
	if err != nil {
		panic(err)
	}
	return text
}

// A follower loses no line when files grow, are truncated, replaced or new.
func TestFollow(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "web-out-0.log")
	add := func(name, text string) {
		f, err := os.OpenFile(name, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		f.WriteString(text)
	}
	add(file, "one\ntwo\nthree\nhal")
	var out printed
	f := &Follower{Find: In(dir, func(l Name) bool { return l.App == "web" }), Show: out.show}
	if err := f.Begin(Query{Last: 2}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- f.Follow(ctx) }()
	want := "web:0 | three\nweb:0 | hal\n"
	expect := func(line string) {
		t.Helper()
		want += line
		for end := time.Now().Add(time.Minute); out.String() != want; time.Sleep(5 * time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("got %q, want %q", out.String(), want)
			}
		}
	}
	expect("")
	add(file, "f\nfour\n")
	expect("web:0 | f\nweb:0 | four\n")
	add(filepath.Join(dir, "web-out-1.log"), "new\n") // a scale-up
	expect("web:1 | new\n")
	add(filepath.Join(dir, "other-out-0.log"), "not asked for\n")
	add(file, "last") // rotated in the middle of a line
	if err := os.Rename(file, file+".1"); err != nil {
		t.Fatal(err)
	}
	add(file, "first\n")
	expect("web:0 | last\nweb:0 | first\n")
	if err := os.Truncate(file, 0); err != nil {
		t.Fatal(err)
	}
	time.Sleep(3 * lookEvery)
	add(file, "anew\n") // shorter than what was there, should nobody have seen it empty
	expect("web:0 | anew\n")
	long := strings.Repeat("x", 200_000)
	add(file, long+"\n")
	for end := time.Now().Add(time.Minute); strings.Count(out.String(), "x") != len(long) && time.Now().Before(end); {
		time.Sleep(5 * time.Millisecond)
	}
	cancel()
	if got := strings.Count(out.String(), "x"); got != len(long) {
		t.Errorf("%d bytes of a long line, want %d", got, len(long))
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// What a reader has no use for is left out, from the middle of a line on.
func TestFollowTheEndOnly(t *testing.T) {
	file := filepath.Join(t.TempDir(), "web-out-0.log")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	var out printed
	f := &Follower{Find: In(filepath.Dir(file), func(Name) bool { return true }), Show: out.show, Most: 10}
	if err := f.Begin(Query{}); err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, text := range []string{"few\n", "more than it is to read\nlast\n"} {
		if err := os.WriteFile(file, append(must(os.ReadFile(file)), text...), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := f.Look(); err != nil {
			t.Fatal(err)
		}
	}
	if want := "web:0 | few\nweb:0 | read\nweb:0 | last\n"; out.String() != want {
		t.Errorf("%q, want %q", out.String(), want)
	}
}

func TestLastLines(t *testing.T) {
	text := strings.Repeat("a line\n", 50_000)
	for n, want := range map[int]int64{0: 350_000, 1: 349_993, 3: 349_979, 20_000: 210_000, 50_000: 0, 60_000: 0} {
		if got, err := LastLines(strings.NewReader(text), int64(len(text)), n); err != nil || got != want {
			t.Errorf("%d: %d, %v; want %d", n, got, err, want)
		}
	}
	if got, _ := LastLines(strings.NewReader("no end"), 6, 1); got != 0 {
		t.Error(got)
	}
}

func TestParseLogName(t *testing.T) {
	for in, want := range map[string]Name{
		"web-out-0.log": {"web", false, 0}, "web-error-12.log": {"web", true, 12}, "a-out-1-error-2.log": {"a-out-1", true, 2},
		"web-out.log": {"web", false, -1}, "web-out-0.log.1": {}, "web-0.log": {}, "-out-0.log": {}, "web-out-.log": {}, "neko.log": {},
	} {
		if got, ok := ParseName(in); got != want || ok != (want != Name{}) {
			t.Errorf("%s: %+v", in, got)
		}
	}
}

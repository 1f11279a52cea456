package audit

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/nekoctl/neko/worker"
)

var (
	stranger = &worker.Caller{IP: netip.MustParseAddr("192.0.2.1"), RequestID: "r1"}
	analyst  = &worker.Caller{Identity: worker.Identity{Subject: "user:1", Name: "Mia", Role: "ANALYST"}, IP: netip.MustParseAddr("2001:db8::1"), RequestID: "r2"}
)

func event(stage worker.AuditStage, who *worker.Caller, code worker.Code) worker.AuditEvent {
	return worker.AuditEvent{Stage: stage, Caller: who, Kind: "mutation", Operation: "Op", Fields: []string{"Mutation.a"}, Code: code}
}

// lines reads a log back; each must be a line of JSON.
func lines(t *testing.T, data []byte) (out []line) {
	t.Helper()
	for text := range strings.SplitSeq(strings.TrimSuffix(string(data), "\n"), "\n") {
		var l line
		if err := json.Unmarshal([]byte(text), &l); err != nil {
			t.Fatalf("%v: %q", err, text)
		}
		out = append(out, l)
	}
	return out
}

func TestLine(t *testing.T) {
	var b bytes.Buffer
	l := To(&b)
	l.now = func() time.Time { return time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC) }
	e := event(worker.AuditOutcome, analyst, "CONFLICT")
	e.Objects, e.Notes = []string{"indicator--1"}, []string{"a note\nof two lines"}
	e.Operation = strings.Repeat("é", 60)
	if err := l.Event(e); err != nil {
		t.Fatal(err)
	}
	want := fmt.Sprintf(`{"time":"2026-01-02T03:04:05Z","event":"outcome","subject":"user:1","name":"Mia","role":"ANALYST","ip":"2001:db8::1","request_id":"r2",`+
		`"kind":"mutation","operation":"%s…","fields":["Mutation.a"],"code":"CONFLICT","objects":["indicator--1"],"notes":["a note\nof two lines"],"pid":%d}`+"\n", strings.Repeat("é", 30), os.Getpid())
	if b.String() != want {
		t.Errorf("got  %swant %s", b.String(), want)
	}
}

// A flood of what anybody can cause does not fill the disk, hides nothing that
// somebody with an account does, and is counted.
func TestFlood(t *testing.T) {
	var b bytes.Buffer
	l := To(&b)
	now := time.Unix(1e9, 0)
	l.now = func() time.Time { return now }
	write := func(e worker.AuditEvent) {
		t.Helper()
		if err := l.Event(e); err != nil {
			t.Fatal(err)
		}
	}
	const flood = 5000
	for range flood {
		write(event(worker.AuditRefused, stranger, worker.CodeUnauthenticated))
		write(event(worker.AuditAttempt, stranger, ""))
		write(event(worker.AuditOutcome, stranger, "BAD_CREDENTIALS"))
	}
	if got := lines(t, b.Bytes()); len(got) != burst {
		t.Fatalf("%d lines", len(got))
	}
	b.Reset()
	write(event(worker.AuditRefused, analyst, worker.CodeForbidden))
	write(event(worker.AuditAttempt, analyst, ""))
	write(event(worker.AuditOutcome, stranger, "")) // somebody has logged in
	got := lines(t, b.Bytes())
	if len(got) != 3 || got[0].LeftOut != 3*flood-burst || got[1].LeftOut != 0 || got[0].Code != worker.CodeForbidden {
		t.Fatalf("%+v", got)
	}
	now = now.Add(10 * time.Second)
	b.Reset()
	for range flood {
		write(event(worker.AuditRefused, stranger, worker.CodeUnauthenticated))
	}
	if got := lines(t, b.Bytes()); len(got) != 10*rate {
		t.Errorf("%d lines in ten seconds", len(got))
	}
	b.Reset()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if got := lines(t, b.Bytes()); len(got) != 1 || got[0].LeftOut != flood-10*rate {
		t.Errorf("%+v", got)
	}
}

// Renamed or removed, the file is made anew, as logrotate wants it; many write
// whole lines.
func TestRotation(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.log")
	var logs []*Log
	for range 4 { // as workers do
		l, err := Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		logs = append(logs, l)
	}
	const each = 50
	round := func() {
		var wg sync.WaitGroup
		for _, l := range logs {
			wg.Go(func() {
				for range each {
					if err := l.Event(event(worker.AuditAttempt, analyst, "")); err != nil {
						t.Error(err)
					}
				}
			})
		}
		wg.Wait()
	}
	for i, between := range []func() error{
		func() error { return nil },
		func() error { return os.Rename(path, path+".1") },
		func() error { return os.Remove(path) },
	} {
		if err := between(); err != nil {
			t.Fatal(err)
		}
		round()
		data, err := os.ReadFile(path)
		if err != nil || len(lines(t, data)) != 4*each {
			t.Errorf("%d: %v, %d lines", i, err, len(lines(t, data)))
		}
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%v, %v", info.Mode(), err)
		}
	}
	if data, err := os.ReadFile(path + ".1"); err != nil || len(lines(t, data)) != 4*each {
		t.Errorf("renamed: %v", err)
	}
}

// A full disk is an error for what must be on record, and no less for what is
// limited: it goes on as soon as there is room.
func TestFullDisk(t *testing.T) {
	l, err := Open("/dev/full")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for range 2 * burst {
		err := l.Event(event(worker.AuditAttempt, stranger, ""))
		var open *OpenError
		if !errors.Is(err, syscall.ENOSPC) || !errors.As(err, &open) || !strings.Contains(err.Error(), "/dev/full: no space left on device") || open.Hint() == "" {
			t.Fatal(err)
		}
	}
	l.path = filepath.Join(t.TempDir(), "audit.log")
	if err := l.Event(event(worker.AuditAttempt, analyst, "")); err != nil {
		t.Error(err)
	}

	// Half a line does not spoil the next.
	half := &halfWriter{}
	l = To(half)
	if err := l.Event(event(worker.AuditAttempt, analyst, "")); err == nil {
		t.Error("half a line is taken for one")
	}
	if err := l.Event(event(worker.AuditAttempt, analyst, "")); err != nil {
		t.Error(err)
	}
	if parts := strings.SplitN(half.String(), "\n", 2); len(parts) != 2 || len(lines(t, []byte(parts[1]))) != 1 {
		t.Errorf("%q", half.String())
	}

	// Nor does half a line of another process, which has ended since.
	path := filepath.Join(t.TempDir(), "audit.log")
	if err := os.WriteFile(path, []byte(`{"time":"20`), 0o600); err != nil {
		t.Fatal(err)
	}
	after, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer after.Close()
	for range 2 {
		if err := after.Event(event(worker.AuditAttempt, analyst, "")); err != nil {
			t.Fatal(err)
		}
	}
	data, err := os.ReadFile(path)
	if _, rest, _ := strings.Cut(string(data), "\n"); err != nil || len(lines(t, []byte(rest))) != 2 {
		t.Errorf("%v, %q", err, data)
	}

	if _, err := Open(filepath.Join(t.TempDir(), "no", "audit.log")); err == nil || !strings.Contains(err.Error(), "no such file") {
		t.Error(err)
	}
}

// halfWriter writes half of the first line.
type halfWriter struct {
	bytes.Buffer
	once bool
}

func (w *halfWriter) Write(p []byte) (int, error) {
	if !w.once {
		w.once = true
		n, _ := w.Buffer.Write(p[:len(p)/2])
		return n, syscall.ENOSPC
	}
	return w.Buffer.Write(p)
}

// Package audit writes down who has changed what, and who was refused: one line
// of JSON for each event, in a file that all workers of a host append to.
//
// Every attempt and every success of somebody who is known has its line. What
// anybody can cause, refusals and logins that fail, is limited in rate, so that a
// flood of it cannot fill the disk: the next line says how many were left out.
package audit

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"sync"
	"time"

	"github.com/nekoctl/neko/worker"
)

// How many lines of a kind that anybody can cause a worker writes: so many at
// once, and so many a second.
const (
	burst = 100
	rate  = 2
)

// Log is where events are written. Its methods may be called by many goroutines
// at once.
type Log struct {
	path string // "": out is not ours
	now  func() time.Time

	mu      sync.Mutex
	out     io.Writer
	file    *os.File
	torn    bool // the last line may have no end
	failing bool
	leftOut int
	// Strangers and those who are known are limited apart: no flood hides what
	// somebody with an account tries.
	strangers, known bucket
}

// OpenError is a log that cannot be written, and what to do about it.
type OpenError struct {
	path string
	err  error
}

func (e *OpenError) Error() string {
	return fmt.Sprintf("cannot write the audit log %s: %v", e.path, e.err)
}

func (e *OpenError) Unwrap() error { return e.err }

// Hint is what to do about it.
func (e *OpenError) Hint() string {
	return "name a file that neko-api may write (--audit-log FILE), - for standard output, or off"
}

// Open opens the log at path, and makes it if need be, for its owner alone.
func Open(path string) (*Log, error) {
	l := &Log{path: path, now: time.Now}
	if err := l.reopen(); err != nil {
		return nil, err
	}
	return l, nil
}

// To writes to w, one call for each line.
func To(w io.Writer) *Log { return &Log{out: w, now: time.Now} }

// line is what an event looks like.
type line struct {
	Time      time.Time         `json:"time"`
	Event     worker.AuditStage `json:"event"`
	Subject   string            `json:"subject,omitempty"`
	Name      string            `json:"name,omitempty"`
	Role      string            `json:"role,omitempty"`
	IP        string            `json:"ip,omitempty"`
	RequestID string            `json:"request_id,omitempty"`
	Kind      string            `json:"kind,omitempty"`
	Operation string            `json:"operation,omitempty"`
	Fields    []string          `json:"fields,omitempty"`
	Code      worker.Code       `json:"code,omitempty"`
	Objects   []string          `json:"objects,omitempty"`
	Notes     []string          `json:"notes,omitempty"`
	LeftOut   int               `json:"left_out,omitempty"` // lines before this one
	PID       int               `json:"pid"`
}

// Bounds of what comes from clients.
const (
	maxText   = 64
	maxFields = 20
)

// Event writes one event: it is for [worker.Config]. An error means that it is not
// on record.
func (l *Log) Event(e worker.AuditEvent) error {
	who := e.Caller.Identity
	text := line{
		Event: e.Stage, Subject: who.Subject, Name: cut(who.Name), Role: who.Role, RequestID: cut(e.Caller.RequestID),
		Kind: e.Kind, Operation: cut(e.Operation), Fields: e.Fields[:min(len(e.Fields), maxFields)], Code: e.Code, Objects: e.Objects, Notes: e.Notes,
	}
	if e.Caller.IP.IsValid() {
		text.IP = e.Caller.IP.String()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	text.Time = l.now().UTC()
	if budget := l.budget(e); budget != nil && !budget.take(text.Time) && !l.failing {
		l.leftOut++
		return nil
	}
	return l.write(text)
}

// budget is what limits such an event, nil if nothing does.
func (l *Log) budget(e worker.AuditEvent) *bucket {
	stranger := e.Caller.Identity.Subject == ""
	switch {
	case e.Stage == worker.AuditRefused && !stranger:
		return &l.known
	case e.Stage == worker.AuditRefused, stranger && e.Stage == worker.AuditAttempt, stranger && e.Code != "":
		return &l.strangers
	}
	return nil
}

func (l *Log) write(text line) error {
	text.LeftOut, text.PID = l.leftOut, os.Getpid()
	data, err := json.Marshal(text)
	if err != nil {
		return err
	}
	data = append(data, '\n')
	if err = l.reopen(); err == nil {
		if l.torn || l.endsTorn() {
			data = append([]byte{'\n'}, data...)
		}
		var n int
		n, err = l.out.Write(data)
		l.torn = err != nil && (n > 0 || l.torn)
	}
	if l.failing = err != nil; err != nil {
		var pe *fs.PathError
		if errors.As(err, &pe) {
			err = pe.Err
		}
		return &OpenError{l.where(), err}
	}
	l.leftOut = 0
	return nil
}

// endsTorn tells whether the file ends in half a line: another process has found the
// disk full. One that another is just writing has its end a moment later.
func (l *Log) endsTorn() bool {
	size, torn := l.end()
	if !torn {
		return false
	}
	time.Sleep(time.Millisecond)
	now, torn := l.end()
	return torn && now == size
}

// end is the size of the file, and whether its last line has no end.
func (l *Log) end() (size int64, torn bool) {
	if l.file == nil {
		return 0, false
	}
	info, err := l.file.Stat()
	if err != nil || !info.Mode().IsRegular() || info.Size() == 0 {
		return 0, false
	}
	var last [1]byte
	_, err = l.file.ReadAt(last[:], info.Size()-1)
	return info.Size(), err == nil && last[0] != '\n'
}

func (l *Log) where() string {
	if l.path == "" {
		return "(standard output)"
	}
	return l.path
}

// reopen opens the file, also when another has its name now, or none: so it is
// rotated by renaming it.
func (l *Log) reopen() error {
	if l.path == "" {
		return nil
	}
	if l.file != nil {
		there, err := os.Stat(l.path)
		have, err2 := l.file.Stat()
		if err == nil && err2 == nil && os.SameFile(there, have) {
			return nil
		}
	}
	f, err := os.OpenFile(l.path, os.O_RDWR|os.O_APPEND|os.O_CREATE, 0o600)
	if errors.Is(err, fs.ErrPermission) { // it may be for writing alone
		f, err = os.OpenFile(l.path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	}
	if err != nil {
		var pe *fs.PathError
		if errors.As(err, &pe) {
			err = pe.Err
		}
		return &OpenError{l.path, err}
	}
	if l.file != nil {
		l.file.Close()
	}
	l.file, l.out, l.torn = f, f, false
	return nil
}

// Close says what was left out since the last line, and closes the file.
func (l *Log) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	var err error
	if l.leftOut > 0 {
		err = l.write(line{Time: l.now().UTC(), Event: "left out"})
	}
	if l.file != nil {
		err = errors.Join(err, l.file.Close())
	}
	return err
}

// bucket holds what may be written, and is filled by time.
type bucket struct {
	tokens float64
	at     time.Time
}

func (b *bucket) take(now time.Time) bool {
	if b.at.IsZero() {
		b.tokens = burst
	} else {
		b.tokens = min(burst, b.tokens+rate*now.Sub(b.at).Seconds())
	}
	b.at = now
	if b.tokens < 1 {
		return false
	}
	b.tokens--
	return true
}

// cut bounds a text that a client has chosen.
func cut(s string) string {
	if len(s) <= maxText {
		return s
	}
	n := 0
	for i := range s {
		if i > maxText-len("…") {
			break
		}
		n = i
	}
	return s[:n] + "…"
}

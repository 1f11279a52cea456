package worker

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/nekoctl/neko/logtext"
	"github.com/valyala/fasthttp"
)

// accessLog writes a line of JSON for a request, for each in which somebody will be
// interested and a sample of the others. What a client may have meant to be secret
// is in none: no query string, no header but the request's id, of a document the
// hash and the operation's name, of variables nothing.
//
// No request waits for it. Lines are put into a buffer, which one goroutine writes
// every second; those for which there is no room are counted, and the next line that
// is written tells how many. Lines are written whole, and at the end of the file, so
// that several workers can have one file; one that was renamed or removed is opened
// anew.
type accessLog struct {
	sample float64
	slow   time.Duration
	path   string // "": out is not a file of ours
	out    io.Writer
	say    *slog.Logger

	mu      sync.Mutex
	pending []byte
	lost    int // lines
	full    chan struct{}
	stop    chan struct{}
	stopped chan struct{}
	once    sync.Once

	// Of the goroutine.
	writing []byte
	torn    bool // the file does not end with a line's end
	said    time.Time
}

const (
	accessBuffer   = 1 << 20   // bytes that may wait
	accessFlush    = 256 << 10 // from which they are written at once
	accessInterval = time.Second
	accessComplain = time.Minute     // how often the log says that lines were lost
	accessGoodbye  = 2 * time.Second // what is written within it after a drain
)

// openAccessLog opens Config.AccessLog, nil if it is "" or "off".
func openAccessLog(c Config) (*accessLog, error) {
	if c.AccessLog == "" || c.AccessLog == "off" {
		return nil, nil
	}
	if !(c.AccessLogSample > 0 && c.AccessLogSample <= 1) { // nor if it is no number
		return nil, &adviceError{fmt.Errorf("an access log cannot have %v of all requests", c.AccessLogSample), "write 1 for all, or 0.01 for one in a hundred"}
	}
	l := &accessLog{
		sample: c.AccessLogSample, slow: c.AccessLogSlow, say: c.Log,
		full: make(chan struct{}, 1), stop: make(chan struct{}), stopped: make(chan struct{}),
	}
	if c.AccessLog == "-" {
		l.out = os.Stdout
	} else {
		// A change of the working directory does not move it.
		path, err := filepath.Abs(c.AccessLog)
		if err != nil {
			return nil, err
		}
		l.path = path
		if err := l.reopen(); err != nil {
			return nil, &adviceError{fmt.Errorf("cannot write the access log: %w", err), "name a file in a folder that exists and this user may write to, or - for standard output"}
		}
	}
	return l, nil
}

// log decides whether the request gets a line, and puts it into the buffer.
func (l *accessLog) log(ctx *fasthttp.RequestCtx, e *envelope, took time.Duration) {
	if !l.wants(ctx, e, took) {
		return
	}
	e.line = appendAccess(e.line[:0], ctx, e, took)
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.pending)+len(e.line) > accessBuffer {
		l.lost++
		return
	}
	l.pending = append(l.pending, e.line...)
	if len(l.pending) > accessFlush {
		select {
		case l.full <- struct{}{}:
		default:
		}
	}
}

// telling are codes that make a line certain, as a status would that an answer of
// application/json does not have.
var telling = []Code{CodeUnauthenticated, CodeForbidden, CodeInternal, CodeUnavailable, CodeTimeout}

func (l *accessLog) wants(ctx *fasthttp.RequestCtx, e *envelope, took time.Duration) bool {
	status := ctx.Response.StatusCode()
	switch {
	case status >= 500, status == fasthttp.StatusUnauthorized, status == fasthttp.StatusForbidden, took >= l.slow && l.slow > 0:
		return true
	case slices.ContainsFunc(e.codes, func(c Code) bool { return slices.Contains(telling, c) }):
		return true
	case status == fasthttp.StatusOK && isProbe(ctx.Path()):
		return false // one a second from each balancer
	}
	return l.sample >= 1 || rand.Float64() < l.sample
}

func isProbe(path []byte) bool {
	switch string(path) {
	case livezPath, readyzPath, healthPath:
		return true
	}
	return false
}

// Most bytes of what others have written, in a line.
const (
	accessPath    = 256
	accessName    = 128
	accessSubject = 128
	accessMethod  = 16
	accessCode    = 64
	accessBatch   = 10 // operations
)

func appendAccess(b []byte, ctx *fasthttp.RequestCtx, e *envelope, took time.Duration) []byte {
	b = append(b, `{"time":"`...)
	b = e.began.UTC().AppendFormat(b, accessTime)
	b = append(b, `","request_id":`...)
	b = appendText(b, e.id, maxRequestID)
	if e.trace.IsValid() {
		b = append(b, `,"trace_id":"`...)
		b = append(hex.AppendEncode(b, e.trace[:]), '"')
	}
	if e.ip.IsValid() {
		b = append(b, `,"ip":"`...)
		b = e.ip.AppendTo(b)
		b = append(b, '"')
	}
	if !e.unread {
		b = append(b, `,"method":`...)
		b = appendText(b, ctx.Method(), accessMethod)
		b = append(b, `,"path":`...)
		b = appendText(b, ctx.Path(), accessPath)
	}
	b = append(b, `,"status":`...)
	b = strconv.AppendInt(b, int64(ctx.Response.StatusCode()), 10)
	b = append(b, `,"media":`...)
	b = appendText(b, ctx.Response.Header.ContentType(), accessName)
	switch list := outcomes(ctx); {
	case len(list) == 1:
		b = append(b, ',')
		b = list[0].appendTo(b)
	case len(list) > 1:
		b = append(b, `,"batch_size":`...)
		b = strconv.AppendInt(b, int64(len(list)), 10)
		b = append(b, `,"batch":[`...)
		for i, o := range list[:min(len(list), accessBatch)] {
			if i > 0 {
				b = append(b, ',')
			}
			b = append(b, '{')
			b = o.appendTo(b)
			b = append(b, '}')
		}
		b = append(b, ']')
	}
	if len(e.codes) > 0 {
		b = append(b, `,"errors":[`...)
		for i, c := range e.codes {
			if i > 0 {
				b = append(b, ',')
			}
			b = appendText(b, []byte(c), accessCode)
		}
		b = append(b, ']')
	}
	if e.limitedBy != "" {
		b = append(b, `,"limited_by":`...)
		b = appendText(b, []byte(e.limitedBy), accessName)
	}
	if e.subject != "" {
		b = append(b, `,"subject":`...)
		b = appendText(b, []byte(e.subject), accessSubject)
	}
	b = append(b, `,"bytes":`...)
	b = strconv.AppendInt(b, int64(sentBytes(ctx)), 10)
	b = append(b, `,"duration_ms":`...)
	b = strconv.AppendFloat(b, float64(took.Microseconds())/1000, 'f', 3, 64)
	return append(b, "}\n"...)
}

func (o *outcome) appendTo(b []byte) []byte {
	b = append(b, `"operation":`...)
	b = appendText(b, []byte(o.Name), accessName)
	if o.Kind != "" {
		b = append(b, `,"kind":"`...)
		b = append(b, o.Kind...)
		b = append(b, '"')
	}
	if o.Document != "" {
		b = append(b, `,"document":"`...)
		b = append(b, o.Document...)
		b = append(b, '"')
	}
	return strconv.AppendBool(append(b, `,"persisted":`...), o.Persisted)
}

// appendText appends a JSON string of at most limit bytes of text, with nothing in
// it that could act on a terminal or end a line.
func appendText(b, text []byte, limit int) []byte {
	b = append(b, '"')
	cut := len(text) > limit
	if cut {
		text = text[:limit]
	}
	for len(text) > 0 {
		r, n := utf8.DecodeRune(text)
		switch {
		case r == utf8.RuneError && n == 1:
			b = append(b, `\ufffd`...)
		case r == '"' || r == '\\':
			b = append(b, '\\', byte(r))
		case r < ' ' || 0x7f <= r && r < 0xa0 || r == 0x2028 || r == 0x2029 || 0x200e <= r && r <= 0x200f || 0x202a <= r && r <= 0x202e || 0x2066 <= r && r <= 0x2069:
			b = fmt.Appendf(b, `\u%04x`, r)
		default:
			b = append(b, text[:n]...)
		}
		text = text[n:]
	}
	if cut {
		b = append(b, "…"...)
	}
	return append(b, '"')
}

const accessTime = "2006-01-02T15:04:05.000Z"

// run writes what is pending every now and then, until close.
func (l *accessLog) run() {
	defer close(l.stopped)
	tick := time.NewTicker(accessInterval)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			l.flush()
		case <-l.full:
			l.flush()
		case <-l.stop:
			l.flush()
			l.closeFile()
			return
		}
	}
}

// flush writes what is pending. What cannot be written is lost, and told of: the
// next lines have a better chance if they do not queue behind it.
func (l *accessLog) flush() {
	l.mu.Lock()
	l.writing, l.pending = l.pending, l.writing[:0]
	lost := l.lost
	l.lost = 0
	l.mu.Unlock()
	if len(l.writing) == 0 && lost == 0 {
		return
	}
	err := l.reopen()
	if err == nil {
		var head []byte
		if l.torn {
			head = append(head, '\n')
		}
		if lost > 0 {
			head = fmt.Appendf(head, "{\"time\":\"%s\",\"lost\":%d}\n", time.Now().UTC().Format(accessTime), lost)
		}
		b := l.writing
		if len(head) > 0 {
			b = append(head, b...)
		}
		var n int
		if n, err = l.out.Write(b); n > 0 {
			l.torn = b[n-1] != '\n'
		}
		if err == nil {
			return
		}
		if n >= len(head) { // it is told
			lost = 0
		}
		lost += lines(b[max(n, len(head)):])
	} else {
		lost += lines(l.writing)
	}
	l.mu.Lock()
	l.lost += lost
	total := l.lost
	l.mu.Unlock()
	if time.Since(l.said) >= accessComplain {
		l.said = time.Now()
		l.say.Warn(fmt.Sprintf("the access log cannot be written, %d lines are lost so far", total), logtext.Reason, err)
	}
}

func lines(b []byte) (n int) {
	for _, c := range b {
		if c == '\n' {
			n++
		}
	}
	return n
}

// reopen opens the file if it is not open, or is another than its name says by now.
func (l *accessLog) reopen() error {
	if l.path == "" {
		return nil
	}
	if f, ok := l.out.(*os.File); ok {
		ours, err := f.Stat()
		named, e := os.Stat(l.path)
		if err == nil && e == nil && os.SameFile(ours, named) {
			return nil
		}
		if e != nil && !errors.Is(e, fs.ErrNotExist) {
			return e
		}
		l.closeFile()
	}
	f, err := os.OpenFile(l.path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	l.out, l.torn = f, false
	return nil
}

func (l *accessLog) closeFile() {
	if f, ok := l.out.(*os.File); ok && l.path != "" {
		f.Close()
		l.out = nil
	}
}

// close writes what is pending, as far as that can be done at once.
func (l *accessLog) close() {
	if l == nil {
		return
	}
	l.once.Do(func() { close(l.stop) })
	select {
	case <-l.stopped:
	case <-time.After(accessGoodbye):
	}
}

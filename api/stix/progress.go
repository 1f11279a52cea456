package stix

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"
	"unicode"

	"golang.org/x/sys/unix"
)

// patience is how long an import takes before it shows what it is doing; ticking and
// telling are how often it does so then, on a terminal and elsewhere.
var (
	patience = time.Second
	ticking  = 200 * time.Millisecond
	telling  = 10 * time.Second
)

// progress shows how an import gets on: on a terminal in a line that ticks and is gone at
// the end, elsewhere in a line for each step, and one every while.
type progress struct {
	w    io.Writer
	name string
	live *os.File // nil: it is no terminal on which a line can be drawn anew
	over chan struct{}
	done sync.WaitGroup

	mu           sync.Mutex
	began        time.Time
	stepped      time.Time // when the present step began
	step         string    // "": nothing has come yet
	bytes, total int64
	objects      int
	shown        bool // something is on the terminal
	told         time.Time
}

// begin shows nothing before patience is over.
func begin(w io.Writer, name string) *progress {
	p := &progress{w: w, name: name, over: make(chan struct{}), began: time.Now(), stepped: time.Now()}
	ci := os.Getenv("CI")
	if isTerminal(w) && os.Getenv("TERM") != "dumb" && (ci == "" || ci == "0" || ci == "false") {
		p.live = w.(*os.File)
	}
	p.done.Go(p.tick)
	return p
}

func (p *progress) tick() {
	every := ticking
	next := time.NewTimer(patience)
	defer next.Stop()
	for {
		select {
		case <-next.C:
		case <-p.over:
			return
		}
		p.mu.Lock()
		p.show()
		p.mu.Unlock()
		next.Reset(every)
	}
}

// show is called with the lock, when patience is over.
func (p *progress) show() {
	now := time.Now()
	if p.live != nil {
		width := 80
		if size, err := unix.IoctlGetWinsize(int(p.live.Fd()), unix.TIOCGWINSZ); err == nil && size.Col > 0 {
			width = int(size.Col)
		}
		fmt.Fprint(p.w, "\r\x1b[K"+cut(p.text(now), max(width-1, 1)))
		p.shown = true
		return
	}
	if p.told.IsZero() || p.told.Before(p.stepped) || now.Sub(p.told) >= telling {
		p.told = now
		fmt.Fprintln(p.w, p.text(now))
	}
}

// cut is as much of a line as has room in so many columns. What is not ASCII, in the name of a
// file, takes two for sure: neko-api links no tables of who does.
func cut(s string, columns int) string {
	taken, end := 0, 0 // end: what leaves room for the sign that something is missing
	for i, r := range s {
		if taken < columns {
			end = i
		}
		if taken++; r > unicode.MaxASCII {
			taken++
		}
	}
	if taken <= columns {
		return s
	}
	return s[:end] + "…"
}

// text is what there is to say.
func (p *progress) text(now time.Time) string {
	passed := now.Sub(p.began)
	switch p.step {
	case receiving:
		return fmt.Sprintf("%s: %s received (%s)", p.name, megabytes(p.bytes), tenths(passed))
	case writing:
		return fmt.Sprintf("%s: %s read and checked, writing what is new to the store (%s)", p.name, plural(p.objects, "object"), tenths(now.Sub(p.stepped)))
	}
	text := fmt.Sprintf("%s: %s read and checked", p.name, plural(p.objects, "object"))
	if reading := now.Sub(p.stepped).Seconds(); reading > 0 && p.objects > 0 {
		text += fmt.Sprintf(", %.0f a second", float64(p.objects)/reading)
	}
	if p.total > 0 {
		text += fmt.Sprintf(", %d %% of %s", min(p.bytes, p.total)*100/p.total, megabytes(p.total))
	}
	return text + " (" + tenths(passed) + ")"
}

const receiving, reading, writing = "receiving", "reading", "writing"

// received counts what comes from somebody who sends it.
func (p *progress) received(n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.bytes += int64(n)
	p.enter(receiving)
}

// report is for [Options.Progress]. When all has been read it is written.
func (p *progress) report(bytes, total int64, objects int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.bytes, p.total, p.objects = bytes, total, objects; bytes == total {
		p.enter(writing)
	} else {
		p.enter(reading)
	}
}

func (p *progress) enter(step string) {
	if p.step == step {
		return
	}
	p.step, p.stepped = step, time.Now()
	if time.Since(p.began) >= patience && p.live == nil {
		p.show()
	}
}

func (p *progress) end() {
	close(p.over)
	p.done.Wait()
	if p.shown {
		fmt.Fprint(p.w, "\r\x1b[K")
	}
}

func megabytes(n int64) string { return fmt.Sprintf("%.1f MB", float64(n)/1e6) }

func tenths(d time.Duration) string {
	if d >= time.Minute {
		return d.Round(time.Second).String()
	}
	return strings.TrimSuffix(fmt.Sprintf("%.1f", d.Seconds()), ".0") + "s"
}

// sender is what is read from somebody who may take his time.
type sender struct {
	io.Reader
	got func(n int)
}

func (s sender) Read(buf []byte) (int, error) {
	n, err := s.Reader.Read(buf)
	if n > 0 {
		s.got(n)
	}
	return n, err
}

// isFile says that an input has all of it already.
func isFile(in io.Reader) bool {
	f, ok := in.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode().IsRegular()
}

func isTerminal(stream any) bool {
	f, ok := stream.(*os.File)
	if !ok {
		return false
	}
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}

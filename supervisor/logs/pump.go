package logs

import (
	"bytes"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nekoctl/neko/supervisor/poll"
)

const (
	// chunk is the most that is moved at once, and the size to which the pipe of a
	// talkative process grows.
	chunk = 1 << 20
	// batch is how long a pump lets a talkative worker fill its pipe before it
	// moves the next chunk: it saves most of the CPU time of 200,000 lines.
	batch = 2 * time.Millisecond
	// longestBatch is how long that becomes for one that goes on and on, if its pipe
	// is large enough not to make it wait.
	longestBatch = 20 * time.Millisecond
	talkative    = 4 << 10 // bytes in a batch
	// another is after how long an unfinished line is looked at again, should the
	// kernel not tell that there is more of it.
	another = time.Second
)

// A Pump moves one pipe into one file until all its writers are gone.
type Pump struct {
	pipe    int
	inode   uint64 // of the pipe
	file    *File
	all     *File    // where lines go as well, or nil
	form    *Form    // how lines are rewritten; nil: not at all
	console *Console // where they go as well, or nil
	merged  bool
	sink    atomic.Pointer[io.Writer]
	done    chan struct{}
	poller  *poll.Poller

	mu     sync.Mutex
	closed bool   // the pipe
	then   func() // runs when it is done
	words  stretch

	more     chan struct{} // tells of more of an unfinished line; nil: there is none
	line     int32         // and is watched by this
	capacity int           // of the pipe
	partial  int           // bytes at its head that are no whole line yet
	lookedAt time.Time     // when that was seen
	seen     int           // bytes at its head that the sink has had already
	shown    int           // and the console and the other file
}

// Options are what may happen to lines on their way.
type Options struct {
	Form    *Form     // nil: they stay as they are
	All     *File     // lines go there as well, as they are in the file; nil: nowhere
	Console *Console  // lines are shown there as well; nil: nowhere
	Merged  bool      // others will write to the same file all the time
	Sink    io.Writer // gets a copy of all that comes, as it comes; may be nil
}

// Start begins to move. The pump owns pipe, the read end, and closes it.
func Start(pipe int, file *File, o Options) (*Pump, error) {
	if err := unix.SetNonblock(pipe, true); err != nil {
		return nil, err
	}
	var s unix.Stat_t
	if err := unix.Fstat(pipe, &s); err != nil {
		return nil, err
	}
	poller, err := poll.Shared()
	if err != nil {
		return nil, err
	}
	p := &Pump{
		pipe: pipe, inode: s.Ino, file: file, poller: poller,
		all: o.All, form: o.Form, console: o.Console, merged: o.Merged, done: make(chan struct{}),
	}
	p.Copy(o.Sink)
	for _, f := range p.files() {
		f.mu.Lock()
		f.form = o.Form
		f.mu.Unlock()
		f.pumps.Add(1)
	}
	p.rest()
	return p, nil
}

// files are where it moves to.
func (p *Pump) files() []*File {
	if p.all == nil {
		return []*File{p.file}
	}
	return []*File{p.file, p.all}
}

// Pipe makes a pipe for a worker's output. The read end does not block.
func Pipe() (read, write int, err error) {
	var ends [2]int
	if err := unix.Pipe2(ends[:], unix.O_CLOEXEC); err != nil {
		return -1, -1, err
	}
	return ends[0], ends[1], unix.SetNonblock(ends[0], true)
}

// Copy changes where a copy of what comes goes; nil: nowhere.
func (p *Pump) Copy(sink io.Writer) {
	if sink == nil {
		p.sink.Store(nil)
		return
	}
	p.sink.Store(&sink)
}

// Dup is another descriptor of the pipe, which the caller owns. It fails with
// os.ErrClosed when the pipe is at its end.
func (p *Pump) Dup() (fd int, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return -1, os.ErrClosed
	}
	return unix.FcntlInt(uintptr(p.pipe), unix.F_DUPFD_CLOEXEC, 0)
}

// Done is closed when the pipe is at its end and everything is in the file.
func (p *Pump) Done() <-chan struct{} { return p.done }

// run moves what comes, until the pipe is empty or at its end. It takes a goroutine
// only as long. The kernel is not asked to tell of more while a talkative process fills
// its pipe: it would do so at every write, which costs more than the lines do.
func (p *Pump) run() {
	for wait := batch; ; {
		n, err := p.step(p.pipe)
		switch {
		case err == unix.EAGAIN:
			p.rest()
			return
		case err != nil, n == 0:
			p.end()
			return
		case n < chunk/2:
			if wait = min(2*wait, longestBatch); n < talkative || p.capacity < chunk {
				wait = batch
			}
			time.Sleep(wait)
		}
	}
}

// rest waits without a goroutine until something comes, or the end.
func (p *Pump) rest() {
	if p.partial == 0 {
		p.leaveLine()
		if _, err := p.poller.Await(p.pipe, func() { go p.run() }); err != nil {
			time.AfterFunc(longestBatch, p.run) // no memory; it is tried again
		}
		return
	}
	// There is something, but no whole line: only more of it is of interest.
	if p.more == nil {
		more := make(chan struct{}, 1)
		line, err := p.poller.Watch(p.pipe, func() {
			select {
			case more <- struct{}{}:
			default:
			}
		})
		if err != nil {
			time.AfterFunc(longestBatch, p.run)
			return
		}
		p.more, p.line = more, line
	}
	go func() {
		late := time.NewTimer(another)
		defer late.Stop()
		select {
		case <-p.more:
		case <-late.C:
		}
		p.run()
	}()
}

// leaveLine is for when there is no unfinished line any more.
func (p *Pump) leaveLine() {
	if p.more != nil {
		p.poller.Forget(p.line)
		p.more = nil
	}
}

// end is when everything is in the file.
func (p *Pump) end() {
	p.leaveLine()
	p.mu.Lock()
	unix.Close(p.pipe)
	p.closed = true
	p.mu.Unlock()
	for _, f := range p.files() {
		f.leave(p)
	}
	close(p.done)
	p.mu.Lock()
	then := p.then
	p.mu.Unlock()
	if then != nil {
		then()
	}
}

// AllDone runs f, in a goroutine of its own, when all pumps are done; nil ones are.
func AllDone(pumps []*Pump, f func()) {
	left := new(atomic.Int32)
	left.Store(1)
	end := func() {
		if left.Add(-1) == 0 {
			go f()
		}
	}
	for _, p := range pumps {
		if p != nil {
			left.Add(1)
			p.atEnd(end)
		}
	}
	end()
}

// atEnd runs f once when the pump is done.
func (p *Pump) atEnd(f func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case <-p.done:
		f()
	default:
		p.then = f
	}
}

// step moves what can be moved. EAGAIN: nothing, until more has come.
func (p *Pump) step(pipe int) (n int, err error) {
	if p.whole() || p.sink.Load() != nil {
		n, err = p.stepLines(pipe)
	} else {
		n, err = p.file.move(p, pipe, chunk)
	}
	if err != nil && err != unix.EAGAIN && n == 0 {
		n, err = p.file.move(p, pipe, chunk) // no descriptors left: the worker is not to suffer
	}
	p.seen, p.shown = max(0, p.seen-n), max(0, p.shown-n)
	if n > 0 {
		p.partial = 0
	}
	if n >= peekSize/4 {
		p.grow(pipe)
	}
	return n, err
}

// whole says that only whole lines may leave the pipe: they are rewritten, or
// shown, or others write to the same file.
func (p *Pump) whole() bool {
	return p.form != nil || p.console != nil || p.all != nil || p.merged && !p.file.null || p.file.pumps.Load() > 1 && !p.file.null
}

// grow makes the pipe a large one. Over the user's limit the kernel keeps the
// size it has, which is good enough.
func (p *Pump) grow(pipe int) {
	if p.capacity >= chunk {
		return
	}
	var err error
	if p.capacity, err = unix.FcntlInt(uintptr(pipe), unix.F_SETPIPE_SZ, chunk); err != nil {
		p.capacity, _ = unix.FcntlInt(uintptr(pipe), unix.F_GETPIPE_SZ, 0)
	}
}

// stepLines looks at what is in the pipe, and then moves it.
func (p *Pump) stepLines(pipe int) (int, error) {
	if p.tooEarly(pipe) {
		return 0, unix.EAGAIN
	}
	g, err := p.look(pipe)
	if err != nil || g.n == 0 {
		return 0, err
	}
	if len(g.shown) > 0 {
		p.console.write(g.shown)
	}
	if len(g.all) > 0 {
		p.all.add(p, g.all)
	}
	if p.console != nil || p.all != nil {
		p.shown = g.n
	}
	if g.text != nil && !g.begins {
		return p.file.write(p, pipe, g.text, g.n)
	}
	if g.begins {
		if err := p.file.begin(p, g.text); err != nil {
			return p.file.move(p, pipe, g.n)
		}
	}
	if g.claims {
		p.file.claim(p)
	}
	for moved := 0; moved < g.n; {
		n, err := p.file.move(p, pipe, g.n-moved)
		if err != nil {
			return moved, err
		}
		moved += n
	}
	return g.n, nil
}

// tooEarly spares a line that comes byte by byte from being looked at for each.
func (p *Pump) tooEarly(pipe int) bool {
	if p.partial < peekSize/4 || time.Since(p.lookedAt) > another/10 {
		return false
	}
	n, ended := waiting(pipe)
	return n < 2*p.partial && !ended && n < p.capacity/2
}

// a glance is what is to be done with the next n bytes of a pipe.
type glance struct {
	n      int
	shown  []byte // what the console gets
	all    []byte // what the other file gets
	text   []byte // what they become in the file; nil: they stay as they are
	begins bool   // text is only put before them, at the beginning of a long line
	claims bool   // they are the beginning of a line that goes on
}

func (p *Pump) look(pipe int) (g glance, err error) {
	whole := p.whole()
	goesOn := whole && (p.form == nil || p.form.Type != JSON) && p.file.goesOn(p)
	s := takeScratch() // who has it waits for no file
	defer s.give()
	text, err := s.peek(pipe, peekSize)
	if err != nil || len(text) == 0 {
		return g, err
	}
	p.copy(text)
	now := time.Now()
	if goesOn { // up to the line's end, as it is
		if g.n = bytes.IndexByte(text, '\n') + 1; g.n == 0 {
			g.n = len(text)
		}
		p.show(&g, text, now)
		p.double(&g, text, now)
		return g, nil
	}
	g.n = bytes.LastIndexByte(text, '\n') + 1
	long := false
	if g.n == 0 && whole {
		if text, long, err = p.unfinished(pipe, s, text); err != nil {
			return g, err
		}
		g.n = bytes.LastIndexByte(text, '\n') + 1
	}
	if g.n == 0 || !whole {
		g.n = len(text)
	}
	p.show(&g, text, now)
	switch {
	case p.form == nil:
		g.claims = long
	case !long:
		g.text = p.form.lines(nil, text[:g.n], now)
	case p.form.Type == JSON:
		g.n = wholeRunes(text[:g.n])
		g.text = p.form.piece(nil, text[:g.n], now)
	default:
		g.text, g.begins = p.form.date(nil, now), true
	}
	p.double(&g, text, now)
	return g, nil
}

// double makes ready what the other file has not had.
func (p *Pump) double(g *glance, text []byte, now time.Time) {
	switch {
	case p.all == nil || g.n <= p.shown:
	case g.text == nil, p.shown > 0 && g.begins:
		g.all = bytes.Clone(text[p.shown:g.n])
	case g.begins:
		g.all = append(bytes.Clone(g.text), text[:g.n]...)
	case p.shown > 0:
		g.all = p.form.lines(nil, text[p.shown:g.n], now)
	default:
		g.all = g.text
	}
}

// unfinished is about the beginning of a line: it is EAGAIN until its end is in
// the pipe, or there will be none, or it has become long.
func (p *Pump) unfinished(pipe int, s *scratch, text []byte) (all []byte, long bool, err error) {
	p.capacity = max(p.capacity, peekSize)
	there, ended := waiting(pipe)
	if there > p.capacity/4 {
		p.grow(pipe)
	}
	if there > len(text) {
		if text, err = s.peek(pipe, longLine); err != nil {
			return nil, false, err
		}
		p.copy(text)
		if bytes.IndexByte(text, '\n') >= 0 {
			return text, false, nil
		}
	}
	switch {
	case ended && there <= len(text):
		return text, false, nil
	case len(text) >= min(longLine, p.capacity/2) || there > len(text):
		return text, true, nil
	}
	p.partial, p.lookedAt = len(text), time.Now()
	return nil, false, unix.EAGAIN
}

// show makes ready what the console has not had.
func (p *Pump) show(g *glance, text []byte, now time.Time) {
	if p.console != nil && g.n > p.shown {
		g.shown = p.console.lines(text[p.shown:g.n], now)
	}
}

// copy gives the sink what it has not had.
func (p *Pump) copy(text []byte) {
	if sink := p.sink.Load(); sink != nil && len(text) > p.seen {
		_, _ = (*sink).Write(text[p.seen:]) // it is for looking on; the file has it
		p.seen = len(text)
	}
}

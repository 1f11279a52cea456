package logs

import (
	"errors"
	"io"
	"os"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// chunk is the most that is moved at once, and the size that pipes are asked
	// to have.
	chunk = 1 << 20
	// batch is how long a pump lets a talkative worker fill its pipe before it
	// moves the next chunk: it saves most of the CPU time of 200,000 lines.
	batch = 2 * time.Millisecond
	// patience is how long a pump may hold a file in the middle of a line before
	// another process may write.
	patience = 50 * time.Millisecond
)

// A Pump moves one pipe into one file until all its writers are gone.
type Pump struct {
	pipe *os.File
	file *File
	sink atomic.Pointer[io.Writer]
	done chan struct{}
}

// Start begins to move. The pump owns pipe, the read end, and closes it. What
// passes is copied to sink, if there is one.
func Start(pipe int, file *File, sink io.Writer) (*Pump, error) {
	if err := unix.SetNonblock(pipe, true); err != nil {
		return nil, err
	}
	p := &Pump{pipe: os.NewFile(uintptr(pipe), "log pipe"), file: file, done: make(chan struct{})}
	p.Copy(sink)
	raw, err := p.pipe.SyscallConn()
	if err != nil {
		return nil, err
	}
	file.pumps.Add(1)
	go p.run(raw)
	return p, nil
}

// Pipe makes a pipe for a worker's output. The read end does not block.
func Pipe() (read, write int, err error) {
	var ends [2]int
	if err := unix.Pipe2(ends[:], unix.O_CLOEXEC); err != nil {
		return -1, -1, err
	}
	// Over the user's limit the kernel keeps the size it has, which is good enough.
	_, _ = unix.FcntlInt(uintptr(ends[0]), unix.F_SETPIPE_SZ, chunk)
	return ends[0], ends[1], unix.SetNonblock(ends[0], true)
}

// Copy changes where a copy of what passes goes; nil: nowhere.
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
	raw, err := p.pipe.SyscallConn()
	if err != nil {
		return -1, err
	}
	var dupErr error
	err = raw.Control(func(own uintptr) { fd, dupErr = unix.FcntlInt(own, unix.F_DUPFD_CLOEXEC, 0) })
	return fd, errors.Join(err, dupErr)
}

// Done is closed when the pipe is at its end and everything is in the file.
func (p *Pump) Done() <-chan struct{} { return p.done }

func (p *Pump) run(raw syscall.RawConn) {
	defer close(p.done)
	defer func() {
		if p.file.pumps.Add(-1) == 0 {
			p.file.Close()
		}
	}()
	defer p.pipe.Close()
	holding := false
	var until time.Time
	release := func() {
		if holding {
			<-p.file.turn
			holding = false
		}
	}
	defer release()
	for {
		if !holding && !p.readable(raw) {
			return
		}
		if !holding {
			p.file.turn <- struct{}{}
			holding, until = true, time.Now().Add(patience)
		}
		var n int
		var err error
		deadline := p.pipe.SetReadDeadline(until)
		waitErr := raw.Read(func(fd uintptr) bool {
			n, err = p.move(int(fd))
			return err != unix.EAGAIN
		})
		if deadline != nil {
			return // closed
		}
		if waitErr != nil { // the line's end does not come
			release()
			if !errors.Is(waitErr, os.ErrDeadlineExceeded) {
				return
			}
			continue
		}
		if err != nil || n == 0 {
			return
		}
		if !p.file.midLine() {
			release()
			if n < chunk/2 {
				time.Sleep(batch)
			}
		}
	}
}

// readable waits without a deadline until there is something, or the end.
func (p *Pump) readable(raw syscall.RawConn) bool {
	if p.pipe.SetReadDeadline(time.Time{}) != nil {
		return false
	}
	return raw.Read(func(fd uintptr) bool {
		poll := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		n, err := unix.Poll(poll, 0)
		return err == nil && n > 0
	}) == nil
}

// move moves a chunk, and copies it to the sink if there is one: tee(2) first,
// so that a master killed here has lost nothing of the file.
func (p *Pump) move(pipe int) (int, error) {
	sink := p.sink.Load()
	if sink == nil {
		return p.file.moveFrom(pipe, chunk)
	}
	copied, err := copyAhead(pipe)
	switch {
	case err != nil && err != unix.EAGAIN:
		return p.file.moveFrom(pipe, chunk) // no descriptors left: the worker is not to suffer
	case err != nil || len(copied) == 0:
		return 0, err
	}
	for moved := 0; moved < len(copied); {
		n, err := p.file.moveFrom(pipe, len(copied)-moved)
		if err != nil {
			return moved, err
		}
		moved += n
	}
	_, _ = (*sink).Write(copied) // a sink is for looking on; the file has it
	return len(copied), nil
}

// copyAhead is what the pipe holds, at most 64 KiB of it, left in the pipe.
func copyAhead(pipe int) ([]byte, error) {
	var scratch [2]int
	if err := unix.Pipe2(scratch[:], unix.O_CLOEXEC); err != nil {
		return nil, err
	}
	defer unix.Close(scratch[0])
	n, err := unix.Tee(pipe, scratch[1], 64<<10, unix.SPLICE_F_NONBLOCK)
	unix.Close(scratch[1])
	if err != nil || n == 0 {
		return nil, err
	}
	buf := make([]byte, n)
	for read := 0; read < len(buf); {
		n, err := unix.Read(scratch[0], buf[read:])
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return nil, err
		}
		read += n
	}
	return buf, nil
}

package logs

import (
	"golang.org/x/sys/unix"
)

// scratch is what it takes to look at a pipe and leave everything in it. All
// pumps share two of them, so that memory does not grow with their number.
type scratch struct {
	pipe [2]int // -1: not open
	size int    // of the pipe
	buf  []byte
}

const (
	// peekSize is how much is looked at at once, unless a line is longer.
	peekSize = 64 << 10
	// longLine is how long a line may get before it is moved in pieces, where lines
	// are looked at; or half a pipe, for that may be full then already: what is
	// written to it may fit its pages badly.
	longLine = 256 << 10
)

var scratches = func() chan *scratch {
	c := make(chan *scratch, 2)
	for range cap(c) {
		c <- &scratch{pipe: [2]int{-1, -1}}
	}
	return c
}()

func takeScratch() *scratch {
	s := <-scratches
	if s.buf == nil {
		s.buf = make([]byte, peekSize)
	}
	return s
}

func (s *scratch) give() {
	if len(s.buf) > peekSize {
		s.buf = nil // a long line is rare
	}
	scratches <- s
}

// peek is what the pipe holds, at most n bytes of it. It is EAGAIN if that is
// nothing, and nothing without an error at the pipe's end.
func (s *scratch) peek(pipe, n int) ([]byte, error) {
	if s.pipe[0] < 0 {
		if err := unix.Pipe2(s.pipe[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
			s.pipe = [2]int{-1, -1}
			return nil, err
		}
		s.size = peekSize
	}
	if n > s.size {
		if size, err := unix.FcntlInt(uintptr(s.pipe[1]), unix.F_SETPIPE_SZ, n); err == nil {
			s.size = size
		}
	}
	if len(s.buf) < n {
		s.buf = make([]byte, n)
	}
	var there int64
	var err error
	for {
		if there, err = unix.Tee(pipe, s.pipe[1], n, unix.SPLICE_F_NONBLOCK); err != unix.EINTR {
			break
		}
	}
	if err != nil || there == 0 {
		return nil, err
	}
	text := s.buf[:there]
	for read := 0; read < len(text); {
		n, err := unix.Read(s.pipe[0], text[read:])
		if err == unix.EINTR {
			continue
		}
		if err != nil || n == 0 { // what is left in it must not be taken for another's
			unix.Close(s.pipe[0])
			unix.Close(s.pipe[1])
			s.pipe = [2]int{-1, -1}
			return nil, err
		}
		read += n
	}
	return text, nil
}

// waiting is how much the pipe holds, and whether nobody will write more.
func waiting(pipe int) (n int, ended bool) {
	n, _ = unix.IoctlGetInt(pipe, unix.TIOCINQ)
	poll := []unix.PollFd{{Fd: int32(pipe), Events: unix.POLLIN}}
	ready, err := unix.Poll(poll, 0)
	return n, err == nil && ready > 0 && poll[0].Revents&unix.POLLHUP != 0
}

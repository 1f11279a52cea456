package keeper

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// The wire between keeper and master is a SEQPACKET socket pair. A packet is
// one line of words, for some verbs a newline and a body, and descriptors as
// SCM_RIGHTS. Verbs are only ever added, because the two ends may be of
// different versions after an upgrade:
//
//	master → keeper
//	PUT name         + descriptors: hold them under name, instead of what was there
//	SET name \n body hold this record under name
//	DEL name         drop descriptors and record of that name
//	ACK pid start    that EXIT is dealt with, forget it
//	NOTIFY \n text   tell the service manager (sd_notify)
//	READY            the first start succeeded
//	FAIL \n text     it did not, and this is why; the keeper ends. Of a later
//	                 master: it ends now, and another may be tried
//	STOP code        what follows is an orderly end of the master: end with code
//	UPGRADE          + the descriptor of a program: it is the next master's, for
//	                 this one ends in order; and, once that is proven, the keeper's
//
//	keeper → master
//	KEEPER pid run \n version   who speaks; run names this life of the keeper's.
//	                 Again, when it goes on as another program
//	PUT, SET         what is held, as above
//	CHILD pid start  a living child of the keeper
//	EXIT pid start status   a child of the keeper ended (wait status)
//	SIGNAL number    the keeper got it
//	END              the inheritance is complete; EXIT and SIGNAL may follow
const maxPacket = 128 << 10

// maxRecord is the longest record that is sent in a message.
const maxRecord = 100 << 10

// maxFiles is the kernel's limit of descriptors in a message (SCM_MAX_FD).
const maxFiles = 253

type packet struct {
	verb  string
	args  []string
	body  string
	files []int
}

func (p packet) String() string { return strings.Join(append([]string{p.verb}, p.args...), " ") }

func (p packet) arg(i int) string {
	if i < len(p.args) {
		return p.args[i]
	}
	return ""
}

// link is one end of the socket pair. Packets can be sent from several
// goroutines; one may receive.
type link struct {
	file *os.File
	raw  syscall.RawConn
	mu   sync.Mutex // of senders

	buf, oob []byte // of the receiver
}

func newLink(fd int) (*link, error) {
	if err := unix.SetNonblock(fd, true); err != nil {
		return nil, fmt.Errorf("keeper socket: %w", err)
	}
	unix.CloseOnExec(fd)
	file := os.NewFile(uintptr(fd), "keeper")
	raw, err := file.SyscallConn()
	if err != nil {
		return nil, err
	}
	return &link{
		file: file, raw: raw,
		buf: make([]byte, maxPacket+1), oob: make([]byte, unix.CmsgSpace(4*maxFiles)),
	}, nil
}

func (l *link) close() { l.file.Close() }

// descriptor is that of the link, which stays the link's.
func (l *link) descriptor() (fd int, err error) {
	err = l.raw.Control(func(d uintptr) { fd = int(d) })
	return fd, err
}

// send blocks while the other end does not read. Descriptors stay the caller's.
func (l *link) send(p packet) error {
	if len(p.files) > maxFiles {
		return fmt.Errorf("%s: %d descriptors in one message, at most %d", p, len(p.files), maxFiles)
	}
	line := p.String()
	if p.body != "" {
		line += "\n" + p.body
	}
	if len(line) > maxPacket {
		return fmt.Errorf("%s: %d bytes in one message, at most %d", p, len(line), maxPacket)
	}
	var rights []byte
	if len(p.files) > 0 {
		rights = unix.UnixRights(p.files...)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	var err error
	waitErr := l.raw.Write(func(fd uintptr) bool {
		for {
			err = unix.Sendmsg(int(fd), []byte(line), rights, nil, unix.MSG_NOSIGNAL|unix.MSG_DONTWAIT)
			if err != unix.EINTR {
				break
			}
		}
		return err != unix.EAGAIN
	})
	if waitErr != nil {
		return waitErr
	}
	return err
}

// errCut says that a message did not fit, or had more descriptors than this
// process may open.
var errCut = errors.New("a message was cut short")

// receive returns io.EOF when the other end is gone and everything it had sent
// has been read. With errCut it returns what is left of the message, without
// descriptors.
func (l *link) receive() (packet, error) {
	var n, oobn, flags int
	var err error
	waitErr := l.raw.Read(func(fd uintptr) bool {
		for {
			n, oobn, flags, _, err = unix.Recvmsg(int(fd), l.buf, l.oob, unix.MSG_CMSG_CLOEXEC|unix.MSG_DONTWAIT)
			// A peer that was killed with unread packets shows as one reset, after
			// which the packets that it had sent are still there to be read.
			if err != unix.EINTR && err != unix.ECONNRESET {
				break
			}
		}
		return err != unix.EAGAIN
	})
	if waitErr != nil {
		return packet{}, waitErr
	}
	if err != nil {
		return packet{}, err
	}
	if n == 0 {
		return packet{}, io.EOF
	}
	line, body, _ := strings.Cut(string(l.buf[:n]), "\n")
	words := strings.Split(line, " ")
	p := packet{verb: words[0], args: words[1:], body: body}
	if oobn > 0 {
		messages, err := unix.ParseSocketControlMessage(l.oob[:oobn])
		if err != nil {
			return packet{}, err
		}
		for i := range messages {
			fds, err := unix.ParseUnixRights(&messages[i])
			if err != nil {
				return packet{}, err
			}
			p.files = append(p.files, fds...)
		}
	}
	if flags&(unix.MSG_TRUNC|unix.MSG_CTRUNC) != 0 {
		for _, fd := range p.files {
			unix.Close(fd)
		}
		p.files = nil
		return p, fmt.Errorf("%.100s: %w", p, errCut)
	}
	return p, nil
}

package supervisor

import (
	"errors"
	"fmt"
	"hash/fnv"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/nekoctl/neko/supervisor/home"
)

// notifySocket is where workers say READY=1 and the like (sd_notify(3)).
type notifySocket struct {
	fd   int
	name string // for NOTIFY_SOCKET
}

// maxSocketPath is what sockaddr_un has room for, less the final zero.
const maxSocketPath = 107

// notifyName is the same for every master of a home: workers know no other.
func notifyName(h home.Dir) string {
	name := h.Notify()
	if len(name) <= maxSocketPath {
		return name
	}
	hash := fnv.New64a()
	hash.Write([]byte(name))
	return fmt.Sprintf("@neko-notify-%x", hash.Sum64())
}

// openNotify binds the socket in the home, or under an abstract name where the
// path is too long for other programs. The keeper holds it as well, so that
// what workers say between two masters is heard by the second.
func openNotify(h home.Dir) (notifySocket, error) {
	n, err := bindNotify(notifyName(h))
	if err == nil && !strings.HasPrefix(n.name, "@") {
		err = os.Chmod(n.name, 0o600)
	}
	return n, err
}

func bindNotify(name string) (notifySocket, error) {
	n := notifySocket{name: name}
	if strings.HasPrefix(n.name, "@") {
		// There is no file that is in the way.
	} else if err := os.Remove(n.name); err != nil && !os.IsNotExist(err) {
		return n, err
	}
	var err error
	n.fd, err = unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return n, err
	}
	if err := unix.SetsockoptInt(n.fd, unix.SOL_SOCKET, unix.SO_PASSCRED, 1); err != nil {
		return n, err
	}
	if err := unix.Bind(n.fd, &unix.SockaddrUnix{Name: n.name}); err != nil {
		return n, fmt.Errorf("bind %s: %w", n.name, err)
	}
	return n, nil
}

// listenNotify hears workers by way of a socket until the master ends.
func (m *master) listenNotify(n notifySocket) error {
	file := os.NewFile(uintptr(n.fd), "notify")
	raw, err := file.SyscallConn()
	if err != nil {
		return err
	}
	go func() {
		defer file.Close()
		buf := make([]byte, 4096)
		oob := make([]byte, unix.CmsgSpace(unix.SizeofUcred)+unix.CmsgSpace(4*16))
		// A message is looked at first and taken when it has had its consequences: if
		// this master ends in between, the next one hears it.
		receive := func(flags int) (n, oobn int, err error) {
			waitErr := raw.Read(func(fd uintptr) bool {
				n, oobn, _, _, err = unix.Recvmsg(int(fd), buf, oob, flags|unix.MSG_DONTWAIT|unix.MSG_CMSG_CLOEXEC)
				return err != unix.EAGAIN
			})
			return n, oobn, errors.Join(waitErr, err)
		}
		first := true // which a killed master may have heard
		for {
			n, oobn, err := receive(unix.MSG_PEEK)
			if err != nil {
				if errors.Is(err, os.ErrClosed) {
					return
				}
				continue
			}
			if pid, ok := sender(oob[:oobn]); ok {
				// At once, for a program that says one thing may end right after.
				group, err := unix.Getpgid(pid)
				if err != nil {
					group = pid
				}
				heard := false
				m.do(func() {
					m.mayRepeat = first
					m.heard(pid, group, string(buf[:n]))
					heard = true
				})
				if first = false; !heard {
					return
				}
			}
			if _, oobn, err := receive(0); err == nil {
				sender(oob[:oobn]) // of which the descriptors are to be closed
			}
		}
	}()
	return nil
}

// sender is who the kernel says has sent a message. Descriptors that came along
// are closed: we asked for none.
func sender(oob []byte) (pid int, ok bool) {
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return 0, false
	}
	for i := range messages {
		if cred, err := unix.ParseUnixCredentials(&messages[i]); err == nil {
			pid, ok = int(cred.Pid), true
		}
		if fds, err := unix.ParseUnixRights(&messages[i]); err == nil {
			for _, fd := range fds {
				unix.Close(fd)
			}
		}
	}
	return pid, ok
}

// saysReady is READY=1.
func (m *master) saysReady(p *process) {
	if p.saidReady = true; !p.probed() || p.passed {
		m.becameReady(p)
	}
	m.touch(p.slot)
}

// heard carries out what a process, or a child in its group, has said.
func (m *master) heard(pid, group int, text string) {
	p := m.processes[pid]
	if p == nil {
		p = m.processes[group]
	}
	if p == nil {
		return
	}
	for line := range strings.SplitSeq(text, "\n") {
		key, value, _ := strings.Cut(line, "=")
		switch key {
		case "READY":
			if value == "1" {
				m.saysReady(p)
			}
		case "STOPPING":
			if value == "1" {
				m.stopsItself(p)
			}
		case "WATCHDOG":
			switch value {
			case "1":
				m.alive(p)
			case "trigger":
				m.hung(p, fmt.Sprintf("pid %d says that it is stuck (WATCHDOG=trigger)", p.PID))
			}
		case eventVariable:
			m.saysEvent(p, value)
		case "STATUS":
			p.status = strings.ToValidUTF8(value[:min(len(value), 200)], "\uFFFD")
		}
	}
}

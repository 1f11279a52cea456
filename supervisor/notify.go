package supervisor

import (
	"fmt"
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

// openNotify binds the socket in the home, or under an abstract name where the
// path is too long for other programs. The keeper holds it as well, so that
// what workers say between two masters is heard by the second.
func openNotify(h home.Dir) (notifySocket, error) {
	n := notifySocket{name: h.Notify()}
	if len(n.name) > maxSocketPath {
		n.name = fmt.Sprintf("@neko-notify-%d", os.Getpid())
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
	if !strings.HasPrefix(n.name, "@") {
		return n, os.Chmod(n.name, 0o600)
	}
	return n, nil
}

// listenNotify hears workers until the master ends.
func (m *master) listenNotify() error {
	file := os.NewFile(uintptr(m.notify.fd), "notify")
	raw, err := file.SyscallConn()
	if err != nil {
		return err
	}
	go func() {
		defer file.Close()
		buf := make([]byte, 4096)
		oob := make([]byte, unix.CmsgSpace(unix.SizeofUcred)+unix.CmsgSpace(4*16))
		for {
			var n, oobn int
			var recvErr error
			err := raw.Read(func(fd uintptr) bool {
				n, oobn, _, _, recvErr = unix.Recvmsg(int(fd), buf, oob, unix.MSG_DONTWAIT|unix.MSG_CMSG_CLOEXEC)
				return recvErr != unix.EAGAIN
			})
			if err != nil {
				return
			}
			if recvErr != nil {
				continue
			}
			if pid, ok := sender(oob[:oobn]); ok {
				// At once, for a program that says one thing may end right after.
				group, err := unix.Getpgid(pid)
				if err != nil {
					group = pid
				}
				text := string(buf[:n])
				m.post(func() { m.heard(pid, group, text) })
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
				m.becameReady(p)
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
		case "STATUS":
			p.status = strings.ToValidUTF8(value[:min(len(value), 200)], "\uFFFD")
		}
	}
}

package socket

import (
	"bufio"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Ports are the TCP ports on which somebody listens.
func Ports() map[uint16]bool {
	ports := map[uint16]bool{}
	for _, address := range listening("/proc/thread-self/net") {
		ports[address.Port()] = true
	}
	return ports
}

// Serves says whether a process of the group pgid has a connection that it has accepted:
// one to a unix socket, or one whose own port is among ports, on which somebody listens
// or did until now. It fails if that cannot be seen.
func Serves(pgid int, ports map[uint16]bool) (bool, error) {
	sockets, err := socketsOf(pgid)
	if err != nil || len(sockets) == 0 {
		return false, err
	}
	for _, table := range []struct {
		name string
		read func(io.Reader) bool
	}{
		{"tcp", func(r io.Reader) bool { return servesTCP(r, sockets, ports) }},
		{"tcp6", func(r io.Reader) bool { return servesTCP(r, sockets, ports) }},
		{"unix", func(r io.Reader) bool { return servesUnix(r, sockets) }},
	} {
		file, err := os.Open("/proc/thread-self/net/" + table.name)
		if errors.Is(err, os.ErrNotExist) { // a kernel without IPv6
			continue
		} else if err != nil {
			return false, ErrUnknown
		}
		found := table.read(file)
		file.Close()
		if found {
			return true, nil
		}
	}
	return false, nil
}

// socketsOf are the inodes of the sockets of a group's processes.
func socketsOf(pgid int) (map[string]bool, error) {
	sockets := map[string]bool{}
	processes, _ := filepath.Glob("/proc/[0-9]*")
	for _, dir := range processes {
		pid, err := strconv.Atoi(filepath.Base(dir))
		if err != nil {
			continue
		}
		if group, err := unix.Getpgid(pid); err != nil || group != pgid {
			continue
		}
		fds, err := os.ReadDir(dir + "/fd")
		if errors.Is(err, os.ErrPermission) {
			return nil, ErrUnknown
		}
		for _, fd := range fds {
			if number := inode(dir + "/fd/" + fd.Name()); number != "" {
				sockets[number] = true
			}
		}
	}
	return sockets, nil
}

// servesTCP reads a table like /proc/net/tcp. A connection of which our side is closed
// has been served.
func servesTCP(table io.Reader, sockets map[string]bool, ports map[uint16]bool) bool {
	const established, closeWait = "01", "08"
	for lines := bufio.NewScanner(table); lines.Scan(); {
		fields := strings.Fields(lines.Text())
		if len(fields) < 10 || fields[3] != established && fields[3] != closeWait || !sockets[fields[9]] {
			continue
		}
		if address, ok := parseAddress(fields[1]); ok && ports[address.Port()] {
			return true
		}
	}
	return false
}

// servesUnix reads a table like /proc/net/unix, whose columns are Num, RefCount,
// Protocol, Flags, Type, St, Inode, Path. What was accepted has the path of its
// listener, and whoever has connected mostly none.
func servesUnix(table io.Reader, sockets map[string]bool) bool {
	const datagrams, connected = "0002", "03"
	for lines := bufio.NewScanner(table); lines.Scan(); {
		fields := strings.Fields(lines.Text())
		if len(fields) > 7 && fields[4] != datagrams && fields[5] == connected && sockets[fields[6]] {
			return true
		}
	}
	return false
}

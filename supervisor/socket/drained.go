package socket

import (
	"bufio"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
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
	serves := false
	err := eachAccepted([]int{pgid}, ports, func(int) bool {
		serves = true
		return false
	})
	return serves, err
}

// Accepted is how many such connections the processes of some groups have, by group.
func Accepted(pgids []int, ports map[uint16]bool) (map[int]int, error) {
	counts := map[int]int{}
	err := eachAccepted(pgids, ports, func(pgid int) bool {
		counts[pgid]++
		return true
	})
	return counts, err
}

// eachAccepted goes through the connections that processes of some groups have accepted,
// as long as found wants more.
func eachAccepted(pgids []int, ports map[uint16]bool, found func(pgid int) (more bool)) error {
	sockets, err := socketsOf(pgids)
	if err != nil || len(sockets) == 0 {
		return err
	}
	more := true
	one := func(inode string) bool {
		more = found(sockets[inode])
		return more
	}
	for _, table := range []struct {
		name string
		read func(io.Reader)
	}{
		{"tcp", func(r io.Reader) { servedTCP(r, sockets, ports, one) }},
		{"tcp6", func(r io.Reader) { servedTCP(r, sockets, ports, one) }},
		{"unix", func(r io.Reader) { servedUnix(r, sockets, one) }},
	} {
		file, err := os.Open("/proc/thread-self/net/" + table.name)
		if errors.Is(err, os.ErrNotExist) { // a kernel without IPv6
			continue
		} else if err != nil {
			return ErrUnknown
		}
		table.read(file)
		file.Close()
		if !more {
			break
		}
	}
	return nil
}

// socketsOf are the inodes of the sockets of the processes of some groups.
func socketsOf(pgids []int) (map[string]int, error) {
	sockets := map[string]int{}
	processes, _ := filepath.Glob("/proc/[0-9]*")
	for _, dir := range processes {
		pid, err := strconv.Atoi(filepath.Base(dir))
		if err != nil {
			continue
		}
		group, err := unix.Getpgid(pid)
		if err != nil || !slices.Contains(pgids, group) {
			continue
		}
		fds, err := os.ReadDir(dir + "/fd")
		if errors.Is(err, os.ErrPermission) {
			return nil, ErrUnknown
		}
		for _, fd := range fds {
			if number := inode(dir + "/fd/" + fd.Name()); number != "" {
				sockets[number] = group
			}
		}
	}
	return sockets, nil
}

// servedTCP reads a table like /proc/net/tcp, and finds those sockets in it that were accepted. A connection of which our side is closed has been served.
func servedTCP(table io.Reader, sockets map[string]int, ports map[uint16]bool, found func(inode string) (more bool)) {
	const established, closeWait = "01", "08"
	for lines := bufio.NewScanner(table); lines.Scan(); {
		fields := strings.Fields(lines.Text())
		if len(fields) < 10 || fields[3] != established && fields[3] != closeWait {
			continue
		}
		if _, ours := sockets[fields[9]]; !ours {
			continue
		}
		if address, ok := parseAddress(fields[1]); ok && ports[address.Port()] && !found(fields[9]) {
			return
		}
	}
}

// servedUnix reads a table like /proc/net/unix, whose columns are Num, RefCount,
// Protocol, Flags, Type, St, Inode, Path. What was accepted has the path of its
// listener, and whoever has connected mostly none.
func servedUnix(table io.Reader, sockets map[string]int, found func(inode string) (more bool)) {
	const datagrams, connected = "0002", "03"
	for lines := bufio.NewScanner(table); lines.Scan(); {
		fields := strings.Fields(lines.Text())
		if len(fields) <= 7 || fields[4] == datagrams || fields[5] != connected {
			continue
		}
		if _, ours := sockets[fields[6]]; ours && !found(fields[6]) {
			return
		}
	}
}

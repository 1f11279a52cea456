package socket

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"maps"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Holder names the process that listens on the port of an address: "nginx (pid
// 12)". It is "" where /proc does not tell, which is so for processes of other
// users unless we are root.
func Holder(address string) string {
	_, portText, err := net.SplitHostPort(address)
	if err != nil {
		return ""
	}
	port, err := strconv.ParseUint(portText, 10, 16)
	if err != nil {
		return ""
	}
	found := listening("/proc/thread-self/net")
	maps.DeleteFunc(found, func(_ string, a netip.AddrPort) bool { return a.Port() != uint16(port) })
	if len(found) == 0 {
		return ""
	}
	links, _ := filepath.Glob("/proc/[0-9]*/fd/*")
	for _, link := range links {
		if _, ok := found[inode(link)]; !ok {
			continue
		}
		pid := strings.Split(link, "/")[2]
		comm, err := os.ReadFile("/proc/" + pid + "/comm")
		if err != nil {
			continue
		}
		return fmt.Sprintf("%s (pid %s)", strings.TrimSpace(string(comm)), pid)
	}
	return ""
}

// Exclusive is a TCP address on which a process of the group pgid listens and
// which no second process can bind beside it; "" if there is none.
func Exclusive(pgid int) string {
	var found map[string]netip.AddrPort
	processes, _ := filepath.Glob("/proc/[0-9]*")
	for _, dir := range processes {
		pid, err := strconv.Atoi(filepath.Base(dir))
		if err != nil {
			continue
		}
		if group, err := unix.Getpgid(pid); err != nil || group != pgid {
			continue
		}
		if found == nil {
			found = listening(dir + "/net")
		}
		links, _ := filepath.Glob(dir + "/fd/*")
		for _, link := range links {
			if address, ok := found[inode(link)]; ok && !shareable(address.String()) {
				return address.String()
			}
		}
	}
	return ""
}

// shareable says whether the address can be bound once more. Nothing is accepted
// by way of it, for it does not listen.
func shareable(address string) bool {
	domain, addr, err := sockaddr(address)
	if err != nil {
		return true
	}
	fd, err := unix.Socket(domain, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return true
	}
	defer unix.Close(fd)
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1)
	return unix.Bind(fd, addr) != unix.EADDRINUSE
}

// inode is that of the socket behind a link in /proc/PID/fd, or "".
func inode(link string) string {
	target, err := os.Readlink(link)
	if err != nil {
		return ""
	}
	number, ok := strings.CutPrefix(target, "socket:[")
	if !ok {
		return ""
	}
	return strings.TrimSuffix(number, "]")
}

// listening are the TCP sockets of a folder like /proc/net that listen, by inode.
// The columns are those of proc(5): sl, local_address, rem_address, st, …, inode
// as the tenth.
func listening(net string) map[string]netip.AddrPort {
	found := map[string]netip.AddrPort{}
	for _, table := range []string{net + "/tcp", net + "/tcp6"} {
		file, err := os.Open(table)
		if err != nil {
			continue
		}
		readListening(file, found)
		file.Close()
	}
	return found
}

// readListening reads no further than it must: what listens comes first, in old kernels
// with handshakes in between, and then all connections, of which there can be a hundred
// thousand.
func readListening(table io.Reader, found map[string]netip.AddrPort) {
	const listen, handshake = "0A", "03"
	lines := bufio.NewScanner(table)
	lines.Scan() // the columns' names
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) < 10 || fields[3] != listen && fields[3] != handshake {
			return
		}
		if address, ok := parseAddress(fields[1]); ok && fields[3] == listen {
			found[fields[9]] = address
		}
	}
}

// parseAddress reads "0100007F:0FA0": words of 32 bits as the machine has them,
// and the port.
func parseAddress(text string) (netip.AddrPort, bool) {
	host, port, _ := strings.Cut(text, ":")
	n, err := strconv.ParseUint(port, 16, 16)
	if err != nil {
		return netip.AddrPort{}, false
	}
	var bytes []byte
	for ; len(host) >= 8; host = host[8:] {
		word, err := strconv.ParseUint(host[:8], 16, 32)
		if err != nil {
			return netip.AddrPort{}, false
		}
		bytes = binary.NativeEndian.AppendUint32(bytes, uint32(word))
	}
	ip, ok := netip.AddrFromSlice(bytes)
	return netip.AddrPortFrom(ip, uint16(n)), ok
}

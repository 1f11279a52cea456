package limits

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/nekoctl/neko/scripts/debian"
)

// network is a bridge in a network namespace of its own, where the servers are, and on it
// some more such namespaces, the hosts. None has a name: they live as long as the processes
// in them and our descriptors, so nothing is left of them however this process ends.
type network struct {
	servers *os.File
	hosts   []*os.File
}

const serverAddress = "10.77.0.1" // on the bridge

func hostAddress(i int) string { return fmt.Sprintf("10.77.0.%d", 10+i) }

func newNetwork(t *testing.T, hosts int) *network {
	t.Helper()
	needRoot(t)
	ip := debian.Need(t, "ip", "iproute2")
	n := &network{servers: newNamespace(t)}
	configure := func(ns *os.File, lines ...string) {
		t.Helper()
		for _, line := range lines {
			if _, err := run(ns, append([]string{ip}, strings.Fields(line)...)...); err != nil {
				t.Fatal(err)
			}
		}
	}
	configure(n.servers, "link set lo up", "link add bridge type bridge", "addr add "+serverAddress+"/24 dev bridge", "link set bridge up")
	for i := range hosts {
		host := newNamespace(t)
		n.hosts = append(n.hosts, host)
		port := "host" + strconv.Itoa(i)
		configure(n.servers, fmt.Sprintf("link add %s type veth peer name eth0 netns /proc/%d/fd/%d", port, os.Getpid(), host.Fd()),
			"link set "+port+" master bridge up")
		configure(host, "link set lo up", "addr add "+hostAddress(i)+"/24 dev eth0", "link set eth0 up")
	}
	return n
}

func newNamespace(t *testing.T) *os.File {
	t.Helper()
	var ns *os.File
	// The thread that makes it is in it, and ends with its goroutine as it is never unlocked.
	done := make(chan error)
	go func() {
		runtime.LockOSThread()
		err := unix.Unshare(unix.CLONE_NEWNET)
		if err == nil {
			ns, err = os.Open("/proc/thread-self/ns/net")
		}
		done <- err
	}()
	if err := <-done; err != nil {
		t.Fatalf("make a network namespace: %v", err)
	}
	t.Cleanup(func() { ns.Close() })
	return ns
}

// needRoot skips who cannot make namespaces.
func needRoot(t *testing.T) {
	t.Helper()
	if os.Getuid() == 0 {
		return
	}
	if os.Getenv("CI") == "true" {
		t.Fatal("only root can make network namespaces")
	}
	t.Skip("only root can make network namespaces")
}

// memory is a folder on tmpfs, whose name says whose it is: those of processes that were
// killed are removed.
func memory(t *testing.T) string {
	t.Helper()
	const prefix = "/dev/shm/neko-limits-"
	for _, old := range glob(t, prefix+"*") {
		owner, _, _ := strings.Cut(strings.TrimPrefix(old, prefix), "-")
		pid, err := strconv.Atoi(owner)
		if err == nil && errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) {
			removeAll(t, old)
		}
	}
	dir, err := os.MkdirTemp(filepath.Dir(prefix), fmt.Sprintf("%s%d-", filepath.Base(prefix), os.Getpid()))
	must(t, err)
	t.Cleanup(func() { removeAll(t, dir) })
	return dir
}

func removeAll(t *testing.T, dir string) {
	t.Helper()
	if err := os.RemoveAll(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
}

func glob(t *testing.T, pattern string) []string {
	t.Helper()
	list, err := filepath.Glob(pattern)
	must(t, err)
	return list
}

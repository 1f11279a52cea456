package keeper

import (
	"fmt"
	"log"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// What the keeper, as the main process, has to do with a service manager, systemd
// for example: it says WATCHDOG=1 in time, has the manager keep listening sockets
// that would go if all of the daemon were killed (FDSTORE=1), and takes those that
// the manager hands over at the start (LISTEN_FDS), its own among them. See
// sd_notify(3), sd_listen_fds(3).

// GivenPrefix begins the names of sockets that the service manager has handed over;
// a record of the same name has the manager's name for it.
const GivenPrefix = "given/"

// stored begins the names of what the service manager is to keep.
const stored = "socket/"

// notifyManager is sd_notify(3). A manager that does not read must not make the
// keeper stand still: what is said again and again anyway is dropped then, and for
// the rest there is a limit.
func notifyManager(state string, fds ...int) error {
	path := os.Getenv("NOTIFY_SOCKET")
	if path == "" {
		return nil
	}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	again := false
	for _, key := range []string{"WATCHDOG=", "STATUS=", "EXTEND_TIMEOUT_USEC="} {
		again = again || strings.HasPrefix(state, key)
	}
	flags := unix.MSG_NOSIGNAL
	if again {
		flags |= unix.MSG_DONTWAIT
	} else if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &unix.Timeval{Sec: 2}); err != nil {
		return err
	}
	var oob []byte
	if len(fds) > 0 {
		oob = unix.UnixRights(fds...)
	}
	// unix.SockaddrUnix reads a leading @ as an abstract name, as sd_notify does.
	err = unix.Sendmsg(fd, []byte(state), oob, &unix.SockaddrUnix{Name: path}, flags)
	if again && err == unix.EAGAIN {
		return nil
	}
	return err
}

// tellManager is for what nothing depends on.
func tellManager(state string, fds ...int) {
	if err := notifyManager(state, fds...); err != nil {
		log.Printf("tell the service manager: %v", err)
	}
}

// store has the service manager keep a listening socket, too. One that it listens on
// itself it has anyway, and would give twice.
func (k *keeper) store(name string, fds []int) {
	if strings.HasPrefix(name, stored) && len(fds) == 1 && !k.lent(fds[0]) {
		tellManager("FDSTORE=1\nFDNAME="+name, fds[0])
	}
}

// lent says whether a socket is one that the service manager listens on.
func (k *keeper) lent(fd int) bool {
	for key, fds := range k.files {
		if isGiven(key) && !strings.HasPrefix(k.records[key+"/name"], stored) && SameSocket(fd, fds[0]) {
			return true
		}
	}
	return false
}

// SameSocket says whether two descriptors are of one socket.
func SameSocket(a, b int) bool {
	var one, other unix.Stat_t
	return unix.Fstat(a, &one) == nil && unix.Fstat(b, &other) == nil && one.Dev == other.Dev && one.Ino == other.Ino
}

func unstore(name string) {
	if strings.HasPrefix(name, stored) {
		tellManager("FDSTOREREMOVE=1\nFDNAME=" + name)
	}
}

// takeGiven takes over what the service manager has handed to this process. Nobody
// else is to have it.
func (k *keeper) takeGiven() error {
	names := strings.Split(os.Getenv("LISTEN_FDNAMES"), ":")
	n, err := strconv.Atoi(os.Getenv("LISTEN_FDS"))
	ours := os.Getenv("LISTEN_PID") == strconv.Itoa(os.Getpid())
	for _, name := range []string{"LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES", "LISTEN_PIDFDID"} {
		os.Unsetenv(name)
	}
	if err != nil || !ours {
		return nil
	}
	const first = 3
	for i := range n {
		fd, name := first+i, "unknown"
		unix.CloseOnExec(fd)
		if i < len(names) {
			name = names[i]
		}
		if listens, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ACCEPTCONN); err != nil || listens != 1 {
			log.Printf("the service manager has given a descriptor %q, which is no listening socket", name)
			unix.Close(fd)
			continue
		}
		key := fmt.Sprintf("%s%d", GivenPrefix, i)
		k.files[key] = []int{fd}
		if err := k.hold(key+"/name", name); err != nil {
			return err
		}
	}
	return nil
}

// letGo is about a socket that the service manager had stored, and that is given no
// more: it leaves the store. FDSTOREREMOVE takes all of a name, and what has that name
// now may be another socket, or this one may have another name: it is all stored anew
// then. Of a socket that it has the manager closes the second.
func (k *keeper) letGo(given string) {
	name, files := k.records[given+"/name"], k.files[given]
	delete(k.records, given+"/name")
	if !strings.HasPrefix(name, stored) || len(files) != 1 {
		return
	}
	if now := k.files[name]; len(now) == 1 && SameSocket(now[0], files[0]) && !k.lent(files[0]) {
		return
	}
	unstore(name)
	for name, files := range k.files {
		k.store(name, files)
	}
}

// watchdogInterval is how often the service manager must hear WATCHDOG=1, 0: never.
func watchdogInterval() time.Duration {
	usec, err := strconv.ParseInt(os.Getenv("WATCHDOG_USEC"), 10, 64)
	if pid := os.Getenv("WATCHDOG_PID"); err != nil || usec <= 0 || pid != "" && pid != strconv.Itoa(os.Getpid()) {
		return 0
	}
	return time.Duration(usec) * time.Microsecond
}

// Beat is how often a master says that it is alive.
const Beat = 2 * time.Second

// Patience is how long a master may say nothing that has once said that it is alive.
// It is a variable for tests.
var Patience = 10 * time.Second

// look is what the keeper does every so often: it tells the service manager that it
// lives, and gives up a master that stands still. That is believed at the second
// look, for if the whole machine stood still what the master says meanwhile must be
// heard first.
func (k *keeper) look() {
	if k.watchdog > 0 {
		tellManager("WATCHDOG=1")
	}
	m := k.master
	if m == nil || m.aliveAt.IsZero() || m.PID == 0 || time.Since(m.aliveAt) < Patience {
		return
	}
	if !m.late {
		m.late = true
		return
	}
	log.Printf("the master (pid %d) has given no sign of life for %v: it is killed, and replaced", m.PID, time.Since(m.aliveAt).Round(time.Second))
	m.aliveAt = time.Time{}
	if err := unix.Kill(m.PID, unix.SIGKILL); err != nil {
		log.Print(err)
	}
}

// lookEvery is the time between two looks.
func (k *keeper) lookEvery() time.Duration {
	every := min(Beat, Patience/4)
	if k.watchdog > 0 {
		every = min(every, k.watchdog/3)
	}
	return every
}

// isGiven says whether a name is that of a given socket.
func isGiven(name string) bool { return strings.HasPrefix(name, GivenPrefix) }

// Given are the sockets that the service manager has handed over, by the manager's
// name for them, in its order; the caller owns them. They are withdrawn from the
// inheritance.
func (in *Inheritance) Given() (list []Given) {
	for name, fds := range in.Files {
		if !isGiven(name) || len(fds) != 1 {
			continue
		}
		given := Given{Key: name, FD: fds[0]}
		given.Name, _, _ = in.Record(name + "/name")
		list = append(list, given)
	}
	slices.SortFunc(list, func(a, b Given) int { return a.order() - b.order() })
	for _, g := range list {
		delete(in.Files, g.Key)
		delete(in.Records, g.Key+"/name")
	}
	return list
}

// Given is a socket that the service manager has handed over.
type Given struct {
	Key  string // under which the keeper has it
	Name string // FileDescriptorName= of a socket unit, or what was stored
	FD   int
}

func (g Given) order() int {
	n, _ := strconv.Atoi(strings.TrimPrefix(g.Key, GivenPrefix))
	return n
}

// Stored says whether it was stored by an earlier life of this daemon.
func (g Given) Stored() bool { return strings.HasPrefix(g.Name, stored) }

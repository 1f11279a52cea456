package worker

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// notifier tells the supervisor the state of this process: sd_notify(3). The
// zero value tells nobody.
type notifier struct {
	address  string        // NOTIFY_SOCKET: a path, or @ and an abstract name
	watchdog time.Duration // how often WATCHDOG=1 is wanted at least; 0: never
}

// notifierFromEnv reads NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID and
// removes them from the environment: they are meant for this process, not for
// programs that it starts.
func notifierFromEnv() notifier {
	n := notifier{address: os.Getenv("NOTIFY_SOCKET")}
	pid := os.Getenv("WATCHDOG_PID")
	if usec, err := strconv.ParseInt(os.Getenv("WATCHDOG_USEC"), 10, 64); err == nil && usec > 0 &&
		(pid == "" || pid == strconv.Itoa(os.Getpid())) {
		n.watchdog = time.Duration(usec) * time.Microsecond
	}
	for _, name := range []string{"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"} {
		_ = os.Unsetenv(name)
	}
	return n
}

// present says whether there is a supervisor to tell.
func (n notifier) present() bool { return n.address != "" }

// send delivers assignments such as READY=1 in one datagram. It opens the
// socket anew each time: the supervisor may have been replaced since.
func (n notifier) send(assignments ...string) error {
	if !n.present() {
		return nil
	}
	address, done, err := shortAddress(n.address)
	if err != nil {
		return fmt.Errorf("cannot notify the supervisor: %w", err)
	}
	defer done()
	c, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: address, Net: "unixgram"})
	if err != nil {
		return fmt.Errorf("cannot notify the supervisor: %w", err)
	}
	defer c.Close()
	_ = c.SetWriteDeadline(time.Now().Add(time.Second))
	if _, err = c.Write([]byte(strings.Join(assignments, "\n"))); err != nil {
		return fmt.Errorf("cannot notify the supervisor: %w", err)
	}
	return nil
}

// shortAddress is a name for the socket at path that fits into sun_path, which
// holds 107 bytes: a long path is reached through a descriptor of its folder.
// The name is good until done is called.
func shortAddress(path string) (name string, done func(), err error) {
	if len(path) < len(syscall.RawSockaddrUnix{}.Path) || strings.HasPrefix(path, "@") {
		return path, func() {}, nil
	}
	dir, err := os.OpenFile(filepath.Dir(path), syscall.O_DIRECTORY|syscall.O_CLOEXEC, 0)
	if err != nil {
		return "", nil, err
	}
	return fmt.Sprintf("/proc/self/fd/%d/%s", dir.Fd(), filepath.Base(path)), func() { dir.Close() }, nil
}

// keepWatchdog sends WATCHDOG=1 at once and then twice as often as wanted, until
// ctx ends.
func (n notifier) keepWatchdog(ctx context.Context) {
	if !n.present() || n.watchdog == 0 {
		return
	}
	tick := time.NewTicker(n.watchdog / 2)
	defer tick.Stop()
	for {
		_ = n.send("WATCHDOG=1") // if it is missed, the supervisor acts
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

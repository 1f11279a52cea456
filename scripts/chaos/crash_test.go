package chaos

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/nekoctl/neko/scripts/load"
	"github.com/nekoctl/neko/supervisor/control"
)

// killWorkers kills one worker of each app. To count exactly what it had
// accepted, it is stopped before: it accepts no more, and what it has accepted is
// in its descriptors.
func killWorkers(s *stage, _ int) {
	for _, a := range s.apps {
		victim := s.victim(a)
		s.freeze(a, victim.PID)
		s.kill(victim.PID)
		s.replaced(a, victim)
	}
}

// freeze stops a worker and takes down what it had accepted.
func (s *stage) freeze(a *app, pid int) {
	s.Helper()
	s.stop(pid)
	a.accepted += int64(sockets(s, pid) - a.sockets)
}

func (s *stage) kill(pids ...int) {
	s.Helper()
	for _, pid := range pids {
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			s.Fatalf("kill -9 %d: %v", pid, err)
		}
	}
}

// replaced waits until another process is in the victim's slot.
func (s *stage) replaced(a *app, victim control.Process) {
	s.Helper()
	s.waitFor(fmt.Sprintf("slot %d of %s has a new process", victim.Slot, a.name), func() bool { return s.isReplaced(a, victim) })
}

func (s *stage) isReplaced(a *app, victim control.Process) bool {
	s.Helper()
	return slices.ContainsFunc(a.of(s.list()), func(p control.Process) bool {
		return p.Slot == victim.Slot && p.PID != victim.PID && p.State == control.Online
	})
}

// The two ways in which a hung worker is found, and within what time. They do not take a machine that is busy for a
// worker that hangs: who is killed by mistake takes with him what he had accepted.
const (
	watchdog = "watchdog: 3s\n"
	liveness = "liveness: {http: /livez, interval: 1s, timeout: 1s, failures: 3}\n"
)

var hangFoundBy = []struct {
	keys   string
	within time.Duration
}{
	{watchdog, 3 * time.Second},
	{liveness, 3*time.Second + time.Second},
}

// hangWorkers stops one worker of each app and leaves it to the daemon to find
// out, by turns in either way.
func hangWorkers(s *stage, i int) {
	by := hangFoundBy[i%2]
	if i > 0 {
		s.nekoctl("reload", s.configure(4, by.keys))
	}
	hang(s, by.within)
}

// hang stops workers. When they are replaced, and at the latest after the time in
// which that is to be found, whoever connects anew is answered.
func hang(s *stage, within time.Duration) {
	victims := make([]control.Process, len(s.apps))
	probes := make([]load.Config, len(s.apps))
	for i, a := range s.apps {
		victims[i] = s.victim(a)
		probes[i] = a.config(s, load.NewConnection)
		probes[i].Clients, probes[i].Requests, probes[i].Timeout = 8, 100, max(s.size.soon, 3*time.Second)
	}
	for i, a := range s.apps {
		s.freeze(a, victims[i].PID)
	}
	end := time.Now().Add(within + s.size.soon/4) // the promise is one in time, and the machine is busy
	for hung := true; hung && time.Now().Before(end); {
		time.Sleep(100 * time.Millisecond)
		hung = false
		for i, a := range s.apps {
			hung = hung || !s.isReplaced(a, victims[i])
		}
	}
	for i, a := range s.apps {
		report, err := load.Do(s.Context(), probes[i])
		if err != nil || report.Failed() {
			s.Fatalf("%s, new connections beside a worker that hangs since %v: %v\n%s", a.name, within, err, report)
		}
	}
	for i, a := range s.apps {
		s.replaced(a, victims[i])
	}
}

// crashLoop has a worker of each app die, and every successor in its slot too.
// What had queued on the slot is answered within a second all the same, and new
// connections go around it.
func crashLoop(s *stage, _ int) {
	slot := s.victim(s.apps[0]).Slot
	for _, a := range s.apps {
		s.warm(a)
	}
	s.setFault(fmt.Sprintf("die %d", slot))
	for _, a := range s.apps {
		list := a.of(s.list())
		victim := list[slot]
		s.freeze(a, victim.PID)
		queued, err := connect(a, 8*len(list))
		if err != nil {
			s.Fatal(err)
		}
		s.kill(victim.PID)
		if err := queued.answered(time.Now().Add(s.size.soon)); err != nil {
			s.Fatalf("%s, slot %d crash-loops: %v", a.name, slot, err)
		}
	}
	before := s.list()
	s.waitFor("each of the slots has crashed three times more", func() bool {
		for i, p := range s.list() {
			if p.Slot == slot && p.Restarts < before[i].Restarts+3 && p.State != control.Errored {
				return false
			}
		}
		return true
	})
	s.pass()
	s.setFault("")
	s.nekoctl("reload", "all")
	s.online()
}

// warm waits until an app to which nothing happens answers as many connections as will
// queue in good time. Programs of Node's take seconds after a start until they do, on a
// machine with as much to do.
func (s *stage) warm(a *app) {
	s.Helper()
	s.waitFor(a.name+" answers in good time", func() bool {
		queued, err := connect(a, 8*len(a.of(s.list())))
		return errors.Join(err, queued.answered(time.Now().Add(s.size.soon/4))) == nil
	})
}

// queue are connections with a request that nobody may have accepted yet.
type queue []net.Conn

func connect(a *app, n int) (q queue, err error) {
	host := strings.Split(a.livez, "/")[2]
	for range n {
		conn, err := net.Dial("tcp", host)
		if err != nil {
			return q, err
		}
		q = append(q, conn)
		if _, err := fmt.Fprintf(conn, "GET /livez HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n", host); err != nil {
			return q, err
		}
	}
	return q, nil
}

func (q queue) answered(by time.Time) error {
	for i, conn := range q {
		defer conn.Close()
		conn.SetDeadline(by)
		answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			return fmt.Errorf("connection %d of %d that were made before: %w", i, len(q), err)
		}
		if answer.StatusCode != 200 {
			return fmt.Errorf("connection %d of %d: %s", i, len(q), answer.Status)
		}
	}
	return nil
}

// stop stops a process and returns when none of its threads runs any more.
func (s *stage) stop(pid int) {
	s.Helper()
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		s.Fatalf("stop %d: %v", pid, err)
	}
	s.waitFor(fmt.Sprintf("pid %d stops", pid), func() bool {
		stats, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pid))
		if err != nil || len(stats) == 0 {
			s.Fatalf("pid %d has no threads (%v)", pid, err)
		}
		for _, stat := range stats {
			text, err := os.ReadFile(stat)
			_, state, _ := strings.Cut(string(text), ") ")
			if err != nil || !strings.HasPrefix(state, "T") {
				return false
			}
		}
		return true
	})
}

// sockets counts the stream sockets among the descriptors of a process.
func sockets(s *stage, pid int) (n int) {
	s.Helper()
	links, err := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
	if err != nil {
		s.Fatal(err)
	}
	for _, link := range links {
		if target, err := os.Readlink(link); err == nil && strings.HasPrefix(target, "socket:") {
			n++
		}
	}
	return n
}

package supervisor

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nekoctl/neko/supervisor/spec"
)

// firstSteps is how long a program of which nothing else is known must have run
// to be taken for ready: most mistakes (a missing file, a syntax error) end it
// sooner, and then start and reload say so.
const firstSteps = 250 * time.Millisecond

// awaitReady sees to it that a new process becomes ready or fails. READY=1
// always makes it ready; where the app does not insist on that, being seen to
// accept does, and without listeners having run for a moment does. Where it has
// probes for that, they do (probe.go). An app that PM2's commands have started is taken
// for ready when its time is over, unless there is a predecessor that serves on, and
// with ReadyAnyway even then.
func (m *master) awaitReady(p *process) {
	limit := p.spec.ListenTimeout.D()
	m.after(p, limit, func() {
		s := p.slot
		first := p.spec.PM2 != nil && !p.probed() && s.starting == p && s.serving == nil
		if p.spec.ReadyAnyway || first {
			m.log("%s has not said that it is ready within %s, and is taken for ready, as with PM2", s, limit)
			m.becameReady(p)
			return
		}
		p.failure = fmt.Sprintf("was not ready within %s", limit)
		if what := p.awaited(); what != "" {
			p.failure += ": it did not " + what
		}
		m.failed(p)
	})
	if p.probed() {
		m.awaitPass(p)
		return
	}
	if p.spec.WaitReady {
		return
	}
	if p.clustered() {
		m.awaitListening(p)
		return
	}
	if len(p.spec.Listen) == 0 {
		var look func()
		wait := min(firstSteps, p.spec.MinUptime.D())
		look = func() {
			switch {
			case p.shimmed && !p.Alive(): // and the shim, if it was still that, has said why
				return
			case p.shimmed && isShim(p.PID): // the first step is still to come
				time.AfterFunc(max(wait, 10*time.Millisecond), look)
				return
			}
			m.post(func() { m.becameReady(p) })
		}
		time.AfterFunc(wait, look)
		return
	}
	inodes := p.slot.inodes()
	go func() {
		look := sight{pid: p.PID, inodes: inodes}
		for wait := time.Millisecond; ; wait = min(wait*3/2, 100*time.Millisecond) {
			time.Sleep(wait)
			seen := look.accepting()
			over := true
			m.do(func() {
				over = p.ready || p.leaving || m.processes[p.PID] != p
				if seen && !over {
					m.becameReady(p)
				}
			})
			if seen || over {
				return
			}
		}
	}()
}

// isShim says whether a process has not yet become the program that it is to be (exec.go):
// on a busy machine that can take longer than first steps do.
func isShim(pid int) bool {
	line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	return err == nil && bytes.HasPrefix(line, []byte(shimName+"\x00"+ExecMode+"\x00"))
}

// awaited is what makes a process ready, "" if no more than that it runs.
func (p *process) awaited() string {
	switch {
	case p.probed() && !p.passed:
		return p.awaitedPass()
	case p.spec.WaitReady && p.spec.Node != spec.NodeNone:
		return "say process.send('ready')"
	case p.spec.WaitReady:
		return "say READY=1"
	case p.clustered() && len(p.slot.app.groups) > 0:
		return "listen on " + p.slot.app.listeners()[0].String()
	case p.clustered():
		return ""
	case len(p.spec.Listen) > 0:
		return "accept on " + p.firstAddress() + " or say READY=1"
	}
	return ""
}

// firstAddress is where its first listener is, with the port that the kernel chose.
func (p *process) firstAddress() string {
	if groups := p.slot.app.groups; len(groups) > 0 && groups[0].Network == p.spec.Listen[0].Network {
		l := p.spec.Listen[0]
		l.Address = groups[0].Address
		return l.String()
	}
	return p.spec.Listen[0].String()
}

// inodes are those of the listening sockets of a slot.
func (s *slot) inodes() []string {
	var list []string
	for _, g := range s.app.groups {
		var stat unix.Stat_t
		if unix.Fstat(g.FD(s.index), &stat) == nil {
			list = append(list, strconv.FormatUint(stat.Ino, 10))
		}
	}
	return list
}

// sight looks at a process from outside.
type sight struct {
	pid     int
	inodes  []string  // of its listeners
	polling time.Time // since when it was seen waiting in poll or select
}

// accepting says whether the process waits for connections: an epoll of its
// lists a listener, or a thread of its sits in accept on one. One that sits in
// poll or select does not show for what; after a second of nothing else it is
// taken for waiting.
func (s *sight) accepting() bool {
	infos, _ := filepath.Glob(fmt.Sprintf("/proc/%d/fdinfo/*", s.pid))
	for _, info := range infos {
		text, err := os.ReadFile(info)
		if err != nil || !bytes.HasPrefix(text, []byte("pos:")) {
			continue
		}
		for line := range strings.Lines(string(text)) {
			_, inode, found := strings.Cut(line, " ino:")
			if !found || !strings.HasPrefix(line, "tfd:") {
				continue
			}
			// epoll's fdinfo has the inode in hexadecimal.
			hex, _, _ := strings.Cut(inode, " ")
			n, err := strconv.ParseUint(hex, 16, 64)
			if err == nil && slices.Contains(s.inodes, strconv.FormatUint(n, 10)) {
				return true
			}
		}
	}
	calls, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/syscall", s.pid))
	polling := false
	for _, call := range calls {
		text, err := os.ReadFile(call)
		if err != nil {
			continue
		}
		number, arguments, _ := strings.Cut(string(text), " ")
		switch n, err := strconv.Atoi(number); {
		case err != nil: // "running"
		case slices.Contains(acceptCalls, n) && s.listens(arguments):
			return true
		case slices.Contains(pollCalls, n):
			polling = true
		}
	}
	if !polling {
		s.polling = time.Time{}
		return false
	}
	if s.polling.IsZero() {
		s.polling = time.Now()
	}
	return time.Since(s.polling) > time.Second
}

// listens says whether the first argument of a system call, as in
// /proc/PID/syscall, is a descriptor of a listener.
func (s *sight) listens(arguments string) bool {
	first, _, _ := strings.Cut(arguments, " ")
	fd, err := strconv.ParseUint(first, 0, 32)
	if err != nil {
		return false
	}
	target, err := os.Readlink(fmt.Sprintf("/proc/%d/fd/%d", s.pid, fd))
	return err == nil && slices.ContainsFunc(s.inodes, func(inode string) bool { return target == "socket:["+inode+"]" })
}

var (
	acceptCalls = []int{unix.SYS_ACCEPT4, sysAccept}
	pollCalls   = []int{unix.SYS_PPOLL, unix.SYS_PSELECT6, sysPoll, sysSelect}
)

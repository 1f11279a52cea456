package supervisor

import (
	"fmt"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nekoctl/neko/supervisor/keeper"
	"github.com/nekoctl/neko/supervisor/logs"
	"github.com/nekoctl/neko/supervisor/spec"
)

// process is one life of a program in a slot. Only the loop touches it.
type process struct {
	keeper.Child
	launch    int64 // names its pipes at the keeper
	slot      *slot
	spec      *spec.App
	startedAt time.Time
	pidfd     *os.File // nil: unknown to this kernel

	ready    bool
	leaving  bool   // was told to stop
	killed   bool   // got SIGKILL
	status   string // the last STATUS= it sent
	failure  string // why it never became ready, or was given up
	deadline *time.Timer
	tails    [2]*logs.Tail // the last lines of out and err while it starts
	pumps    [2]*logs.Pump
	consoles [2]*logs.Prefixed
	usage    usage
}

func (p *process) pipesName() string {
	return fmt.Sprintf("pipes/%s/%d/%d", p.slot.app.name, p.slot.index, p.launch)
}

// watch reports the exit of p, a child of ours, through its pidfd.
func (m *master) watch(p *process, pidfd int) error {
	if err := unix.SetNonblock(pidfd, true); err != nil {
		return err
	}
	p.pidfd = os.NewFile(uintptr(pidfd), "pidfd")
	raw, err := p.pidfd.SyscallConn()
	if err != nil {
		return err
	}
	go func() {
		err := raw.Read(func(fd uintptr) bool {
			poll := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
			n, err := unix.Poll(poll, 0)
			return err == nil && n > 0
		})
		if err == nil {
			m.post(func() { m.reap(p) })
		}
	}()
	return nil
}

// reap looks at how a child of ours ended, and reaps it when the consequences
// are on record: if this master is killed in between, the next one hears the
// status from the keeper. What the child left behind in its process group ends
// with it; the zombie keeps the group's number from being reused until here.
func (m *master) reap(p *process) {
	_ = unix.Kill(-p.PID, unix.SIGKILL)
	exit, err := keeper.Peek(p.PID)
	if err != nil {
		m.log("wait for pid %d: %v", p.PID, err)
	}
	m.onRecord = append(m.onRecord, func() {
		if err := keeper.Reap(p.PID); err != nil {
			m.log("reap pid %d: %v", p.PID, err)
		}
	})
	m.exited(p, exit)
}

// signal reaches p and nobody else, even if its pid is another's by now.
func (p *process) signal(s syscall.Signal) error {
	var err error
	if p.pidfd == nil {
		err = unix.Kill(p.PID, s)
	} else {
		raw, rawErr := p.pidfd.SyscallConn()
		if rawErr != nil {
			return rawErr
		}
		if rawErr := raw.Control(func(fd uintptr) { err = unix.PidfdSendSignal(int(fd), s, nil, 0) }); rawErr != nil {
			return rawErr
		}
	}
	if err == unix.ESRCH {
		return nil // it has just ended; its exit is on the way
	}
	return err
}

// killGroup ends p and all that it started and that did not leave its group.
func (m *master) killGroup(p *process) {
	p.killed = true
	if start, err := keeper.StartTime(p.PID); err != nil || start != p.Start {
		return
	}
	if err := unix.Kill(-p.PID, unix.SIGKILL); err != nil && err != unix.ESRCH {
		m.log("kill pid %d of %s: %v", p.PID, p.slot, err)
	}
}

// after runs f in the loop when d is over, unless p gets another deadline
// before or ends.
func (m *master) after(p *process, d time.Duration, f func()) {
	if p.deadline != nil {
		p.deadline.Stop()
	}
	var t *time.Timer
	t = time.AfterFunc(d, func() {
		m.post(func() {
			if p.deadline == t {
				f()
			}
		})
	})
	p.deadline = t
}

// leave tells p to finish what it serves and go. It has DrainTimeout for that
// and KillTimeout more; then its group is killed.
func (m *master) leave(p *process) {
	if p.leaving {
		return
	}
	p.leaving = true
	s := p.slot
	s.leaving = append(s.leaving, p)
	if s.serving == p {
		s.serving = nil
	}
	if s.starting == p {
		s.starting = nil
	}
	// The record goes first: a second SIGTERM from the next master would make
	// many programs drop what they serve.
	m.record(s)
	if err := p.signal(unix.SIGTERM); err != nil {
		m.log("signal pid %d of %s: %v", p.PID, s, err)
	}
	m.giveTime(p, false)
}

// giveTime lets a leaving process be until its time is over. An adopted one may
// have missed its SIGTERM, if the last master was killed at that instant: it
// gets it when it should long be gone.
func (m *master) giveTime(p *process, again bool) {
	m.after(p, p.spec.DrainTimeout.D(), func() {
		if again {
			_ = p.signal(unix.SIGTERM)
		}
		m.after(p, p.spec.KillTimeout.D(), func() {
			p.failure = fmt.Sprintf("did not stop within %s and was killed", p.spec.DrainTimeout.D()+p.spec.KillTimeout.D())
			m.log("pid %d of %s %s", p.PID, p.slot, p.failure)
			m.killGroup(p)
		})
	})
}

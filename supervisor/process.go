package supervisor

import (
	"encoding/json"
	"fmt"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nekoctl/neko/supervisor/keeper"
	"github.com/nekoctl/neko/supervisor/logs"
	"github.com/nekoctl/neko/supervisor/nodeipc"
	"github.com/nekoctl/neko/supervisor/spec"
)

// process is one life of a program in a slot. Only the loop touches it.
type process struct {
	keeper.Child
	launch    int64 // names its pipes at the keeper
	slot      *slot
	as        int // the slot that it is told it is in: a stand-in, that of its model
	spec      *spec.App
	startedAt time.Time
	tookAt    time.Time // of a spare: when it began to serve
	pidfd     *os.File  // nil: unknown to this kernel
	watch     int32     // names the wait for its end
	inodes    []uint64  // of its pipes
	gate      *os.File  // of a spare: what it waits at, nil once it was opened

	adopted     bool // a child of the keeper, that an earlier master started
	shimmed     bool // was started through the exec shim
	ready       bool
	passed      bool          // what its probes ask before it is ready
	unready     string        // what its readiness probe, or before that the startup probe, has against it
	trial       time.Duration // it must have been ready for so long before its predecessor leaves
	tookOver    bool          // serves, or has served
	leaving     bool          // was told to stop, or stops by itself
	drains      bool          // and its drain_timeout is not over
	saidReady   bool          // READY=1
	watchdog    watchdog
	saying      allowance // of events
	probers     []*prober
	answers     []*probed // by kinds of probes
	status      string    // the last STATUS= it sent
	failure     string    // why it never became ready, or was given up
	why         cause     // it was told to end, or is given up
	because     cause     // of a successor: its predecessor is to end
	served      bool      // under an earlier master
	deadline    *time.Timer
	deadlineSet time.Time // when that was, and how much time it gave
	deadlineIn  time.Duration
	connections int           // that it has accepted and still has, at the last look, while it leaves
	tails       [2]*logs.Tail // the last lines of out and err while it starts
	pumps       [2]*logs.Pump
	usage       usage

	channel   *nodeipc.Channel           // of a program of Node's; nil: there is none
	lineInode []uint64                   // of our end
	handles   []handle                   // what it listens on, or wants to
	metrics   map[string]json.RawMessage // of @pm2/io
	actions   []string                   // of @pm2/io
	input     uint64                     // the inode of its standard input; 0: it has none of ours

	offered     *offer // a connection, and it has not said yet whether it takes it
	sentTooMuch bool   // a message that was too long, and it was told of

	metricsProblem string // why its metrics could not be had the last time

	heavySince time.Time // it has more memory than it may have; zero: it has not
}

// uptime is for how long p has done what it is there for.
func (p *process) uptime() time.Duration {
	if !p.tookAt.IsZero() {
		return time.Since(p.tookAt)
	}
	return time.Since(p.startedAt)
}

// ending is how a process ended.
type ending struct {
	code int // its exit code; -128-N: signal N has killed it; -1: nobody knows
	text string
	core bool // dumped
}

// unknownEnding is that of a process that was nobody's child that we could ask.
var unknownEnding = ending{code: -1, text: "unknown"}

func endingOf(status unix.WaitStatus) ending {
	code := status.ExitStatus()
	if status.Signaled() {
		code = -128 - int(status.Signal())
	}
	return ending{code, keeper.Describe(status), status.CoreDump()}
}

func (p *process) pipesName() string {
	return fmt.Sprintf("pipes/%s/%d/%d", p.slot.app.name, p.slot.index, p.launch)
}

// atEnd runs f in the loop when p has ended, which its pidfd shows.
func (m *master) atEnd(p *process, f func()) {
	if p.pidfd == nil {
		m.log("pid %d of %s cannot be watched: the kernel has no pidfd", pid(p.PID), p.slot)
		return
	}
	m.polls.Forget(p.watch) // since the keeper has gone another end is awaited
	var err error
	if p.watch, err = m.polls.Await(int(p.pidfd.Fd()), func() { m.post(f) }); err != nil {
		m.log("pid %d of %s cannot be watched: %v", pid(p.PID), p.slot, err)
	}
}

// openPidfd is nil where the kernel has none.
func openPidfd(fd int) *os.File {
	if fd < 0 {
		return nil
	}
	return os.NewFile(uintptr(fd), "pidfd")
}

// reap looks at how a child of ours ended, and reaps it when the consequences
// are on record: if this master is killed in between, the next one hears the
// status from the keeper.
func (m *master) reap(p *process) {
	m.hurry(p)
	m.endGroup(p)
	exit, err := keeper.Peek(p.PID)
	if err != nil {
		m.log("wait for pid %d: %v", pid(p.PID), err)
	}
	if !p.shimmed || p.ready || exit.ExitStatus() != shimFailed {
		m.reaped(p, exit)
		return
	}
	go func() { // what the shim has printed is the reason
		lastWords(p)
		m.post(func() {
			p.failure = p.shimReason()
			m.reaped(p, exit)
		})
	}()
}

// reaped is the end of a child of ours, which is still a zombie.
func (m *master) reaped(p *process, exit unix.WaitStatus) {
	m.onRecord = append(m.onRecord, func() {
		if err := keeper.Reap(p.PID); err != nil {
			m.log("reap pid %d: %v", pid(p.PID), err)
		}
	})
	m.exited(p, endingOf(exit))
}

// signal implements [system].
func (n native) signal(p *process, s syscall.Signal) error {
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

// kill ends p and all that it started and that did not leave its group. It may
// have left that group itself.
func (m *master) kill(p *process) {
	if err := m.system.signal(p, unix.SIGKILL); err != nil {
		m.log("kill pid %d of %s: %v", pid(p.PID), p.slot, err)
	}
	m.endGroup(p)
}

// endGroup ends what p has started, unless that is to outlive it.
func (m *master) endGroup(p *process) {
	if p.spec.Treekill {
		m.system.endGroup(p)
	}
}

// endGroup implements [system], by p's process group: with it goes all that it
// started, unless it took care to leave. The kernel gives the number of a group
// to nobody as long as the group has a member; if there is a process of that
// number, and it is not p, then the group is another's.
func (n native) endGroup(p *process) {
	if start, err := keeper.StartTime(p.PID); err == nil && start != p.Start {
		return
	}
	if err := unix.Kill(-p.PID, unix.SIGKILL); err != nil && err != unix.ESRCH {
		n.master.log("end the group of pid %d of %s: %v", pid(p.PID), p.slot, err)
	}
}

// after runs f in the loop when d is over, unless p gets another deadline
// before or ends.
func (m *master) after(p *process, d time.Duration, f func()) {
	p.cancelDeadline()
	var t *time.Timer
	t = time.AfterFunc(d, func() {
		m.post(func() {
			if p.deadline == t {
				f()
			}
		})
	})
	p.deadline, p.deadlineSet, p.deadlineIn = t, time.Now(), d
}

func (p *process) cancelDeadline() {
	if p.deadline != nil {
		p.deadline.Stop()
		p.deadline = nil
	}
}

// leave tells p to finish what it serves and go. It has DrainTimeout for that, or as
// long as it has connections, and KillTimeout more; then its group is killed.
func (m *master) leave(p *process) {
	if p.leaving {
		return
	}
	// The record goes first: a second signal from the next master would make
	// many programs drop what they serve.
	m.letGo(p)
	var left func() bool
	if p.spec.DrainConnections {
		left = m.system.connections(p)
	}
	m.tellToLeave(p)
	m.giveTime(p, false)
	if left != nil {
		go m.awaitDrained(p, left)
	}
}

// letGo records that p is about to end.
func (m *master) letGo(p *process) {
	p.leaving = true
	s := p.slot
	s.drop(p)
	s.leaving = append(s.leaving, p)
	p.watchdog.stop()
	m.stopAsking(p)
	m.record(s)
}

// drop takes a process from its place in the slot.
func (s *slot) drop(p *process) {
	for _, place := range []**process{&s.serving, &s.starting, &s.standIn, &s.spare} {
		if *place == p {
			*place = nil
		}
	}
}

// giveTime lets a leaving process be until its time is over. An adopted one may
// have missed its signal, if the last master was killed at that instant: it
// gets it when it should long be gone.
func (m *master) giveTime(p *process, again bool) {
	p.drains = true
	m.after(p, p.spec.DrainTimeout.D(), func() {
		p.drains = false
		if again {
			_ = m.system.signal(p, p.spec.Signal())
		}
		m.after(p, p.spec.KillTimeout.D(), func() { m.expire(p) })
	})
}

// expire kills a leaving process whose time is over.
func (m *master) expire(p *process) {
	m.log("pid %d of %s did not stop in time and was killed", pid(p.PID), p.slot)
	m.kill(p)
}

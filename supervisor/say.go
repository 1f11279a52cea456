package supervisor

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nekoctl/neko/supervisor/control"
)

// What processes are told by hand: a text on their standard input, or a message or an
// action of @pm2/io on the channel of a program of Node's.

// send gives a text or a message to each process that a target means, to all or, if one
// of them cannot have it, to none. A text that does not fit into a pipe that nobody
// reads is refused there alone.
func (m *master) send(q control.SendRequest) error {
	list, err := m.spokenTo(q.Targets)
	if err != nil {
		return err
	}
	if q.Message != nil {
		return m.sendMessage(list, q.Message)
	}
	var errs []error
	for _, p := range list {
		if err := p.write([]byte(q.Text)); err != nil {
			errs = append(errs, failure("what reads it shows lsof or /proc/PID/fd/0", "%s: standard input of pid %d: %v", p.name, p.pid, err))
		}
	}
	return errors.Join(errs...)
}

func (m *master) sendMessage(list []spoken, message json.RawMessage) error {
	if !json.Valid(message) {
		return failure(`a text is JSON in quotes: '"hello"'`, "the message is no JSON")
	}
	for _, p := range list {
		if !p.hasChannel {
			return failure("nekoctl send without --message writes to its standard input", "%s is no program of Node's, and has no channel for messages", p.name)
		}
	}
	var errs []error
	m.do(func() {
		for _, s := range list {
			if p := s.process; p.channel == nil {
				errs = append(errs, failure("", "%s has ended, or has closed its channel", s.name))
			} else if err := p.channel.Send(message); err != nil {
				errs = append(errs, failure("", "%s: %v", s.name, err))
			}
		}
	})
	return errors.Join(errs...)
}

// spoken is a process that is told something, as it is outside of the loop.
type spoken struct {
	*process
	name       string
	pid        int
	input      uint64
	hasChannel bool
}

// spokenTo are the processes that targets mean, each of which must serve.
func (m *master) spokenTo(targets []string) (list []spoken, err error) {
	chosen, err := m.choose(targets)
	if err != nil {
		return nil, err
	}
	m.do(func() {
		for _, c := range chosen {
			for _, s := range c.slots() {
				p := s.serving
				if p == nil {
					p = s.starting
				}
				if p == nil || p.leaving {
					err = failure("nekoctl list shows what runs", "%s is %s", s, s.state)
					return
				}
				list = append(list, spoken{p, s.String(), p.PID, p.input, p.channel != nil})
			}
		}
	})
	return list, err
}

// write writes all of text to a process's standard input, or nothing. The pipe has no
// other end than the process's own (see [master.input]).
func (s spoken) write(text []byte) error {
	if s.input == 0 {
		return errors.New("it was given none")
	}
	fd, err := unix.Open(fmt.Sprintf("/proc/%d/fd/0", s.pid), unix.O_WRONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if !slices.Equal(inodes(fd), []uint64{s.input}) {
		return errors.New("it has closed it, or put something else in its place")
	}
	if there, err := unix.IoctlGetInt(fd, unix.TIOCINQ); err == nil && there+len(text) > 64<<10 {
		return fmt.Errorf("%d bytes wait there that it does not read", there)
	}
	for len(text) > 0 {
		n, err := unix.Write(fd, text)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return err
		}
		text = text[n:]
	}
	return nil
}

// trigger is an action that is under way.
type trigger struct {
	reporter
	action string
	waits  map[*process]bool
}

// runAction runs an action of @pm2/io in all processes of the targets that have it, and
// reports what they answer.
func (m *master) runAction(r reporter, q control.TriggerRequest) error {
	if len(q.Parameter) > 0 && !json.Valid(q.Parameter) {
		return failure("", "the parameter is no JSON")
	}
	list, err := m.choose(q.Targets)
	if err != nil {
		return err
	}
	t := &trigger{reporter: r, action: q.Action, waits: map[*process]bool{}}
	var known []string
	asked := 0
	m.do(func() {
		for _, c := range list {
			for _, s := range c.slots() {
				p := s.serving
				if p == nil || p.channel == nil {
					continue
				}
				known = append(known, p.actions...)
				if !slices.Contains(p.actions, q.Action) {
					continue
				}
				if sendErr := p.channel.Trigger(q.Action, q.Parameter); sendErr != nil {
					err = failure("", "%s: %v", s, sendErr)
					return
				}
				t.waits[p] = true
			}
		}
		m.triggers[t], asked = true, len(t.waits)
	})
	defer m.do(func() { delete(m.triggers, t) })
	if err != nil {
		return err
	}
	if asked == 0 {
		slices.Sort(known)
		hint := "the program offers actions by io.action of @pm2/io"
		if known = slices.Compact(known); len(known) > 0 {
			hint = "there is " + strings.Join(known, ", ")
		}
		return failure(hint, "no process has an action %q", q.Action)
	}
	late := false
	timer := time.AfterFunc(time.Duration(q.TimeoutMS)*time.Millisecond, func() { m.post(func() { late = true }) })
	defer timer.Stop()
	m.until(func() bool {
		for p := range t.waits {
			if m.processes[p.PID] != p {
				delete(t.waits, p)
				err = failure("", "%s ended before it had answered", p.slot)
			}
		}
		return len(t.waits) == 0 || late || m.stopping
	})
	m.do(func() {
		for p := range t.waits {
			err = failure("", "%s has not answered within %v", p.slot, time.Duration(q.TimeoutMS)*time.Millisecond)
		}
	})
	return err
}

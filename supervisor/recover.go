package supervisor

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/nekoctl/neko/supervisor/keeper"
)

// When keeper and master are killed together their descriptors go with them. But
// the workers serve on, and have the other ends: a listening socket is duplicated
// out of a worker (pidfd_getfd(2), which takes the right to trace it), and a pipe
// is opened anew by way of /proc. With those, and the records in the state file,
// the first master of the next keeper takes over as any other would.

// recoverLost finds what an earlier daemon has left, if it had no orderly end,
// and gives it to the keeper as if that had had it all the time. The first master
// of a keeper does it, or the next one again, if that is killed meanwhile. It fails
// if there is something that it cannot understand and that lives.
func (m *master) recoverLost(in *keeper.Inheritance) error {
	if _, done := in.Records[recovered]; done {
		return nil
	}
	if err := m.recover(in); err != nil {
		return err
	}
	return m.conn.Set(recovered, "")
}

// recovered is the record of a keeper whose masters need not look any more.
const recovered = "recovered"

func (m *master) recover(in *keeper.Inheritance) error {
	s, err := readState(m.home)
	if err != nil {
		return m.unreadable(err)
	}
	if s == nil {
		return nil
	}
	endLostProbes(m.home)
	unrecorded := s.unrecorded()
	if len(s.living())+len(unrecorded) == 0 {
		return nil
	}
	lost := s.find()
	for name, err := range lost.apps {
		m.warn("lost "+name, fmt.Sprintf("%s runs and cannot be taken over: %v; end it by: kill -TERM%s", name, err, s.pids(name)))
		s.forget(name)
	}
	s.forgetStrangers()
	for name, record := range s.Records {
		in.Records[name] = record
		if err := m.conn.Set(name, record); err != nil {
			return err
		}
	}
	for name, fds := range lost.files {
		in.Files[name] = fds
		if err := m.conn.Put(name, fds...); err != nil {
			return err
		}
	}
	m.recovered = len(s.living())
	m.log("keeper and master of an earlier daemon were killed: found %d of its processes again", m.recovered)
	m.endUnrecorded(unrecorded)
	return nil
}

// unreadable is about a state that is damaged or of a newer version: it is put
// aside, unless there are processes that only it explains.
func (m *master) unreadable(err error) error {
	var pids []string
	for _, c := range workersOf(m.home) {
		pids = append(pids, strconv.Itoa(c.PID))
	}
	if len(pids) > 0 {
		return fmt.Errorf("%w; processes of an earlier daemon live, of which nothing else is known (pid %s): mend the file, or end them and remove it",
			err, strings.Join(pids, ", "))
	}
	aside := m.home.State() + ".bad"
	if renameErr := os.Rename(m.home.State(), aside); renameErr != nil {
		return errors.Join(err, renameErr)
	}
	m.log("%v; nothing of it runs: moved to %s", err, aside)
	return nil
}

// unrecorded are the processes that an earlier daemon started in its last moment,
// after the state was saved.
func (s *state) unrecorded() []keeper.Child {
	known := s.living()
	return slices.DeleteFunc(workersOf(s.home), func(c keeper.Child) bool {
		_, ok := known[c.PID]
		return ok
	})
}

// endUnrecorded asks these to go, once their sockets are ours. They finish what
// they serve.
func (m *master) endUnrecorded(list []keeper.Child) {
	for _, c := range list {
		m.log("pid %d is of the earlier daemon, and on no record: it is told to stop", pid(c.PID))
		_ = unix.Kill(c.PID, unix.SIGTERM) // it may have ended
	}
}

// found is what could be found again of a state's descriptors, and the apps of
// which something is missing that they cannot do without.
type found struct {
	files map[string][]int
	apps  map[string]error
}

// find looks for the state's sockets and pipes in the processes that live.
func (s *state) find() found {
	f := found{files: map[string][]int{}, apps: map[string]error{}}
	ends := s.ends()
	for name, inodes := range s.Inodes {
		app := appOf(name)
		var fds []int
		for i, inode := range inodes {
			var fd int
			var err error
			end, there := ends[inode]
			switch {
			case !there:
				err = errors.New("nobody has it")
			case !strings.HasPrefix(name, "pipes/"):
				fd, err = end.duplicate()
			default:
				fd, err = end.reopen(i)
			}
			if err != nil && there && strings.HasPrefix(name, "socket/") {
				f.apps[app] = fmt.Errorf("its socket cannot be had from pid %d: %w", end.pid, err)
			}
			if err == nil {
				fds = append(fds, fd)
			}
		}
		if len(fds) == len(inodes) {
			f.files[name] = fds
		} else {
			closeAll(fds)
		}
	}
	for name := range f.apps {
		for file, fds := range f.files {
			if appOf(file) == name {
				closeAll(fds)
				delete(f.files, file)
			}
		}
	}
	return f
}

// end is a descriptor in another process.
type end struct{ pid, fd int }

// ends are the sockets and pipes of all processes in the groups of the state's, and
// of those that are on no record, by inode.
func (s *state) ends() map[uint64]end {
	groups := s.living()
	for _, c := range s.unrecorded() {
		groups[c.PID] = c
	}
	ends := map[uint64]end{}
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	for _, dir := range dirs {
		pid, _ := strconv.Atoi(filepath.Base(dir))
		group, err := unix.Getpgid(pid)
		if _, ours := groups[group]; err == nil && ours {
			maps.Copy(ends, descriptors(pid))
		}
	}
	return ends
}

// descriptors are the sockets and pipes of a process, by inode.
func descriptors(pid int) map[uint64]end {
	ends := map[uint64]end{}
	links, _ := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
	for _, link := range links {
		target, err := os.Readlink(link)
		if err != nil {
			continue
		}
		kind, number, _ := strings.Cut(strings.TrimSuffix(target, "]"), ":[")
		inode, err := strconv.ParseUint(number, 10, 64)
		if err == nil && (kind == "socket" || kind == "pipe") {
			fd, _ := strconv.Atoi(filepath.Base(link))
			ends[inode] = end{pid, fd}
		}
	}
	return ends
}

// duplicate is a descriptor of ours for the same socket.
func (e end) duplicate() (int, error) {
	pidfd, err := unix.PidfdOpen(e.pid, 0)
	if err != nil {
		return -1, err
	}
	defer unix.Close(pidfd)
	return unix.PidfdGetfd(pidfd, e.fd, 0)
}

// reopen is our end of the pipe, the i-th of [pipes]: we read what it prints, and
// write to its gate.
func (e end) reopen(i int) (int, error) {
	how := unix.O_RDONLY
	if i == 2 {
		how = unix.O_WRONLY
	}
	return unix.Open(fmt.Sprintf("/proc/%d/fd/%d", e.pid, e.fd), how|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
}

// appOf is the app in the name of a record or descriptor, such as slot/NAME/0.
func appOf(name string) string {
	parts := strings.Split(name, "/")
	if len(parts) < 2 {
		return ""
	}
	return parts[1]
}

// pids are those of an app's processes that live, each with a space before it.
func (s *state) pids(app string) string {
	text, living := "", s.living()
	for name, record := range s.Records {
		var r slotRecord
		if !strings.HasPrefix(name, "slot/") || appOf(name) != app || json.Unmarshal([]byte(record), &r) != nil {
			continue
		}
		for _, p := range r.Processes {
			if _, ok := living[p.PID]; ok {
				text += " " + strconv.Itoa(p.PID)
			}
		}
	}
	return text
}

func (s *state) forget(app string) {
	for name := range s.Records {
		if appOf(name) == app {
			delete(s.Records, name)
		}
	}
}

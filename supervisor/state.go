package supervisor

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nekoctl/neko/supervisor/home"
	"github.com/nekoctl/neko/supervisor/keeper"
	"github.com/nekoctl/neko/supervisor/spec"
)

// The state file is for when keeper and master are killed together: what the
// keeper knew, and how to find again what it held (recover.go). It is written a
// moment after each change, and removed at the daemon's orderly end. Nobody waits
// for it, and a disk that is full costs no more than this last resort.

// stateVersion is that of the file's layout. Fields are added without a new one.
const stateVersion = 1

// state is the file.
type state struct {
	Version int    `json:"version"`
	Where   string `json:"where"` // the boot and the pid namespace in which pids mean something
	// Records are daemon, app/NAME and slot/NAME/INDEX, as the keeper has them.
	Records map[string]string `json:"records"`
	// Inodes are those of sockets and pipes, by the name under which the keeper
	// has them. They are found again in the workers that have the other ends.
	Inodes map[string][]uint64 `json:"inodes"`

	home home.Dir // that it was read from
}

// saveEvery bounds how often the state is written, where it is not so large that
// this would take too much of a CPU. So old it can be.
const saveEvery = 20 * time.Millisecond

// saver is how far the state is saved.
type saver struct {
	changed chan struct{} // there is a new one
	seen    int64         // the revision that was looked at last
	tried   int64         // the revision that was written last, or could not be
	busy    bool
}

// look is called after each event.
func (s *saver) look(revision int64) {
	if s.seen != revision {
		s.seen = revision
		s.wake()
	}
}

// wake does not wait, and may be called from anywhere.
func (s *saver) wake() {
	select {
	case s.changed <- struct{}{}:
	default:
	}
}

// save writes each new state.
func (m *master) save() {
	for {
		select {
		case <-m.saver.changed:
		case <-m.ended:
			return
		}
		var s *state
		var revision int64
		m.do(func() {
			if !m.stopping {
				revision, s = m.conn.Revision(), m.state()
				m.saver.busy = true
			}
		})
		if s == nil {
			continue
		}
		began := time.Now()
		err := s.write(m.home)
		took := time.Since(began)
		m.do(func() {
			m.saver.tried, m.saver.busy = revision, false
			if err != nil {
				m.warn("state", fmt.Sprintf("the state cannot be saved: %v; should keeper and master be killed together, what runs now could not be found again", err))
			} else {
				m.warn("state", "")
			}
		})
		wait := max(saveEvery, 3*took)
		if err != nil {
			wait = time.Second
			m.saver.wake() // until it can be written
		}
		select {
		case <-time.After(wait):
		case <-m.ended:
			return
		}
	}
}

// untilSaved waits until what is now is saved, or cannot be: what a command has
// done is not forgotten when it has ended.
func (m *master) untilSaved() {
	var now int64
	late := false
	m.do(func() { now = m.conn.Revision() })
	timer := time.AfterFunc(2*time.Second, func() { m.post(func() { late = true }) })
	defer timer.Stop()
	m.until(func() bool { return m.saver.tried >= now || m.stopping || late })
}

// state is what is to be written now.
func (m *master) state() *state {
	s := &state{Version: stateVersion, Where: where(), Records: map[string]string{}, Inodes: map[string][]uint64{}}
	for name, record := range m.conn.Records() {
		if name == settingsRecord || strings.HasPrefix(name, "app/") || strings.HasPrefix(name, "slot/") {
			s.Records[name] = record
		}
	}
	for _, a := range m.apps {
		for i, g := range a.groups {
			for j, fd := range g.FDs() {
				if fd >= 0 {
					s.Inodes[socketsName(a.name, i, j)] = inodes(fd)
				}
			}
		}
	}
	for name, p := range m.piped {
		s.Inodes[name] = p.inodes
	}
	for _, p := range m.processes {
		if p.channel != nil {
			s.Inodes[p.channelName()] = p.lineInode
		}
	}
	return s
}

// inodes are those of descriptors, 0 where there is none.
func inodes(fds ...int) (list []uint64) {
	for _, fd := range fds {
		var stat unix.Stat_t
		_ = unix.Fstat(fd, &stat) // leaves 0
		list = append(list, stat.Ino)
	}
	return list
}

// where names the life of this machine and the namespace of its pids.
func where() string {
	boot, _ := os.ReadFile("/proc/sys/kernel/random/boot_id")
	namespace, _ := os.Readlink("/proc/self/ns/pid")
	return strings.TrimSpace(string(boot)) + " " + namespace
}

// write replaces the file in one step.
func (s *state) write(h home.Dir) error {
	file, err := os.OpenFile(h.State()+".new", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	defer file.Close()
	out := bufio.NewWriterSize(file, 64<<10)
	err = s.encode(out)
	if err = errors.Join(err, out.Flush()); err == nil {
		err = file.Sync()
	}
	if err != nil {
		return err
	}
	return os.Rename(file.Name(), h.State())
}

// encode writes s as JSON, an entry at a time: it may be of some MiB.
func (s *state) encode(out *bufio.Writer) error {
	write := func(before string, v any) error {
		text, err := json.Marshal(v)
		_, _ = out.WriteString(before) // Flush tells
		_, _ = out.Write(text)
		return err
	}
	err := errors.Join(write(`{"version":`, s.Version), write(`,"where":`, s.Where))
	before := `,"records":{`
	for name, record := range s.Records {
		err = errors.Join(err, write(before, name), write(":", record))
		before = ","
	}
	if len(s.Records) == 0 {
		_, _ = out.WriteString(before)
	}
	before = `},"inodes":{`
	for name, inodes := range s.Inodes {
		err = errors.Join(err, write(before, name), write(":", inodes))
		before = ","
	}
	if len(s.Inodes) == 0 {
		_, _ = out.WriteString(before)
	}
	_, _ = out.WriteString("}}\n")
	return err
}

// readState is nil if there is no file, or one that is of no use any more: pids
// of another boot mean nothing.
func readState(h home.Dir) (*state, error) {
	text, err := os.ReadFile(h.State())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var s state
	if err := json.Unmarshal(text, &s); err != nil {
		return nil, fmt.Errorf("%s is damaged: %w", h.State(), err)
	}
	if s.Version > stateVersion {
		return nil, fmt.Errorf("%s is of a newer nekoctl: its version is %d, and %d the latest that this one knows", h.State(), s.Version, stateVersion)
	}
	if s.Where != where() {
		return nil, nil
	}
	if err := s.check(); err != nil {
		return nil, fmt.Errorf("%s is damaged: %w", h.State(), err)
	}
	s.home = h
	return &s, nil
}

// check finds what no master would have written, and what none could live with.
func (s *state) check() error {
	const most = 1 << 16 // slots or listeners
	for name := range s.Inodes {
		parts := strings.Split(name, "/")
		numbers := parts[min(2, len(parts)):]
		for _, text := range numbers {
			if n, err := strconv.ParseInt(text, 10, 64); err != nil || n < 0 || n > most && parts[0] == "socket" {
				return fmt.Errorf("the name %q", name)
			}
		}
		if len(parts) != 4 {
			return fmt.Errorf("the name %q", name)
		}
	}
	once := map[string]bool{} // ids, pids and launches
	twice := func(what string, n int64) bool {
		key := fmt.Sprintf("%s %d", what, n)
		defer func() { once[key] = true }()
		return once[key]
	}
	for name, text := range s.Records {
		parts := strings.Split(name, "/")
		bad := true
		switch {
		case name == settingsRecord:
			var d spec.Daemon
			bad = json.Unmarshal([]byte(text), &d) != nil || d.CheckValues() != nil
		case parts[0] == "app" && len(parts) == 2:
			var r appRecord
			bad = json.Unmarshal([]byte(text), &r) != nil || r.Spec == nil || r.Spec.Name != parts[1] || len(r.Spec.Command) == 0 || r.Size < 0 || r.Size > most
		case parts[0] == "slot" && len(parts) == 3:
			var r slotRecord
			n, err := strconv.Atoi(parts[2])
			bad = err != nil || n < 0 || n > most || json.Unmarshal([]byte(text), &r) != nil || !slices.Contains([]want{run, stop, retire}, r.Want) ||
				r.Vacant != (r.ID == noID) || !r.Vacant && (r.ID < 0 || twice("id", int64(r.ID)))
			roles := []role{starting, serving, standIn, spare} // of which a slot has one each
			for _, p := range r.Processes {
				i := slices.Index(roles, p.Role)
				if i >= 0 {
					roles = slices.Delete(roles, i, i+1)
				}
				bad = bad || i < 0 && (p.Role != leaving || p.PID == 0) || p.PID < 0 || p.PID > 0 && twice("pid", int64(p.PID)) || twice("launch", p.Launch)
			}
		}
		if bad {
			return fmt.Errorf("the record %q", name)
		}
	}
	return nil
}

// living are the processes that the records name and that live, by pid.
func (s *state) living() map[int]keeper.Child {
	found := map[int]keeper.Child{}
	for name, text := range s.Records {
		var r slotRecord
		if !strings.HasPrefix(name, "slot/") || json.Unmarshal([]byte(text), &r) != nil {
			continue
		}
		for _, p := range r.Processes {
			if c := (keeper.Child{PID: p.PID, Start: p.Start}); c.PID > 0 && c.Alive() && s.ours(p.PID) {
				found[p.PID] = c
			}
		}
	}
	return found
}

// ours says whether a process is one that a master of the home has started, as far
// as we may look. Some programs write over what they were told at their start; they
// have our pipes.
func (s *state) ours(pid int) bool {
	if group, err := unix.Getpgid(pid); err != nil || group != pid {
		return false
	}
	if told, err := told(s.home, pid); told || err != nil {
		return true
	}
	for inode := range descriptors(pid) {
		for _, known := range s.Inodes {
			if slices.Contains(known, inode) {
				return true
			}
		}
	}
	return false
}

// forgetStrangers records what is not ours as if it had ended: a pid in a record that
// makes no sense may be anybody's.
func (s *state) forgetStrangers() {
	ours := s.living()
	for name, text := range s.Records {
		var r slotRecord
		if !strings.HasPrefix(name, "slot/") || json.Unmarshal([]byte(text), &r) != nil {
			continue
		}
		for i, p := range r.Processes {
			if _, ok := ours[p.PID]; !ok {
				r.Processes[i].Start = 0
			}
		}
		record, _ := json.Marshal(r) // it was read from JSON
		s.Records[name] = string(record)
	}
}

// Orphans is how many processes of a daemon live whose keeper and master were
// both killed. The home's lock says whether there is a daemon; that is not looked
// at here.
func Orphans(h home.Dir) int {
	s, err := readState(h)
	if err != nil {
		return len(workersOf(h))
	}
	if s == nil {
		return 0
	}
	return len(s.living()) + len(s.unrecorded())
}

// told says whether a process was told a notify socket of a home.
func told(h home.Dir, pid int) (bool, error) {
	env, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
	return slices.ContainsFunc(notifyNames(h), func(name string) bool {
		return strings.Contains("\x00"+string(env), "\x00NOTIFY_SOCKET="+name+"\x00")
	}), err
}

// workersOf are the processes that masters of a home have started, as far as we
// may look: leaders of groups who were told its notify socket. What a worker has
// started was told it, too; but that has a session of its own, or its parent was
// told it.
func workersOf(h home.Dir) (list []keeper.Child) {
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	for _, dir := range dirs {
		pid, _ := strconv.Atoi(filepath.Base(dir))
		if group, err := unix.Getpgid(pid); err != nil || group != pid {
			continue
		}
		if session, err := unix.Getsid(pid); err != nil || session == pid {
			continue
		}
		if ours, _ := told(h, pid); !ours {
			continue
		}
		if child, _ := told(h, parent(pid)); child {
			continue
		}
		if start, err := keeper.StartTime(pid); err == nil {
			list = append(list, keeper.Child{PID: pid, Start: start})
		}
	}
	return list
}

func parent(pid int) (parent int) {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	_, rest, _ := strings.Cut(string(text), "\nPPid:")
	_, _ = fmt.Sscan(rest, &parent) // leaves 0, of which there is no process
	return parent
}

// removeState is done at the daemon's orderly end: there is nothing to be found.
func removeState(h home.Dir) error {
	err := os.Remove(h.State())
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.EROFS) {
		return nil
	}
	return err
}

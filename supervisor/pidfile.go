package supervisor

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// pidFile is a file with the pid of a slot's process.
type pidFile struct {
	path string
	pid  int // unknownPID: whatever an earlier master has left
}

const unknownPID = -1

// shown is the process that a slot is taken for by the world: the one that serves, or is
// to, or else is the last to go.
func (s *slot) shown() *process {
	switch {
	case s.serving != nil:
		return s.serving
	case s.starting != nil:
		return s.starting
	case len(s.leaving) > 0:
		return s.leaving[len(s.leaving)-1]
	}
	return nil
}

// keepPIDFile makes the slot's pid file what it should be. A file that cannot be written
// keeps nobody from serving.
func (m *master) keepPIDFile(s *slot) {
	want := pidFile{path: s.spec.PIDFileOf(s.index, s.id)}
	if p := s.shown(); p != nil {
		want.pid = p.PID
	}
	if s.pidFile == want || s.pidFile.path == "" && want.path == "" {
		return
	}
	if s.pidFile.path != "" && (s.pidFile.path != want.path || want.pid == 0) {
		m.removePIDFile(s.pidFile)
	}
	s.pidFile = want
	if want.path == "" || want.pid == 0 {
		return
	}
	err := os.WriteFile(want.path, []byte(strconv.Itoa(want.pid)), 0o644)
	if os.IsNotExist(err) {
		// The folder is made here, as those of logs are: what is resurrected at boot, when
		// /run is empty, needs it.
		if err = os.MkdirAll(filepath.Dir(want.path), 0o755); err == nil {
			err = os.WriteFile(want.path, []byte(strconv.Itoa(want.pid)), 0o644)
		}
	}
	if err != nil {
		m.warn("pid file "+want.path, fmt.Sprintf("the pid file of %s cannot be written: %v", s, err))
	} else {
		m.warn("pid file "+want.path, "")
	}
}

// removePIDFile removes a file that still has the pid that was written to it: slots may
// have one file together, and somebody else may have taken it over.
func (m *master) removePIDFile(f pidFile) {
	m.warn("pid file "+f.path, "")
	text, err := os.ReadFile(f.path)
	if err != nil {
		return
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil || pid != f.pid && (f.pid != unknownPID || m.processes[pid] != nil) {
		return
	}
	if err := os.Remove(f.path); err != nil {
		m.log("%v", err)
	}
}

package events

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"

	"github.com/nekoctl/neko/supervisor/control"
)

// The store is two memfds of JSON lines, written in turn: when one is full the other is
// emptied and goes on. Each begins with the state and the events of that time, so it has
// all that is to be kept, however much was said of the state since; until it has all of
// them the other one does. A write takes no disk. A master can be killed in the middle of
// a line: what has no end is cut off by the next one.
type store struct {
	files  [2]*os.File
	active int
	most   int64 // bytes in one
	offset int64
	turn   int64 // how often the other one was taken
}

// segment is how large one file gets.
const segment = 512 << 10

// line is one of them: an event, a later version of one, or the state.
type line struct {
	Event *control.Event `json:"event,omitempty"`
	Once  string         `json:"once,omitempty"`
	Held  bool           `json:"held,omitempty"`

	State *State `json:"state,omitempty"`
	Began int64  `json:"began,omitempty"`
	Last  int64  `json:"last,omitempty"` // the id of the newest event
	Turn  int64  `json:"turn,omitempty"` // of a file's first line

	size int
}

func openStore() (files [2]*os.File, err error) {
	for i := range files {
		fd, err := unix.MemfdCreate("neko-events", unix.MFD_CLOEXEC)
		if err != nil {
			if i > 0 {
				files[0].Close()
			}
			return files, fmt.Errorf("memfd: %w", err)
		}
		files[i] = os.NewFile(uintptr(fd), "neko-events")
	}
	return files, nil
}

// load reads both files, the older first.
func (s *store) load() (all []line, err error) {
	var lines [2][]line
	var ends, turns [2]int64
	for i, file := range s.files {
		text, err := io.ReadAll(io.NewSectionReader(file, 0, 4*s.most))
		if err != nil {
			return nil, fmt.Errorf("events of an earlier master: %w", err)
		}
		for len(text) > 0 {
			end := bytes.IndexByte(text, '\n') + 1
			var l line
			if end == 0 || json.Unmarshal(text[:end], &l) != nil {
				break
			}
			l.size = end - 1
			lines[i] = append(lines[i], l)
			ends[i] += int64(end)
			text = text[end:]
		}
		if len(lines[i]) > 0 {
			turns[i] = lines[i][0].Turn
		}
	}
	if turns[1] > turns[0] {
		s.active = 1
	}
	s.offset, s.turn = ends[s.active], turns[s.active]
	return append(lines[1-s.active], lines[s.active]...), nil
}

// begin makes the active file ready to be appended to.
func (s *store) begin(all []line) error {
	if err := s.files[s.active].Truncate(s.offset); err != nil {
		return err
	}
	if s.offset > 0 {
		return nil
	}
	return s.first(all)
}

func (s *store) first(all []line) error {
	s.turn++
	all[0].Turn = s.turn
	for _, l := range all {
		text, err := json.Marshal(l)
		if err == nil {
			err = s.put(text)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (s *store) put(text []byte) error {
	n, err := s.files[s.active].WriteAt(append(text, '\n'), s.offset)
	if err != nil { // what there is of it is written over
		return err
	}
	s.offset += int64(n)
	return nil
}

// append writes a line. If that is to go into the other file, so is what all has, the
// state first.
func (s *store) append(text []byte, all func() []line) error {
	if s.offset+int64(len(text)) > s.most {
		other := 1 - s.active
		if err := s.files[other].Truncate(0); err != nil {
			return err
		}
		s.active, s.offset = other, 0
		if err := s.first(all()); err != nil {
			return err
		}
	}
	return s.put(text)
}

package logs

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A Follower shows what is appended to logs. It looks instead
// of being told: a stat of each file ten times a second costs nothing, and works
// for splice on old kernels, on network file systems, and however many files
// inotify has been spent on.
type Follower struct {
	Find  func() ([]Source, error) // the logs that are followed, which change
	Past  func(Name) bool          // of an app that is no more: only what comes; nil: none
	Match func([]byte) bool        // lines that are shown; nil: all
	Show  func(l Name, at time.Time, text []byte) error
	// Most is how many bytes of what has come to a log between two looks are read, the
	// last ones; 0: all. What a screen cannot show need not be read.
	Most int64

	files map[string]*followed // by path
}

// Source is where a log is. It may not be there yet.
type Source struct {
	Name
	Path string
}

const lookEvery = 100 * time.Millisecond

// followed is a file that is read as it grows.
type followed struct {
	Name
	path   string // links followed
	file   *os.File
	info   fs.FileInfo
	offset int64
	rest   []byte // of a line that has no end yet
	latest string // the file that was put aside of it last; they sort
}

// longestLine is how much of a line is held back until its end has come.
const longestLine = 64 << 10

// Begin shows the last lines of each log, those of all logs in the order of their
// times; of the logs of one second those that grew last come last.
func (f *Follower) Begin(query Query) error {
	sources, err := f.Find()
	if err != nil {
		return err
	}
	type shown struct {
		*followed
		Line
	}
	f.files = map[string]*followed{}
	var all []shown
	var open []*followed
	for _, source := range sources {
		l, err := f.open(source)
		if errors.Is(err, fs.ErrNotExist) {
			continue // deleted since
		}
		if err != nil {
			return err
		}
		open = append(open, l)
	}
	slices.SortStableFunc(open, func(a, b *followed) int {
		errors := func(l *followed) int { // come last of what was written in one instant
			if l.Err {
				return 1
			}
			return 0
		}
		return cmp.Or(a.info.ModTime().Compare(b.info.ModTime()), cmp.Compare(a.App, b.App), a.Slot-b.Slot, errors(a)-errors(b))
	})
	for _, l := range open {
		if f.Past != nil && f.Past(l.Name) {
			l.offset = l.info.Size()
			continue
		}
		lines, offset, err := Past(l.path, query)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		l.offset = offset
		for _, line := range lines {
			all = append(all, shown{l, line})
		}
	}
	slices.SortStableFunc(all, func(a, b shown) int { return a.At.Compare(b.At) })
	for _, line := range all {
		if err := f.Show(line.Name, line.At, line.Text); err != nil {
			return err
		}
	}
	for _, l := range open {
		if err := f.read(l); err != nil {
			return err
		}
		if err := f.flush(l); err != nil {
			return err
		}
	}
	return nil
}

// Follow ends only with ctx or an error.
func (f *Follower) Follow(ctx context.Context) error {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		if err := f.Look(); err != nil {
			return err
		}
	}
}

// Look shows what is new.
func (f *Follower) Look() error {
	sources, err := f.Find()
	if err != nil {
		return err
	}
	for _, source := range sources {
		l := f.files[source.Path]
		info, err := os.Stat(source.Path)
		if err != nil {
			continue // between two names: the next look finds it
		}
		if l != nil && !os.SameFile(l.info, info) {
			// Rotated: to its end first, then what else was put aside since, then on in
			// the new one.
			if err := f.read(l); err != nil {
				return err
			}
			if err := f.flush(l); err != nil {
				return err
			}
			if err := f.readAside(l); err != nil {
				return err
			}
			l.file.Close()
			l = nil
		}
		if l == nil {
			if l, err = f.open(source); errors.Is(err, fs.ErrNotExist) {
				continue
			} else if err != nil {
				return err
			}
		} else if info.Size() < l.offset {
			l.offset, l.rest = 0, nil // truncated
		}
		if err := f.read(l); err != nil {
			return err
		}
	}
	for path, l := range f.files { // deleted
		if !slices.ContainsFunc(sources, func(s Source) bool { return s.Path == path }) {
			if err := f.flush(l); err != nil {
				return err
			}
			l.file.Close()
			delete(f.files, path)
		}
	}
	return nil
}

// In finds the wanted logs of a folder.
func In(dir string, wanted func(Name) bool) func() ([]Source, error) {
	return func() (sources []Source, err error) {
		entries, err := os.ReadDir(dir)
		for _, entry := range entries {
			if l, ok := ParseName(entry.Name()); ok && wanted(l) && (entry.Type().IsRegular() || entry.Type() == fs.ModeSymlink) {
				sources = append(sources, Source{l, filepath.Join(dir, entry.Name())})
			}
		}
		return sources, err
	}
}

func (f *Follower) open(source Source) (*followed, error) {
	file, err := os.Open(source.Path)
	if err != nil {
		return nil, err
	}
	info, err := file.Stat()
	if err != nil {
		file.Close()
		return nil, err
	}
	l := &followed{Name: source.Name, path: source.Path, file: file, info: info}
	if to, err := filepath.EvalSymlinks(l.path); err == nil {
		l.path = to
	}
	if aside, err := Aside(l.path); err == nil && len(aside) > 0 {
		l.latest = aside[len(aside)-1]
	}
	f.files[source.Path] = l
	return l, nil
}

// readAside prints files that came and were put aside between two looks. The first
// that is new is the one that was read last.
func (f *Follower) readAside(l *followed) error {
	aside, err := Aside(l.path)
	if err != nil {
		return err
	}
	aside = slices.DeleteFunc(aside, func(name string) bool { return name <= l.latest || name == l.latest+".gz" })
	for _, name := range aside[min(1, len(aside)):] {
		if info, err := os.Stat(name); f.Most > 0 && err == nil && info.Size() > f.Most {
			continue
		}
		err := Each(name, func(text []byte) error { return f.come(l, text) })
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// read prints the whole lines that came.
func (f *Follower) read(l *followed) error {
	if err := f.skip(l); err != nil {
		return err
	}
	buffer := make([]byte, 64<<10)
	for {
		n, err := l.file.ReadAt(buffer, l.offset)
		l.offset += int64(n)
		l.rest = append(l.rest, buffer[:n]...)
		for {
			line, rest, found := bytes.Cut(l.rest, []byte("\n"))
			if !found {
				break
			}
			if err := f.come(l, line); err != nil {
				return err
			}
			l.rest = rest
		}
		if len(l.rest) > longestLine {
			if err := f.flush(l); err != nil {
				return err
			}
		}
		if err == io.EOF || n == 0 && err == nil {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// skip leaves out what is more than Most.
func (f *Follower) skip(l *followed) error {
	if f.Most == 0 {
		return nil
	}
	info, err := l.file.Stat()
	if err != nil {
		return err
	}
	if from := info.Size() - f.Most; from > l.offset {
		l.offset, l.rest = from, nil
	}
	return nil
}

// Close closes the files.
func (f *Follower) Close() {
	for _, l := range f.files {
		l.file.Close()
	}
	f.files = nil
}

// come is a line that has just come.
func (f *Follower) come(l *followed, text []byte) error {
	if f.Match != nil && !f.Match(text) {
		return nil
	}
	return f.Show(l.Name, time.Now(), text)
}

// flush prints the beginning of a line whose end may never come.
func (f *Follower) flush(l *followed) error {
	if len(l.rest) == 0 {
		return nil
	}
	rest := l.rest
	l.rest = nil
	return f.come(l, rest)
}

// Name is what the name of a log file says.
type Name struct {
	App  string
	Err  bool
	Slot int // -1: what all slots print to
}

// ParseName reads NAME-out-SLOT.log and NAME-error-SLOT.log, or without a slot
// what all slots of an app print to.
func ParseName(file string) (l Name, ok bool) {
	rest, ok := strings.CutSuffix(file, ".log")
	if !ok {
		return l, false
	}
	l.Slot = -1
	if i := strings.LastIndexByte(rest, '-'); i >= 0 && i+1 < len(rest) && strings.Trim(rest[i+1:], "0123456789") == "" {
		l.Slot, _ = strconv.Atoi(rest[i+1:])
		rest = rest[:i]
	}
	for _, stream := range []string{"-out", "-error"} {
		if app, ok := strings.CutSuffix(rest, stream); ok && app != "" {
			l.App, l.Err = app, stream == "-error"
			return l, true
		}
	}
	return Name{}, false
}

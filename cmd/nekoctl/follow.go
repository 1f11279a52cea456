package main

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
	"time"

	"github.com/nekoctl/neko/supervisor/logs"
)

// A follower prints what is appended to logs. It looks instead
// of being told: a stat of each file ten times a second costs nothing, and works
// for splice on old kernels, on network file systems, and however many files
// inotify has been spent on.
type follower struct {
	find  func() ([]logSource, error) // the logs that are followed, which change
	past  func(logName) bool          // of an app that is no more: only what comes; nil: none
	match func([]byte) bool           // lines that are shown; nil: all
	show  func(l logName, at time.Time, text []byte) error

	files map[string]*logFile // by path
}

// logSource is where a log is. It may not be there yet.
type logSource struct {
	logName
	path string
}

const lookEvery = 100 * time.Millisecond

// logFile is a file that is read as it grows.
type logFile struct {
	logName
	path   string // links followed
	file   *os.File
	info   fs.FileInfo
	offset int64
	rest   []byte // of a line that has no end yet
	latest string // the file that was put aside of it last; they sort
}

// longestLine is how much of a line is held back until its end has come.
const longestLine = 64 << 10

// begin prints the last lines of each log, those of all logs in the order of their
// times; of the logs of one second those that grew last come last.
func (f *follower) begin(query logs.Query) error {
	sources, err := f.find()
	if err != nil {
		return err
	}
	type shown struct {
		*logFile
		logs.Line
	}
	f.files = map[string]*logFile{}
	var all []shown
	var open []*logFile
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
	slices.SortStableFunc(open, func(a, b *logFile) int {
		errors := func(l *logFile) int { // come last of what was written in one instant
			if l.err {
				return 1
			}
			return 0
		}
		return cmp.Or(a.info.ModTime().Compare(b.info.ModTime()), cmp.Compare(a.app, b.app), a.slot-b.slot, errors(a)-errors(b))
	})
	for _, l := range open {
		if f.past != nil && f.past(l.logName) {
			l.offset = l.info.Size()
			continue
		}
		lines, offset, err := logs.Past(l.path, query)
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
		if err := f.show(line.logName, line.At, line.Text); err != nil {
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

// follow ends only with ctx or an error.
func (f *follower) follow(ctx context.Context) error {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		if err := f.look(); err != nil {
			return err
		}
	}
}

// look prints what is new.
func (f *follower) look() error {
	sources, err := f.find()
	if err != nil {
		return err
	}
	for _, source := range sources {
		l := f.files[source.path]
		info, err := os.Stat(source.path)
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
		if !slices.ContainsFunc(sources, func(s logSource) bool { return s.path == path }) {
			if err := f.flush(l); err != nil {
				return err
			}
			l.file.Close()
			delete(f.files, path)
		}
	}
	return nil
}

// logsIn finds the wanted logs of a folder.
func logsIn(dir string, wanted func(logName) bool) func() ([]logSource, error) {
	return func() (sources []logSource, err error) {
		entries, err := os.ReadDir(dir)
		for _, entry := range entries {
			if l, ok := parseLogName(entry.Name()); ok && wanted(l) && (entry.Type().IsRegular() || entry.Type() == fs.ModeSymlink) {
				sources = append(sources, logSource{l, filepath.Join(dir, entry.Name())})
			}
		}
		return sources, err
	}
}

func (f *follower) open(source logSource) (*logFile, error) {
	file, err := os.Open(source.path)
	if err != nil {
		return nil, err
	}
	info, err := file.Stat()
	if err != nil {
		file.Close()
		return nil, err
	}
	l := &logFile{logName: source.logName, path: source.path, file: file, info: info}
	if to, err := filepath.EvalSymlinks(l.path); err == nil {
		l.path = to
	}
	if aside, err := logs.Aside(l.path); err == nil && len(aside) > 0 {
		l.latest = aside[len(aside)-1]
	}
	f.files[source.path] = l
	return l, nil
}

// readAside prints files that came and were put aside between two looks. The first
// that is new is the one that was read last.
func (f *follower) readAside(l *logFile) error {
	aside, err := logs.Aside(l.path)
	if err != nil {
		return err
	}
	aside = slices.DeleteFunc(aside, func(name string) bool { return name <= l.latest || name == l.latest+".gz" })
	for _, name := range aside[min(1, len(aside)):] {
		err := logs.Each(name, func(text []byte) error { return f.come(l, text) })
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// read prints the whole lines that came.
func (f *follower) read(l *logFile) error {
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

// come is a line that has just come.
func (f *follower) come(l *logFile, text []byte) error {
	if f.match != nil && !f.match(text) {
		return nil
	}
	return f.show(l.logName, time.Now(), text)
}

// flush prints the beginning of a line whose end may never come.
func (f *follower) flush(l *logFile) error {
	if len(l.rest) == 0 {
		return nil
	}
	rest := l.rest
	l.rest = nil
	return f.come(l, rest)
}

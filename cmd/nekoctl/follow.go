package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// A follower prints what is appended to the logs of a folder. It looks instead
// of being told: a stat of each file ten times a second costs nothing, and works
// for splice on old kernels, on network file systems, and however many files
// inotify has been spent on.
type follower struct {
	dir    string
	out    terminal
	wanted func(logName) bool
	past   func(logName) bool  // of an app that is no more: only what comes; nil: none
	files  map[string]*logFile // by name
}

const lookEvery = 100 * time.Millisecond

// logFile is a file that is read as it grows.
type logFile struct {
	file   *os.File
	info   fs.FileInfo
	offset int64
	rest   []byte // of a line that has no end yet
	prefix string
}

// longestLine is how much of a line is held back until its end has come.
const longestLine = 64 << 10

// begin prints the last lines of each file, the files that grew last coming
// last. The beginning of a line counts as a line.
func (f *follower) begin(lines int) error {
	names, err := f.names()
	if err != nil {
		return err
	}
	for _, name := range names {
		l, err := f.open(name)
		if errors.Is(err, fs.ErrNotExist) {
			continue // deleted since
		}
		if err != nil {
			return err
		}
		n, _ := parseLogName(name)
		if f.past != nil && f.past(n) {
			l.offset = l.info.Size()
		} else if l.offset, err = lastLines(l.file, l.info.Size(), lines); err != nil {
			return err
		}
	}
	names = slices.DeleteFunc(names, func(name string) bool { return f.files[name] == nil })
	slices.SortStableFunc(names, func(a, b string) int { return f.files[a].info.ModTime().Compare(f.files[b].info.ModTime()) })
	for _, name := range names {
		l := f.files[name]
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
	names, err := f.names()
	if err != nil {
		return err
	}
	for _, name := range names {
		l := f.files[name]
		info, err := os.Stat(filepath.Join(f.dir, name))
		if err != nil {
			continue // between two names: the next look finds it
		}
		if l != nil && !os.SameFile(l.info, info) {
			// Rotated: to its end first, then on in the new one.
			if err := f.read(l); err != nil {
				return err
			}
			if err := f.flush(l); err != nil {
				return err
			}
			l.file.Close()
			l = nil
		}
		if l == nil {
			if l, err = f.open(name); errors.Is(err, fs.ErrNotExist) {
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
	for name, l := range f.files { // deleted
		if !slices.Contains(names, name) {
			if err := f.flush(l); err != nil {
				return err
			}
			l.file.Close()
			delete(f.files, name)
		}
	}
	return nil
}

// names are the wanted files of the folder.
func (f *follower) names() (names []string, err error) {
	entries, err := os.ReadDir(f.dir)
	for _, entry := range entries {
		if l, ok := parseLogName(entry.Name()); ok && f.wanted(l) && entry.Type().IsRegular() {
			names = append(names, entry.Name())
		}
	}
	return names, err
}

// colors of the apps' names.
var prefixColors = []color{"36", "32", "35", "34", "33", "96", "92", "95"}

func (f *follower) open(name string) (*logFile, error) {
	file, err := os.Open(filepath.Join(f.dir, name))
	if err != nil {
		return nil, err
	}
	info, err := file.Stat()
	if err != nil {
		file.Close()
		return nil, err
	}
	n, _ := parseLogName(name)
	sum := 0
	for _, c := range n.app {
		sum += int(c)
	}
	paint := prefixColors[sum%len(prefixColors)]
	if n.err {
		paint = red
	}
	l := &logFile{file: file, info: info, prefix: f.out.paint(paint, fmt.Sprintf("%s:%d |", n.app, n.slot)) + " "}
	f.files[name] = l
	return l, nil
}

// read prints the whole lines that came.
func (f *follower) read(l *logFile) error {
	buffer := make([]byte, 64<<10)
	for {
		n, err := l.file.ReadAt(buffer, l.offset)
		l.offset += int64(n)
		l.rest = append(l.rest, buffer[:n]...)
		var text []byte
		for {
			line, rest, found := bytes.Cut(l.rest, []byte("\n"))
			if !found {
				break
			}
			text = append(append(append(text, l.prefix...), line...), '\n')
			l.rest = rest
		}
		if _, err := f.out.Write(text); err != nil {
			return err
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

// flush prints the beginning of a line whose end may never come.
func (f *follower) flush(l *logFile) error {
	if len(l.rest) == 0 {
		return nil
	}
	_, err := fmt.Fprintf(f.out, "%s%s\n", l.prefix, l.rest)
	l.rest = nil
	return err
}

// lastLines is where the last n lines of a file of this size begin.
func lastLines(file io.ReaderAt, size int64, n int) (int64, error) {
	const block = 64 << 10
	buffer := make([]byte, block)
	if n == 0 {
		return size, nil
	}
	for end := size; end > 0; {
		start := max(0, end-block)
		b := buffer[:end-start]
		if _, err := file.ReadAt(b, start); err != nil && err != io.EOF {
			return 0, err
		}
		for i := len(b) - 1; i >= 0; i-- {
			if b[i] == '\n' && start+int64(i)+1 < size {
				if n--; n == 0 {
					return start + int64(i) + 1, nil
				}
			}
		}
		end = start
	}
	return 0, nil
}

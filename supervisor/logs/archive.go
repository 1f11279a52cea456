package logs

import (
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

const (
	packedSuffix = ".gz"
	halfSuffix   = ".gz.half" // being compressed
)

// Aside are the files that were put aside of the log at path, the oldest first,
// and of each the compressed form if that is whole.
func Aside(path string) ([]string, error) {
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil {
		return nil, err
	}
	var list []string
	for _, e := range entries {
		if log, ok := asideOf(e.Name()); !ok || log != filepath.Base(path) {
			continue
		}
		name := filepath.Join(filepath.Dir(path), e.Name())
		if n := len(list); n > 0 && list[n-1]+packedSuffix == name { // ReadDir sorts
			list[n-1] = name
			continue
		}
		list = append(list, name)
	}
	return list, nil
}

// Unfinished are the logs in a folder of which there are files that were put
// aside and are not compressed.
func Unfinished(folder string) (paths []string) {
	entries, _ := os.ReadDir(folder) // none: nothing to do
	for _, e := range entries {
		log, ok := asideOf(strings.TrimSuffix(e.Name(), halfSuffix))
		if path := filepath.Join(folder, log); ok && !strings.HasSuffix(e.Name(), packedSuffix) && !slices.Contains(paths, path) {
			paths = append(paths, path)
		}
	}
	return paths
}

// asideOf is the name of the log that a file of this name was put aside of.
func asideOf(name string) (log string, ok bool) {
	name = strings.TrimSuffix(name, packedSuffix)
	i := len(name) - len(stamp) - 1
	if i <= 0 || name[i] != '.' {
		return "", false
	}
	_, err := time.Parse(stamp, name[i+1:])
	return name[:i], err == nil
}

// prune removes the oldest files that were put aside but for so many.
func prune(path string, keep int) error {
	list, err := Aside(path)
	if err != nil {
		return err
	}
	for _, name := range list[:max(0, len(list)-keep)] {
		plain := strings.TrimSuffix(name, packedSuffix)
		err = errors.Join(err, remove(name), remove(plain), remove(indexOf(plain)))
	}
	return err
}

func remove(name string) error {
	if err := os.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// archive is what is to be compressed and removed: one file at a time, so that
// it costs little however many logs are put aside at once.
var archive struct {
	sync.Mutex
	queue []job
	runs  bool
}

type job struct {
	path string
	r    Rotation
}

// Tidy goes on with what an earlier master has begun: files that were put aside
// and not compressed yet, or are too many.
func (f *File) Tidy() {
	if r := f.rotation.Load(); !f.null && (r.Size > 0 || r.Every > 0) {
		tidy(f.Path, *r)
	}
}

func tidy(path string, r Rotation) {
	archive.Lock()
	defer archive.Unlock()
	archive.queue = slices.DeleteFunc(archive.queue, func(j job) bool { return j.path == path })
	archive.queue = append(archive.queue, job{path, r})
	if !archive.runs {
		archive.runs = true
		go work()
	}
}

func work() {
	for {
		archive.Lock()
		if len(archive.queue) == 0 {
			archive.runs = false
			archive.Unlock()
			return
		}
		next := archive.queue[0]
		archive.queue = archive.queue[1:]
		archive.Unlock()
		if err := next.run(); err != nil {
			fmt.Fprintf(os.Stderr, "neko: log %s: %v\n", next.path, err)
		}
	}
}

func (j job) run() error {
	if err := prune(j.path, j.r.Keep); err != nil {
		return err
	}
	list, err := Aside(j.path)
	if err != nil {
		return err
	}
	for _, name := range list {
		err = errors.Join(err, remove(strings.TrimSuffix(name, packedSuffix)+halfSuffix))
		if plain, packed := strings.CutSuffix(name, packedSuffix); packed {
			err = errors.Join(err, remove(plain)) // a master was killed before it did
		} else if j.r.Gzip && j.r.Compress != nil {
			err = errors.Join(err, j.r.Compress(name))
		}
	}
	return err
}

// Compress makes NAME.gz of a file and removes it. NAME.gz is whole from its
// first moment, whenever this is killed.
func Compress(name string) error {
	from, err := os.Open(name)
	if err != nil {
		return err
	}
	defer from.Close()
	info, err := from.Stat()
	if err != nil {
		return err
	}
	half := name + halfSuffix
	to, err := os.OpenFile(half, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, info.Mode().Perm())
	if err != nil {
		return err
	}
	packer := gzip.NewWriter(to)
	_, err = io.Copy(packer, from)
	err = errors.Join(err, packer.Close())
	if err == nil {
		err = to.Sync() // or a crash of the machine could leave neither
	}
	err = errors.Join(err, to.Close())
	if err == nil {
		err = os.Chtimes(half, info.ModTime(), info.ModTime())
	}
	if err == nil {
		err = os.Rename(half, name+packedSuffix)
	}
	if err != nil {
		return errors.Join(err, remove(half))
	}
	return remove(name)
}

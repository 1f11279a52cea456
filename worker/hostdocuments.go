package worker

import (
	"cmp"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/nekoctl/neko/logtext"
)

// hostDocuments keeps documents for all workers of an app on this host: a file for
// each, named by its hash, in a folder of NEKO_RUN_DIR. Nobody waits for anybody,
// and no process that ends at any instruction leaves anything behind that harms:
//
//   - a file appears under its name when it is whole, by a rename;
//   - what is read is believed if it has the hash, and else removed;
//   - how long ago one was used is the time of its file.
//
// Each process looks at the folder when it has added some, and removes what is too
// much. So W workers have at most the bound and W times a sixty-fourth of it.
type hostDocuments struct {
	dir              string
	maxNumber, maxKB int
	log              *slog.Logger
	complained       sync.Once

	adding          sync.Mutex // held by put
	number, kB      int        // added since the folder was looked at
	lookedAt        bool
	marking         sync.Mutex
	marked          map[documentHash]time.Time // when a file's time was set by this process
	now             func() time.Time
	maxDocumentSize int
}

const (
	// hostDocumentsName has the version of what is in the folder: during a reload
	// two versions of a program have it in common.
	hostDocumentsName = "documents-1"
	// aside is what names begin with while a file is written.
	aside = "new-"
	// asideFor is how long it may be so.
	asideFor = time.Minute
	// markEvery is how often the time of a file is set at most.
	markEvery = time.Minute
)

// newHostDocuments uses, and makes, a folder in runDir.
func newHostDocuments(runDir string, maxNumber, maxBytes int, logger *slog.Logger) (*hostDocuments, error) {
	d := &hostDocuments{
		dir:       filepath.Join(runDir, hostDocumentsName),
		maxNumber: maxNumber, maxKB: max(maxBytes/1024, 1),
		maxDocumentSize: maxBytes / 8,
		log:             logger,
		marked:          map[documentHash]time.Time{},
		now:             time.Now,
	}
	return d, d.mkdir()
}

func (d *hostDocuments) mkdir() error {
	if err := os.Mkdir(d.dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return nil
}

func (d *hostDocuments) path(hash documentHash) string { return filepath.Join(d.dir, hash.String()) }

// complain tells the log once in the life of the process: what has happened will
// happen at every request.
func (d *hostDocuments) complain(err error) {
	d.complained.Do(func() {
		d.log.Warn("persisted queries are not shared between the workers as they should be, so clients send some of them more than once", logtext.Reason, err)
	})
}

func (d *hostDocuments) get(hash documentHash) string {
	path := d.path(hash)
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			d.complain(err)
		}
		return ""
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, int64(d.maxDocumentSize)+1))
	if err != nil {
		d.complain(err)
		return ""
	}
	if hashOf(string(text)) != hash {
		d.complain(errors.New(path + " has been damaged, and is removed"))
		_ = os.Remove(path)
		return ""
	}
	d.used(hash)
	return string(text)
}

func (d *hostDocuments) used(hash documentHash) {
	now := d.now()
	d.marking.Lock()
	last, ok := d.marked[hash]
	if ok && now.Sub(last) < markEvery {
		d.marking.Unlock()
		return
	}
	if len(d.marked) >= d.maxNumber {
		clear(d.marked) // the times of some files are set once more than needed
	}
	d.marked[hash] = now
	d.marking.Unlock()
	_ = os.Chtimes(d.path(hash), now, now) // it may be gone
}

func (d *hostDocuments) put(hash documentHash, text string) {
	if len(text) > d.maxDocumentSize {
		return
	}
	d.adding.Lock()
	defer d.adding.Unlock()
	now := d.now()
	if os.Chtimes(d.path(hash), now, now) == nil {
		return
	}
	err := d.write(hash, text)
	if errors.Is(err, fs.ErrNotExist) { // the folder has been removed
		if err = d.mkdir(); err == nil {
			err = d.write(hash, text)
		}
	}
	if err != nil {
		d.complain(err)
		return
	}
	d.number++
	d.kB += kilobytes(int64(len(text)))
	if !d.lookedAt || d.number > d.maxNumber/64 || d.kB > d.maxKB/64 {
		d.bound()
	}
}

// kilobytes is what a file of this size takes in memory.
func kilobytes(size int64) int { return int(size+4095) / 4096 * 4 }

func (d *hostDocuments) write(hash documentHash, text string) error {
	f, err := os.CreateTemp(d.dir, aside)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), d.path(hash))
	}
	if err != nil {
		_ = os.Remove(f.Name())
	}
	return err
}

// bound removes what was used longest ago until all fits, and what was never
// finished.
func (d *hostDocuments) bound() {
	d.number, d.kB, d.lookedAt = 0, 0, true
	entries, err := os.ReadDir(d.dir)
	if err != nil {
		d.complain(err)
		return
	}
	type file struct {
		name string
		used time.Time
		kB   int
	}
	var files []file
	kB := 0
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			continue // another process has removed it
		}
		if strings.HasPrefix(e.Name(), aside) {
			if d.now().Sub(info.ModTime()) > asideFor {
				_ = os.Remove(filepath.Join(d.dir, e.Name()))
			}
			continue
		}
		if _, ok := parseHash(e.Name()); ok {
			files = append(files, file{e.Name(), info.ModTime(), kilobytes(info.Size())})
			kB += kilobytes(info.Size())
		}
	}
	slices.SortFunc(files, func(a, b file) int {
		return cmp.Or(a.used.Compare(b.used), cmp.Compare(a.name, b.name))
	})
	for len(files) > d.maxNumber || kB > d.maxKB {
		_ = os.Remove(filepath.Join(d.dir, files[0].name)) // another process may have been faster
		kB -= files[0].kB
		files = files[1:]
	}
}

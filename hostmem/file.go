package hostmem

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// version is that of the layout: it changes with anything that those who have the file
// must agree on.
const version = 2

// lockWithin is how long a worker that makes the file is waited for.
const lockWithin = time.Second

const noFolder = "give the workers a folder of their own, best on tmpfs, in NEKO_RUN_DIR"

// Open maps the file in dir, a folder that is this user's alone and best on tmpfs, and
// makes it if there is none. A file that is there keeps the number of buckets that it
// was made with. Errors have a method Hint, what to do about it.
//
// Nobody sees the file half made, whoever is killed: it is written under another name, and
// renamed when it is whole. All of its room is allocated before, so that a full file
// system is an error here and not a SIGBUS later. (Who truncates the file has it coming.)
//
// A file that is no use, because it is damaged, or from before the machine was booted, or
// of the user that the app had before, is replaced, unless a process has it in use.
func Open(dir string, buckets int) (*Mapping, error) { return open(dir, version, buckets) }

func open(dir string, layout uint64, buckets int) (*Mapping, error) {
	size, err := sizeFor(&buckets)
	if err != nil {
		return nil, &Error{err: err, hint: "choose another number of buckets"}
	}
	if !filepath.IsAbs(dir) {
		return nil, &Error{err: fmt.Errorf("%q is no absolute path of a run folder", dir), hint: noFolder}
	}
	path := filepath.Join(dir, fmt.Sprintf("host-v%d.shm", layout))
	m, err := openExisting(path, layout)
	if err == nil {
		return m, nil
	}
	// One at a time makes or replaces it, and looks again whether that is still needed.
	// A killed process holds no lock.
	folder, err := lockFolder(dir)
	if err != nil {
		return nil, &Error{path: dir, err: err, hint: noFolder}
	}
	defer folder.Close()
	m, err = openExisting(path, layout)
	if err == nil {
		return m, nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		old, ours := replaceable(path, folder)
		if !ours {
			return nil, &Error{path: path, err: err, hint: "stop whoever uses it, or remove it and reload"}
		}
		defer old.Close()
	}
	if m, err = create(path, layout, size, buckets); err != nil {
		return nil, &Error{path: path, err: err, hint: fmt.Sprintf("%d KiB must be free there", size>>10)}
	}
	return m, nil
}

// errUnusable is what is wrong with a file.
type errUnusable string

func (e errUnusable) Error() string { return string(e) }

func openExisting(path string, layout uint64) (*Mapping, error) {
	file, err := os.OpenFile(path, os.O_RDWR|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		var e *fs.PathError
		if errors.As(err, &e) {
			err = e.Err // the path is said elsewhere
		}
		return nil, err
	}
	m, err := mapExisting(file, layout)
	if err != nil {
		file.Close()
	}
	return m, err
}

func mapExisting(file *os.File, layout uint64) (*Mapping, error) {
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	owner := int(info.Sys().(*syscall.Stat_t).Uid)
	switch {
	case !info.Mode().IsRegular():
		return nil, errUnusable("it is no regular file")
	case owner != os.Geteuid():
		return nil, errUnusable(fmt.Sprintf("it belongs to uid %d", owner))
	case info.Mode().Perm()&0o077 != 0:
		return nil, errUnusable(fmt.Sprintf("others may use it: its mode is %04o", info.Mode().Perm()))
	case info.Size() < atBuckets+MinBuckets*BucketSize || info.Size() > atBuckets+MaxBuckets*BucketSize:
		return nil, errUnusable(fmt.Sprintf("it is damaged: it has %d bytes", info.Size()))
	}
	var h header
	if _, err := file.ReadAt(unsafe.Slice((*byte)(unsafe.Pointer(&h)), unsafe.Sizeof(h)), 0); err != nil {
		return nil, err
	}
	switch {
	case h.magic != magic, h.layout != layout, h.size != uint64(info.Size()),
		h.size != atBuckets+h.buckets*BucketSize, h.buckets&(h.buckets-1) != 0, h.sum != h.checksum():
		return nil, errUnusable("it is damaged")
	case h.epoch != presentEpoch():
		return nil, errUnusable("its times are of another boot or another time namespace")
	}
	// Held as long as it is mapped: it tells that it is in use. A file that has passed
	// so far is never replaced.
	if err := unix.Flock(int(file.Fd()), unix.LOCK_SH|unix.LOCK_NB); err != nil {
		return nil, os.NewSyscallError("flock", err)
	}
	return mapFile(file, int(info.Size()))
}

func mapFile(file *os.File, size int) (*Mapping, error) {
	memory, err := unix.Mmap(int(file.Fd()), 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, os.NewSyscallError("mmap", err)
	}
	return &Mapping{memory: memory, file: file}, nil
}

// lockFolder keeps others from making a file in a folder until what it returns is closed.
func lockFolder(dir string) (*os.File, error) {
	folder, err := os.OpenFile(dir, os.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, errors.Unwrap(err)
	}
	for began := time.Now(); ; time.Sleep(time.Millisecond) {
		err := unix.Flock(int(folder.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return folder, nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR) || time.Since(began) > lockWithin {
			folder.Close()
			return nil, os.NewSyscallError("flock", err)
		}
	}
}

// replaceable says whether the folder is ours, and nobody has the file in use: as long as
// old is open nobody else can. A file of another user in a folder of ours is of the user
// that the app had before a reload: its workers leave, and cannot be seen.
func replaceable(path string, folder *os.File) (old *os.File, ours bool) {
	info, err := folder.Stat()
	if err != nil || int(info.Sys().(*syscall.Stat_t).Uid) != os.Geteuid() {
		return nil, false
	}
	info, err = os.Lstat(path)
	if err != nil || !info.Mode().IsRegular() {
		return nil, false // who has put that there?
	}
	if int(info.Sys().(*syscall.Stat_t).Uid) != os.Geteuid() {
		return nil, true
	}
	old, err = os.OpenFile(path, os.O_RDWR|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, errors.Is(err, fs.ErrPermission) // its mode keeps its owner out: it was never in use
	}
	if unix.Flock(int(old.Fd()), unix.LOCK_EX|unix.LOCK_NB) != nil {
		old.Close()
		return nil, false
	}
	return old, true
}

// create makes the file. The folder is locked, so whatever has the other name was left
// by somebody who was killed.
func create(path string, layout uint64, size, buckets int) (*Mapping, error) {
	aside := path + ".new"
	if err := os.Remove(aside); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	file, err := os.OpenFile(aside, os.O_RDWR|os.O_CREATE|os.O_EXCL|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, err
	}
	m, err := fill(file, layout, size, buckets)
	if err == nil {
		if err = os.Rename(aside, path); err == nil {
			return m, nil
		}
		_ = unix.Munmap(m.memory)
	}
	file.Close()
	_ = os.Remove(aside)
	return nil, err
}

func fill(file *os.File, layout uint64, size, buckets int) (*Mapping, error) {
	fd := int(file.Fd())
	if err := unix.Flock(fd, unix.LOCK_SH|unix.LOCK_NB); err != nil {
		return nil, os.NewSyscallError("flock", err)
	}
	var err error
	for err = unix.EINTR; errors.Is(err, unix.EINTR); {
		err = unix.Fallocate(fd, 0, 0, int64(size))
	}
	if err != nil {
		return nil, os.NewSyscallError("fallocate", err)
	}
	m, err := mapFile(file, size)
	if err == nil {
		m.begin(layout, buckets)
	}
	return m, err
}

// Error is why the memory of the host cannot be shared.
type Error struct {
	path string
	err  error
	hint string
}

func (e *Error) Error() string {
	if e.path == "" {
		return e.err.Error()
	}
	return fmt.Sprintf("%s: %v", e.path, e.err)
}

// Hint is what to do, lower case, one line.
func (e *Error) Hint() string { return e.hint }

func (e *Error) Unwrap() error { return e.err }

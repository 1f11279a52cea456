package caches

import (
	"os"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// objects is how many there are.
const objects = 40

// store is where the truth is: a register for each object, with the number of its version. It is a file that all
// processes have mapped, so a change is seen by all at the moment when it is made.
type store struct {
	versions [objects]atomic.Uint64
	away     atomic.Uint64 // it cannot be read
}

func openStore(path string) (*store, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	size := int(unsafe.Sizeof(store{}))
	if err := f.Truncate(int64(size)); err != nil {
		return nil, err
	}
	memory, err := unix.Mmap(int(f.Fd()), 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, err
	}
	return (*store)(unsafe.Pointer(&memory[0])), nil
}

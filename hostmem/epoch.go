package hostmem

import (
	"encoding/hex"
	"os"
	"strings"
	"sync"
	"syscall"
)

// epoch tells whose CLOCK_MONOTONIC the times in the memory are of. It starts with the
// boot, and in a time namespace (time_namespaces(7)) somewhere else. Without /proc it is
// zero, and all are taken for the same.
type epoch struct {
	boot      [16]byte
	namespace uint64
}

var presentEpoch = sync.OnceValue(func() (e epoch) {
	if id, err := os.ReadFile("/proc/sys/kernel/random/boot_id"); err == nil {
		if b, err := hex.DecodeString(strings.ReplaceAll(strings.TrimSpace(string(id)), "-", "")); err == nil {
			copy(e.boot[:], b)
		}
	}
	if info, err := os.Stat("/proc/self/ns/time"); err == nil {
		if st, ok := info.Sys().(*syscall.Stat_t); ok {
			e.namespace = st.Ino
		}
	}
	return e
})

package supervisor

import "golang.org/x/sys/unix"

// arm64 has the newer calls only.
const (
	sysAccept = unix.SYS_ACCEPT
	sysPoll   = unix.SYS_PPOLL
	sysSelect = unix.SYS_PSELECT6
)

package keeper

import (
	"log"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// An upgrade takes two steps, so that there is a way back: a master of the new
// program is tried first; when it has served for a while the keeper itself
// becomes the new program, in place. Whichever master dies before that, the next
// one is of the keeper's own program.
type upgrade struct {
	state  upgradeState
	file   int              // the program, if state is proposed or later
	proven <-chan time.Time // when the new master has served for long enough
}

type upgradeState int

const (
	idle     upgradeState = iota
	refused               // the same, and there was no descriptor left for the program
	proposed              // the master that proposed it is about to end
	trying                // a master of the new program runs
	settled               // it is the program of all masters, though not the keeper's
)

// UpgradeRecord tells the next master of an upgrade: what became of it if it
// failed, "" while it is under way.
const UpgradeRecord = "upgrade"

// propose takes the program over. A master is started with descriptors 0 to 3 of
// its own, and so the program, which is run by its number, must not be one of them.
func (u *upgrade) propose(files []int) {
	u.drop()
	u.state = refused
	defer closeAll(files)
	if len(files) != 1 {
		return
	}
	high, err := unix.FcntlInt(uintptr(files[0]), unix.F_DUPFD_CLOEXEC, 4)
	if err != nil {
		log.Printf("upgrade: %v", err)
		return
	}
	u.state, u.file = proposed, high
}

func closeAll(fds []int) {
	for _, fd := range fds {
		unix.Close(fd)
	}
}

func (u *upgrade) drop() {
	if u.state > refused {
		unix.Close(u.file)
	}
	*u = upgrade{}
}

// program is what the next master is to be.
func (u *upgrade) program() string {
	if u.state == trying || u.state == settled {
		return "/proc/self/fd/" + strconv.Itoa(u.file)
	}
	return "/proc/self/exe"
}

// ready is called when a master serves.
func (u *upgrade) ready() {
	if u.state == trying && u.proven == nil {
		u.proven = time.After(steady)
	}
}

// turn is called when a master has ended. It is true if the next follows from an
// upgrade, and not from a failure that counts.
func (u *upgrade) turn(k *keeper) bool {
	switch u.state {
	case refused:
		k.records[UpgradeRecord] = "the upgrade failed: the keeper has no descriptor left for the new program; the present program serves on"
		u.drop()
	case proposed:
		u.state = trying
		k.records[UpgradeRecord] = ""
	case trying:
		log.Print("the new program's master ended before it was proven: back to the present program")
		k.records[UpgradeRecord] = "the upgrade failed: the master of the new program ended before it was proven (neko.log says how); the present program serves on"
		u.drop()
	default:
		return false
	}
	return true
}

package keeper

import (
	"errors"
	"fmt"
	"io"
	"log"
	"os"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/nekoctl/neko/supervisor/home"
)

// Mode is the first argument that makes the binary a keeper in the background.
const Mode = "__keeper"

// readyFD is where a keeper in the background finds the pipe to its starter.
const readyFD = 3

// Spawn starts a daemon in the background, in a session of its own, and returns
// its keeper's pid when it serves commands. Its output goes to neko.log.
func Spawn(h home.Dir) (pid int, err error) {
	if err := proc(); err != nil {
		return 0, err
	}
	if err := h.Create(); err != nil {
		return 0, err
	}
	var pipe [2]int
	if err := unix.Pipe2(pipe[:], unix.O_CLOEXEC); err != nil {
		return 0, err
	}
	ready := os.NewFile(uintptr(pipe[0]), "ready")
	defer ready.Close()
	null, err := os.Open(os.DevNull)
	if err != nil {
		return 0, err
	}
	defer null.Close()
	output, err := os.OpenFile(h.Log(), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return 0, err
	}
	defer output.Close()
	keepDescriptors()
	pid, err = syscall.ForkExec("/proc/self/exe", []string{"neko: keeper " + string(h), Mode}, &syscall.ProcAttr{
		Dir: string(h),
		// A keeper that begins with one P keeps half a MiB less.
		Env:   append(withoutVariables(os.Environ(), "NOTIFY_SOCKET", "NEKO_HOME", "GOMAXPROCS"), "NEKO_HOME="+string(h), "GOMAXPROCS=1"),
		Files: []uintptr{null.Fd(), output.Fd(), output.Fd(), uintptr(pipe[1])},
		Sys:   &syscall.SysProcAttr{Setsid: true},
	})
	unix.Close(pipe[1])
	if err != nil {
		return 0, fmt.Errorf("start the keeper: %w", err)
	}
	reason, err := io.ReadAll(ready)
	switch {
	case err != nil:
		return 0, err
	case string(reason) == "ok":
		return pid, nil
	case len(reason) > 0:
		return 0, errors.New(string(reason))
	}
	return 0, fmt.Errorf("the keeper died at its start; %s says more", h.Log())
}

// proc says that there is no /proc, by which processes are started and found.
func proc() error {
	if _, err := os.Readlink("/proc/self/exe"); err != nil {
		return errors.New("/proc is not mounted; neko cannot do without it (mount -t proc proc /proc)")
	}
	return nil
}

// keepDescriptors keeps from children what whoever started this process has left
// open for it: a lock of a script, say, that a daemon would hold for ever.
func keepDescriptors() {
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return
	}
	for _, entry := range list {
		if fd, err := strconv.Atoi(entry.Name()); err == nil && fd > 2 {
			unix.CloseOnExec(fd)
		}
	}
}

// Main is a keeper in the background, as Spawn starts it, or one that goes on
// with the estate of another.
func Main(version string) int {
	k, h, err := inherit(version)
	switch {
	case err != nil:
		log.Print(err)
		return 1
	case k != nil:
		return k.keep(h)
	}
	ready := os.NewFile(readyFD, "ready")
	unix.CloseOnExec(readyFD)
	if h, err = home.Find(); err != nil {
		fmt.Fprint(ready, err)
		return 1
	}
	return Run(h, Options{Version: version, Ready: ready})
}

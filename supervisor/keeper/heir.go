package keeper

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"maps"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nekoctl/neko/supervisor/home"
)

// Estate is all that a keeper knows: what it leaves to the process that it, or a
// master whose keeper was killed, becomes by execve. Its children stay its own.
// The heir may be of another version: fields are only ever added.
type Estate struct {
	Home     home.Dir
	Files    map[string][]int
	Records  map[string]string
	Exits    []Exit
	Stopping bool
	Master   Child // that runs, with Link to it; the zero Child: none
	Link     int
}

// estateVariable names the heir's descriptor of the estate, a memfd.
const estateVariable = "NEKO_ESTATE_FD"

// ErrSignal says that this process has got a signal, which it is to see to first.
var ErrSignal = errors.New("a signal came")

// Become makes this process a keeper of the given program with an estate. It
// returns only if that fails, and then nothing has changed but that most signals
// are ignored; or with ErrSignal, and these are not, if there is one in the
// channel, for the heir would not know of it.
func (e Estate) Become(program string, signals <-chan os.Signal) error {
	text, err := json.Marshal(e)
	if err != nil {
		return err
	}
	file, err := memory("estate", string(text))
	if err != nil {
		return err
	}
	defer file.Close()
	memory := int(file.Fd())
	env := append(withoutVariables(os.Environ(), "NEKO_HOME", estateVariable),
		"NEKO_HOME="+string(e.Home), estateVariable+"="+strconv.Itoa(memory))

	// No fork of another goroutine may pass these on.
	syscall.ForkLock.Lock()
	defer syscall.ForkLock.Unlock()
	left := append(e.descriptors(), memory)
	for _, fd := range left {
		if _, err := unix.FcntlInt(uintptr(fd), unix.F_SETFD, 0); err != nil {
			return fmt.Errorf("descriptor %d: %w", fd, err)
		}
	}
	if allHeard(); len(signals) > 0 {
		for _, fd := range left {
			unix.CloseOnExec(fd)
		}
		return ErrSignal
	}
	// A signal in the next milliseconds must not end the heir, which does not heed
	// any yet.
	signal.Ignore(unix.SIGHUP, unix.SIGINT, unix.SIGTERM, unix.SIGUSR1, unix.SIGUSR2, unix.SIGPIPE)
	err = syscall.Exec(program, []string{"neko: keeper " + string(e.Home), Mode}, env)
	for _, fd := range left {
		unix.CloseOnExec(fd)
	}
	return fmt.Errorf("become %s: %w", program, err)
}

// allHeard returns when all signals that this process got are in their channels.
func allHeard() {
	// A thread that the kernel has chosen for a signal runs, or is about to; the
	// runtime knows of it when it does.
	runtime.LockOSThread()
	for began := time.Now(); !othersRest() && time.Since(began) < restTimeout; {
		time.Sleep(time.Millisecond)
	}
	runtime.UnlockOSThread()
	// That these are in their channels is what Stop waits for.
	c := make(chan os.Signal, 1)
	signal.Notify(c, unix.SIGTERM)
	signal.Stop(c)
}

// restTimeout is for a process whose threads always have something to do.
const restTimeout = 200 * time.Millisecond

// othersRest says whether all threads of this process but the present one sleep.
func othersRest() bool {
	own := strconv.Itoa(unix.Gettid())
	tasks, err := os.ReadDir("/proc/self/task")
	if err != nil {
		return false
	}
	for _, task := range tasks {
		if task.Name() == own {
			continue
		}
		stat, err := os.ReadFile("/proc/self/task/" + task.Name() + "/stat")
		if err != nil {
			continue // it has ended
		}
		if _, state, found := bytes.Cut(stat[bytes.LastIndexByte(stat, ')')+1:], []byte(" ")); !found || state[0] != 'S' {
			return false
		}
	}
	return true
}

func (e Estate) descriptors() []int {
	var list []int
	for _, fds := range e.Files {
		list = append(list, fds...)
	}
	if e.Master.PID != 0 {
		list = append(list, e.Link)
	}
	return list
}

// inherit is a keeper with the estate that its process was left, nil if there is
// none.
func inherit(version string) (*keeper, home.Dir, error) {
	text := os.Getenv(estateVariable)
	if text == "" {
		return nil, "", nil
	}
	os.Unsetenv(estateVariable)
	memory, err := strconv.Atoi(text)
	if err != nil {
		return nil, "", fmt.Errorf("%s is %q", estateVariable, text)
	}
	file := os.NewFile(uintptr(memory), "estate")
	defer file.Close()
	k := newKeeper(version)
	var e Estate
	left, err := io.ReadAll(io.NewSectionReader(file, 0, 1<<30))
	if err == nil {
		err = json.Unmarshal(left, &e)
	}
	if err != nil {
		return nil, "", fmt.Errorf("the estate of the keeper before: %w", err)
	}
	for _, fd := range e.descriptors() {
		unix.CloseOnExec(fd)
	}
	k.exits, k.stopping, k.served = e.Exits, e.Stopping, true
	maps.Copy(k.files, e.Files)
	for name, record := range e.Records {
		if err := k.hold(name, record); err != nil {
			return nil, "", err
		}
	}
	k.signals <- unix.SIGCHLD // for those that have ended meanwhile
	if e.Master.PID != 0 {
		l, err := newLink(e.Link)
		if err != nil {
			return nil, "", err
		}
		k.master = newMaster(e.Master, l)
		k.master.outbox.push(k.who())
		for _, exit := range k.exits { // it may not have heard of them
			k.master.outbox.push(exitPacket(exit))
		}
		if k.stopping { // nor of this
			k.master.outbox.push(signalPacket(unix.SIGTERM))
		}
	}
	if len(left) > 1<<20 {
		debug.FreeOSMemory() // it was here three times over
	}
	return k, e.Home, nil
}

// renew makes the keeper the program of an upgrade that has proven itself. The
// master that runs does not notice.
func (k *keeper) renew() {
	k.upgrade.proven = nil
	for allHeard(); len(k.signals) > 0; {
		k.signal(<-k.signals)
	}
	m := k.master
	// What one that has just ended had sent, or one that stands still was not told
	// yet, would be lost.
	if m.PID == 0 || !m.outbox.empty() {
		k.upgrade.proven = time.After(steady)
		return
	}
	if err := m.link.file.SetReadDeadline(time.Unix(1, 0)); err != nil {
		log.Printf("upgrade the keeper: %v", err)
		return
	}
	for p := range m.packets {
		k.handle(p)
	}
	m.packets = nil
	if k.ended {
		return
	}
	delete(k.records, UpgradeRecord)
	fd, err := m.link.descriptor()
	if err == nil {
		err = Estate{
			Home: k.home, Files: k.files, Records: k.records, Exits: k.exits, Stopping: k.stopping,
			Master: m.Child, Link: fd,
		}.Become(k.upgrade.program(), k.signals)
	}
	if errors.Is(err, ErrSignal) {
		k.upgrade.proven = time.After(0)
	} else {
		k.heed()
		log.Printf("upgrade the keeper: %v; it stays what it is", err)
		k.upgrade.state = settled
		m.outbox.push(k.who())
	}
	_ = m.link.file.SetReadDeadline(time.Time{}) // fails where it is closed, as reading will
	m.listen()
}

// Package keeper is the process that never changes: it holds what must outlive
// a master (listening sockets, log pipes, the control socket), starts the
// master again when it dies, and reaps with true exit statuses the workers that
// a dead master left behind. It knows nothing of apps.
//
// The keeper is the main process of the daemon: PID 1 in a container, the main
// PID under systemd, the pid in neko.pid. [Run] is it; [Connect] is the
// master's end of the line between them.
package keeper

import (
	"errors"
	"fmt"
	"io"
	"log"
	"os"
	"os/signal"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nekoctl/neko/supervisor/home"
	"github.com/nekoctl/neko/supervisor/ownlog"
)

// MasterMode is the first argument that makes the binary a master.
const MasterMode = "__master"

// Options say how a keeper begins.
type Options struct {
	// Version is the program's, for people.
	Version string

	// Boot is a record that the first master finds as "boot".
	Boot string
	// ExitWith is one that all find, as "exit-with"; "": there is none.
	ExitWith string
	// Ready gets "ok" when the master serves, or else the reason why it never
	// will; nil: the reason goes to standard error.
	Ready io.WriteCloser
}

type keeper struct {
	version  string
	home     home.Dir
	run      string
	files    map[string][]int
	records  map[string]string
	exits    []Exit
	signals  chan os.Signal
	master   *master
	ready    io.WriteCloser
	served   bool // a master has been ready
	stopping bool // latched: told to stop, whichever master carries it out
	ended    bool // STOP or FAIL came
	code     int
	upgrade  upgrade
	watchdog time.Duration // within which the service manager wants to hear of us; 0: never
	looks    *time.Ticker
}

type master struct {
	Child
	link    *link
	outbox  *outbox
	packets <-chan packet // nil once all that it sent is read
	aliveAt time.Time     // when it last said that it is alive; zero: it never has
	late    bool          // at the last look it had not for too long
}

// Run is the keeper; it returns the exit code of the process when the daemon
// has ended. The caller has checked and created the home.
func Run(h home.Dir, o Options) int {
	k := newKeeper(o.Version)
	k.ready = o.Ready
	if err := proc(); err != nil {
		return k.fail(err.Error())
	}
	keepDescriptors()
	lock, err := lockHome(h)
	if err != nil {
		return k.fail(err.Error())
	}
	k.files["lock"] = []int{lock}
	if o.Boot != "" {
		if err := k.hold("boot", o.Boot); err != nil {
			return k.fail(err.Error())
		}
	}
	if o.ExitWith != "" {
		k.records["exit-with"] = o.ExitWith
	}
	if err := k.takeGiven(); err != nil {
		return k.fail(err.Error())
	}
	return k.keep(h)
}

func newKeeper(version string) *keeper {
	runtime.GOMAXPROCS(1) // a process that mostly sleeps needs no more, and each P costs memory
	ownlog.Open(os.Stderr, "keeper")
	k := &keeper{
		version: version,
		run:     strconv.Itoa(os.Getpid()) + "-" + strconv.FormatInt(time.Now().UnixNano(), 36),
		files:   map[string][]int{},
		records: map[string]string{},
		signals: make(chan os.Signal, 1024),
	}
	k.heed()
	return k
}

// heed makes signals messages.
func (k *keeper) heed() {
	signal.Notify(make(chan os.Signal, 1), unix.SIGPIPE) // standard output or error may be gone
	signal.Notify(k.signals, unix.SIGCHLD, unix.SIGTERM, unix.SIGINT, unix.SIGHUP,
		unix.SIGUSR1, unix.SIGUSR2, unix.SIGTTIN, unix.SIGTTOU)
}

// keep starts masters, one after the other, until the daemon ends. There may be
// one already.
func (k *keeper) keep(h home.Dir) int {
	k.home = h
	k.watchdog = watchdogInterval()
	k.looks = time.NewTicker(k.lookEvery())
	defer k.looks.Stop()
	defer h.RemovePID()
	if err := writePID(h); err != nil {
		if !k.served {
			return k.fail(err.Error())
		}
		log.Print(err) // on a full disk, say: that is no reason not to serve
	}
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return k.fail("become a subreaper: " + err.Error())
	}
	for failures := 0; ; {
		began := time.Now()
		if err := k.startMaster(h); err != nil {
			log.Printf("start the master: %v", err)
		} else {
			k.serve()
		}
		if k.ended {
			return k.code
		}
		if k.upgrade.turn(k) {
			failures = 0
			continue
		}
		if time.Since(began) > steady {
			failures = 0
		}
		failures++
		switch {
		case failures > 5 && k.stopping:
			return k.giveUp("no master lives long enough to carry out the stop")
		case failures > 5 && !k.served:
			return k.giveUp("no master lives long enough to serve")
		}
		k.wait(backoff(failures))
	}
}

// giveUp ends the daemon without a master. It asks the workers to stop, for
// there will be nobody else to do it.
func (k *keeper) giveUp(reason string) int {
	if workers, err := children(); err == nil {
		for _, c := range workers {
			_ = unix.Kill(c.PID, unix.SIGTERM)
		}
	}
	return k.fail(reason)
}

// steady is how long a master must have lived for its death not to count as one
// in a row: one that cannot take over what there is dies much sooner.
const steady = time.Second

// backoff is 0 after the first failure, for workers run without a master.
func backoff(failures int) time.Duration {
	if failures <= 1 {
		return 0
	}
	return min(50*time.Millisecond<<min(failures, 10), 5*time.Second)
}

func lockHome(h home.Dir) (int, error) {
	fd, err := unix.Open(h.Lock(), unix.O_RDWR|unix.O_CREAT|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return -1, fmt.Errorf("open %s: %w", h.Lock(), err)
	}
	if err := unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB); err != nil {
		unix.Close(fd)
		pid, _ := os.ReadFile(h.PID())
		return -1, fmt.Errorf("a daemon already runs on %s (keeper pid %s)", h, strings.TrimSpace(string(pid)))
	}
	return fd, nil
}

// fail reports why the daemon cannot be, to whoever started it.
func (k *keeper) fail(reason string) int {
	reason = strings.TrimPrefix(reason, "error: ") // as a master says it
	if k.ready != nil {
		fmt.Fprint(k.ready, reason)
		k.ready.Close()
	} else {
		fmt.Fprintln(os.Stderr, "error:", reason)
	}
	return 1
}

// startMaster starts a master, if there is none that an earlier life of this
// keeper has started.
func (k *keeper) startMaster(h home.Dir) error {
	if k.master != nil {
		return nil
	}
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(pair[1])
	null, err := os.Open(os.DevNull)
	if err != nil {
		return err
	}
	defer null.Close()
	env := append(withoutVariables(os.Environ(), "NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "GOMAXPROCS"),
		"NEKO_HOME="+string(h), fdVariable+"=3")
	pid, err := syscall.ForkExec(k.upgrade.program(), []string{"neko: master " + string(h), MasterMode}, &syscall.ProcAttr{
		Env:   env,
		Files: []uintptr{null.Fd(), 1, 2, uintptr(pair[1])},
		// A group of its own: a terminal's Ctrl-C is for the keeper, which passes it on.
		Sys: &syscall.SysProcAttr{Setpgid: true},
	})
	if err != nil {
		unix.Close(pair[0])
		return err
	}
	l, err := newLink(pair[0])
	if err != nil {
		return err
	}
	start, _ := StartTime(pid)
	k.master = newMaster(Child{PID: pid, Start: start}, l)
	if err := k.bequeath(); err != nil {
		l.close() // it ends, for it cannot know what it is to take over
		log.Printf("tell the master what there is: %v", err)
	}
	return nil
}

func newMaster(c Child, l *link) *master {
	m := &master{Child: c, link: l, outbox: newOutbox(l)}
	m.listen()
	return m
}

// listen makes m.packets give what the master sends.
func (m *master) listen() {
	packets := make(chan packet)
	m.packets = packets
	go m.read(packets)
}

func writePID(h home.Dir) error {
	return os.WriteFile(h.PID(), []byte(strconv.Itoa(os.Getpid())+"\n"), 0o600)
}

func withoutVariables(env []string, names ...string) []string {
	var kept []string
	for _, entry := range env {
		name, _, _ := strings.Cut(entry, "=")
		drop := false
		for _, n := range names {
			drop = drop || n == name
		}
		if !drop {
			kept = append(kept, entry)
		}
	}
	return kept
}

func (m *master) read(packets chan<- packet) {
	defer close(packets)
	for {
		p, err := m.link.receive()
		switch {
		case err == nil:
			packets <- p
		case errors.Is(err, errCut): // we have no descriptors left; the next may fit again
			log.Print(err)
			if p.verb == "UPGRADE" { // its master is about to end
				packets <- p
			}
		case errors.Is(err, os.ErrDeadlineExceeded): // it goes on with another life of this keeper
			return
		default:
			if err != io.EOF {
				log.Print(err)
			}
			m.link.close() // a master that is not heard must not go on
			return
		}
	}
}

// bequeath queues all that is held for the new master.
func (k *keeper) bequeath() error {
	send := k.master.outbox.push
	send(k.who())
	for name, fds := range k.files {
		send(packet{verb: "PUT", args: []string{name}, files: fds})
	}
	for name, record := range k.records {
		send(packet{verb: "SET", args: []string{name}, body: record})
	}
	// A child that ends from here on is reported as EXIT besides.
	living, err := children()
	if err != nil {
		return err
	}
	for _, c := range living {
		if c != k.master.Child {
			send(packet{verb: "CHILD", args: words(c)})
		}
	}
	for _, e := range k.exits {
		send(exitPacket(e))
	}
	if k.stopping {
		send(signalPacket(unix.SIGTERM))
	}
	send(packet{verb: "END"})
	return nil
}

func (k *keeper) who() packet {
	return packet{verb: "KEEPER", args: []string{strconv.Itoa(os.Getpid()), k.run}, body: k.version}
}

func words(c Child) []string {
	return []string{strconv.Itoa(c.PID), strconv.FormatUint(c.Start, 10)}
}

func exitPacket(e Exit) packet {
	return packet{verb: "EXIT", args: append(words(e.Child), strconv.FormatUint(uint64(e.Status), 10))}
}

func signalPacket(s syscall.Signal) packet {
	return packet{verb: "SIGNAL", args: []string{strconv.Itoa(int(s))}}
}

// serve returns when the master is reaped and everything that it had sent is
// read: what it deposited before it was killed must not be lost.
func (k *keeper) serve() {
	m := k.master
	defer func() {
		m.outbox.close()
		m.link.close()
		k.master = nil
	}()
	for m.packets != nil || m.PID != 0 {
		select {
		case p, open := <-m.packets:
			if !open {
				m.packets = nil
				continue
			}
			k.handle(p)
		case s := <-k.signals:
			k.signal(s)
		case <-k.upgrade.proven:
			k.renew()
		case <-k.looks.C:
			k.look()
		}
	}
}

// wait passes time between two masters; children are reaped and a stop latched.
func (k *keeper) wait(d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
			return
		case s := <-k.signals:
			k.signal(s)
		case <-k.looks.C:
			k.look()
		}
	}
}

func (k *keeper) signal(s os.Signal) {
	if s == unix.SIGCHLD {
		for {
			exit, ok := reapNext()
			if !ok {
				return
			}
			k.reaped(exit)
		}
	}
	if s == unix.SIGTERM || s == unix.SIGINT {
		k.stopping = true
	}
	if k.master != nil {
		k.master.outbox.push(signalPacket(s.(syscall.Signal)))
	}
}

func (k *keeper) reaped(exit Exit) {
	if m := k.master; m != nil && exit.PID == m.PID {
		if !k.ended {
			log.Printf("the master (pid %d) ended: %s", exit.PID, Describe(exit.Status))
		}
		m.PID = 0
		return
	}
	k.exits = append(k.exits, exit)
	if k.master != nil {
		k.master.outbox.push(exitPacket(exit))
	}
}

func (k *keeper) handle(p packet) {
	name := p.arg(0)
	switch p.verb {
	case "PUT":
		k.drop(name)
		k.files[name] = p.files
		k.store(name, p.files)
	case "SET":
		k.drop(name)
		k.records[name] = p.body
	case "DEL":
		if isGiven(name) {
			k.letGo(name)
		} else if _, held := k.files[name]; held {
			unstore(name)
		}
		k.drop(name)
	case "ACK":
		acked := p.child()
		for i, e := range k.exits {
			if e.Child == acked {
				k.exits = append(k.exits[:i], k.exits[i+1:]...)
				break
			}
		}
	case "ALIVE":
		if m := k.master; m != nil {
			m.aliveAt, m.late = time.Now(), false
		}
	case "NOTIFY":
		if err := notifyManager(p.body); err != nil {
			log.Printf("tell the service manager: %v", err)
		}
	case "READY":
		k.served = true
		if k.ready != nil {
			fmt.Fprint(k.ready, "ok")
			k.ready.Close()
			k.ready = nil
		}
		k.upgrade.ready()
	case "UPGRADE":
		k.upgrade.propose(p.files)
	case "FAIL":
		if k.served { // there are workers to look after: the next one may succeed
			log.Printf("the new master failed: %s", p.body)
			break
		}
		k.ended = true
		k.code = k.fail(p.body)
	case "STOP":
		k.ended = true
		k.code, _ = strconv.Atoi(name)
	default:
		log.Printf("unknown message %q", p.verb) // from a newer master; it must cope
	}
}

// hold keeps a record that did not come in a message, as it would have come.
func (k *keeper) hold(name, record string) error {
	if len(record) <= maxRecord {
		k.records[name] = record
		return nil
	}
	file, err := memory(name, record)
	if err != nil {
		return err
	}
	defer file.Close()
	fd, err := unix.FcntlInt(file.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	k.files[name] = []int{fd}
	return err
}

func (k *keeper) drop(name string) {
	closeAll(k.files[name])
	delete(k.files, name)
	delete(k.records, name)
}

// Describe says how a process ended: "exit code 1", "signal: killed".
func Describe(status unix.WaitStatus) string {
	switch {
	case status.Signaled() && status.CoreDump():
		return "signal: " + status.Signal().String() + " (core dumped)"
	case status.Signaled():
		return "signal: " + status.Signal().String()
	}
	return fmt.Sprintf("exit code %d", status.ExitStatus())
}

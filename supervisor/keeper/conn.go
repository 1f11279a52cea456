package keeper

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// Conn is the master's end. Its methods may be called from any goroutine. What
// was sent arrives even if the master is killed right after.
type Conn struct {
	link *link
	// Events gives what the keeper reports, in order: Exit, os.Signal, or Who when
	// it has become another program. It is closed when the keeper is gone.
	Events <-chan any

	mu       sync.Mutex
	records  map[string]string // as the keeper has them
	revision int64
}

// Who is a keeper.
type Who struct {
	PID     int
	Run     string // names its life
	Version string
}

// Inheritance is what a master finds at its start; empty but for the keeper's
// name at the first one.
type Inheritance struct {
	Keeper   Who
	Files    map[string][]int // descriptors by name, close-on-exec, the master's own
	Records  map[string]string
	Children map[int]Child // living children of the keeper by pid
	Exits    []Exit        // children that ended and were not acknowledged
	Stop     bool          // an earlier master was told to stop
}

// fdVariable names the master's descriptor of the socket pair.
const fdVariable = "NEKO_KEEPER_FD"

// IsMastersVariable says of an entry of an environment that only a master has it.
func IsMastersVariable(entry string) bool { return strings.HasPrefix(entry, fdVariable+"=") }

// Connect is a master's first act: it takes over what the keeper holds.
func Connect() (*Conn, *Inheritance, error) {
	fd, err := strconv.Atoi(os.Getenv(fdVariable))
	if err != nil {
		return nil, nil, errors.New("this process was not started by a keeper")
	}
	os.Unsetenv(fdVariable)
	l, err := newLink(fd)
	if err != nil {
		return nil, nil, err
	}
	in := &Inheritance{Files: map[string][]int{}, Records: map[string]string{}, Children: map[int]Child{}}
	for {
		p, err := l.receive()
		if err != nil {
			return nil, nil, fmt.Errorf("keeper socket: %w", err)
		}
		if p.verb == "END" {
			break
		}
		switch event := p.event().(type) {
		case Exit:
			in.Exits = append(in.Exits, event)
			continue
		case os.Signal:
			in.Stop = in.Stop || event == syscall.SIGTERM
			continue
		case Who:
			in.Keeper = event
		}
		switch p.verb {
		case "PUT":
			in.Files[p.arg(0)] = p.files
		case "SET":
			in.Records[p.arg(0)] = p.body
		case "CHILD":
			c := p.child()
			in.Children[c.PID] = c
		}
	}
	events := make(chan any)
	go func() {
		defer close(events)
		for {
			p, err := l.receive()
			if err != nil {
				if err != io.EOF {
					fmt.Fprintf(os.Stderr, "neko: %v\n", err)
				}
				return
			}
			if event := p.event(); event != nil {
				events <- event
			}
		}
	}()
	return &Conn{link: l, Events: events, records: maps.Clone(in.Records)}, in, nil
}

// event is what a packet reports, else nil.
func (p packet) event() any {
	switch p.verb {
	case "EXIT":
		status, _ := strconv.ParseUint(p.arg(2), 10, 32)
		return Exit{Child: p.child(), Status: unix.WaitStatus(status)}
	case "KEEPER":
		pid, _ := strconv.Atoi(p.arg(0))
		return Who{pid, p.arg(1), p.body}
	case "SIGNAL":
		number, _ := strconv.Atoi(p.arg(0))
		return os.Signal(syscall.Signal(number))
	}
	return nil
}

func (p packet) child() Child {
	pid, _ := strconv.Atoi(p.arg(0))
	start, _ := strconv.ParseUint(p.arg(1), 10, 64)
	return Child{PID: pid, Start: start}
}

// Put deposits duplicates of descriptors under a name without spaces.
func (c *Conn) Put(name string, fds ...int) error {
	c.change(func() {})
	return c.link.send(packet{verb: "PUT", args: []string{name}, files: fds})
}

// Set deposits a record under a name without spaces: in the message itself, or
// as a memfd if it is too long for that.
func (c *Conn) Set(name, record string) error {
	c.change(func() { c.records[name] = record })
	if len(record) <= maxRecord {
		return c.link.send(packet{verb: "SET", args: []string{name}, body: record})
	}
	file, err := memory(name, record)
	if err != nil {
		return err
	}
	defer file.Close()
	return c.Put(name, int(file.Fd()))
}

// memory is a memfd with a text.
func memory(name, text string) (*os.File, error) {
	fd, err := unix.MemfdCreate(name, unix.MFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("memfd: %w", err)
	}
	file := os.NewFile(uintptr(fd), name)
	if _, err := file.WriteString(text); err != nil {
		file.Close()
		return nil, fmt.Errorf("memfd: %w", err)
	}
	return file, nil
}

// Record reads what Set deposited.
func (in *Inheritance) Record(name string) (string, bool, error) {
	if text, ok := in.Records[name]; ok {
		return text, true, nil
	}
	fds, ok := in.Files[name]
	if !ok {
		return "", false, nil
	}
	file := os.NewFile(uintptr(fds[0]), name)
	defer file.Close()
	delete(in.Files, name)
	text, err := io.ReadAll(io.NewSectionReader(file, 0, 1<<30))
	return string(text), true, err
}

// Delete makes the keeper close and forget what it holds under name.
func (c *Conn) Delete(name string) error {
	c.change(func() { delete(c.records, name) })
	return c.link.send(packet{verb: "DEL", args: []string{name}})
}

func (c *Conn) change(f func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.records == nil {
		c.records = map[string]string{}
	}
	f()
	c.revision++
}

// Revision grows with each change of what the keeper has.
func (c *Conn) Revision() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.revision
}

// Records are those that are set, by name.
func (c *Conn) Records() map[string]string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return maps.Clone(c.records)
}

// Upgrade makes the given program that of the next master, and in time that of
// the keeper. The caller is to end in order.
func (c *Conn) Upgrade(program *os.File) error {
	return c.link.send(packet{verb: "UPGRADE", files: []int{int(program.Fd())}})
}

// Ack tells that an exit is dealt with. Exits of unknown processes are
// acknowledged too.
func (c *Conn) Ack(child Child) error {
	return c.link.send(packet{verb: "ACK", args: []string{strconv.Itoa(child.PID), strconv.FormatUint(child.Start, 10)}})
}

// Notify passes lines of sd_notify(3) to the service manager, in the name of
// the main process, which the keeper is.
func (c *Conn) Notify(state string) error {
	return c.link.send(packet{verb: "NOTIFY", body: state})
}

// Alive says that the master does not stand still. Once it has it must go on to, at
// every [Beat].
func (c *Conn) Alive() error { return c.link.send(packet{verb: "ALIVE"}) }

// Ready tells whoever started the daemon that it serves commands.
func (c *Conn) Ready() error { return c.link.send(packet{verb: "READY"}) }

// Fail tells whoever started the daemon why it does not, and ends the keeper.
func (c *Conn) Fail(reason string) error { return c.link.send(packet{verb: "FAIL", body: reason}) }

// Stop announces the master's orderly end and with it the keeper's.
func (c *Conn) Stop(code int) error {
	return c.link.send(packet{verb: "STOP", args: []string{strconv.Itoa(code)}})
}

package keeper

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// Conn is the master's end. Its methods may be called from any goroutine. What
// was sent arrives even if the master is killed right after.
type Conn struct {
	link *link
	// Events gives what the keeper reports, in order: Exit or os.Signal. It is
	// closed when the keeper is gone.
	Events <-chan any
}

// Inheritance is what a master finds at its start; empty but for the keeper's
// name at the first one.
type Inheritance struct {
	KeeperPID int
	Run       string           // names the life of the keeper
	Files     map[string][]int // descriptors by name, close-on-exec, the master's own
	Records   map[string]string
	Children  map[int]Child // living children of the keeper by pid
	Exits     []Exit        // children that ended and were not acknowledged
	Stop      bool          // an earlier master was told to stop
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
		}
		switch p.verb {
		case "KEEPER":
			in.KeeperPID, _ = strconv.Atoi(p.arg(0))
			in.Run = p.arg(1)
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
	return &Conn{link: l, Events: events}, in, nil
}

// event is the Exit or the os.Signal that a packet reports, else nil.
func (p packet) event() any {
	switch p.verb {
	case "EXIT":
		status, _ := strconv.ParseUint(p.arg(2), 10, 32)
		return Exit{Child: p.child(), Status: unix.WaitStatus(status)}
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
	return c.link.send(packet{verb: "PUT", args: []string{name}, files: fds})
}

// Set deposits a record under a name without spaces: up to 100 KiB in the
// message itself, more of it as a memfd.
func (c *Conn) Set(name, record string) error {
	if len(record) <= 100<<10 {
		return c.link.send(packet{verb: "SET", args: []string{name}, body: record})
	}
	fd, err := unix.MemfdCreate(name, unix.MFD_CLOEXEC)
	if err != nil {
		return fmt.Errorf("memfd: %w", err)
	}
	file := os.NewFile(uintptr(fd), name)
	defer file.Close()
	if _, err := file.WriteString(record); err != nil {
		return fmt.Errorf("memfd: %w", err)
	}
	return c.Put(name, fd)
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
	return c.link.send(packet{verb: "DEL", args: []string{name}})
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

// Ready tells whoever started the daemon that it serves commands.
func (c *Conn) Ready() error { return c.link.send(packet{verb: "READY"}) }

// Fail tells whoever started the daemon why it does not, and ends the keeper.
func (c *Conn) Fail(reason string) error { return c.link.send(packet{verb: "FAIL", body: reason}) }

// Stop announces the master's orderly end and with it the keeper's.
func (c *Conn) Stop(code int) error {
	return c.link.send(packet{verb: "STOP", args: []string{strconv.Itoa(code)}})
}

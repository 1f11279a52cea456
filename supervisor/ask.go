package supervisor

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nekoctl/neko/supervisor/home"
	"github.com/nekoctl/neko/supervisor/keeper"
	"github.com/nekoctl/neko/supervisor/logs"
	"github.com/nekoctl/neko/supervisor/socket"
	"github.com/nekoctl/neko/supervisor/spec"
)

// unaskedError says that it was not p that was asked: that is nothing against it.
type unaskedError struct{ error }

func (e *unaskedError) Unwrap() error { return e.error }

// ask implements [system].
func (n native) ask(ctx context.Context, p *process, question *spec.Probe) error {
	var err error
	if len(question.Exec) > 0 {
		err = n.askCommand(ctx, p, question.Exec)
	} else {
		err = n.askConnection(ctx, p, question)
	}
	if unasked := new(unaskedError); err != nil && over(ctx) && !errors.As(err, &unasked) {
		err = fmt.Errorf("no answer within %v", question.Timeout.D())
	}
	return err
}

// over says that the time of a question is: a connection may know a little sooner than
// its context.
func over(ctx context.Context) bool {
	end, limited := ctx.Deadline()
	return ctx.Err() != nil || limited && !time.Now().Before(end)
}

// A connection that came to another process is followed by another one, after a
// wait that grows: that one may be busy by then, or gone.
const (
	firstMistake = time.Millisecond
	lastMistake  = 10 * time.Millisecond
)

// askConnection asks by HTTP or TCP. By way of the socket of p's slot it may be
// another process of the slot that accepts, its predecessor say, which must not
// answer for p: then it is asked once more.
func (n native) askConnection(ctx context.Context, p *process, question *spec.Probe) error {
	way, path, err := n.way(p, question)
	if err != nil {
		return err
	}
	mistakes := 0
	for wait := firstMistake; ; wait = min(2*wait, lastMistake) {
		mistaken, err := n.askBy(ctx, p, question, way, path)
		switch {
		case mistaken:
			mistakes++
		case err == nil || mistakes == 0 || !over(ctx):
			return err
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return &unaskedError{fmt.Errorf("other processes, which have the same socket, took all %d connections", mistakes)}
		}
	}
}

// way is where to connect to, and what to GET there.
func (n native) way(p *process, question *spec.Probe) (way socket.Probe, path string, err error) {
	if strings.HasPrefix(question.HTTP, "http://") {
		u, err := url.Parse(question.HTTP)
		if err != nil {
			return way, "", err
		}
		return socket.To(u.Host), u.RequestURI(), nil
	}
	err = errStopping
	n.master.do(func() {
		index := 0
		if question.TCP != "" {
			index = slices.IndexFunc(p.spec.Listen, func(l spec.Listener) bool { return l.Name == question.TCP })
			if index < 0 && p.clustered() { // a port that it has asked for is its own
				index = p.slot.app.groupOf(question.TCP)
			}
		}
		switch groups := p.slot.app.groups; {
		case index < 0 && strings.Contains(question.TCP, ":"):
			way, err = socket.To(question.TCP), nil
		case index < 0:
			way, err = socket.To("127.0.0.1:"+question.TCP), nil
		case index >= len(groups):
			err = &unaskedError{errors.New("it has no socket by which it could be asked")}
		default:
			if way, err = groups[index].Probe(p.slot.index); err != nil {
				err = &unaskedError{fmt.Errorf("it cannot be asked: %w", err)}
			}
		}
	})
	return way, question.HTTP, err
}

// askBy asks once; mistaken says that it was not p that was asked. It speaks HTTP
// over a plain connection, as the control client does: the machinery of http.Client
// costs a master more memory than all else of this.
func (n native) askBy(ctx context.Context, p *process, question *spec.Probe, way socket.Probe, path string) (mistaken bool, err error) {
	conn, err := way.Dial(ctx)
	if err != nil {
		return false, err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })()
	head, end := "", ""
	if question.HTTP != "" {
		head, end = "GET "+path+" HTTP/1.1\r\nHost: localhost\r\nUser-Agent: neko-probe\r\nConnection: close\r\n", "\r\n"
	}
	others := n.company(p, way.Leads)
	if len(others) > 0 || way.Leads == socket.Anywhere || question.HTTP == "" && way.Leads != socket.Elsewhere {
		accepted, err := acceptedBy(ctx, conn, p.PID, others)
		if errors.Is(err, socket.ErrNotAccepted) && way.Leads != socket.Anywhere {
			if _, err := io.WriteString(conn, head); err != nil {
				return false, err
			}
			head = ""
			accepted, err = socket.AcceptedBy(ctx, conn, p.PID, others)
		}
		switch {
		case errors.Is(err, socket.ErrUnknown): // it counts as p's
		case err != nil:
			return way.Leads == socket.Anywhere, err // where nobody may be
		case !accepted:
			return true, nil
		}
	}
	if question.HTTP == "" {
		return false, nil
	}
	if _, err := io.WriteString(conn, head+end); err != nil {
		return false, err
	}
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return false, fmt.Errorf("GET %s: %w", question.HTTP, err)
	}
	response.Body.Close()
	if response.StatusCode < 200 || response.StatusCode >= 400 {
		return false, fmt.Errorf("GET %s: %s", question.HTTP, response.Status)
	}
	return false, nil
}

// unspoken is how long a connection waits to be accepted before anything is sent: who
// has TCP_DEFER_ACCEPT accepts only then, and others than p would tell of half a
// request.
const unspoken = 100 * time.Millisecond

func acceptedBy(ctx context.Context, conn net.Conn, pid int, others []int) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, unspoken)
	defer cancel()
	return socket.AcceptedBy(ctx, conn, pid, others)
}

// company are the pids of the others that may accept what goes p's way. What queues on
// a slot where nobody serves this master accepts, for a sibling (handoff.go).
func (n native) company(p *process, way socket.Leads) (others []int) {
	if way == socket.Elsewhere {
		return nil
	}
	n.master.do(func() {
		relayed := len(p.slot.relays) > 0
		if relayed {
			others = append(others, os.Getpid())
		}
		for _, s := range p.slot.app.slots {
			if s != p.slot && way == socket.ToOne && !relayed {
				continue
			}
			for _, q := range s.processes() {
				if q != nil && q != p {
					others = append(others, q.PID)
				}
			}
		}
	})
	return others
}

// probeVariable says of a process that it is a probe's, of the daemon with that home,
// and no worker. It is told no NOTIFY_SOCKET either, by which workers are found again.
const probeVariable = "NEKO_PROBE"

func isProbe(env []string) bool {
	return slices.ContainsFunc(env, func(entry string) bool { return strings.HasPrefix(entry, probeVariable+"=") })
}

// askCommand runs a command as p is run. With it ends all that it has started.
func (n native) askCommand(ctx context.Context, p *process, command []string) error {
	path, err := p.spec.ProgramOf(command)
	if err != nil {
		return err
	}
	var orders orders
	var env []string
	err = errStopping
	n.master.do(func() {
		orders, err = ordersFor(p)
		env = n.master.environment(p)
	})
	if err != nil {
		return err
	}
	orders.ListenPID = false
	argv := command
	if !orders.none() {
		argv = append([]string{shimName, ExecMode, orders.String(), path}, argv...)
		path = "/proc/self/exe"
	}
	env = slices.DeleteFunc(env, func(entry string) bool {
		return strings.HasPrefix(entry, "NOTIFY_SOCKET=") || strings.HasPrefix(entry, "NEKO_METRICS_SOCKET=") || strings.HasPrefix(entry, "LISTEN_") || strings.HasPrefix(entry, "WATCHDOG_USEC=")
	})
	env = append(env, probeVariable+"="+string(n.master.home), fmt.Sprintf("NEKO_PID=%d", p.PID))

	read, write, err := os.Pipe()
	if err != nil {
		return err
	}
	defer read.Close()
	pidfd := -1
	pid, err := syscall.ForkExec(path, argv, &syscall.ProcAttr{
		Dir: p.spec.Cwd, Env: env, Files: []uintptr{n.master.null.Fd(), write.Fd(), write.Fd()},
		Sys: &syscall.SysProcAttr{Setpgid: true, PidFD: &pidfd},
	})
	write.Close()
	if err != nil {
		return fmt.Errorf("run %s: %w", command[0], err)
	}
	said := &logs.Tail{}
	printed := make(chan struct{})
	go func() {
		_, _ = io.Copy(said, read)
		close(printed)
	}()
	err = n.awaitCommand(ctx, pid, pidfd)
	// What has left its group may hold the pipe.
	_ = read.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
	<-printed
	if err == nil || ctx.Err() != nil {
		return err
	}
	why := ""
	if lines := said.Lines(); len(lines) > 0 {
		last := strings.TrimSpace(lines[len(lines)-1])
		why = ": " + strings.ToValidUTF8(last[:min(len(last), 200)], "\uFFFD")
	}
	return fmt.Errorf("%s: %w%s", command[0], err, why)
}

// awaitCommand is nil if a command ends with 0 before ctx does. Then nothing lives of
// its group.
func (n native) awaitCommand(ctx context.Context, pid, pidfd int) error {
	ended, err := make(chan struct{}), errors.New("the kernel has no pidfd")
	if pidfd >= 0 {
		defer unix.Close(pidfd)
		_, err = n.master.polls.Await(pidfd, func() { close(ended) })
	}
	if err != nil {
		_ = unix.Kill(-pid, unix.SIGKILL)
		return errors.Join(err, keeper.Reap(pid))
	}
	select {
	case <-ended:
		err = nil
	case <-ctx.Done():
		err = ctx.Err()
	}
	_ = unix.Kill(-pid, unix.SIGKILL) // as long as nobody has reaped it the number is its own
	<-ended
	status, peekErr := keeper.Peek(pid)
	err = errors.Join(err, peekErr, keeper.Reap(pid))
	if err == nil && status != 0 {
		err = errors.New(keeper.Describe(status))
	}
	return err
}

// endProbes kills what probes of an earlier master have left, before anybody could
// take it for a worker.
func endProbes(in *keeper.Inheritance) {
	for pid := range in.Children {
		if isProbe(environment(pid)) {
			endProbe(pid)
			delete(in.Children, pid) // the keeper reaps it
		}
	}
}

// endLostProbes does it where the keeper is gone, too.
func endLostProbes(h home.Dir) {
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	for _, dir := range dirs {
		pid, _ := strconv.Atoi(filepath.Base(dir))
		env, _ := os.ReadFile(dir + "/environ")
		if slices.Contains(strings.Split(string(env), "\x00"), probeVariable+"="+string(h)) {
			endProbe(pid)
		}
	}
}

// endProbe kills a process of a probe, and the group of one that leads it.
func endProbe(pid int) {
	_ = unix.Kill(-pid, unix.SIGKILL)
	_ = unix.Kill(pid, unix.SIGKILL)
}

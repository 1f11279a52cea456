package supervisor

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nekoctl/neko/supervisor/keeper"
	"github.com/nekoctl/neko/supervisor/socket"
	"github.com/nekoctl/neko/supervisor/spec"
)

// ask implements [system].
func (n native) ask(p *process, question *spec.Probe) error {
	ctx, cancel := context.WithTimeout(context.Background(), question.Timeout.D())
	defer cancel()
	var err error
	if len(question.Exec) > 0 {
		err = n.askCommand(ctx, p, question.Exec)
	} else {
		err = n.askConnection(ctx, p, question)
	}
	if err != nil && ctx.Err() != nil {
		err = fmt.Errorf("no answer within %v", question.Timeout.D())
	}
	return err
}

// askConnection asks by HTTP or TCP. By way of the socket of p's slot it may be
// another process of the slot that accepts, its predecessor say, which must not
// answer for p: then it is asked once more.
func (n native) askConnection(ctx context.Context, p *process, question *spec.Probe) error {
	way, path, err := n.way(p, question)
	if err != nil {
		return err
	}
	for {
		mistaken, err := n.askBy(ctx, p, question, way, path)
		if !mistaken || ctx.Err() != nil {
			return err
		}
		time.Sleep(time.Millisecond) // until that one is busy with something else, or gone
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
		}
		switch groups := p.slot.app.groups; {
		case index < 0 && strings.Contains(question.TCP, ":"):
			way, err = socket.To(question.TCP), nil
		case index < 0:
			way, err = socket.To("127.0.0.1:"+question.TCP), nil
		case index >= len(groups):
			err = errors.New("it has no socket by which it could be asked")
		default:
			if way, err = groups[index].Probe(p.slot.index); err != nil {
				err = fmt.Errorf("by way of its socket: %w", err)
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
	if deadline, ok := ctx.Deadline(); ok {
		if err := conn.SetDeadline(deadline); err != nil {
			return false, err
		}
	}
	if question.HTTP != "" {
		// The end of the request waits until it is known who will answer it.
		request := "GET " + path + " HTTP/1.1\r\nHost: localhost\r\nUser-Agent: neko-probe\r\nConnection: close\r\n"
		if _, err := io.WriteString(conn, request); err != nil {
			return false, err
		}
	}
	if way.OfSlot() && (question.HTTP == "" || n.hasCompany(p)) {
		switch accepted, err := socket.AcceptedBy(ctx, conn, p.PID); {
		case errors.Is(err, socket.ErrUnknown): // the kernel does not say
		case err != nil:
			return false, err
		case !accepted:
			return true, errors.New("another process of the slot has answered")
		}
	}
	if question.HTTP == "" {
		return false, nil
	}
	if _, err := io.WriteString(conn, "\r\n"); err != nil {
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

// hasCompany says whether there are others that may accept on the socket of p's
// slot.
func (n native) hasCompany(p *process) (company bool) {
	n.master.do(func() {
		s := p.slot
		others := len(s.leaving)
		for _, q := range []*process{s.serving, s.starting, s.standIn, s.spare} {
			if q != nil && q != p {
				others++
			}
		}
		company = others > 0 || s.app.spec.Balance == spec.BalanceShared || p.spec.Listen[0].Network == "unix"
	})
	return company
}

// probeVariable says of a process that it is a probe's, and no worker. It is told no
// NOTIFY_SOCKET either, by which workers are found again.
const probeVariable = "NEKO_PROBE"

func isProbe(env []string) bool { return slices.Contains(env, probeVariable+"=1") }

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
		argv = append([]string{"neko-exec", ExecMode, orders.String(), path}, argv...)
		path = "/proc/self/exe"
	}
	env = slices.DeleteFunc(env, func(entry string) bool {
		return strings.HasPrefix(entry, "NOTIFY_SOCKET=") || strings.HasPrefix(entry, "LISTEN_") || strings.HasPrefix(entry, "WATCHDOG_USEC=")
	})
	env = append(env, probeVariable+"=1", fmt.Sprintf("NEKO_PID=%d", p.PID))

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
	ended := make(chan struct{})
	if pidfd >= 0 {
		defer unix.Close(pidfd)
		if _, err := n.master.polls.Await(pidfd, func() { close(ended) }); err != nil {
			_ = unix.Kill(-pid, unix.SIGKILL)
			return errors.Join(err, keeper.Reap(pid))
		}
	}
	late := false
	select {
	case <-ended:
	case <-ctx.Done():
		late = true
	}
	_ = unix.Kill(-pid, unix.SIGKILL) // what is left of it; there may be nothing
	<-ended
	status, peekErr := keeper.Peek(pid)
	if err := errors.Join(peekErr, keeper.Reap(pid)); err != nil {
		return err
	}
	if late {
		return ctx.Err()
	}
	if status.Exited() && status.ExitStatus() == 0 {
		return nil
	}
	// What has left its group may hold the pipe.
	_ = read.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
	said, _ := io.ReadAll(io.LimitReader(read, 4<<10))
	return fmt.Errorf("%s: %s%s", command[0], keeper.Describe(status), lastLine(said))
}

// lastLine is the last line of what a command has said, after a colon.
func lastLine(text []byte) string {
	text = bytes.TrimSpace(text)
	text = text[bytes.LastIndexByte(text, '\n')+1:]
	if len(text) == 0 {
		return ""
	}
	return ": " + strings.ToValidUTF8(string(text[:min(len(text), 200)]), "\uFFFD")
}

// endProbes kills what probes of an earlier master have left.
func endProbes(in *keeper.Inheritance) {
	for pid := range in.Children {
		if isProbe(environment(pid)) {
			_ = unix.Kill(-pid, unix.SIGKILL) // the keeper reaps it
			delete(in.Children, pid)
		}
	}
}

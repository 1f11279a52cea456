package limits

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// starter is an OS thread that ends with this process and not before. What it starts is
// killed with it, also if nobody is left to clean up (PDEATHSIG looks at the thread), and it
// alone goes into other network namespaces.
var starter = sync.OnceValue(func() chan<- func() {
	work := make(chan func())
	go func() {
		runtime.LockOSThread()
		for f := range work {
			f()
		}
	}()
	return work
})

// inside calls f on that thread, in a network namespace; nil is the one that we are in.
func inside(ns *os.File, f func() error) error {
	done := make(chan error)
	starter() <- func() {
		done <- func() error {
			if ns == nil {
				return f()
			}
			home, err := os.Open("/proc/thread-self/ns/net")
			if err != nil {
				return err
			}
			defer home.Close()
			if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
				return fmt.Errorf("enter the network namespace: %w", err)
			}
			defer func() {
				if err := unix.Setns(int(home.Fd()), unix.CLONE_NEWNET); err != nil {
					panic("no way back into our network namespace: " + err.Error())
				}
			}()
			return f()
		}()
	}
	return <-done
}

// process is a program that the test has started. Only who has started it ends it.
type process struct {
	*exec.Cmd
	name    string
	word    string        // what it prints when it is ready
	ready   chan struct{} // it has printed that
	ended   chan struct{}
	err     error // how, once it has ended
	printed lockedBuffer
}

// start starts a program in a network namespace. It prints word when it is ready.
func start(ns *os.File, name, word string, env []string, args ...string) (*process, error) {
	return startReading(ns, nil, name, word, env, args...)
}

func startReading(ns, in *os.File, name, word string, env []string, args ...string) (*process, error) {
	p := &process{Cmd: exec.Command(args[0], args[1:]...), name: name, word: word, ready: make(chan struct{}), ended: make(chan struct{})}
	p.Env = append(os.Environ(), env...)
	if in != nil {
		p.Stdin = in
	}
	p.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	p.Stdout, p.Stderr = &watcher{p: p}, &p.printed
	if err := inside(ns, p.Start); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	go func() {
		p.err = p.Wait()
		close(p.ended)
	}()
	return p, nil
}

// await waits for a process to say that it is ready.
func (p *process) await(patience time.Duration) error {
	select {
	case <-p.ready:
		return nil
	case <-p.ended:
		return fmt.Errorf("%s has ended before it was ready: %v\n%s", p.name, p.err, p.printed.String())
	case <-time.After(patience):
		return fmt.Errorf("%s is not ready after %v\n%s", p.name, patience, p.printed.String())
	}
}

// end asks a process to end by itself, which it must do well.
func (p *process) end(patience time.Duration) error {
	if err := p.signal(syscall.SIGTERM); err != nil {
		return err
	}
	return p.awaitEnd(patience)
}

func (p *process) awaitEnd(patience time.Duration) error {
	select {
	case <-p.ended:
	case <-time.After(patience):
		return fmt.Errorf("%s has not ended %v after SIGTERM\n%s", p.name, patience, p.printed.String())
	}
	if p.err != nil {
		return fmt.Errorf("%s has ended badly: %w\n%s", p.name, p.err, p.printed.String())
	}
	return nil
}

// kill is kill -9; it returns when the process is gone.
func (p *process) kill() error {
	err := p.signal(syscall.SIGKILL)
	<-p.ended
	return err
}

func (p *process) signal(s syscall.Signal) error {
	select {
	case <-p.ended:
		return fmt.Errorf("%s has ended unasked: %v\n%s", p.name, p.err, p.printed.String())
	default:
		return p.Process.Signal(s)
	}
}

// close makes sure that it is gone, whatever it does.
func (p *process) close() {
	if err := p.Process.Signal(syscall.SIGKILL); err != nil && !errors.Is(err, os.ErrProcessDone) {
		panic(err)
	}
	<-p.ended
}

// watcher is standard output, in which a word is a message to us.
type watcher struct {
	p    *process
	once sync.Once
}

func (w *watcher) Write(text []byte) (int, error) {
	n, err := w.p.printed.Write(text)
	if strings.Contains(w.p.printed.String(), w.p.word) {
		w.once.Do(func() { close(w.p.ready) })
	}
	return n, err
}

// lockedBuffer keeps the end of what was printed.
type lockedBuffer struct {
	sync.Mutex
	text []byte
}

func (b *lockedBuffer) Write(text []byte) (int, error) {
	b.Lock()
	defer b.Unlock()
	const most = 64 << 10
	if b.text = append(b.text, text...); len(b.text) > most {
		b.text = append(b.text[:0], b.text[len(b.text)-most/2:]...)
	}
	return len(text), nil
}

func (b *lockedBuffer) String() string {
	b.Lock()
	defer b.Unlock()
	return string(b.text)
}

// run runs a program to its end, in a network namespace, and returns what it printed.
func run(ns *os.File, args ...string) (string, error) {
	var out bytes.Buffer
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Stdout, cmd.Stderr = &out, &out
	err := inside(ns, cmd.Start)
	if err == nil {
		err = cmd.Wait()
	}
	if err != nil {
		return "", fmt.Errorf("%s: %w: %s", strings.Join(args, " "), err, out.String())
	}
	return out.String(), nil
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func waitFor(t *testing.T, what string, patience time.Duration, reached func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !reached(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within %v: %s", patience, what)
		}
	}
}

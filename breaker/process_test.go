package breaker

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nekoctl/neko/hostmem"
)

// Real processes share a page. Each of them calls a dependency all the time, which is away while
// there is a file "away", and hangs while there is one "hangs"; and says in lines what its
// breaker has become, and when its trial hangs.

const childEnv = "BREAKER_TEST_DIR"

func TestMain(m *testing.M) {
	if dir := os.Getenv(childEnv); dir != "" {
		if err := runChild(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

var childOptions = Options{
	Name: "p", MinCalls: 3, Window: time.Minute, OpenFor: 100 * time.Millisecond, Timeout: time.Second, Retries: -1, Places: 2,
}

func runChild(dir string) error {
	m, err := hostmem.Open(dir, 8)
	if err != nil {
		return err
	}
	o := childOptions
	if o.Host, err = NewHost(m); err != nil {
		return err
	}
	p, err := New(o)
	if err != nil {
		return err
	}
	is := func(name string) bool {
		_, err := os.Stat(filepath.Join(dir, name))
		return err == nil
	}
	p.Watch(func(c Change) { fmt.Println(c.To) })
	fmt.Println("started", p.State())
	for parent := os.Getppid(); os.Getppid() == parent; time.Sleep(time.Millisecond) {
		_, _ = Do(context.Background(), p, Once, func(context.Context) (int, error) {
			if is("hangs") && word(p.record.word.Load()).kind() == trial {
				fmt.Println("hangs")
			}
			for is("hangs") {
				time.Sleep(time.Millisecond)
			}
			if is("away") {
				return 0, errAway
			}
			return 1, nil
		})
	}
	return nil
}

// processes are some of them, and what they say.
type processes struct {
	t     *testing.T
	dir   string
	says  chan line
	all   []*exec.Cmd // that are to live, by slot
	ever  []*exec.Cmd
	state map[*exec.Cmd]State // that each has said it is
}

type line struct {
	of   *exec.Cmd
	text string
}

func startProcesses(t *testing.T, n int) *processes {
	p := &processes{t: t, dir: t.TempDir(), says: make(chan line), state: map[*exec.Cmd]State{}}
	done := make(chan bool)
	t.Cleanup(func() {
		go func() {
			for range p.says {
			}
			close(done)
		}()
		for _, c := range p.ever {
			_ = c.Process.Kill()
			_ = c.Wait() // which returns when all that it has said was read
			_ = c.Stdout.(io.Closer).Close()
		}
		close(p.says)
		<-done
	})
	for slot := range n {
		p.all = append(p.all, nil)
		p.start(slot)
	}
	return p
}

func (p *processes) start(slot int) {
	p.t.Helper()
	self, err := os.Executable()
	if err != nil {
		p.t.Fatal(err)
	}
	c := exec.Command(self)
	c.Env = append(os.Environ(), childEnv+"="+p.dir, fmt.Sprintf("NEKO_SLOT=%d", slot))
	c.Stderr = os.Stderr
	out, in := io.Pipe()
	c.Stdout = in
	if err := c.Start(); err != nil {
		p.t.Fatal(err)
	}
	go func() {
		for r := bufio.NewScanner(out); r.Scan(); {
			p.says <- line{c, r.Text()}
		}
	}()
	p.all[slot], p.ever = c, append(p.ever, c)
	p.until("starts", func(l line) bool { return l.of == c && strings.HasPrefix(l.text, "started") })
}

// until reads what they say until it is that.
func (p *processes) until(what string, is func(line) bool) (l line) {
	p.t.Helper()
	timeout := time.After(30 * time.Second)
	for {
		select {
		case l = <-p.says:
		case <-timeout:
			p.t.Fatalf("none %s; they are %v", what, slices.Collect(maps.Values(p.state)))
		}
		for _, s := range []State{Closed, HalfOpen, Open} {
			if l.text == s.String() || l.text == "started "+s.String() {
				p.state[l.of] = s
			}
		}
		if is(l) {
			return l
		}
	}
}

// await waits until one has said that it is so, and not yet that it is something else.
func (p *processes) await(c *exec.Cmd, want State) {
	p.t.Helper()
	if p.state[c] != want {
		p.until("becomes "+want.String(), func(line) bool { return p.state[c] == want })
	}
}

func (p *processes) signal(c *exec.Cmd, s syscall.Signal) {
	p.t.Helper()
	if err := c.Process.Signal(s); err != nil {
		p.t.Fatal(err)
	}
}

// set makes or removes a file.
func (p *processes) set(name string, is bool) {
	p.t.Helper()
	path := filepath.Join(p.dir, name)
	var err error
	if is {
		err = os.WriteFile(path, nil, 0o600)
	} else {
		err = os.Remove(path)
	}
	if err != nil {
		p.t.Fatal(err)
	}
}

// Whoever makes the trial is killed, or stopped: another one makes it when its time is over.
func TestWhoMakesTheTrialIsKilledOrStopped(t *testing.T) {
	for _, s := range []syscall.Signal{syscall.SIGKILL, syscall.SIGSTOP} {
		t.Run(s.String(), func(t *testing.T) {
			t.Parallel()
			p := startProcesses(t, 3)
			p.set("away", true)
			for _, c := range p.all {
				p.await(c, Open)
			}
			p.set("hangs", true)
			gone := p.until("hangs", func(l line) bool { return l.text == "hangs" }).of
			p.signal(gone, s)
			p.set("away", false)
			p.set("hangs", false)
			for _, c := range p.all {
				if c != gone {
					p.await(c, Closed)
				}
			}
			if s == syscall.SIGSTOP {
				p.signal(gone, syscall.SIGCONT)
				p.await(gone, Closed)
				for _, c := range p.all { // it has not opened them again
					p.await(c, Closed)
				}
			}
		})
	}
}

// Workers are killed and stopped wherever they are, while the dependency comes and goes. When it
// is back all who live find that out.
func TestWorkersAreKilledAndStopped(t *testing.T) {
	t.Parallel()
	p := startProcesses(t, 3)
	for round := range 8 {
		p.set("away", true)
		for _, c := range p.all {
			p.await(c, Open)
		}
		slot := rand.IntN(len(p.all))
		victim := p.all[slot]
		time.Sleep(rand.N(200 * time.Millisecond)) // whatever it does then
		stopped := round%2 == 0
		if stopped {
			p.signal(victim, syscall.SIGSTOP)
		} else {
			p.signal(victim, syscall.SIGKILL)
		}
		p.set("away", false)
		for _, c := range p.all {
			if c != victim {
				p.await(c, Closed)
			}
		}
		if stopped {
			p.signal(victim, syscall.SIGCONT)
			p.await(victim, Closed)
		} else {
			p.start(slot)
			p.await(p.all[slot], Closed)
		}
	}
}

package nodeipc_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nekoctl/neko/scripts/npm"
	"github.com/nekoctl/neko/supervisor/nodeipc"
)

// patience is how long a test waits for what must happen.
const patience = 30 * time.Second

// node is the binary that tests run: NEKO_TEST_NODE, or what is on PATH.
func node(t *testing.T) string {
	t.Helper()
	name := os.Getenv("NEKO_TEST_NODE")
	if name == "" {
		name = "node"
	}
	return npm.Node(t, name)
}

// A program is a worker of Node's own cluster module, with the preload.
type program struct {
	t      *testing.T
	stdin  io.WriteCloser
	events chan event
	port   int
}

type event struct {
	Event   string
	Port    int
	Message any
	Code    *int
	Signal  string
}

// run starts a program of testdata, and waits until it listens.
func run(t *testing.T, env []string, script string, args ...string) *program {
	t.Helper()
	p := launch(t, env, script, args...)
	p.port = p.next("listening").Port
	return p
}

func launch(t *testing.T, env []string, script string, args ...string) *program {
	t.Helper()
	return launchWith(t, preload(t), env, script, args...)
}

// preload is the path of the script that is under test.
func preload(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "drain.cjs")
	if err := os.WriteFile(path, nodeipc.Drain, 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// launchWith starts a program with these preloads, separated by commas.
func launchWith(t *testing.T, preloads string, env []string, script string, args ...string) *program {
	t.Helper()
	cmd := exec.Command(node(t), append([]string{"testdata/primary.cjs", preloads, filepath.Join("testdata", script)}, args...)...)
	cmd.Env = append(os.Environ(), env...)
	cmd.Stderr = t.Output()
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p := &program{t: t, stdin: stdin, events: make(chan event, 64)}
	read := make(chan struct{})
	go func() {
		defer close(read)
		defer close(p.events)
		for lines := bufio.NewScanner(stdout); lines.Scan(); {
			var e event
			if json.Unmarshal(lines.Bytes(), &e) == nil {
				p.events <- e
			}
		}
	}()
	t.Cleanup(func() {
		stdin.Close() // which also ends the worker
		for range p.events {
		}
		<-read
		cmd.Wait()
	})
	return p
}

// next is the next event, which must be of this kind, or of any if that is "".
func (p *program) next(kind string) event {
	p.t.Helper()
	select {
	case e, ok := <-p.events:
		if !ok {
			p.t.Fatalf("no %s: the program has ended", kind)
		}
		if e.Event != kind && kind != "" {
			p.t.Fatalf("%+v, and not %s", e, kind)
		}
		return e
	case <-time.After(patience):
		p.t.Fatalf("no %s", kind)
		panic("unreachable")
	}
}

// says waits for a message of the program.
func (p *program) says(want string) {
	p.t.Helper()
	if got := p.next("message").Message; got != want {
		p.t.Fatalf("it says %v, and not %s", got, want)
	}
}

func (p *program) send(message any) {
	p.t.Helper()
	line, err := json.Marshal(message)
	if err != nil {
		p.t.Fatal(err)
	}
	p.order(string(line))
}

// order is a word for the parent, a message for the program if it is JSON.
func (p *program) order(word string) {
	p.t.Helper()
	if _, err := fmt.Fprintln(p.stdin, word); err != nil {
		p.t.Fatal(err)
	}
}

// drain sends the message of the supervisor, and waits until it has been heeded.
func (p *program) drain(soft, hard time.Duration) {
	p.t.Helper()
	p.tell(soft, hard, "signal")
	p.send("drains")
	p.says("drains")
}

func (p *program) tell(soft, hard time.Duration, end string) {
	p.t.Helper()
	p.order(drainMessage(soft, hard, end))
}

func drainMessage(soft, hard time.Duration, end string) string {
	return fmt.Sprintf(`{"cmd":"NODE_NEKO","act":"drain","soft":%d,"hard":%d,"end":%q}`, soft.Milliseconds(), hard.Milliseconds(), end)
}

// ends waits for the program's end, which must be an exit with this code.
func (p *program) ends(code int) {
	p.t.Helper()
	e := p.next("exit")
	if e.Code == nil || *e.Code != code {
		p.t.Fatalf("it ended with %s, and not with %d", strings.TrimSpace(fmt.Sprint(show(e.Code), " ", e.Signal)), code)
	}
}

func show(code *int) string {
	if code == nil {
		return ""
	}
	return fmt.Sprint(*code)
}

func (p *program) address() string { return fmt.Sprintf("127.0.0.1:%d", p.port) }

package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nekoctl/neko/scripts/load"
)

func TestEachRowHasANameOfItsOwn(t *testing.T) {
	seen := map[string]bool{}
	for _, m := range (&bench{}).measurements() {
		for _, f := range m.rows {
			if seen[f.Name] {
				t.Error("twice:", f.Name)
			}
			seen[f.Name] = true
		}
	}
}

func TestOnlyWhatIsWantedOfAnIncidentIsBroughtAbout(t *testing.T) {
	var begun []string
	broken := func(name string) situation {
		return situation{name: name, goals: []*float64{nil}, app: func(*side, string) (target, error) {
			begun = append(begun, name)
			return target{}, errors.New("not today")
		}}
	}
	i := incident{name: "flood", aspects: []aspect{errorCount}, rounds: 3, cases: []situation{broken("ground floor"), broken("attic")}}
	m := i.measurement()
	rows := m.want(func(name string) bool { return strings.HasSuffix(name, "attic") })
	m.run(&bench{ctx: t.Context(), tmp: t.TempDir(), bin: "/nonexistent", rounds: 9})
	if len(rows) != 1 || rows[0].Name != "flood, errors: attic" || rows[0].Neko.Error != "not today" {
		t.Errorf("%+v", rows)
	}
	if fmt.Sprint(begun) != "[attic]" {
		t.Errorf("begun, though it had failed or nobody asked: %v", begun)
	}
}

func TestTheFirstAnswerIsThatOfAnotherProcess(t *testing.T) {
	w := &watch{another: make(chan struct{})}
	from := func(pid int) *load.Response {
		return &load.Response{Body: fmt.Appendf(nil, `{"data":{"hello":"hello, world, from %d"}}`, pid)}
	}
	w.answer(from(2))
	w.begin(1)
	w.answer(from(1)) // was on its way
	if l := w.end(); l.back != 0 {
		t.Error("process 1 was killed, and did not answer:", l.back)
	}
	w.answer(from(3))
	<-w.another
	first := w.end().back
	w.answer(from(4))
	if l := w.end(); first <= 0 || l.back != first || l.gap <= 0 {
		t.Errorf("first %s, then %+v", first, l)
	}
	if w.answer(&load.Response{Body: []byte(`{"errors":[{"message":"no"}]}`)}) == nil {
		t.Error("an answer with errors was taken for a good one")
	}
}

// What the benchmark counts as the supervisor's losses must not be its program's.
func TestTheNodeServerLeavesAnIdleConnectionUntilItComesOnceMore(t *testing.T) {
	node, err := exec.LookPath("node")
	if err != nil && os.Getenv("CI") == "true" {
		t.Fatal(err)
	} else if err != nil {
		t.Skip("node is not there")
	}
	for range 5 {
		if leavesIdleConnections(t, node) {
			return
		}
	}
	t.Error("this machine has taken a second for an answer, five times")
}

// leavesIdleConnections is false if nothing can be said: the server waits for an idle connection for 1.2 s, and this machine
// was not so fast.
func leavesIdleConnections(t *testing.T, node string) bool {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	socket, err := l.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(node, "worker.js")
	cmd.Env = append(os.Environ(), "LISTEN_FDS=1")
	cmd.ExtraFiles = []*os.File{socket}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Process.Kill()
	socket.Close()

	connect := func() (ask func() (last bool, err error)) {
		conn, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		in := bufio.NewReader(conn)
		return func() (bool, error) {
			t.Helper()
			io.WriteString(conn, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
			r, err := http.ReadResponse(in, nil)
			if err != nil {
				return false, err
			}
			if body, err := io.ReadAll(r.Body); err != nil || whoAnswered(body) != cmd.Process.Pid {
				t.Errorf("process %d says %s (%v)", cmd.Process.Pid, body, err)
			}
			return r.Close, nil
		}
	}
	idle, busy := connect(), connect()
	for _, ask := range []func() (bool, error){idle, busy} {
		if last, err := ask(); last || err != nil {
			t.Fatal("closed though nobody asked it to stop: ", err)
		}
	}
	told := time.Now()
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	for last := false; !last; { // the signal is on its way
		if last, err = busy(); err != nil {
			t.Fatal(err)
		}
	}
	last, err := idle()
	if err != nil && time.Since(told) > time.Second {
		_ = cmd.Wait()
		return false
	}
	if !last || err != nil {
		t.Errorf("not closed though it is to stop, or closed before it came: %v", err)
	}
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
	return true
}

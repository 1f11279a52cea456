package nodeipc_test

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/nekoctl/neko/supervisor/nodeipc"
)

func TestAProgramPrintsOnWhenItsOutputHadNoReaderForAWhile(t *testing.T) {
	preload := filepath.Join(t.TempDir(), "drain.cjs")
	if err := os.WriteFile(preload, nodeipc.Drain, 0o644); err != nil {
		t.Fatal(err)
	}
	ours, theirs, err := nodeipc.Pair()
	if err != nil {
		t.Fatal(err)
	}
	channel, err := nodeipc.Open(ours, false)
	if err != nil {
		t.Fatal(err)
	}
	end := os.NewFile(uintptr(theirs), "channel")
	reader, output, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer output.Close()
	program := exec.Command(node(t), "--require", preload, "testdata/output.cjs")
	program.Env = append(os.Environ(), "NODE_CHANNEL_FD=3", "NODE_CHANNEL_SERIALIZATION_MODE=json")
	program.Stdout, program.Stderr, program.ExtraFiles = output, output, []*os.File{end}
	err = program.Start()
	end.Close()
	if err != nil {
		t.Fatal(err)
	}
	defer program.Wait()
	defer channel.Close() // which ends it
	says := func(want string) {
		t.Helper()
		m, err := channel.Read()
		if err != nil || string(m.Text) != fmt.Sprintf("%q", want) {
			t.Fatalf("it says %s, and not %q (%v)", m.Text, want, err)
		}
	}
	print := func(text string) {
		t.Helper()
		if err := channel.Send(text); err != nil {
			t.Fatal(err)
		}
		says("printed")
	}
	says("listens")
	reader.Close()
	for range 3 {
		print("nobody reads this")
	}

	again, err := os.Open(fmt.Sprintf("/proc/%d/fd/1", program.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	print("this somebody does")
	again.SetReadDeadline(time.Now().Add(patience))
	lines := bufio.NewScanner(again)
	for _, want := range []string{"this somebody does", "this somebody does", "this somebody does, written"} {
		if !lines.Scan() || lines.Text() != want {
			t.Fatalf("it printed %q, and not %q (%v)", lines.Text(), want, lines.Err())
		}
	}
}

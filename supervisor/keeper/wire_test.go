package keeper

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func newPair(t *testing.T) (*link, *link) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	var ends [2]*link
	for i, fd := range fds {
		if ends[i], err = newLink(fd); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(ends[i].close)
	}
	return ends[0], ends[1]
}

func TestPacketsCarryWordsBodyAndDescriptors(t *testing.T) {
	master, keeper := newPair(t)
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer read.Close()
	sent := packet{verb: "PUT", args: []string{"pipes/api/0/7"}, body: "line\nline", files: []int{int(write.Fd()), int(write.Fd())}}
	if err := master.send(sent); err != nil {
		t.Fatal(err)
	}
	write.Close() // what was sent is the receiver's own
	got, err := keeper.receive()
	if err != nil {
		t.Fatal(err)
	}
	if got.String() != sent.String() || got.body != sent.body || len(got.files) != 2 {
		t.Fatalf("got %+v", got)
	}
	for _, fd := range got.files {
		flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0)
		if err != nil || flags&unix.FD_CLOEXEC == 0 {
			t.Errorf("descriptor %d would leak into workers (%v)", fd, err)
		}
		fmt.Fprint(os.NewFile(uintptr(fd), "pipe"), "x")
		unix.Close(fd)
	}
	if text, err := io.ReadAll(read); err != nil || string(text) != "xx" {
		t.Errorf("got %q, %v", text, err)
	}
}

func TestWhatAKilledMasterHadSentStillArrives(t *testing.T) {
	master, keeper := newPair(t)
	for i := range 50 {
		if err := keeper.send(packet{verb: "EXIT", args: []string{fmt.Sprint(i)}}); err != nil { // never read
			t.Fatal(err)
		}
		if err := master.send(packet{verb: "SET", args: []string{fmt.Sprint("slot/api/", i)}, body: strings.Repeat("x", i)}); err != nil {
			t.Fatal(err)
		}
	}
	master.close()
	for i := range 50 {
		p, err := keeper.receive()
		if err != nil || p.arg(0) != fmt.Sprint("slot/api/", i) || len(p.body) != i {
			t.Fatalf("packet %d: %v, %v", i, p, err)
		}
	}
	if _, err := keeper.receive(); err != io.EOF {
		t.Errorf("at the end: %v", err)
	}
}

func TestWhatDoesNotFitIsRefusedAndNotCut(t *testing.T) {
	master, _ := newPair(t)
	if err := master.send(packet{verb: "SET", args: []string{"app/x"}, body: strings.Repeat("x", maxPacket)}); err == nil {
		t.Error("a packet that is too long was sent")
	}
	if err := master.send(packet{verb: "PUT", args: []string{"x"}, files: make([]int, maxFiles+1)}); err == nil {
		t.Error("too many descriptors were sent")
	}
}

func TestALongRecordTravelsAsAMemfd(t *testing.T) {
	master, keeper := newPair(t)
	record := strings.Repeat("an environment may be long ", 20000)
	if err := (&Conn{link: master}).Set("app/api", record); err != nil {
		t.Fatal(err)
	}
	p, err := keeper.receive()
	if err != nil {
		t.Fatal(err)
	}
	in := &Inheritance{Files: map[string][]int{p.arg(0): p.files}, Records: map[string]string{}}
	if text, ok, err := in.Record("app/api"); err != nil || !ok || text != record {
		t.Errorf("got %d bytes, %v, %v", len(text), ok, err)
	}
}

func TestPeekSeesWhatReapTakes(t *testing.T) {
	for script, want := range map[string]string{"exit 0": "exit code 0", "exit 7": "exit code 7", "kill -9 $$": "signal: killed"} {
		process, err := os.StartProcess("/bin/sh", []string{"sh", "-c", script}, &os.ProcAttr{})
		if err != nil {
			t.Fatal(err)
		}
		var info unix.Siginfo
		for { // until it has ended
			err := unix.Waitid(unix.P_PID, process.Pid, &info, unix.WEXITED|unix.WNOWAIT, nil)
			if !errors.Is(err, unix.EINTR) {
				break
			}
		}
		status, err := Peek(process.Pid)
		if err != nil || Describe(status) != want {
			t.Errorf("%s: %s, %v; want %s", script, Describe(status), err, want)
		}
		if start, err := StartTime(process.Pid); err != nil || start == 0 {
			t.Errorf("a zombie has no start time: %d, %v", start, err)
		}
		if err := Reap(process.Pid); err != nil {
			t.Error(err)
		}
	}
}

package nodeipc_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/nekoctl/neko/supervisor/nodeipc"
)

// pair is a channel, and the end that a process would have.
func pair(t *testing.T, resume bool) (*nodeipc.Channel, *net.UnixConn) {
	t.Helper()
	ours, theirs, err := nodeipc.Pair()
	if err != nil {
		t.Fatal(err)
	}
	channel, err := nodeipc.Open(ours, resume)
	if err != nil {
		t.Fatal(err)
	}
	file := os.NewFile(uintptr(theirs), "theirs")
	defer file.Close()
	conn, err := net.FileConn(file)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { channel.Close(); conn.Close() })
	return channel, conn.(*net.UnixConn)
}

func write(t *testing.T, conn io.Writer, text string) {
	t.Helper()
	if _, err := io.WriteString(conn, text); err != nil {
		t.Error(err)
	}
}

// read is the next message, in short.
func read(t *testing.T, c *nodeipc.Channel) string {
	t.Helper()
	m, err := c.Read()
	if err != nil {
		return err.Error()
	}
	if m.Command != "" {
		return fmt.Sprintf("%s %s %d %s", m.Command, m.Act, m.Seq, m.Key)
	}
	return string(m.Text)
}

func TestMessagesComeAsTheyWereSent(t *testing.T) {
	channel, conn := pair(t, false)
	long := `"` + strings.Repeat("x", 1<<20) + `"`
	go write(t, conn, `"ready"`+"\n"+`{"cmd":"NODE_CLUSTER","act":"queryServer","seq":1}{"a":1}`[:50]+"\n"+
		"  {\"cmd\":\"mine\"}\n"+long+"\n"+`{"cmd":"NODE_CLUSTER","act":"close","key":"tcp:a:1 0","seq":3}`+"\n[1,\n")
	for _, want := range []string{`"ready"`, "NODE_CLUSTER queryServer 1 ", `{"cmd":"mine"}`, long, "NODE_CLUSTER close 3 tcp:a:1 0"} {
		if got := read(t, channel); got != want {
			t.Fatalf("got %.80q, want %.80q", got, want)
		}
	}
	if got := read(t, channel); !strings.Contains(got, "no JSON") {
		t.Errorf("got %q", got)
	}
}

// What a killed master had heard and not seen to, and the half of a long message that
// it had taken: the next one hears the first, and skips the second.
func TestTheNextMasterHearsWhatWasNotSeenTo(t *testing.T) {
	ours, theirs, err := nodeipc.Pair()
	if err != nil {
		t.Fatal(err)
	}
	conn := os.NewFile(uintptr(theirs), "theirs")
	defer conn.Close()
	open := func(resume bool) *nodeipc.Channel {
		dup, err := unix.Dup(ours)
		if err != nil {
			t.Fatal(err)
		}
		channel, err := nodeipc.Open(dup, resume)
		if err != nil {
			t.Fatal(err)
		}
		return channel
	}
	write(t, conn, "1\n2\n3\n")
	first := open(false)
	if got := read(t, first) + read(t, first); got != "12" {
		t.Errorf("got %s", got)
	}
	first.Close()
	second := open(true)
	if got := read(t, second) + read(t, second); got != "23" {
		t.Errorf("then got %s", got)
	}
	write(t, conn, `{"text":"`+strings.Repeat("x", 100<<10))
	taken := make(chan struct{})
	go func() {
		_, _ = second.Read() // until it is closed, with a half of that in hand
		close(taken)
	}()
	for n := 100 << 10; n >= 100<<10; {
		if n, err = unix.IoctlGetInt(ours, unix.TIOCINQ); err != nil {
			t.Fatal(err)
		}
	}
	second.Close()
	<-taken
	third := open(true)
	defer third.Close()
	write(t, conn, "\"}\n4\n")
	if got := read(t, third); got != "4" {
		t.Errorf("and then got %s", got)
	}
}

// Node has room for one handle at a time.
func TestHandlesGoOneByOne(t *testing.T) {
	channel, conn := pair(t, false)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	file, err := listener.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	for i := range 3 {
		if err := channel.Grant(i, fmt.Sprint("key ", i), nil, int(file.Fd())); err != nil {
			t.Fatal(err)
		}
	}
	if err := channel.Acknowledge(9); err != nil {
		t.Fatal(err)
	}
	receive := func() (text string, handles int) {
		buf, oob := make([]byte, 4096), make([]byte, unix.CmsgSpace(4*8))
		n, oobn, _, _, err := conn.ReadMsgUnix(buf, oob)
		if err != nil {
			t.Fatal(err)
		}
		messages, _ := unix.ParseSocketControlMessage(oob[:oobn])
		for i := range messages {
			fds, _ := unix.ParseUnixRights(&messages[i])
			for _, fd := range fds {
				if flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0); err != nil || flags&unix.O_NONBLOCK == 0 {
					t.Errorf("accept would wait on it, as Node does not expect: flags %o, %v", flags, err)
				}
				unix.Close(fd)
			}
			handles += len(fds)
		}
		return string(buf[:n]), handles
	}
	go channel.Read() // sees to the receipts
	for i := range 3 {
		text, handles := receive()
		if i == 0 && !strings.Contains(text, `"ack":9`) {
			more, _ := receive() // what is no handle does not wait
			text += more
		}
		if handles != 1 || !strings.Contains(text, fmt.Sprintf(`"key":"key %d"`, i)) || strings.Count(text, "NODE_HANDLE") != 1 {
			t.Errorf("the %d. is %q with %d handles", i, text, handles)
		}
		write(t, conn, `{"cmd":"NODE_HANDLE_ACK"}`+"\n")
	}
}

// A program that does not read costs no more than so much memory.
func TestAProgramThatDoesNotReadIsStuck(t *testing.T) {
	channel, conn := pair(t, false)
	text := strings.Repeat("x", 100<<10)
	sent := 0
	for {
		err := channel.Send(text)
		if errors.Is(err, nodeipc.ErrStuck) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if sent++; sent > 1000 {
			t.Fatal("there is no limit")
		}
	}
	lines := json.NewDecoder(conn) // and all that was taken comes
	for range sent {
		var got string
		if err := lines.Decode(&got); err != nil || got != text {
			t.Fatalf("%d bytes, %v", len(got), err)
		}
	}
}

func TestAMessageThatIsTooLongIsNotKept(t *testing.T) {
	channel, conn := pair(t, false)
	go func() {
		_, _ = io.Copy(conn, io.LimitReader(endless{}, 64<<20)) // until the channel is closed
	}()
	if _, err := channel.Read(); !errors.Is(err, nodeipc.ErrTooLong) {
		t.Errorf("got %v", err)
	}
}

type endless struct{}

func (endless) Read(p []byte) (int, error) { return copy(p, bytes.Repeat([]byte("x"), len(p))), nil }

func TestWhatAQueryMeans(t *testing.T) {
	for query, want := range map[string]string{
		`{"address":null,"port":3000,"addressType":4}`:                 "tcp :3000",
		`{"address":"0.0.0.0","port":3000,"addressType":4}`:            "tcp 0.0.0.0:3000",
		`{"address":"::","port":80,"addressType":6}`:                   "tcp [::]:80",
		`{"address":"::","port":80,"addressType":6,"flags":1}`:         "tcp6 [::]:80",
		`{"address":"::1","port":0,"addressType":6}`:                   "tcp [::1]:0",
		`{"address":"/run/a.sock","port":-1,"addressType":-1}`:         "unix /run/a.sock",
		`{"address":null,"port":53,"addressType":"udp4"}`:              "udp 0.0.0.0:53",
		`{"address":null,"port":53,"addressType":"udp6"}`:              "udp [::]:53",
		`{"address":null,"port":70000,"addressType":4}`:                "",
		`{"address":"","port":-1,"addressType":-1}`:                    "",
		`{"address":null,"port":null,"addressType":null,"fd":3}`:       "",
		`{"address":"a\u0000b","port":-1,"addressType":-1}`:            "",
		`{"address":"/run/a.sock","port":-1,"addressType":-1,"fd":-1}`: "unix /run/a.sock",
	} {
		var q nodeipc.Query
		if err := json.Unmarshal([]byte(query), &q); err != nil {
			t.Fatal(err)
		}
		got := ""
		if network, address, ok := q.Listener(); ok {
			got = network + " " + address
		}
		if got != want {
			t.Errorf("%s is %q, want %q", query, got, want)
		}
	}
}

// Whatever a program says, it is heard as JSON or not at all, and what comes after it
// is not mistaken.
func FuzzChannel(f *testing.F) {
	f.Add(`{"cmd":"NODE_CLUSTER","act":"queryServer","address":null,"port":1,"addressType":4,"seq":1}`)
	f.Add(`{"type":"axm:monitor","data":{"a":{"value":1}}}`)
	f.Add(`{"cmd":"NODE_HANDLE","type":"net.Socket"}`)
	f.Add(`{"cmd":{"NODE_":1}}`)
	f.Fuzz(func(t *testing.T, line string) {
		if strings.Contains(line, "\n") || len(line) > 32<<10 {
			t.Skip()
		}
		channel, conn := pair(t, false)
		write(t, conn, line+"\n\"after\"\n")
		m, err := channel.Read()
		switch {
		case err != nil:
			if json.Valid([]byte(line)) {
				t.Errorf("%q is %v", line, err)
			}
			return
		case m.Command == "":
			if !json.Valid(m.Text) {
				t.Errorf("%q became %q", line, m.Text)
			}
			said := nodeipc.Said(m.Text)
			said.Metrics()
			said.Action()
			said.Reply()
			if string(m.Text) == `"after"` {
				return // the line was a receipt
			}
		}
		m.Query.Listener()
		if after, err := channel.Read(); err != nil || string(after.Text) != `"after"` {
			t.Errorf("after %q comes %q, %v", line, after.Text, err)
		}
	})
}

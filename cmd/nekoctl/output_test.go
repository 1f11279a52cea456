package main

import (
	"bytes"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/nekoctl/neko/supervisor/control"
)

// Every flag and every alias is in the help, and every help has an example.
func TestHelpIsComplete(t *testing.T) {
	c := &cli{}
	root := c.command()
	var walk func(cmd *cobra.Command)
	walk = func(cmd *cobra.Command) {
		for _, sub := range cmd.Commands() {
			if sub.Hidden || sub.Name() == "help" {
				continue
			}
			if !strings.Contains(rootHelp, "\n    "+sub.Name()+" ") {
				t.Errorf("nekoctl --help does not mention %s", sub.Name())
			}
			if !strings.Contains(sub.Long, "Usage:\n    nekoctl "+sub.Name()) || !strings.Contains(sub.Long, "\nExample") {
				t.Errorf("%s: no usage or no example", sub.Name())
			}
			sub.LocalNonPersistentFlags().VisitAll(func(f *pflag.Flag) {
				if f.Name != "help" && !strings.Contains(sub.Long, "--"+f.Name) {
					t.Errorf("%s --help does not mention --%s", sub.Name(), f.Name)
				}
			})
			for _, line := range strings.Split(sub.Long, "\n") {
				if utf8.RuneCountInString(line) > 80 {
					t.Errorf("%s --help is wider than 80 columns: %s", sub.Name(), line)
				}
			}
			walk(sub)
		}
	}
	walk(root)
}

func processes(n int) []control.Process {
	list := []control.Process{}
	for i := range n {
		p := control.Process{ID: i, Name: "web", Slot: i, PID: 1_234_567, State: control.Online, Restarts: i, UptimeMS: 90_000,
			MemoryBytes: 53_000_000, CPUPercent: 12.34, Listeners: []string{"127.0.0.1:4000", ":4001"}}
		if i == 1 {
			p.State, p.PID, p.UptimeMS, p.MemoryBytes, p.Reason = control.Errored, 0, 0, 0, "exit code 1, 10 times in 1m0s"
		}
		list = append(list, p)
	}
	return list
}

func TestList(t *testing.T) {
	var out bytes.Buffer
	c := &cli{out: terminal{Writer: &out}}
	c.list(processes(2))
	want := `id  name  slot      pid  state    ↺  uptime    cpu  memory  listening
 0  web      0  1234567  online   0      1m  12.3%  50.5mb  127.0.0.1:4000 +1
 1  web      1        -  errored  1       -      -       -  127.0.0.1:4000 +1
web:1 errored: exit code 1, 10 times in 1m0s
`
	if out.String() != want {
		t.Errorf("got:\n%swant:\n%s", out.String(), want)
	}
}

// On a terminal no line is longer than it is wide; elsewhere no name is cut.
func TestListFits(t *testing.T) {
	list := processes(3)
	list[0].Name = strings.Repeat("long", 16)
	list[2].State = control.WaitingRestart
	for _, width := range []int{0, 50, 60, 80, 120} {
		var out bytes.Buffer
		c := &cli{out: terminal{Writer: &out, width: width}}
		c.list(list)
		for _, line := range strings.Split(out.String(), "\n") {
			if width > 0 && utf8.RuneCountInString(line) > width && !strings.HasPrefix(line, "web:1") {
				t.Errorf("width %d: %s", width, line)
			}
		}
		if strings.Contains(out.String(), list[0].Name) != (width == 0) {
			t.Errorf("width %d:\n%s", width, out.String())
		}
	}
}

func TestFit(t *testing.T) {
	for _, test := range []struct {
		in    string
		width int
		want  string
	}{{"abc", 3, "abc"}, {"abcd", 3, "ab…"}, {"äöüß", 3, "äö…"}, {"", 3, ""}, {"猫猫猫", 5, "猫猫…"}, {"猫猫", 4, "猫猫"}, {"e\u0301e\u0301e\u0301", 2, "e\u0301…"}} {
		if got := fit(test.in, test.width); got != test.want {
			t.Errorf("%q to %d: %q", test.in, test.width, got)
		}
	}
	painted := fit("ab \x1b[32monline\x1b[0m and more", 6)
	if painted != "ab \x1b[32mon…\x1b[0m" {
		t.Errorf("%q", painted)
	}
}

// lockedBuffer can be read while others write.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// fakeMaster answers a POST slowly, in a home of its own.
func fakeMaster(t *testing.T, pause time.Duration, outcome string) {
	home := t.TempDir()
	t.Setenv("NEKO_HOME", home)
	l, err := net.Listen("unix", filepath.Join(home, "neko.sock"))
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintln(w, `{"progress":{"name":"web","slot":0,"state":"launching","message":"waits for \u001b[2J READY=1"}}`)
		w.(http.Flusher).Flush()
		time.Sleep(pause)
		fmt.Fprintln(w, `{"progress":{"name":"web","slot":0,"state":"online"}}`)
		fmt.Fprintln(w, outcome)
	})}
	go server.Serve(l)
	t.Cleanup(func() { server.Close() })
}

func TestProgress(t *testing.T) {
	const done = `{"done":{"processes":[{"name":"web","state":"online","listeners":["127.0.0.1:80"]}],"notes":["a note"]}}`
	for _, test := range []struct {
		name        string
		pause       time.Duration
		args        []string
		out, stderr string
	}{
		{"quick", 0, []string{"reload", "web"}, "reloaded web: 1 online on 127.0.0.1:80\n", "a note\n"},
		{"slow", patience + 200*time.Millisecond, []string{"reload", "web"}, "reloaded web: 1 online on 127.0.0.1:80\n",
			"web:0 launching: waits for \ufffd[2J READY=1\nweb:0 online\na note\n"},
		{"quiet", patience + 200*time.Millisecond, []string{"reload", "web", "--quiet"}, "", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			fakeMaster(t, test.pause, done)
			var out, stderr lockedBuffer
			if code := run(test.args, &out, &stderr); code != exitOK {
				t.Errorf("exit code %d", code)
			}
			if out.String() != test.out || stderr.String() != test.stderr {
				t.Errorf("out %q\nerr %q", out.String(), stderr.String())
			}
		})
	}
}

func TestFailureOutput(t *testing.T) {
	fakeMaster(t, 0, `{"error":{"message":"web:0 was not ready in 10s","hint":"see its log","output":["boom","\u001b[31mred"]}}`)
	var out, stderr lockedBuffer
	if code := run([]string{"restart", "web"}, &out, &stderr); code != exitFailed {
		t.Errorf("exit code %d", code)
	}
	if want := "error: web:0 was not ready in 10s\n  | boom\n  | \ufffd[31mred\nhint: see its log\n"; stderr.String() != want || out.String() != "" {
		t.Errorf("out %q\nerr %q", out.String(), stderr.String())
	}
}

func TestSizes(t *testing.T) {
	for in, want := range map[int64]string{0: "-", 1: "1.0b", 1536: "1.5kb", 53_000_000: "50.5mb", 1 << 40: "1.0tb", 1 << 60: "1048576.0tb"} {
		if got := size(in); got != want {
			t.Errorf("%d: %s", in, got)
		}
	}
	for in, want := range map[time.Duration]string{0: "-", time.Millisecond: "0s", 59 * time.Second: "59s", time.Hour: "1h", 47 * time.Hour: "47h", 72 * time.Hour: "3d"} {
		if got := uptime(in); got != want {
			t.Errorf("%v: %s", in, got)
		}
	}
}

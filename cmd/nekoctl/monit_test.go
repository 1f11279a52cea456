package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nekoctl/neko/scripts/debian"
	"github.com/nekoctl/neko/scripts/freeport"
	"github.com/nekoctl/neko/supervisor/control"
	"github.com/nekoctl/neko/supervisor/home"
	"github.com/nekoctl/neko/supervisor/monit"
)

// tty is a terminal with a shell, in tmux.
type tty struct {
	t      *testing.T
	tmux   string
	socket string
	home   home.Dir
	dir    string
}

// newTTY begins a shell on a terminal of 80×24, with a home of its own for a daemon.
func newTTY(t *testing.T) *tty {
	t.Helper()
	x := &tty{t: t, tmux: debian.Need(t, "tmux", "tmux"), dir: t.TempDir()}
	x.socket = filepath.Join(x.dir, "tmux.sock")
	x.home = home.Dir(filepath.Join(x.dir, "home"))
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"nekoctl", "server", "pm2", "broken-monit"} {
		if err := os.Symlink(self, filepath.Join(x.dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command(x.tmux, "-S", x.socket, "-f", "/dev/null", "new-session", "-d", "-x", "80", "-y", "24", "sh -i")
	cmd.Env = append(x.env(), "ENV=", "LC_ALL=C.UTF-8")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("tmux: %v: %s", err, out)
	}
	t.Cleanup(func() {
		_ = exec.Command(x.tmux, "-S", x.socket, "kill-server").Run() // its own, by its socket
		endDaemon(t, x.home)
	})
	x.do("set-option", "-g", "status", "off")
	x.do("resize-window", "-x", "80", "-y", "24")
	x.keys("PS1='ready> '; clear", "Enter")
	x.until("a prompt", func(screen string) bool { return strings.HasPrefix(screen, "ready>") })
	return x
}

func (x *tty) env() []string {
	return append(os.Environ(), "NEKO_HOME="+string(x.home), "PM2_HOME="+string(x.home), "HOME="+x.dir, "PATH="+x.dir+":"+os.Getenv("PATH"), "GORACE=atexit_sleep_ms=0 log_path="+filepath.Join(x.dir, "race"), "NO_COLOR=")
}

// races are the files with data races of what runs in the terminal.
func (x *tty) races() []string {
	files, _ := filepath.Glob(filepath.Join(x.dir, "race.*"))
	return files
}

func (x *tty) do(args ...string) string {
	x.t.Helper()
	out, err := exec.Command(x.tmux, append([]string{"-S", x.socket}, args...)...).CombinedOutput()
	if err != nil {
		x.t.Fatalf("tmux %q: %v: %s", args, err, out)
	}
	return string(out)
}

// keys presses keys, by tmux's names, or types a text.
func (x *tty) keys(keys ...string) {
	x.t.Helper()
	x.do(append([]string{"send-keys", "--"}, keys...)...)
}

func (x *tty) screen() string { return x.do("capture-pane", "-p") }

// until waits until what is on the screen is as it should be.
func (x *tty) until(what string, is func(screen string) bool) {
	x.t.Helper()
	for end := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		screen := x.screen()
		if is(screen) {
			return
		}
		if time.Now().After(end) {
			log, _ := os.ReadFile(x.home.Log())
			for _, file := range x.races() {
				text, _ := os.ReadFile(file)
				x.t.Logf("%s", text)
			}
			x.t.Fatalf("%s: not in\n%s\nthe daemon says:\n%s", what, screen, log)
		}
	}
}

func (x *tty) see(text string) {
	x.t.Helper()
	x.until(text, func(screen string) bool { return strings.Contains(screen, text) })
}

func (x *tty) seeNo(text string) {
	x.t.Helper()
	x.until("no "+text, func(screen string) bool { return !strings.Contains(screen, text) })
}

// nekoctl runs a command beside the terminal.
func (x *tty) nekoctl(args ...string) {
	x.t.Helper()
	cmd := exec.Command(filepath.Join(x.dir, "nekoctl"), args...)
	cmd.Env = x.env()
	if out, err := cmd.CombinedOutput(); err != nil {
		x.t.Fatalf("nekoctl %q: %v: %s", args, err, out)
	}
}

func (x *tty) ping() control.Ping {
	x.t.Helper()
	ping, err := control.NewClient(x.home.Control()).Ping(context.Background())
	if err != nil {
		x.t.Fatal(err)
	}
	return ping
}

// start has two apps running, web with two processes.
func (x *tty) start() {
	x.t.Helper()
	x.nekoctl("start", "server", "--name", "web", "--listen", freeport.Address(x.t), "-i", "2")
	x.nekoctl("start", "server", "--name", "mail")
}

func TestMonitOnATerminal(t *testing.T) {
	t.Parallel()
	x := newTTY(t)
	x.keys("nekoctl monit", "Enter")
	x.see("no daemon runs")
	x.start()
	x.keys("clear; nekoctl monit --interval 200ms; echo it ended with $?", "Enter")
	x.see("2 apps · 3 online")
	x.see("web ×2")
	x.see("up web 0") // its log

	x.keys("Down")
	x.see("›   :0")
	x.keys("r")
	x.see("reload web:0 (1 of 2 workers)?")
	x.keys("n")
	x.seeNo("(1 of 2 workers)?")
	x.keys("Up", "r")
	x.see("reload web (2 workers)?")
	x.keys("y")
	x.see("reload web: done in")
	x.see("down") // what the predecessors printed

	x.keys("+")
	x.see("scale web from 2 to 3?")
	x.keys("y")
	x.see("web ×3")
	x.see("scale web to 3: done in")

	x.keys("f", "m", "a")
	x.seeNo("web ×3")
	x.see("filter: ma")
	x.keys("Enter")
	x.keys("Escape")
	x.see("web ×3")

	x.keys("Home", "Tab", "/")
	x.see("search:")
	x.keys("UP WEB 2", "Enter")
	x.see("/UP WEB 2")
	x.see("›│ up web 2")

	x.keys("Escape") // and a key at once would be alt
	x.seeNo("/UP WEB 2")
	x.keys("e")
	x.see("─ events ")
	x.see("reload web")
	x.see("scale web")
	x.keys("e")
	x.do("resize-window", "-x", "60", "-y", "14")
	x.until("the apps alone", func(s string) bool { return !strings.Contains(s, "log of") && strings.Contains(s, "web ×3") })
	x.do("resize-window", "-x", "30", "-y", "5")
	x.see("30×5 is too small: 40×6")
	x.do("resize-window", "-x", "80", "-y", "24")
	x.see("log of web")

	// Another master, and then one that was killed: the screen goes on.
	before := x.ping()
	x.nekoctl("upgrade")
	if after := x.ping(); after.Master == before.Master {
		t.Fatal("the master is the same")
	}
	x.keys("Tab", "Tab", "-")
	x.see("scale web from 3 to 2?")
	x.keys("y")
	x.see("web ×2")
	before = x.ping()
	if err := syscall.Kill(before.Master, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	x.until("another master", func(string) bool {
		now, err := control.NewClient(x.home.Control()).Ping(t.Context())
		return err == nil && now.Master != before.Master
	})
	x.keys("+", "y")
	x.see("web ×3")
	x.seeNo("reconnecting")

	x.nekoctl("kill")
	x.see("no daemon runs")
	x.keys("q")
	x.see("it ended with 0")
	x.sane()
}

// last is the last line that is not empty.
func last(screen string) string {
	lines := strings.Split(strings.TrimSpace(screen), "\n")
	return lines[len(lines)-1]
}

// sane says that the terminal is as a shell wants it.
func (x *tty) sane() {
	x.t.Helper()
	x.keys("clear; stty -a", "Enter")
	x.see(" icanon")
	x.until("echo and signals", func(s string) bool { return strings.Contains(s, " echo ") && strings.Contains(s, "isig") })
	if x.do("display-message", "-p", "#{alternate_on} #{mouse_any_flag} #{cursor_flag}") != "0 0 1\n" {
		x.t.Errorf("alternate screen, mouse, cursor: %s", x.do("display-message", "-p", "#{alternate_on} #{mouse_any_flag} #{cursor_flag}"))
	}
}

// broken is a daemon whose answer brings down whoever asks.
type broken struct{ *control.Client }

func (broken) Ping(context.Context) (control.Ping, error) { return control.Ping{}, nil }

func (broken) Processes(context.Context) ([]control.Process, error) { panic("a fault of ours") }

func brokenMonit() {
	err := monit.Run(context.Background(), broken{control.NewClient("/nonexistent")}, monit.Options{Interval: time.Second}, os.Stdin, os.Stdout)
	fmt.Println("it says:", err)
	os.Exit(1)
}

// However it ends, the terminal is as it was.
func TestMonitLeavesTheTerminalAsItWas(t *testing.T) {
	t.Parallel()
	x := newTTY(t)
	x.start()
	pid := func() int {
		out := strings.Fields(x.do("list-panes", "-F", "#{pane_pid}"))
		children, err := os.ReadFile(fmt.Sprintf("/proc/%s/task/%s/children", out[0], out[0]))
		if err != nil {
			t.Fatal(err)
		}
		var n int
		if _, err := fmt.Sscan(string(children), &n); err != nil {
			t.Fatalf("the shell has no child: %v", err)
		}
		return n
	}
	for _, signal := range []syscall.Signal{syscall.SIGTERM, syscall.SIGHUP, syscall.SIGINT} {
		x.keys("clear; nekoctl monit --interval 200ms; echo it ended with $?", "Enter")
		x.see("3 online")
		if err := syscall.Kill(pid(), signal); err != nil {
			t.Fatal(err)
		}
		x.see("it ended with 0")
		x.sane()
	}
	x.keys("clear; broken-monit", "Enter")
	x.see("it says: program was killed: program experienced a panic")
	x.sane()
	x.keys("clear; pm2 monit", "Enter") // the same by PM2's name
	x.see("web ×2")
	x.keys("C-z")
	x.until("the shell", func(screen string) bool { return strings.HasPrefix(last(screen), "ready>") })
	x.sane()
	x.keys("clear; fg", "Enter")
	x.see("3 online")
	x.keys("C-c")
	x.until("the shell", func(screen string) bool { return strings.HasPrefix(last(screen), "ready>") })
	x.sane()
}

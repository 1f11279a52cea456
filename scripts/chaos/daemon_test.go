package chaos

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nekoctl/neko/supervisor/control"
)

// daemon is a nekoctl with a home of its own, used through the command line.
type daemon struct {
	t    *testing.T
	dir  string // what is not the daemon's: its binary, the API's store, the fault to come
	home string
	env  []string

	programs string // the folder of the workers' programs

	user    int // of the daemon and of who gives commands
	workers int // the workers' user
}

// newDaemon starts nothing yet. What prepare makes is there until the daemon has
// ended.
func newDaemon(t *testing.T, prepare func(*testing.T, *daemon)) *daemon {
	t.Helper()
	dir, err := os.MkdirTemp("", "chaos") // t.TempDir's paths are too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	d := &daemon{t: t, dir: dir, home: filepath.Join(dir, "home"), programs: bin + "/"}
	d.env = append(os.Environ(), "NEKO_HOME="+d.home, "NEKO_API_STORE="+filepath.Join(dir, "api.db"), d.mark())
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Mkdir(d.home, 0o700); err != nil {
		t.Fatal(err)
	}
	d.install(nekoctlA)
	if prepare != nil {
		prepare(t, d)
	}
	t.Cleanup(d.end)
	return d
}

// install puts a binary where the daemon's is, as a package manager does: a new
// file takes the place of the old one.
func (d *daemon) install(binary string) {
	d.t.Helper()
	err := copyProgram(binary, d.program()+".new")
	if err == nil {
		err = os.Rename(d.program()+".new", d.program())
	}
	if err != nil {
		d.t.Fatal(err)
	}
}

// copyProgram writes a file that is run at once: no process may be made meanwhile that has it open for writing until
// it is another program.
func copyProgram(from, to string) error {
	text, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	return os.WriteFile(to, text, 0o755)
}

func (d *daemon) program() string { return filepath.Join(d.dir, "nekoctl") }

// command runs a program with the daemon's home and returns what it printed.
func (d *daemon) command(program string, args ...string) (string, error) {
	cmd := d.prepared(program, args...)
	text, err := cmd.CombinedOutput()
	if err != nil {
		return string(text), &failure{append([]string{filepath.Base(program)}, args...), string(text), err}
	}
	return string(text), nil
}

// prepared is a command with the daemon's home and user.
func (d *daemon) prepared(program string, args ...string) *exec.Cmd {
	cmd := exec.Command(program, args...)
	cmd.Env = d.env
	if d.user != 0 {
		cmd.Dir = d.dir
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(d.user), Gid: uint32(d.user)}}
	}
	return cmd
}

// failure is a command that has failed.
type failure struct {
	command []string
	printed string
	err     error
}

func (f *failure) Error() string {
	return fmt.Sprintf("%s: %v\n%s", strings.Join(f.command, " "), f.err, f.printed)
}

func (d *daemon) try(args ...string) (string, error) { return d.command(d.program(), args...) }

func (d *daemon) nekoctl(args ...string) string {
	d.t.Helper()
	out, err := d.try(args...)
	if err != nil {
		d.t.Fatal(err)
	}
	return out
}

// refused is a command that has to fail and to say what happened, in these words
// among others.
func (d *daemon) refused(words []string, args ...string) error {
	out, err := d.try(args...)
	if err == nil {
		return fmt.Errorf("nekoctl %s succeeded: %s", strings.Join(args, " "), out)
	}
	for _, word := range append(words, "error: ") {
		if !strings.Contains(out, word) {
			return fmt.Errorf("does not say %q: %w", word, err)
		}
	}
	return nil
}

func (d *daemon) list() []control.Process {
	d.t.Helper()
	var list []control.Process
	d.ask(&list, "list")
	return list
}

func (d *daemon) ping() control.Ping {
	d.t.Helper()
	var p control.Ping
	d.ask(&p, "ping")
	return p
}

func (d *daemon) describe(app string) control.AppDetail {
	d.t.Helper()
	var a control.AppDetail
	d.ask(&a, "describe", app)
	return a
}

func (d *daemon) ask(answer any, args ...string) {
	d.t.Helper()
	cmd := d.prepared(d.program(), append(args, "--json")...)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err == nil {
		err = json.Unmarshal(out, answer)
	}
	if err != nil {
		d.t.Fatalf("nekoctl %s: %v\n%s%s", strings.Join(args, " "), err, out, stderr.String())
	}
}

// waitFor looks until something is so.
func (d *daemon) waitFor(what string, is func() bool) {
	d.t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(time.Minute); !is(); <-tick.C {
		if time.Now().After(end) {
			list, err := d.try("list")
			d.t.Fatalf("waited a minute for this: %s\n%s%v", what, list, err)
		}
	}
}

// mark is in the environment of all processes that have to do with this daemon,
// and in that of no other.
func (d *daemon) mark() string { return "CHAOS_FAULT=" + d.fault() }

// fault is the file that says what is wrong with the processes that start.
func (d *daemon) fault() string { return filepath.Join(d.dir, "fault") }

func (d *daemon) setFault(text string) {
	d.t.Helper()
	err := os.WriteFile(d.fault()+".new", []byte(text), 0o600)
	if err == nil {
		err = os.Rename(d.fault()+".new", d.fault())
	}
	if err != nil {
		d.t.Fatal(err)
	}
}

// processes are the pids of all processes with the daemon's mark and these
// variables. It looks at the kernel's list and not at the daemon's.
func (d *daemon) processes(variables ...string) (pids []int) {
	names, err := os.ReadDir("/proc")
	if err != nil {
		d.t.Error(err)
	}
	for _, name := range names {
		pid, err := strconv.Atoi(name.Name())
		if err != nil || pid == os.Getpid() {
			continue
		}
		text, err := os.ReadFile("/proc/" + name.Name() + "/environ")
		if err != nil {
			continue // it has ended, or is another user's
		}
		env, found := "\x00"+string(text), true
		for _, v := range append(variables, d.mark()) {
			found = found && strings.Contains(env, "\x00"+v+"\x00")
		}
		if found {
			pids = append(pids, pid)
		}
	}
	return pids
}

// end ends the daemon as a user would, and then, pid by pid, what a broken one
// may have left behind.
func (d *daemon) end() {
	if _, err := d.try("kill"); err != nil {
		d.t.Error(err)
	}
	for _, pid := range d.processes() {
		command, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		d.t.Errorf("pid %d is left: %q", pid, command)
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
	if d.t.Failed() {
		d.showLogs()
	}
}

func (d *daemon) showLogs() {
	names, _ := filepath.Glob(filepath.Join(d.home, "logs", "*-error-*.log"))
	for _, name := range append(names, filepath.Join(d.home, "neko.log")) {
		if text, _ := os.ReadFile(name); len(text) > 0 {
			const most = 4000
			d.t.Logf("%s:\n%s", filepath.Base(name), text[max(len(text)-most, 0):])
		}
	}
}

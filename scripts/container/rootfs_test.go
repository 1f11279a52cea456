// Package container tries nekoctl as a container's only process: PID 1, not root,
// in the read-only file system of neko's image, with and without limits. The image is
// made by scripts/image and unpacked; what a container engine does is done here by hand,
// so that it works in any CI that runs as root.
package container

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nekoctl/neko/scripts/source"
	"github.com/nekoctl/neko/supervisor/control"
)

// image is the root file system: that of neko's image, and besides /program, a neko.yaml
// of an app that fails, and folders to mount something on. dist is what scripts/image has
// written, and binaries what from.
var image, dist, binaries string

func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "container" {
		fmt.Fprintln(os.Stderr, "error:", begin())
		os.Exit(1)
	}
	os.Exit(func() int {
		temp, err := os.MkdirTemp("", "neko-image")
		if err == nil {
			defer os.RemoveAll(temp)
			image, dist, binaries = filepath.Join(temp, "root"), filepath.Join(temp, "dist"), filepath.Join(temp, "bin")
			err = errors.Join(os.Chmod(temp, 0o755), build(temp))
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, "error:", err)
			return 1
		}
		return m.Run()
	}())
}

func build(temp string) error {
	if os.Geteuid() != 0 {
		return nil // all will be skipped
	}
	tool = filepath.Join(temp, "image")
	for _, args := range [][]string{
		{"-ldflags", "-s -w", "-o", binaries + "/", "../../cmd/nekoctl", "../../cmd/neko-api"},
		{"-C", "../image", "-o", tool, "."},
		{"-o", filepath.Join(temp, "program"), "./program"},
	} {
		out, err := source.Fetching(func() ([]byte, error) {
			build := exec.Command("go", append([]string{"build"}, args...)...)
			build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOWORK=off")
			return build.CombinedOutput()
		})
		if err != nil {
			return fmt.Errorf("go build %v: %w\n%s", args, err, out)
		}
	}
	if err := writeImage(dist); err != nil {
		return err
	}
	if err := unpack(dockerArchive(dist), image); err != nil {
		return err
	}
	for _, folder := range []string{"proc", "dev/shm", "data", "sys/fs/cgroup", "etc/neko", "run/secrets/neko"} { // as an engine makes them
		if err := os.MkdirAll(filepath.Join(image, folder), 0o755); err != nil {
			return err
		}
	}
	program, err := os.ReadFile(filepath.Join(temp, "program"))
	return errors.Join(err,
		os.WriteFile(filepath.Join(image, "program"), program, 0o755),
		os.WriteFile(filepath.Join(image, "dev/null"), nil, 0o666),
		os.WriteFile(filepath.Join(image, "failing.yaml"), []byte("apps: [{name: bad, command: /program exit 3, max_restarts: 1}]\n"), 0o644))
}

// options are those of a container.
type options struct {
	Args    []string // of nekoctl
	Env     []string
	NoProc  bool
	NoShm   bool
	Volume  string   // a folder that can be written, which else nothing can but /dev/shm
	Cgroups []string // folders of groups to join

	OwnNetwork bool              // with nothing but a loopback interface
	Binds      map[string]string // folders of this machine that can be read there: the place, and which
	EmptyDirs  []string          // places where a kubelet has put one, for the group of the user

	Image string
	User  int
}

// container is one that runs.
type container struct {
	*control.Client
	t              *testing.T
	cmd            *exec.Cmd
	stdout, stderr bytes.Buffer // read them when it has ended
	ended          chan struct{}
}

const user = 65532

// launch starts a container. Home is where its daemon's home is, for the client.
func launch(t *testing.T, o options, home string) *container {
	t.Helper()
	mustBeRoot(t)
	o.Image, o.User = image, user
	text, err := json.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	c := &container{t: t, ended: make(chan struct{})}
	c.cmd = exec.Command("/proc/self/exe", "container", string(text))
	c.cmd.Env = o.Env
	c.cmd.Stdout, c.cmd.Stderr = &c.stdout, &c.stderr
	c.cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWPID | unix.CLONE_NEWNS}
	if o.OwnNetwork {
		c.cmd.SysProcAttr.Cloneflags |= unix.CLONE_NEWNET
	}
	if err := c.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	c.Client = control.NewClient(fmt.Sprintf("/proc/%d/root%s/neko.sock", c.cmd.Process.Pid, home))
	go func() {
		_ = c.cmd.Wait()
		close(c.ended)
	}()
	t.Cleanup(func() {
		_ = c.cmd.Process.Kill() // and with PID 1 the whole namespace
		<-c.ended
		if t.Failed() {
			t.Logf("standard output:\n%s\nstandard error:\n%s", &c.stdout, &c.stderr)
		}
	})
	return c
}

func mustBeRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() == 0 {
		return
	}
	if os.Getenv("CI") == "true" {
		t.Fatal("only root can make a container")
	}
	t.Skip("only root can make a container")
}

// begin makes this process, which is PID 1 of its namespace, that of a container.
// It returns only if that fails.
func begin() error {
	var o options
	if err := json.Unmarshal([]byte(os.Args[2]), &o); err != nil {
		return err
	}
	runtime.LockOSThread()
	for _, group := range o.Cgroups {
		if err := os.WriteFile(filepath.Join(group, "cgroup.procs"), []byte("0"), 0); err != nil {
			return err
		}
	}
	in := func(path string) string { return filepath.Join(o.Image, path) }
	var err error
	mount := func(what, where, kind string, flags uintptr, data string) {
		if err == nil {
			if err = unix.Mount(what, where, kind, flags, data); err != nil {
				err = fmt.Errorf("mount %s on %s: %w", what, where, err)
			}
		}
	}
	mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, "")
	mount(o.Image, o.Image, "", unix.MS_BIND, "")
	mount("", o.Image, "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY, "")
	mount("/dev/null", in("dev/null"), "", unix.MS_BIND, "")
	mount("/sys/fs/cgroup", in("sys/fs/cgroup"), "", unix.MS_BIND|unix.MS_REC, "")
	if !o.NoProc {
		mount("proc", in("proc"), "proc", 0, "")
	}
	if !o.NoShm {
		mount("shm", in("dev/shm"), "tmpfs", 0, "mode=1777")
	}
	if o.Volume != "" {
		mount("volume", in(o.Volume), "tmpfs", 0, fmt.Sprintf("mode=0700,uid=%d,gid=%[1]d", o.User))
	}
	for where, folder := range o.Binds {
		mount(folder, in(where), "", unix.MS_BIND, "")
		mount("", in(where), "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY, "")
	}
	for _, where := range o.EmptyDirs {
		mount("empty", in(where), "tmpfs", unix.MS_NOEXEC, fmt.Sprintf("mode=2777,uid=0,gid=%d", o.User))
	}
	if err != nil {
		return err
	}
	if o.OwnNetwork {
		if err := loopbackUp(); err != nil {
			return err
		}
	}
	if err := errors.Join(unix.Chroot(o.Image), unix.Chdir("/")); err != nil {
		return err
	}
	if err := errors.Join(syscall.Setgroups(nil), syscall.Setresgid(o.User, o.User, o.User), syscall.Setresuid(o.User, o.User, o.User)); err != nil {
		return err
	}
	return syscall.Exec("/nekoctl", append([]string{"/nekoctl"}, o.Args...), os.Environ())
}

// inside runs a program in the container, as its user, and returns what it prints.
func (c *container) inside(args ...string) (string, error) {
	c.t.Helper()
	id := strconv.Itoa(user)
	cmd := exec.Command("nsenter", append([]string{"-t", strconv.Itoa(c.cmd.Process.Pid), "-m", "-p", "-r", "-w", "-S", id, "-G", id}, args...)...)
	cmd.Env = c.cmd.Env
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// outside runs a program of this machine that means processes of the container.
func (c *container) outside(args ...string) (string, error) {
	c.t.Helper()
	out, err := exec.Command("nsenter", append([]string{"-t", strconv.Itoa(c.cmd.Process.Pid), "-p"}, args...)...).CombinedOutput()
	return string(out), err
}

// until polls for what is seen from outside only.
func (c *container) until(what string, cond func() bool) {
	c.t.Helper()
	for deadline := time.Now().Add(time.Minute); !cond(); time.Sleep(5 * time.Millisecond) {
		select {
		case <-c.ended:
			c.t.Fatalf("ended before %s", what)
		default:
		}
		if time.Now().After(deadline) {
			c.t.Fatalf("never %s", what)
		}
	}
}

// untilOnline waits for n processes that serve.
func (c *container) untilOnline(n int) (list []control.Process) {
	c.t.Helper()
	c.until(fmt.Sprintf("%d processes online", n), func() bool {
		var err error
		list, err = c.Processes(c.t.Context())
		return err == nil && len(list) == n && !slices.ContainsFunc(list, func(p control.Process) bool { return p.State != control.Online })
	})
	return list
}

// wait returns the exit code.
func (c *container) wait() int {
	c.t.Helper()
	select {
	case <-c.ended:
	case <-time.After(time.Minute):
		c.t.Fatal("it does not end")
	}
	return c.cmd.ProcessState.ExitCode()
}

func (c *container) term() {
	c.t.Helper()
	if err := c.cmd.Process.Signal(unix.SIGTERM); err != nil {
		c.t.Fatal(err)
	}
}

// proc is what a pattern finds in the container's own /proc.
func (c *container) proc(pattern string) []string {
	c.t.Helper()
	found, err := filepath.Glob(fmt.Sprintf("/proc/%d/root/proc/%s", c.cmd.Process.Pid, pattern))
	if err != nil {
		c.t.Fatal(err)
	}
	return found
}

// accepted is how many connections to an IPv4 address some process has taken: what
// waits in a queue has no inode yet.
func (c *container) accepted(address string) (n int) {
	c.t.Helper()
	table, err := os.ReadFile(fmt.Sprintf("/proc/%d/net/tcp", c.cmd.Process.Pid))
	if err != nil {
		c.t.Fatal(err)
	}
	port, err := strconv.Atoi(address[strings.LastIndexByte(address, ':')+1:])
	if err != nil {
		c.t.Fatal(err)
	}
	const established = "01"
	for line := range strings.Lines(string(table)) {
		if f := strings.Fields(line); len(f) > 9 && strings.HasSuffix(f[1], fmt.Sprintf(":%04X", port)) && f[3] == established && f[9] != "0" {
			n++
		}
	}
	return n
}

// read is a file of the container, "" if it is not there.
func (c *container) read(path string) string {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/root%s", c.cmd.Process.Pid, path))
	return string(text)
}

package pm2diff

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nekoctl/neko/pm2/object"
)

const (
	stepLimit  = time.Minute
	awaitLimit = time.Minute
	pause      = 30 * time.Millisecond  // between two looks, at first: each is a process of Node's
	longPause  = 200 * time.Millisecond // and at last
)

// commands are the names by which the binary is called.
var commands = []string{"pm2", "pm2-runtime", "pm2-docker"}

// side is one of the two, with a home and a copy of the fixtures of its own. The
// folders of both have names of the same length, and tables the same widths.
type side struct {
	name   string
	folder string
	node   string // the folder of node
}

// newSide takes the commands from binary, which is a folder of PM2's or a binary that
// goes by its name.
func newSide(t *testing.T, name, folder, binary string) *side {
	t.Helper()
	s := &side{name: name, folder: folder, node: filepath.Dir(npmNode(t))}
	for _, dir := range []string{"bin", "home"} {
		if err := os.MkdirAll(filepath.Join(folder, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.CopyFS(filepath.Join(folder, "app"), os.DirFS("fixtures")); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(binary)
	if err != nil {
		t.Fatal(err)
	}
	for _, command := range commands {
		target := binary
		if info.IsDir() {
			target = filepath.Join(binary, command)
		}
		if err := os.Symlink(target, filepath.Join(folder, "bin", command)); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

func (s *side) home() string { return filepath.Join(s.folder, "home", ".pm2") }

// env is all of the environment: what the tester has set is not to differ from what
// others have.
func (s *side) env() []string {
	return []string{
		"PATH=" + filepath.Join(s.folder, "bin") + ":" + s.node + ":/usr/local/bin:/usr/bin:/bin",
		"HOME=" + filepath.Join(s.folder, "home"),
		"PM2_HOME=" + s.home(),
		"PM2_DISABLE_VERSION_CHECK=true",
		"LANG=C.UTF-8", "TZ=UTC", "USER=tester", "SHELL=/bin/sh",
	}
}

// outcome is what one step has led to.
type outcome struct {
	code           int
	stdout, stderr string
}

// sh runs a line of shell where the fixtures are. Output goes through files, because
// a daemon that keeps a pipe open would keep the reader waiting.
func (s *side) sh(ctx context.Context, line string) (outcome, error) {
	ctx, cancel := context.WithTimeout(ctx, stepLimit)
	defer cancel()
	var out [2]*os.File
	for i := range out {
		file, err := os.CreateTemp(s.folder, "out")
		if err != nil {
			return outcome{}, err
		}
		defer os.Remove(file.Name())
		defer file.Close()
		out[i] = file
	}
	cmd := exec.CommandContext(ctx, "/bin/sh", "-c", line)
	cmd.Dir = filepath.Join(s.folder, "app")
	cmd.Env = s.env()
	cmd.Stdout, cmd.Stderr = out[0], out[1]
	// All that the line has started ends with it, except for daemons.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	err := cmd.Run()
	if exit := new(exec.ExitError); err != nil && (!errors.As(err, &exit) || ctx.Err() != nil) {
		return outcome{}, fmt.Errorf("%s: %s: %w", s.name, line, errors.Join(err, ctx.Err()))
	}
	o := outcome{code: cmd.ProcessState.ExitCode()}
	for i, to := range []*string{&o.stdout, &o.stderr} {
		text, err := os.ReadFile(out[i].Name())
		if err != nil {
			return o, err
		}
		*to = string(text)
	}
	return o, nil
}

// processes are those that jlist shows, each as NAME:ID:STATUS:RESTARTS, with blanks
// between them.
func (s *side) processes(ctx context.Context) (string, error) {
	o, err := s.sh(ctx, "pm2 jlist")
	if err != nil {
		return "", err
	}
	// What is printed before the list is not part of it.
	start := strings.LastIndex(o.stdout, "\n") + 1
	value, err := object.Parse([]byte(o.stdout[start:]))
	if err != nil {
		return "", fmt.Errorf("%s: jlist printed %q: %w", s.name, o.stdout, err)
	}
	list, _ := value.([]any)
	var all []string
	for _, p := range list {
		p, _ := p.(*object.Object)
		env, _ := p.Get("pm2_env").(*object.Object)
		all = append(all, fmt.Sprintf("%v:%v:%v:%v", p.Get("name"), p.Get("pm_id"), env.Get("status"), env.Get("restart_time")))
	}
	return strings.Join(all, " "), nil
}

// await waits until processes match.
func (s *side) await(ctx context.Context, pattern string) error {
	want, err := regexp.Compile(pattern)
	if err != nil {
		return err
	}
	var last string
	return until(func() (bool, error) {
		last, err = s.processes(ctx)
		return err == nil && want.MatchString(last), err
	}, func() string { return fmt.Sprintf("%s: processes are %q, and not %q", s.name, last, pattern) })
}

// until looks for a condition until it holds, or says what is the matter.
func until(holds func() (bool, error), matter func() string) error {
	pause := pause
	for end := time.Now().Add(awaitLimit); ; time.Sleep(pause) {
		pause = min(pause*5/4, longPause)
		ok, err := holds()
		switch {
		case err != nil:
			return err
		case ok:
			return nil
		case time.Now().After(end):
			return errors.New(matter())
		}
	}
}

// end stops the daemon, and whatever else has this side's home in its environment.
func (s *side) end() {
	// The test's context is over by now.
	s.sh(context.Background(), "pm2 kill")
	for range 3 {
		left := s.left()
		for _, pid := range left {
			syscall.Kill(pid, syscall.SIGKILL)
		}
		if len(left) == 0 {
			return
		}
		time.Sleep(pause)
	}
}

// left are the processes that have this side's home in their environment.
func (s *side) left() (pids []int) {
	environs, _ := filepath.Glob("/proc/[0-9]*/environ")
	for _, file := range environs {
		env, err := os.ReadFile(file)
		if err != nil || !bytes.Contains(env, []byte(s.folder+"/")) {
			continue
		}
		if pid, err := strconv.Atoi(strings.Split(file, "/")[2]); err == nil {
			pids = append(pids, pid)
		}
	}
	return pids
}

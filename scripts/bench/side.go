package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/nekoctl/neko/scripts/load"
)

// side is one of the supervisors that are compared, with a home of its own.
type side struct {
	b    *bench
	name string
	argv []string // the command, without arguments
	home string
	env  []string
	keys string // of neko.yaml, beside those that the app has anyway
	// list reads the command that lists processes as JSON: the pids of an app
	// that are online, by the app's name.
	listing []string
	list    func(out []byte) (map[string][]int, error)
	// daemon is the pids of the supervisor's own processes.
	daemon func(*side) ([]int, error)
}

// neko is nekoctl with a new home.
func (b *bench) neko() (*side, error) {
	home, err := os.MkdirTemp(b.tmp, "n")
	if err != nil {
		return nil, err
	}
	return &side{
		b: b, name: "neko", argv: []string{b.nekoctl()}, home: home,
		env:     []string{"NEKO_HOME=" + home},
		listing: []string{"list", "--json"},
		list: func(out []byte) (map[string][]int, error) {
			var list []struct {
				Name, State string
				PID         int
			}
			err := json.Unmarshal(out, &list)
			pids := map[string][]int{}
			for _, p := range list {
				if p.State == "online" {
					pids[p.Name] = append(pids[p.Name], p.PID)
				}
			}
			return pids, err
		},
		daemon: func(s *side) ([]int, error) {
			out, err := s.run("ping", "--json")
			if err != nil {
				return nil, err
			}
			var ping struct{ Keeper, Master int }
			err = json.Unmarshal(out, &ping)
			return []int{ping.Keeper, ping.Master}, err
		},
	}, nil
}

// pm2Side is PM2 with a new home.
func (b *bench) pm2Side() (*side, error) {
	home, err := os.MkdirTemp(b.tmp, "p")
	if err != nil {
		return nil, err
	}
	return &side{
		b: b, name: "PM2", argv: []string{"node", b.pm2}, home: home,
		env:     []string{"PM2_HOME=" + home, "PM2_DISABLE_VERSION_CHECK=true", "NO_COLOR=1"},
		listing: []string{"jlist", "--silent"},
		list: func(out []byte) (map[string][]int, error) {
			var list []struct {
				Name string
				PID  int
				Env  struct{ Status string } `json:"pm2_env"`
			}
			err := json.Unmarshal(out, &list)
			pids := map[string][]int{}
			for _, p := range list {
				if p.Env.Status == "online" {
					pids[p.Name] = append(pids[p.Name], p.PID)
				}
			}
			return pids, err
		},
		daemon: func(s *side) ([]int, error) {
			text, err := os.ReadFile(filepath.Join(s.home, "pm2.pid"))
			if err != nil {
				return nil, err
			}
			pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
			return []int{pid}, err
		},
	}, nil
}

// command is the side's command, ready to run.
func (s *side) command(args ...string) *exec.Cmd {
	argv := append(append([]string{}, s.argv...), args...)
	cmd := exec.CommandContext(s.b.ctx, argv[0], argv[1:]...)
	cmd.Env = append(os.Environ(), s.env...)
	cmd.Dir = s.home
	// A daemon that keeps the pipe of its parent's output open is not waited for.
	cmd.WaitDelay = time.Second
	return cmd
}

// run runs a command of the side and returns what it printed.
func (s *side) run(args ...string) ([]byte, error) {
	cmd := s.command(args...)
	var diag strings.Builder
	cmd.Stderr = &diag
	out, err := cmd.Output()
	if err != nil && !errors.Is(err, exec.ErrWaitDelay) {
		return out, fmt.Errorf("%s %s: %w: %s%s", s.name, strings.Join(args, " "), err, diag.String(), out)
	}
	return out, nil
}

// end stops the daemon, and with it all apps.
func (s *side) end() {
	pids, _ := s.daemon(s)
	cmd := exec.Command(s.argv[0], append(append([]string{}, s.argv[1:]...), "kill")...)
	cmd.Env = append(os.Environ(), s.env...)
	cmd.Run()
	until := time.Now().Add(10 * time.Second)
	for _, pid := range pids {
		for time.Now().Before(until) && runs(pid) {
			time.Sleep(10 * time.Millisecond)
		}
	}
	os.RemoveAll(s.home)
}

// runs says whether a process has not ended. One that has may stay as a zombie,
// where it has fallen to an init that is in no hurry.
func runs(pid int) bool {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	_, state, _ := bytes.Cut(text, []byte(") "))
	return err == nil && !bytes.HasPrefix(state, []byte("Z"))
}

// online waits until n processes of app are online and returns their pids.
func (s *side) online(app string, n int) ([]int, error) {
	until := time.Now().Add(60 * time.Second)
	for {
		out, err := s.run(s.listing...)
		if err != nil {
			return nil, err
		}
		apps, err := s.list(out)
		if err != nil {
			return nil, fmt.Errorf("%s list: %w: %.200s", s.name, err, out)
		}
		if len(apps[app]) == n {
			return apps[app], nil
		}
		if time.Now().After(until) {
			return nil, fmt.Errorf("%s has %d of %d processes of %s online", s.name, len(apps[app]), n, app)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// target is a server and a request that it answers with 200.
type target struct {
	url  string
	body []byte
}

// untilOK asks until the first 200 and returns how long that took since t0.
//
// A request that is refused or broken is followed by another at once. One that
// hangs, because a worker died with it, is left to hang, and after some
// milliseconds another is sent: what is measured is when the service is back,
// not how patient the client is.
func (b *bench) untilOK(t target, t0 time.Time) (time.Duration, error) {
	const (
		patience = 5 * time.Millisecond
		most     = 30 * time.Second
	)
	cfg := load.Config{URL: t.url, Body: t.body, Requests: 1, Timeout: 3 * time.Second, ErrorPause: time.Nanosecond, BodyUntilEOF: true}
	if t.body != nil {
		cfg.Header = []string{"Content-Type: application/json"}
	}
	answered := make(chan time.Duration, 1)
	var last load.Report
	for {
		run, err := load.Start(b.ctx, cfg)
		if err != nil {
			return 0, err
		}
		over := make(chan load.Report, 1)
		go func() {
			r := run.Wait()
			if r.OK == 1 {
				select {
				case answered <- time.Since(t0):
				default:
				}
			}
			over <- r
		}()
		select {
		case last = <-over:
			time.Sleep(200 * time.Microsecond)
		case <-time.After(patience):
		case took := <-answered:
			return took, nil
		}
		select {
		case took := <-answered:
			return took, nil
		default:
		}
		if err := b.ctx.Err(); err != nil {
			return 0, err
		}
		if time.Since(t0) > most {
			return 0, fmt.Errorf("no 200 in %s, but %v", most, last.Samples)
		}
	}
}

// noErrors is a check for GraphQL, which answers 200 to what failed.
func noErrors(r *load.Response) error {
	if bytes.Contains(r.Body, []byte(`"errors"`)) {
		return fmt.Errorf("%.200s", r.Body)
	}
	return nil
}

// freePort is a port that nobody uses just now.
func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}

// pss is the proportional set size of processes, in MiB.
func pss(pids ...int) (float64, error) {
	kib := 0
	for _, pid := range pids {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
		if err != nil {
			return 0, err
		}
		_, rest, _ := strings.Cut(string(text), "\nPss:")
		fields := strings.Fields(rest)
		if len(fields) == 0 {
			return 0, fmt.Errorf("process %d has no memory", pid)
		}
		n, err := strconv.Atoi(fields[0])
		if err != nil {
			return 0, err
		}
		kib += n
	}
	return float64(kib) / 1024, nil
}

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// pod is a nekoctl with workers, in control groups.
type pod struct {
	s       settings
	home    string
	address string
	groups  map[string]string // by controller
	two     bool              // version 2
	cmd     *exec.Cmd
	ended   chan error
	said    bytes.Buffer
}

type pods []*pod

func (s settings) startPod(ctx context.Context, i int, cpus float64, mib, workers int, env []string) (*pod, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	p := &pod{s: s, home: filepath.Join(s.temp, fmt.Sprintf("pod%d", i)), address: l.Addr().String(), ended: make(chan error, 1)}
	l.Close()
	if err := errors.Join(os.RemoveAll(p.home), os.Mkdir(p.home, 0o700)); err != nil {
		return nil, err
	}
	if s.data != "" {
		if err := os.CopyFS(p.home, os.DirFS(filepath.Join(s.temp, "store"))); err != nil {
			return nil, err
		}
	}
	if err := p.group(i, cpus, mib); err != nil {
		return nil, err
	}
	p.cmd = s.command(ctx, p.home, "nekoctl")
	join := ""
	for _, folder := range p.groups {
		join += "echo $$ >" + folder + "/cgroup.procs; "
	}
	p.cmd.Path, p.cmd.Args = "/bin/sh", []string{"sh", "-c", join + `exec "$0" "$@"`, filepath.Join(s.bin, "nekoctl"), "start", "--no-daemon", "-i", strconv.Itoa(workers)}
	p.cmd.Env = append(append(p.cmd.Env, env...), "NEKO_API_LISTEN="+p.address)
	p.cmd.Stdout, p.cmd.Stderr = &p.said, &p.said
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // Ctrl-C is for this program, which stops them
	p.cmd.Cancel = func() error { return p.cmd.Process.Signal(syscall.SIGTERM) }
	if err := p.cmd.Start(); err != nil {
		return nil, errors.Join(err, p.ungroup())
	}
	go func() { p.ended <- p.cmd.Wait() }()
	return p, nil
}

// group makes its control groups.
func (p *pod) group(i int, cpus float64, mib int) error {
	name := fmt.Sprintf("neko-pods-%d-%d", os.Getpid(), i)
	const period = 100_000
	quota := strconv.Itoa(int(cpus * period))
	set := map[string]string{}
	if _, err := os.Stat("/sys/fs/cgroup/cgroup.controllers"); err == nil {
		_ = os.WriteFile("/sys/fs/cgroup/cgroup.subtree_control", []byte("+cpu +memory"), 0) // they may be there
		folder := filepath.Join("/sys/fs/cgroup", name)
		p.two, p.groups = true, map[string]string{"cpu": folder, "memory": folder}
		set[folder+"/cpu.max"], set[folder+"/memory.max"] = fmt.Sprintf("%s %d", quota, period), strconv.Itoa(mib<<20)
	} else {
		cpu, memory := filepath.Join("/sys/fs/cgroup/cpu", name), filepath.Join("/sys/fs/cgroup/memory", name)
		p.groups = map[string]string{"cpu": cpu, "memory": memory}
		set[cpu+"/cpu.cfs_quota_us"], set[memory+"/memory.limit_in_bytes"] = quota, strconv.Itoa(mib<<20)
	}
	for _, folder := range p.groups {
		if err := os.MkdirAll(folder, 0o755); err != nil {
			return err
		}
	}
	for file, value := range set {
		if err := os.WriteFile(file, []byte(value), 0); err != nil {
			return errors.Join(err, p.ungroup())
		}
	}
	return nil
}

func (p *pod) ungroup() (err error) {
	for _, folder := range p.groups {
		if failed := os.Remove(folder); failed != nil && !errors.Is(failed, os.ErrNotExist) {
			err = failed
		}
	}
	return err
}

// number is a value of a control group's file, or of a line in it.
func (p *pod) number(controller, file, key string) int64 {
	text, err := os.ReadFile(filepath.Join(p.groups[controller], file))
	if err != nil {
		return -1
	}
	for line := range strings.Lines(string(text)) {
		f := strings.Fields(line)
		if key == "" && len(f) == 1 || len(f) == 2 && f[0] == key {
			n, _ := strconv.ParseInt(f[len(f)-1], 10, 64)
			return n
		}
	}
	return -1
}

func (all pods) throttled() (n int64) {
	for _, p := range all {
		n += p.number("cpu", "cpu.stat", "nr_throttled")
	}
	return n
}

// peak is the most memory that the groups had, page cache included.
func (all pods) peak() (mib float64) {
	for _, p := range all {
		file := "memory.max_usage_in_bytes"
		if p.two {
			file = "memory.peak"
		}
		mib += float64(p.number("memory", file, "")) / (1 << 20)
	}
	return mib
}

func (all pods) resetPeak() {
	for _, p := range all { // a kernel that cannot shows the most since the start
		_ = os.WriteFile(filepath.Join(p.groups["memory"], "memory.max_usage_in_bytes"), []byte("0"), 0)
	}
}

// pss is the memory of all processes, in MiB; what several share is counted once.
func (all pods) pss() (mib float64, err error) {
	for _, p := range all {
		list, err := os.ReadFile(filepath.Join(p.groups["memory"], "cgroup.procs"))
		if err != nil {
			return 0, err
		}
		for pid := range strings.FieldsSeq(string(list)) {
			text, err := os.ReadFile("/proc/" + pid + "/smaps_rollup")
			if err != nil {
				return 0, err
			}
			for line := range strings.Lines(string(text)) {
				if f := strings.Fields(line); f[0] == "Pss:" {
					kib, err := strconv.ParseFloat(f[1], 64)
					if err != nil {
						return 0, err
					}
					mib += kib / 1024
				}
			}
		}
	}
	return mib, nil
}

// ready waits until all workers serve, and each pod answers.
func (all pods) ready(ctx context.Context) error {
	for _, p := range all {
		for deadline := time.Now().Add(time.Minute); ; time.Sleep(2 * time.Millisecond) {
			r, err := http.Get("http://" + p.address + "/readyz")
			if err == nil {
				r.Body.Close()
				if r.StatusCode == http.StatusOK {
					break
				}
			}
			select {
			case err := <-p.ended:
				p.ended <- err
				return fmt.Errorf("it has ended: %v\n%s", err, &p.said)
			default:
			}
			if ctx.Err() != nil || time.Now().After(deadline) {
				return errors.Join(errors.New("it does not become ready"), ctx.Err())
			}
		}
		for {
			list, err := p.list(ctx)
			if err != nil {
				return err
			}
			serving := 0
			for _, one := range list {
				if one.Status == "online" {
					serving++
				}
			}
			if serving == len(list) && serving > 0 {
				break
			}
			if ctx.Err() != nil {
				return ctx.Err()
			}
			time.Sleep(5 * time.Millisecond)
		}
	}
	return nil
}

type process struct {
	PID    int    `json:"pid"`
	Status string `json:"state"`
}

func (p *pod) list(ctx context.Context) (list []process, err error) {
	out, err := p.s.command(ctx, p.home, "nekoctl", "list", "--json").Output()
	if err != nil {
		return nil, err
	}
	return list, json.Unmarshal(out, &list)
}

func (p *pod) killWorker(ctx context.Context) error {
	list, err := p.list(ctx)
	if err != nil {
		return err
	}
	return syscall.Kill(list[0].PID, syscall.SIGKILL)
}

// reload reloads one pod after the other, as a rolling update does.
func (all pods) reload(ctx context.Context) error {
	for _, p := range all {
		if out, err := p.s.command(ctx, p.home, "nekoctl", "reload", "all").Output(); err != nil {
			return fmt.Errorf("reload: %w: %s", err, out)
		}
	}
	return nil
}

// hits is the part of the answers that were there, in per cent.
func (all pods) hits(ctx context.Context) (float64, error) {
	var there, served float64
	for _, p := range all {
		out, err := p.s.command(ctx, p.home, "nekoctl", "metrics").Output()
		if err != nil {
			return 0, err
		}
		for line := range strings.Lines(string(out)) {
			name, rest, _ := strings.Cut(line, "{")
			if name != "neko_cache_served_total" {
				continue
			}
			f := strings.Fields(rest)
			n, err := strconv.ParseFloat(f[len(f)-1], 64)
			if err != nil {
				return 0, err
			}
			served += n
			if !strings.Contains(rest, `state="made"`) && !strings.Contains(rest, `state="coalesced"`) {
				there += n
			}
		}
	}
	if served == 0 {
		return 0, errors.New("nothing was counted by the cache")
	}
	return 100 * there / served, nil
}

// ask sends requests one after the other, in turn to each pod, and counts what was not refused.
func (all pods) ask(ctx context.Context, n int) (passed int) {
	for i := range n {
		r, err := http.Post("http://"+all[i%len(all)].address+"/graphql", "application/json", strings.NewReader(`{"query":"{__typename}"}`))
		if err != nil {
			continue
		}
		_, _ = io.Copy(io.Discard, r.Body)
		r.Body.Close()
		if r.StatusCode == http.StatusOK {
			passed++
		}
		if ctx.Err() != nil {
			break
		}
	}
	return passed
}

// stop is an orderly end, and an error if it was none.
func (all pods) stop() (err error) {
	for _, p := range all {
		_ = p.cmd.Process.Signal(syscall.SIGTERM)
	}
	for _, p := range all {
		if ended := <-p.ended; ended != nil {
			err = errors.Join(err, fmt.Errorf("it ended with %w\n%s", ended, &p.said))
		}
		err = errors.Join(err, p.ungroup())
	}
	return err
}

package supervisor

import (
	"fmt"
	"io"
	"maps"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nekoctl/neko/supervisor/keeper"
	"github.com/nekoctl/neko/supervisor/logs"
	"github.com/nekoctl/neko/supervisor/spec"
)

// launch forks one process for a slot. What must outlive this master is
// deposited with the keeper before the fork: the pipes, and in the slot's record
// a launch without a pid.
func (m *master) launch(s *slot, app *spec.App) (*process, error) {
	if m.stopping {
		return nil, errStopping
	}
	path, err := app.Program()
	if err != nil {
		return nil, err
	}
	if err := m.listen(s.app, s.index+1); err != nil { // they are open, unless a spec has grown
		return nil, err
	}
	m.lastLaunch++
	p := &process{launch: m.lastLaunch, slot: s, spec: app, startedAt: time.Now(), tails: newTails()}
	out, outWrite, err := logs.Pipe()
	if err != nil {
		return nil, fmt.Errorf("pipe for output: %w", err)
	}
	defer unix.Close(outWrite)
	errRead, errWrite, err := logs.Pipe()
	if err != nil {
		unix.Close(out)
		return nil, fmt.Errorf("pipe for output: %w", err)
	}
	defer unix.Close(errWrite)
	m.kept(p.pipesName(), m.conn.Put(p.pipesName(), out, errRead))
	s.starting = p
	m.record(s)

	files := []uintptr{m.null.Fd(), uintptr(outWrite), uintptr(errWrite)}
	for _, g := range s.app.groups {
		files = append(files, uintptr(g.FD(s.index)))
	}
	argv := app.Command
	env := m.environment(s, app)
	if app.ListenPID && len(s.app.groups) > 0 {
		argv = append([]string{"neko-exec", ExecMode, path}, argv...)
		path = "/proc/self/exe"
		env = append(env, "LISTEN_PID=")
	}
	pidfd := -1
	p.PID, err = syscall.ForkExec(path, argv, &syscall.ProcAttr{
		Dir:   app.Cwd,
		Env:   env,
		Files: files,
		// A group of its own, so that all that it starts can be ended with it. No
		// Pdeathsig: workers outlive masters.
		Sys: &syscall.SysProcAttr{Setpgid: true, PidFD: &pidfd},
	})
	if err != nil {
		s.starting = nil
		unix.Close(out)
		unix.Close(errRead)
		m.forget(p)
		return nil, fmt.Errorf("run %s: %w", app.Command[0], err)
	}
	p.Start, _ = keeper.StartTime(p.PID)
	m.record(s) // at once: a new master can find one process without a record, and not two
	m.processes[p.PID] = p
	m.pump(p, out, errRead, true)
	p.pidfd = openPidfd(pidfd)
	m.atEnd(p, func() { m.reap(p) })
	m.awaitReady(p)
	return p, nil
}

// pump moves a process's output into the files of its slot. While it is not
// ready its last lines are remembered, to be shown if it never gets there.
func (m *master) pump(p *process, out, errRead int, fresh bool) {
	for i, fd := range []int{out, errRead} {
		var sink *logs.Prefixed
		if m.console != nil {
			sink = m.console.Prefixed(p.slot.String() + " | ")
		}
		var tail *logs.Tail
		if fresh {
			tail = p.tails[i]
		}
		pump, err := logs.Start(fd, p.slot.logs[i], copies(sink, tail))
		if err != nil {
			m.log("log of %s: %v", p.slot, err)
			continue
		}
		p.pumps[i], p.consoles[i] = pump, sink
	}
	m.printing.Add(1)
	go func() { // a grandchild may hold the pipes longer than the process lives
		for _, pump := range p.pumps {
			if pump != nil {
				<-pump.Done()
			}
		}
		m.printing.Done()
		m.post(func() { m.forget(p) })
	}()
}

// copies is where a copy of the output goes: the console, the memory of last
// lines, both or (nil) nowhere.
func copies(console *logs.Prefixed, tail *logs.Tail) io.Writer {
	switch {
	case console != nil && tail != nil:
		return io.MultiWriter(tail, console)
	case console != nil:
		return console
	case tail != nil:
		return tail
	}
	return nil
}

// forget drops the keeper's hold on a process's pipes.
func (m *master) forget(p *process) { m.withdraw(p.pipesName()) }

// environment is the app's own and the worker contract's.
func (m *master) environment(s *slot, app *spec.App) []string {
	env := maps.Clone(app.Env)
	if env == nil {
		env = map[string]string{}
	}
	for _, name := range spec.Contract {
		delete(env, name)
	}
	slot := strconv.Itoa(s.index)
	env["NEKO_APP"] = app.Name
	env["NEKO_SLOT"] = slot
	env["NODE_APP_INSTANCE"] = slot
	env["INSTANCE_ID"] = slot
	env["NEKO_INSTANCES"] = strconv.Itoa(s.app.size)
	env["NEKO_DRAIN_TIMEOUT"] = app.DrainTimeout.D().String()
	env["NOTIFY_SOCKET"] = m.notify.name
	if _, set := env["GOMAXPROCS"]; !set {
		env["GOMAXPROCS"] = strconv.Itoa(max(1, (cpus()+s.app.size-1)/s.app.size))
	}
	if _, set := env["GOMEMLIMIT"]; !set && m.memoryLimit > 0 {
		share := float64(m.memoryLimit) * 0.9 / float64(s.app.size+1)
		env["GOMEMLIMIT"] = strconv.FormatInt(int64(share), 10)
	}
	if len(s.app.groups) > 0 {
		env["LISTEN_FDS"] = strconv.Itoa(len(s.app.groups))
		var names []string
		for _, l := range app.Listen {
			names = append(names, l.Name)
		}
		env["LISTEN_FDNAMES"] = strings.Join(names, ":")
	}
	list := make([]string, 0, len(env)+1)
	for _, name := range slices.Sorted(maps.Keys(env)) {
		list = append(list, name+"="+env[name])
	}
	return list
}

// cpus is what the affinity mask and the cgroup's quota grant, as the Go
// runtime reads them (version 1 and 2).
func cpus() int {
	own := runtime.GOMAXPROCS(0)
	runtime.SetDefaultGOMAXPROCS()
	return runtime.GOMAXPROCS(own)
}

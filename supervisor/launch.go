package supervisor

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
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

// newProcess is one that has not been launched yet, which stands in no place of
// its slot.
func (m *master) newProcess(s *slot, app *spec.App) *process {
	m.lastLaunch++
	p := &process{launch: m.lastLaunch, slot: s, as: s.index, spec: app, startedAt: time.Now(), tails: newTails()}
	p.watchdog.every = app.Watchdog.D()
	return p
}

// launch starts a process that has its place in a slot already. If that fails the
// place is empty again.
func (m *master) launch(p *process) (err error) {
	if m.stopping {
		err = errStopping
	} else if err = m.listen(p.slot.app, p.slot.index+1); err == nil { // they are open, unless a spec has grown
		if err = m.fillSockets(p.slot); err == nil {
			err = m.system.fork(p)
		}
	}
	if err != nil {
		p.slot.drop(p)
		return err
	}
	m.processes[p.PID] = p
	m.awaitReady(p)
	return nil
}

// fork implements [system]. What must outlive this master is deposited with the
// keeper before: the pipes, and in the slot's record a launch without a pid.
func (n native) fork(p *process) (err error) {
	m, s, app := n.master, p.slot, p.spec
	pipes := &pipes{}
	var line *ends
	defer func() {
		pipes.closeWorkers()
		if line != nil {
			unix.Close(line.theirs)
		}
		if err == nil {
			return
		}
		pipes.closeOurs()
		m.forget(p)
		if line != nil {
			unix.Close(line.ours)
			m.withdraw(p.channelName())
		}
	}()
	path, err := app.Program()
	if err != nil {
		return err
	}
	if err := pipes.open(s.spare == p && !p.clustered()); err != nil {
		return err
	}
	if line, err = m.openChannel(p); err != nil {
		return err
	}
	m.kept(p.pipesName(), m.conn.Put(p.pipesName(), pipes.ours...))
	m.record(s)

	input := m.input(p)
	if input >= 0 {
		defer unix.Close(input)
		p.input = inodes(input)[0]
	} else {
		input = int(m.null.Fd())
	}
	files := []uintptr{uintptr(input)}
	for _, fd := range pipes.workers[:2] {
		files = append(files, uintptr(fd))
	}
	if !p.clustered() {
		for _, g := range s.app.groups {
			files = append(files, uintptr(g.FD(s.index)))
		}
	}
	env := m.environment(p)
	argv, err := m.command(p)
	if err != nil {
		return err
	}
	if line != nil {
		env = append(env, p.variables(len(files))...)
		files = append(files, uintptr(line.theirs), uintptr(line.ours))
	}
	if gate := pipes.workers[2:]; len(gate) > 0 {
		env = append(env, fmt.Sprintf("NEKO_SPARE_FD=%d", len(files)))
		files = append(files, uintptr(gate[0]))
	}
	orders, err := ordersFor(p)
	if err != nil {
		return err
	}
	if p.shimmed = !orders.none(); p.shimmed {
		argv = append([]string{shimName, ExecMode, orders.String(), path}, argv...)
		path = "/proc/self/exe"
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
		return fmt.Errorf("run %s: %w", app.Command[0], err)
	}
	p.Start, _ = keeper.StartTime(p.PID)
	m.record(s) // at once: a new master can find one process without a record, and not two
	m.usePipes(p, pipes.ours, true)
	if line != nil {
		m.useChannel(p, line.ours, false)
	}
	p.pidfd = openPidfd(pidfd)
	m.atEnd(p, func() { m.reap(p) })
	return nil
}

// pipes are those of one process: its output, its errors, and for a spare the
// gate. They are the keeper's and a new master's in this order.
type pipes struct{ ours, workers []int }

func (p *pipes) open(gate bool) error {
	for range 2 {
		read, write, err := logs.Pipe()
		if err != nil {
			return fmt.Errorf("pipe for output: %w", err)
		}
		p.ours, p.workers = append(p.ours, read), append(p.workers, write)
	}
	if gate {
		var ends [2]int
		if err := unix.Pipe2(ends[:], unix.O_CLOEXEC); err != nil {
			return fmt.Errorf("pipe for a spare: %w", err)
		}
		p.ours, p.workers = append(p.ours, ends[1]), append(p.workers, ends[0])
	}
	return nil
}

func (p *pipes) closeOurs()    { closeAll(p.ours) }
func (p *pipes) closeWorkers() { closeAll(p.workers) }

func closeAll(fds []int) {
	for _, fd := range fds {
		unix.Close(fd)
	}
}

// usePipes takes over our ends of a process's pipes.
func (m *master) usePipes(p *process, ours []int, fresh bool) {
	p.inodes = inodes(ours...)
	if len(ours) > 2 {
		p.gate = os.NewFile(uintptr(ours[2]), "gate")
	}
	m.pump(p, ours[0], ours[1], fresh)
}

// input is standard input: a pipe that the process has open for writing, too, so that
// it never ends, whoever is killed, and takes no descriptor of ours. Who has something
// to say opens it by way of /proc. -1: there is none, and a task, which may read all
// that there is, gets none.
func (m *master) input(p *process) int {
	if p.spec.Type == spec.Task {
		return -1
	}
	var ends [2]int
	if err := unix.Pipe2(ends[:], unix.O_CLOEXEC); err != nil {
		return -1
	}
	defer closeAll(ends[:])
	fd, err := unix.Open(fmt.Sprintf("/proc/self/fd/%d", ends[0]), unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1
	}
	return fd
}

// forget drops the keeper's hold on a process's pipes.
func (m *master) forget(p *process) {
	delete(m.piped, p.pipesName())
	m.withdraw(p.pipesName())
}

// dupPipes are duplicates of p's pipes, in the order of [pipes]; none if all are
// at their ends. In the place of one that is, there is another that is, too.
func (p *process) dupPipes() (fds []int, err error) {
	ended := 0
	for _, pump := range p.pumps {
		fd := -1
		if pump != nil {
			fd, err = pump.Dup()
		}
		if pump == nil || errors.Is(err, os.ErrClosed) {
			ended++
			var ends [2]int
			if err := unix.Pipe2(ends[:], unix.O_CLOEXEC); err != nil {
				return nil, err
			}
			unix.Close(ends[1])
			fd = ends[0]
		} else if err != nil {
			return nil, err
		}
		fds = append(fds, fd)
	}
	if ended == len(p.pumps) {
		closeAll(fds)
		return nil, nil
	}
	if p.gate != nil {
		fds = append(fds, int(p.gate.Fd()))
	}
	return fds, nil
}

// environment is the app's own and the worker contract's.
func (m *master) environment(p *process) []string {
	s, app := p.slot, p.spec
	env := map[string]string{}
	if app.PM2 != nil {
		env = m.pm2Variables(p)
	}
	maps.Copy(env, app.Env)
	if app.PM2 != nil {
		maps.Copy(env, m.pm2Changes(p))
	}
	for _, name := range spec.Contract {
		delete(env, name)
	}
	slot := strconv.Itoa(p.as)
	env["NEKO_APP"] = app.Name
	env["NEKO_SLOT"] = slot
	env[app.InstanceVar] = slot
	env["INSTANCE_ID"] = slot
	if app.IncrementVar != "" {
		first, _ := strconv.ParseFloat(strings.TrimSpace(app.Env[app.IncrementVar]), 64) // what is no number is 0, as in PM2
		env[app.IncrementVar] = strconv.FormatFloat(first+float64(p.as), 'f', -1, 64)
	}
	instances := max(s.app.instances(), 1)
	env["NEKO_INSTANCES"] = strconv.Itoa(instances)
	if dir := m.makeRunDir(s.app); dir != "" {
		env["NEKO_RUN_DIR"] = dir
		env["NEKO_METRICS_SOCKET"] = filepath.Join(dir, metricsSocket(p.launch))
	}
	env["NEKO_DRAIN_TIMEOUT"] = app.DrainTimeout.D().String()
	env["NOTIFY_SOCKET"] = m.notifyNameFor(app)
	if _, set := env["GOMAXPROCS"]; !set {
		share := max(1, (m.grant.CPUs+instances-1)/instances)
		if app.Pin {
			share = 1
		}
		env["GOMAXPROCS"] = strconv.Itoa(share)
	}
	if _, set := env["GOMEMLIMIT"]; !set && m.grant.Memory > 0 {
		share := float64(m.grant.Memory) * 0.9 / float64(instances*(1+app.Spare)+min(app.Parallel, instances))
		env["GOMEMLIMIT"] = strconv.FormatInt(int64(share), 10)
	}
	if id, err := app.Identity(); err == nil && id != nil && id.Name != "" {
		for name, value := range map[string]string{"HOME": id.Home, "USER": id.Name, "LOGNAME": id.Name} {
			if _, set := env[name]; !set {
				env[name] = value
			}
		}
	}
	if app.Watchdog > 0 {
		env["WATCHDOG_USEC"] = strconv.FormatInt(app.Watchdog.D().Microseconds(), 10)
	}
	if len(s.app.groups) > 0 && !p.clustered() {
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

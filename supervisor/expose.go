package supervisor

import (
	"maps"
	"os"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nekoctl/neko/supervisor/cgroup"
	"github.com/nekoctl/neko/supervisor/control"
	"github.com/nekoctl/neko/supervisor/metrics"
	"github.com/nekoctl/neko/supervisor/socket"
)

// expose writes the answer to a scrape: what the master knows of itself and of apps, and
// what their processes say.
func (m *master) expose(s *scrape) []byte {
	c := m.collector
	e := metrics.NewExposition()
	var apps []appView
	var list []source
	var keeper int
	m.do(func() {
		if !m.keeperGone {
			keeper = m.keeper.PID
		}
		for _, name := range m.order {
			if wanted(s.about, name) {
				apps = append(apps, m.view(m.apps[name]))
			}
		}
		for _, p := range m.processes {
			list = append(list, p.source())
		}
	})
	m.exposeMaster(e, apps, keeper)
	e.Reserve()
	for _, v := range apps {
		a := c.accounts[v.id]
		switch {
		case a == nil:
		case s.worker:
			e.AddWorkers(v.name, a.Account, servingOf(list, v.id))
		default:
			e.AddApp(v.name, a.Account, servingOf(list, v.id))
		}
	}
	c.tellOfRefused(m, e.Refused())
	return e.Text()
}

// tellOfRefused writes down which families are left out, each once.
func (c *collector) tellOfRefused(m *master, names []string) {
	const most = 100
	for _, name := range names {
		if len(c.refused) == most || c.refused[name] {
			continue
		}
		if c.refused == nil {
			c.refused = map[string]bool{}
		}
		c.refused[name] = true
		m.log("the metric %s of an app is left out where the daemon, or another app, means something else by that name", name)
	}
}

// appView is what the loop shows of an app.
type appView struct {
	name, id  string
	dir       string // its run folder
	instances int
	errored   int
	slots     []slotView
	queues    []queueView
	lost      map[string]uint64 // lines, by the paths of logs
}

type slotView struct {
	worker   string
	state    control.State
	started  int64 // in milliseconds since 1970; 0: there is no process
	memory   int64
	most     int64 // that it may have by its spec; 0: that does not say
	pid      int
	draining int
}

// view is called in the loop.
func (m *master) view(a *app) appView {
	v := appView{name: a.name, id: a.uniqueID, dir: a.runDir, instances: a.instances(), queues: a.viewQueues()}
	for _, s := range a.inUse() {
		w := slotView{worker: strconv.Itoa(s.index), state: s.state, draining: len(s.leaving)}
		if p := s.shown(); p != nil {
			w.started, w.memory, w.most, w.pid = p.startedAt.UnixMilli(), p.usage.memory, int64(p.spec.MaxMemory), p.PID
		}
		if s.errored {
			v.errored++
		}
		v.slots = append(v.slots, w)
		for _, path := range m.logPaths(s.spec, s) {
			if file := m.files[path]; file != nil && file.EverLost() > 0 {
				if v.lost == nil {
					v.lost = map[string]uint64{}
				}
				v.lost[path] = file.EverLost()
			}
		}
	}
	return v
}

var states = []control.State{control.Launching, control.Online, control.Stopping, control.Stopped, control.Errored, control.WaitingRestart}

func (m *master) exposeMaster(e *metrics.Exposition, apps []appView, keeper int) {
	gauge := func(name, help string) *metrics.Exposed { return e.Add(name, help, metrics.Gauge) }
	gauge("neko_build_info", "1; the label is the version of the daemon.").Set(1, "version", m.version)
	instances := gauge("neko_app_instances", "Processes that the app is to have.")
	up := gauge("neko_worker_up", "1 if the process of the slot serves.")
	state := gauge("neko_worker_state", "1 for the state that the slot is in.")
	start := gauge("neko_worker_start_time_seconds", "When the process of the slot was started, in seconds since 1970.")
	memory := gauge("neko_worker_memory_bytes", "Resident memory of the process of the slot.")
	most := gauge("neko_worker_memory_max_bytes", "How much memory the process of the slot may have: max_memory_restart, or what the control group of the daemon allows all processes together, if that is less or there is no other.")
	draining := gauge("neko_worker_draining", "Processes of the slot that finish what they serve.")
	errored := gauge("neko_app_errored", "Slots in which processes have failed so often that none is started any more.")
	together := int64(cgroup.Read("/").Memory)
	for _, a := range apps {
		instances.Set(float64(a.instances), "app", a.name)
		errored.Set(float64(a.errored), "app", a.name)
		for _, s := range a.slots {
			online := 0.0
			if s.state == control.Online {
				online = 1
			}
			up.Set(online, "app", a.name, "worker", s.worker)
			for _, known := range states {
				is := 0.0
				if known == s.state {
					is = 1
				}
				state.Set(is, "app", a.name, "worker", s.worker, "state", string(known))
			}
			draining.Set(float64(s.draining), "app", a.name, "worker", s.worker)
			if s.pid == 0 {
				continue
			}
			start.Set(float64(s.started)/1000, "app", a.name, "worker", s.worker)
			if s.memory == 0 { // younger than the sampling
				u, _ := readUsage(s.pid) // leaves 0
				s.memory = u.memory
			}
			memory.Set(float64(s.memory), "app", a.name, "worker", s.worker)
			if limit := leastOf(s.most, together); limit > 0 {
				most.Set(float64(limit), "app", a.name, "worker", s.worker)
			}
		}
	}
	m.exposeQueues(e, apps)
	m.exposeCounts(e, apps)
	gauge("neko_collect_duration_seconds", "How long it took to ask all processes for their metrics, the last time.").Set(m.collector.taken.Seconds())
	gauge("neko_master_start_time_seconds", "When the master was started, in seconds since 1970.").Set(float64(began.UnixMilli()) / 1000)
	for name, pid := range map[string]int{"master": os.Getpid(), "keeper": keeper} {
		if u, err := readUsage(pid); err == nil && pid != 0 {
			gauge("neko_"+name+"_memory_bytes", "Resident memory of the "+name+".").Set(float64(u.memory))
		}
	}
}

// leastOf is the smaller one of two limits, of which 0 is none.
func leastOf(a, b int64) int64 {
	if a == 0 || b > 0 && b < a {
		return b
	}
	return a
}

// began is when this master did.
var began = time.Now()

// exposeQueues reads the accept queues, by duplicates of the listening sockets: they may
// be closed in the loop at any time.
func (m *master) exposeQueues(e *metrics.Exposition, apps []appView) {
	length := e.Add("neko_worker_queue_length", "Connections that wait to be accepted on a listening socket of the slot; worker=\"all\": all slots have the same.", metrics.Gauge)
	most := e.Add("neko_worker_queue_max", "How many may wait there; others are not let in.", metrics.Gauge)
	for _, a := range apps {
		for _, q := range a.queues {
			n, limit, err := socket.QueueOf(q.fd)
			unix.Close(q.fd)
			if err != nil {
				continue // it was closed meanwhile
			}
			length.Set(float64(n), "app", a.name, "worker", q.worker, "listener", q.listener)
			most.Set(float64(limit), "app", a.name, "worker", q.worker, "listener", q.listener)
		}
	}
}

// queueView is a duplicate of a listening socket. Whoever has it closes it.
type queueView struct {
	fd               int
	worker, listener string
}

// viewQueues is called in the loop.
func (a *app) viewQueues() (list []queueView) {
	for _, g := range a.groups {
		if g.Network != "tcp" && g.Network != "tcp6" {
			continue // a unix socket does not show it
		}
		for i, fd := range g.FDs() {
			worker := strconv.Itoa(i)
			if g.Shared() {
				worker = "all"
			} else if i >= len(a.slots) || a.slots[i].vacant {
				continue
			}
			if dup, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0); err == nil {
				list = append(list, queueView{dup, worker, g.Address})
			}
		}
	}
	return list
}

var (
	reasons = []control.Cause{control.CauseCrash, control.CauseCommand, control.CauseReload, control.CauseCron, control.CauseWatch, control.CauseMemory, control.CauseHung, control.CauseExit}
	results = []string{"ok", "failed"}
)

func (m *master) exposeCounts(e *metrics.Exposition, apps []appView) {
	counter := func(name, help string) *metrics.Exposed { return e.Add(name, help, metrics.Counter) }
	cpu := counter("neko_app_cpu_seconds_total", "CPU time of the processes of the app, also of those that have ended.")
	crashes := counter("neko_app_crashes_total", "Processes of the app that have crashed, were not ready in time, could not be run, or were given up because they hung.")
	restarts := counter("neko_app_restarts_total", "Processes of the app that were started in the place of another, by why.")
	reloads := counter("neko_app_reloads_total", "Reloads of the app, or of a process of it, by what has come of them.")
	lost := counter("neko_log_lost_lines_total", "Lines that the processes of the app have printed and no log has, because it could not be written.")
	failures := counter("neko_collect_failures_total", "How often the metrics of a process of the app could not be had, or not all of them.")
	for _, v := range apps {
		a := m.collector.account(v.id, v.name, v.dir)
		for path, lines := range v.lost {
			if before := a.lost[path]; lines > before {
				if a.lost == nil {
					a.lost = map[string]uint64{}
				}
				a.lost[path] = lines
				a.Lost += lines - before
				m.collector.dirty = true
			}
		}
		cpu.Set(float64(a.CPU.Total)*clockTick.Seconds(), "app", v.name)
		crashes.Set(float64(a.Crashes), "app", v.name)
		for _, reason := range reasons {
			restarts.Set(float64(a.Restarts[string(reason)]), "app", v.name, "reason", string(reason))
		}
		for _, result := range results {
			reloads.Set(float64(a.Reloads[result]), "app", v.name, "result", result)
		}
		lost.Set(float64(a.Lost), "app", v.name)
		failures.Set(float64(a.Failures), "app", v.name)
	}
	daemon, told := &m.collector.daemon, m.events.State()
	if a, b := observe(&daemon.Events, told.Events), observe(&daemon.Calls, told.Calls); a || b {
		m.collector.dirty = true
	}
	events := counter("neko_events_total", "Events, by their kinds.")
	kinds := slices.Collect(maps.Keys(daemon.Events))
	for _, kind := range control.EventKinds { // all, from the start: what has no 0 before it has no rate
		kinds = append(kinds, string(kind.Kind))
	}
	slices.Sort(kinds)
	for _, kind := range slices.Compact(kinds) {
		events.Set(float64(daemon.Events[kind].Total), "event", kind)
	}
	calls := counter("neko_hook_calls_total", "Calls of on_event hooks, by what has come of them.")
	ends := slices.Collect(maps.Keys(daemon.Calls))
	ends = append(ends, "ok", "failed", "retried", "dropped") // the first that fails is to be seen as a rate, too
	slices.Sort(ends)
	for _, result := range slices.Compact(ends) {
		calls.Set(float64(daemon.Calls[result].Total), "result", result)
	}
}

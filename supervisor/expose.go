package supervisor

import (
	"slices"
	"strconv"

	"github.com/nekoctl/neko/supervisor/control"
	"github.com/nekoctl/neko/supervisor/metrics"
)

// expose writes the answer to a scrape: what the master knows of itself and of all apps,
// and then what their processes say.
func (m *master) expose(s *scrape) []byte {
	c := m.collector
	e := metrics.NewExposition()
	var apps []appView
	var list []source
	m.do(func() {
		for _, name := range m.order {
			if wanted(s.about, name) {
				apps = append(apps, m.view(m.apps[name]))
			}
		}
		for _, p := range m.processes {
			list = append(list, p.source())
		}
	})
	if s.worker {
		m.exposeMaster(e, apps) // what the workers do not tell of themselves
		for _, v := range apps {
			if a := c.accounts[v.id]; a != nil {
				e.AddWorkers(v.name, a.account, servingOf(list, v.id))
			}
		}
		return e.Text()
	}
	m.exposeMaster(e, apps)
	for _, v := range apps {
		if a := c.accounts[v.id]; a != nil {
			e.AddApp(v.name, a.account, servingOf(list, v.id))
		}
	}
	return e.Text()
}

// appView is what the loop shows of an app.
type appView struct {
	name, id  string
	instances int
	errored   int
	slots     []slotView
}

type slotView struct {
	worker   string
	state    control.State
	started  int64 // in milliseconds since 1970; 0: there is no process
	memory   int64
	pid      int
	draining int
}

func (m *master) view(a *app) appView {
	v := appView{name: a.name, id: a.uniqueID, instances: a.instances()}
	for _, s := range a.inUse() {
		w := slotView{worker: strconv.Itoa(s.index), state: s.state, draining: len(s.leaving)}
		if p := s.shown(); p != nil {
			w.started, w.memory, w.pid = p.startedAt.UnixMilli(), p.usage.memory, p.PID
		}
		if s.errored {
			v.errored++
		}
		v.slots = append(v.slots, w)
	}
	return v
}

var states = []control.State{control.Launching, control.Online, control.Stopping, control.Stopped, control.Errored, control.WaitingRestart}

func (m *master) exposeMaster(e *metrics.Exposition, apps []appView) {
	gauge := func(name, help string) *metrics.Exposed { return e.Add(name, help, metrics.Gauge) }
	gauge("neko_build_info", "1; the label is the version of the daemon.").Set(1, "version", m.version)
	instances := gauge("neko_app_instances", "Processes that the app is to have.")
	up := gauge("neko_worker_up", "1 if the process of the slot serves.")
	state := gauge("neko_worker_state", "1 for the state that the slot is in.")
	start := gauge("neko_worker_start_time_seconds", "When the process of the slot was started, in seconds since 1970.")
	memory := gauge("neko_worker_memory_bytes", "Resident memory of the process of the slot.")
	draining := gauge("neko_worker_draining", "Processes of the slot that finish what they serve.")
	errored := gauge("neko_app_errored", "Slots in which processes have failed so often that none is started any more.")
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
		}
	}
	m.exposeCounts(e, slices.Clip(apps))
}

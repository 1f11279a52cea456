package supervisor

import "github.com/nekoctl/neko/supervisor/metrics"

type countedFile struct{}

func (m *master) restoreCounted() {}
func (m *master) saveCounted()    {}

func (m *master) exposeCounts(e *metrics.Exposition, apps []appView) {
	c := m.collector
	cpu := e.Add("neko_app_cpu_seconds_total", "CPU time of the processes of the app, also of those that have ended.", metrics.Counter)
	failures := e.Add("neko_collect_failures_total", "How often the metrics of a process of the app could not be had.", metrics.Counter)
	for _, v := range apps {
		a := c.accounts[v.id]
		if a == nil {
			a = &appAccount{}
		}
		cpu.Set(float64(a.cpu.Total)*clockTick.Seconds(), "app", v.name)
		failures.Set(float64(a.failures), "app", v.name)
	}
	e.Add("neko_collect_duration_seconds", "How long it took to ask all processes for their metrics, the last time.", metrics.Gauge).Set(c.taken.Seconds())
}

package supervisor

import (
	"encoding/json"
	"maps"
	"slices"

	"github.com/nekoctl/neko/supervisor/control"
	"github.com/nekoctl/neko/supervisor/nodeipc"
)

// What programs of Node's say of themselves by process.send: PM2's 'ready', and the
// messages of @pm2/io (axm), its custom metrics and actions. What else they send is for
// whoever may listen one day, and goes nowhere.

// The most that is kept of one process.
const (
	mostMetrics = 256
	mostActions = 64
	mostText    = 1 << 10 // bytes of a metric with its name, or an action
	mostReply   = 64 << 10
)

// hearProgram is what a program has said.
func (m *master) hearProgram(p *process, text json.RawMessage) {
	said := nodeipc.Said(text)
	switch said.Type {
	case nodeipc.Ready:
		m.saysReady(p)
	case nodeipc.Metrics:
		for name, metric := range said.Metrics() {
			if _, known := p.metrics[name]; len(name)+len(metric) > mostText || !known && len(p.metrics) >= mostMetrics {
				continue
			}
			if p.metrics == nil {
				p.metrics = map[string]json.RawMessage{}
			}
			p.metrics[name] = metric
		}
	case nodeipc.Action:
		name := said.Action()
		if name == "" || len(said.Data) > mostText || len(p.actions) >= mostActions || slices.Contains(p.actions, name) {
			return
		}
		p.actions = append(p.actions, name)
		m.record(p.slot) // it says so once in its life
	case nodeipc.Reply:
		name, value := said.Reply()
		if len(value) > mostReply {
			value = json.RawMessage(`"(too long)"`)
		}
		for t := range m.triggers {
			if t.action == name && t.waits[p] {
				delete(t.waits, p)
				t.reply(control.Reply{Name: p.slot.app.name, ID: p.slot.id, Value: value})
			}
		}
	}
}

// saysOfItself is what a process has said of itself, for people.
func (p *process) saysOfItself() (metrics map[string]json.RawMessage, actions []string) {
	return maps.Clone(p.metrics), slices.Clone(p.actions)
}

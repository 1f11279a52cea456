package supervisor

import (
	"net/http"
	"reflect"

	"github.com/nekoctl/neko/supervisor/keeper"
	"github.com/nekoctl/neko/supervisor/spec"
)

// The settings of the daemon itself, which a neko.yaml has beside its apps. They are on
// record, and of every master.

// settingsRecord is where the keeper, and the state file, have them.
const settingsRecord = "daemon"

// settingsChange is one that nothing stands in the way of any more.
type settingsChange struct {
	said    spec.Daemon
	opened  bool             // or closed: there is another listener
	metrics *metricsListener // that one; nil: none
}

// prepareSettings finds what is wrong with settings, and takes what they need of the
// system. Then take has them apply, or drop lets all be as it was.
func (m *master) prepareSettings(d spec.Daemon) (*settingsChange, error) {
	if err := d.CheckValues(); err != nil {
		return nil, specError(err)
	}
	if err := checkHooks(d.OnEvent); err != nil {
		return nil, specError(err)
	}
	c := &settingsChange{said: d}
	var listener *metricsListener
	m.do(func() { listener = m.metrics })
	switch wants := wantsMetrics(d); {
	case wants && (listener == nil || listener.setting != d.Metrics):
		var err error
		if c.metrics, err = openMetrics(d.Metrics, listener); err != nil {
			return nil, err
		}
		c.opened = true
	case d.Metrics != "" && !wants:
		c.opened = listener != nil
	}
	return c, nil
}

func (c *settingsChange) drop() {
	if c.metrics != nil {
		_ = c.metrics.group.Close()
	}
}

// take is called in the loop.
func (m *master) take(c *settingsChange) {
	if c.opened {
		m.useMetrics(c.metrics)
		if c.metrics != nil {
			m.log("metrics: http://%s/metrics", m.metricsAddress())
		}
	}
	next := c.said.Over(m.settings) // as another command has perhaps left them since
	if reflect.DeepEqual(next, m.settings) {
		return
	}
	m.settings = next
	m.keepHooks() // their cursors first: the next master is to have them, too
	m.deposit(settingsRecord, m.settings)
}

// adoptSettings goes on with those of an earlier master.
func (m *master) adoptSettings(in *keeper.Inheritance) {
	if _, known := in.Records[settingsRecord]; known {
		m.parse(in, settingsRecord, &m.settings)
	}
}

// serveDaemon hides nothing: it is what `nekoctl save` keeps.
func (m *master) serveDaemon(w http.ResponseWriter, _ *http.Request) {
	var d spec.Daemon
	m.look(func() { d = m.settings })
	answer(w, http.StatusOK, d)
}

package supervisor

import (
	"time"

	"github.com/nekoctl/neko/supervisor/socket"
)

// lookAtDrain is how often is looked whether a process that was told to finish has a
// connection left; a look that takes long is made more seldom.
const lookAtDrain = 100 * time.Millisecond

// connections implements [system].
func (n native) connections(p *process) (left func() bool) {
	ports := socket.Ports() // it may close its own at once
	return func() bool {
		serves, err := socket.Serves(p.PID, ports)
		return serves || err != nil
	}
}

// awaitDrained has KillTimeout begin as soon as a process that is leaving has had no
// connection left in two looks.
func (m *master) awaitDrained(p *process, left func() bool) {
	var since time.Time // when it had none
	for {
		began := time.Now()
		switch busy := left(); {
		case busy:
			since = time.Time{}
		case since.IsZero():
			since = began
		default:
			m.post(func() {
				if m.processes[p.PID] == p && p.drains {
					p.drains = false
					m.after(p, max(p.spec.KillTimeout.D()-time.Since(since), 0), func() { m.expire(p) })
				}
			})
			return
		}
		select {
		case <-time.After(max(lookAtDrain, 20*time.Since(began))):
		case <-m.ended:
			return
		}
		drains := false
		m.do(func() { drains = m.processes[p.PID] == p && p.drains })
		if !drains {
			return
		}
	}
}

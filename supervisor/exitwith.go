package supervisor

import "fmt"

// passedOn is an exit code that stands for an ending, as shells and container
// engines have it: the same, or 128 and the number of the signal; 1 if nobody knows.
func (e ending) passedOn() int {
	switch {
	case e.code >= 0:
		return e.code
	case e.code < -128:
		return -e.code
	}
	return 1
}

// endWith ends the daemon when a process of an app has ended by itself, with what
// that has ended with. Such an app has no restarts.
func (m *master) endWith(name string) {
	var ended *slot
	m.until(func() bool {
		if a := m.apps[name]; a != nil && !m.stopping {
			for _, s := range a.slots {
				if s.want == run && (s.finished || s.errored) {
					ended = s
				}
			}
		}
		return ended != nil
	})
	if ended == nil { // so has the daemon
		return
	}
	why := ""
	m.do(func() {
		m.code = ended.exitCode
		why = fmt.Sprintf("%s has ended: %s", ended, ended.reason)
	})
	m.shutdown(why)
}

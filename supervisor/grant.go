package supervisor

import (
	"fmt"
	"math"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nekoctl/neko/supervisor/cgroup"
	"github.com/nekoctl/neko/supervisor/control"
)

// grant is what the machine and the cgroup let the daemon have. It may change while
// the daemon runs: apps of `instances: max` follow it.
type grant struct {
	CPUs   int    `json:"cpus"`
	Memory uint64 `json:"memory,omitempty"` // bytes; 0: there is no limit
}

// granted is what is granted now: the CPUs of the affinity mask, but no more than
// the quota, of which a part of a CPU is one.
func granted() grant {
	g := grant{CPUs: 1}
	var mask unix.CPUSet
	if err := unix.SchedGetaffinity(0, &mask); err == nil {
		g.CPUs = max(1, mask.Count())
	}
	limits := cgroup.Read("/")
	if limits.CPUs > 0 {
		g.CPUs = min(g.CPUs, int(math.Ceil(limits.CPUs)))
	}
	g.Memory = limits.Memory
	return g
}

// GrantedCPUs is how many CPUs the caller may use, of which `instances: max` makes as
// many processes.
func GrantedCPUs() int { return granted().CPUs }

// grantEvery is how often the master looks whether another is granted.
const grantEvery = 2 * time.Second

// watchGrant resizes apps when the grant has changed, and has held for two looks:
// who changes a quota may be about to change it again.
func (m *master) watchGrant() {
	tick := time.NewTicker(grantEvery)
	defer tick.Stop()
	var last grant
	for {
		select {
		case <-tick.C:
		case <-m.ended:
			return
		}
		followed := false
		m.do(func() { followed = m.followsGrant() })
		if !followed {
			continue
		}
		seen := granted()
		var behind []*app
		m.do(func() {
			if seen == last && seen != m.grant {
				m.log("granted now: %s (before: %s)", seen, m.grant)
				m.grant = seen
			}
			for _, name := range m.order {
				if a := m.apps[name]; a.spec.FollowsCPUs() && a.grant != m.grant {
					behind = append(behind, a)
				}
			}
		})
		for _, a := range behind {
			m.regrant(a)
		}
		last = seen
	}
}

// followsGrant says that there is an app that is sized by the grant.
func (m *master) followsGrant() bool {
	for _, a := range m.apps {
		if a.spec.FollowsCPUs() {
			return true
		}
	}
	return false
}

func (g grant) String() string {
	text := fmt.Sprintf("CPUs: %d", g.CPUs)
	if g.Memory > 0 {
		text += fmt.Sprintf(", memory: %d MiB", g.Memory>>20)
	}
	return text
}

// regrant gives an app as many slots as there are CPUs and
// processes that know their new share. What does not come up is not tried again:
// the rest serves on as it is.
func (m *master) regrant(a *app) {
	end, err := m.begin()
	if err != nil {
		return // the next master sees the same
	}
	defer end()
	unlock, err := m.lock(chosen{app: a}, quiet{}, cause{control.CauseReload, "other CPUs or memory are granted: " + granted().String()})
	if err != nil {
		return
	}
	defer unlock()
	var older []*slot
	var sized grant
	from, to := 0, 0
	m.do(func() {
		if !a.spec.FollowsCPUs() { // somebody has scaled it meanwhile
			return
		}
		sized = m.grant
		from, to = a.instances(), m.instances(a.spec)
		n := a.sizeFor(m.instances(a.spec))
		if a.runs() {
			if err = m.listen(a, max(n, len(a.slots))); err != nil {
				return
			}
		}
		m.log("%s is resized for that, instances: %d", a, n)
		for _, s := range a.inUse() {
			if s.index < n {
				older = append(older, s)
			}
		}
		m.resize(a, n)
	})
	if sized == (grant{}) {
		return
	}
	if err == nil {
		err = m.untilOnline(a, nil)
	}
	m.do(func() { m.tellOfScale(a, from, to, byGrant, err) })
	if err == nil {
		began := time.Now()
		_, err = m.replaceAll(older, a.spec, 0)
		m.do(func() { m.tellOfReload(chosen{app: a}, older, byGrant, began, err) })
	}
	m.do(func() {
		a.grant = sized
		m.recordApp(a)
		if err != nil && !m.stopping {
			m.log("%s cannot follow what is granted: %s", a, errorText(err))
		}
	})
}

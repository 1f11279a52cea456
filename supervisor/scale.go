package supervisor

import (
	"strconv"

	"github.com/nekoctl/neko/supervisor/spec"
)

// scale sets the number of slots: "4", "+1", "-1" or "max". New ones must become
// ready; the ones that are too many serve what is on its way to them first.
func (m *master) scale(r reporter, name, text string) error {
	list, err := m.choose([]string{name})
	if err != nil {
		return err
	}
	a := list[0].app
	if name == "all" || len(list) != 1 || list[0].slot != nil {
		return failure("give the name of one app", "%q is not an app", name)
	}
	unlock, err := m.lock(list[0], r, commanded("scale"))
	if err != nil {
		return err
	}
	defer unlock()
	from, to := 0, 0
	m.do(func() {
		if a.spec.Type == spec.Task {
			err = failure("", "%s is a task, of which there is one", a.name)
			return
		}
		m.grant = granted()
		resized := *a.spec
		if resized.Instances, err = scaled(a.instances(), text); err != nil {
			return
		}
		from, to = a.instances(), m.instances(&resized)
		m.occupy(a, to)
		n := a.sizeFor(m.instances(&resized))
		if a.runs() {
			if err = m.listen(a, max(n, len(a.slots))); err != nil {
				err = m.listenError(a.name, err)
				return
			}
		}
		a.spec = &resized
		m.resize(a, n)
	})
	if err != nil {
		return err
	}
	m.until(func() bool { return len(a.slots) <= a.size })
	err = m.untilOnline(a, nil)
	m.do(func() { m.tellOfScale(a, from, to, byCommand, err) })
	return err
}

func scaled(now int, text string) (int, error) {
	if text == "max" {
		return spec.Max, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || text == "" {
		return 0, failure("give a number, +N, -N or max", "%q is no number of instances", text)
	}
	if text[0] == '+' || text[0] == '-' {
		n += now
	}
	if n < 1 || n > spec.MaxInstances {
		return 0, failure("`nekoctl stop` stops an app", "%d instances: there can be 1 to %d", n, spec.MaxInstances)
	}
	return n, nil
}

package supervisor

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"

	"github.com/nekoctl/neko/supervisor/control"
	"github.com/nekoctl/neko/supervisor/home"
	"github.com/nekoctl/neko/supervisor/keeper"
	"github.com/nekoctl/neko/supervisor/spec"
)

// Foreground makes this process the keeper of a daemon that starts the given
// apps, shows on standard output what they print, and ends with them: the form
// for systemd and containers. If exitWith is one of the apps the daemon ends when
// that does (exitwith.go). It returns the exit code.
func Foreground(h home.Dir, version string, apps []spec.App, exitWith string) int {
	if err := h.Create(); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		return 1
	}
	boot, err := json.Marshal(apps)
	if err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		return 1
	}
	return keeper.Run(h, keeper.Options{Version: version, Boot: string(boot), ExitWith: exitWith})
}

// boot starts what a foreground daemon was given. A mistake in it ends the
// daemon; an app that does not come up is tried again like any other.
func (m *master) boot(text string) {
	var specs []spec.App
	fail := func(err error) {
		if err := m.conn.Fail(errorText(err)); err != nil {
			m.log("tell the keeper: %v", err)
		}
		os.Exit(1)
	}
	if err := json.Unmarshal([]byte(text), &specs); err != nil {
		fail(err)
	}
	_, err := m.start(quiet{}, specs, false)
	known, stopping := false, true
	m.do(func() { known, stopping = len(m.apps) > 0, m.stopping })
	if stopping {
		return
	}
	if err != nil && !known {
		fail(err)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, errorText(err))
	}
	m.do(func() {
		m.kept("booted", m.conn.Set("booted", "1"))
		for _, name := range m.order {
			a := m.apps[name]
			online := 0
			for _, s := range a.slots {
				if s.state == control.Online {
					online++
				}
			}
			line := fmt.Sprintf("%s: %d of %d online", name, online, a.size)
			if url := announceURL(a); url != "" {
				line += " at " + url
			}
			fmt.Fprintln(os.Stderr, line)
		}
	})
}

// endWhenAllHaveEnded makes a foreground daemon, a container's one purpose, end
// when nothing of it will ever do anything again: with 0 if all has been done.
func (m *master) endWhenAllHaveEnded() {
	m.until(func() bool {
		all := m.slots()
		return !m.stopping && len(all) > 0 && !slices.ContainsFunc(all, func(s *slot) bool { return !m.hasEnded(s) })
	})
	why := "every app has done its work"
	m.do(func() {
		if slices.ContainsFunc(m.slots(), func(s *slot) bool { return !s.finished || s.exitCode != 0 }) {
			m.code, why = 1, "every app has failed for good, or done its work"
		}
	})
	m.shutdown(why)
}

// hasEnded says that a slot which is to run will not any more, by itself.
func (m *master) hasEnded(s *slot) bool {
	switch {
	case s.want != run || !s.empty() || s.spec.CronRestart != "":
		return false
	case s.awaits:
		dep := m.awaited(s)
		if dep == nil {
			return false
		}
		a := m.apps[dep.App]
		return a == nil || slices.ContainsFunc(a.slots, m.hasEnded) // and it has not come to what is needed
	}
	return s.errored || s.finished
}

// errorText is an error as a person reads it on standard error.
func errorText(err error) string {
	var e *control.Error
	if !errors.As(err, &e) {
		return "error: " + err.Error()
	}
	text := "error: " + e.Message
	for _, line := range e.Output {
		text += "\n  | " + line
	}
	if e.Hint != "" {
		text += "\nhint: " + e.Hint
	}
	return text
}

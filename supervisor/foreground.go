package supervisor

import (
	"cmp"
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
func Foreground(h home.Dir, version string, apps []spec.App, daemon spec.Daemon, exitWith string) int {
	return inForeground(h, version, booting{Apps: apps, Daemon: daemon}, exitWith)
}

// ForegroundSaved is Foreground for what `nekoctl save` has kept. Such a daemon is
// there for whatever is started in it, and does not end with its apps.
func ForegroundSaved(h home.Dir, version string, saved []control.Saved, daemon spec.Daemon) int {
	return inForeground(h, version, booting{Saved: saved, Daemon: daemon, Resurrect: true}, "")
}

func inForeground(h home.Dir, version string, b booting, exitWith string) int {
	if err := h.Create(); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		return 1
	}
	boot, err := json.Marshal(b)
	if err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		return 1
	}
	return keeper.Run(h, keeper.Options{Version: version, Boot: string(boot), ExitWith: exitWith})
}

// booting is what a foreground daemon begins with, as a record.
type booting struct {
	Apps   []spec.App      `json:"apps,omitempty"`
	Saved  []control.Saved `json:"saved,omitempty"`
	Daemon spec.Daemon     `json:"daemon,omitzero"`
	// Resurrect says that it is Saved, which may be empty.
	Resurrect bool `json:"resurrect,omitempty"`
}

// The values of the record that a foreground daemon has begun.
const (
	bootedGiven = "1"
	bootedSaved = "saved"
)

// boot starts what a foreground daemon begins with, and returns what it has
// recorded. A mistake in what it was given ends the daemon; an app that does not
// come up is tried again like any other.
func (m *master) boot(text string) (booted string) {
	var b booting
	fail := func(err error) {
		if err := m.conn.Fail(errorText(err)); err != nil {
			m.log("tell the keeper: %v", err)
		}
		os.Exit(1)
	}
	if err := json.Unmarshal([]byte(text), &b); err != nil {
		fail(err)
	}
	var err error
	if b.Resurrect {
		booted = bootedSaved
		_, err = m.resurrect(quiet{}, b.Saved, b.Daemon)
	} else {
		booted = bootedGiven
		_, err = m.start(quiet{}, b.Apps, startOptions{daemon: b.Daemon})
	}
	known, stopping := false, true
	m.do(func() { known, stopping = len(m.apps) > 0, m.stopping })
	if stopping {
		return booted
	}
	if err != nil && !known && !b.Resurrect {
		fail(err)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, errorText(err))
	}
	m.do(func() {
		m.kept("booted", m.conn.Set("booted", booted))
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
	return booted
}

// endWhenAllHaveEnded makes a foreground daemon, a container's one purpose, end
// when nothing of it will ever do anything again: with 0 if all has been done, and with
// the exit code of the app that has failed if it is the only one.
func (m *master) endWhenAllHaveEnded() {
	m.until(func() bool {
		all := m.slots()
		return !m.stopping && len(all) > 0 && !slices.ContainsFunc(all, func(s *slot) bool { return !m.hasEnded(s) })
	})
	why := "every app has done its work"
	m.do(func() {
		i := slices.IndexFunc(m.slots(), func(s *slot) bool { return !s.finished || s.exitCode != 0 })
		if i < 0 {
			return
		}
		m.code, why = 1, "every app has failed for good, or done its work"
		if code := cmp.Or(m.slots()[i].lastCode, m.slots()[i].exitCode); len(m.apps) == 1 && code > 0 {
			m.code = code // a container's only app is what it is asked about
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

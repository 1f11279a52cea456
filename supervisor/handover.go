package supervisor

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nekoctl/neko/supervisor/control"
	"github.com/nekoctl/neko/supervisor/events"
	"github.com/nekoctl/neko/supervisor/keeper"
)

// A master may end although the daemon goes on: for one of another program, or
// to become the keeper that is missing. The next one finds all with the keeper,
// as after a kill; only what no record holds must be over before: commands that
// are under way.

// errAgain makes a client send its command again: there will be another master.
var errAgain = &control.Error{Message: "the daemon is about to be replaced", Again: true}

// longestYield is how long a master that is to end waits for commands, and longestOffer
// for processes to take connections: who does not is hung.
const (
	longestYield = 30 * time.Second
	longestOffer = time.Second
)

// begin counts a command that is under way, until end is called. It is refused
// while the master is about to end.
func (m *master) begin() (end func(), err error) {
	err = errAgain // should this master have ended
	m.do(func() {
		if err = nil; m.yielding {
			err = errAgain
			return
		}
		m.commands++
	})
	return func() { m.do(func() { m.commands-- }) }, err
}

// yield takes no more commands and waits until but others are under way. It fails
// if that took too long, if somebody else is about to replace this master, or if
// the daemon is to stop, which goes first.
func (m *master) yield(r reporter, but int) error {
	err := error(errAgain)
	m.do(func() {
		if !m.yielding {
			m.yielding = true
			err = nil
		}
	})
	if err != nil {
		return err
	}
	late, hung := false, false
	timer := time.AfterFunc(longestYield, func() { m.post(func() { late = true }) })
	defer timer.Stop()
	began, told := time.Now(), 0
	m.until(func() bool {
		if left := m.commands - but; left > 0 && left != told {
			told = left
			r.report(control.Progress{
				Whole: true, Message: "waits for commands that are under way: " + m.underWay(left),
				SinceMS: time.Since(began).Milliseconds(), LimitMS: longestYield.Milliseconds(),
			})
		}
		return m.stopping || m.commands <= but || late
	})
	m.do(func() { m.offersNoMore = true })
	defer time.AfterFunc(longestOffer, func() { m.post(func() { hung = true }) }).Stop()
	m.until(func() bool { return m.stopping || late || hung || m.offers() == 0 })
	err = errAgain // should this master have ended
	m.do(func() {
		switch {
		case m.stopping:
			err = errStopping
		case m.commands > but:
			err = failure("try again when they have ended; nekoctl list shows what they wait for",
				"there are commands under way, and they did not end within %s", longestYield)
		default:
			err = nil
		}
		if err != nil {
			m.stay()
		}
	})
	return err
}

// underWay are so many commands, and what they work on.
func (m *master) underWay(n int) string {
	text := fmt.Sprint(n)
	var apps []string
	for _, name := range m.order {
		if a := m.apps[name]; len(a.busy) > 0 && a.cause.Detail != "" {
			apps = append(apps, fmt.Sprintf("%s (%s)", name, a.cause.Detail))
		}
	}
	if len(apps) > 3 {
		apps = append(apps[:3], "…")
	}
	if len(apps) > 0 {
		text += ", on " + strings.Join(apps, ", ")
	}
	return text
}

// stay goes on after all.
func (m *master) stay() {
	m.yielding, m.offersNoMore = false, false
	m.resumeMetrics()
	for _, a := range m.apps {
		m.passOn(a)
	}
}

// trialTimeout is how long an upgrade waits for the one before it. A trial takes a
// second, and some more if the keeper has things to tell.
const trialTimeout = 10 * time.Second

// upgrade ends this master for one of the given program, "" for what is at the
// path of this one now. The program is checked before anything is done. A command
// that upgrades is under way itself, and ends before the master does.
func (m *master) upgrade(r reporter, program string, commands int) error {
	if program == "" {
		own, err := os.Executable()
		if err != nil {
			return err
		}
		program = strings.TrimSuffix(own, " (deleted)")
	}
	file, version, err := checkUpgrade(program)
	if err != nil {
		m.do(func() { m.tellOfUpgradeTo(events.Upgrade{From: m.version, To: program}, err) })
		return err
	}
	defer file.Close()
	var gone bool
	var trial chan struct{}
	m.do(func() {
		gone, m.upgradeFailed, trial = m.keeperGone, "", m.trial
	})
	if gone {
		return failure("wait a moment, and see nekoctl ping", "the keeper is being replaced")
	}
	// While this master is on trial the keeper is the program before it, and would go back
	// to that, behind what this upgrade was to replace, if the next did not live.
	if trial != nil {
		select {
		case <-trial:
		case <-time.After(trialTimeout):
			return failure("try again; nekoctl ping says when it is over", "the upgrade before this one is still on trial")
		}
	}
	if err := m.yield(r, commands); err != nil {
		return err
	}
	m.pauseMetrics()
	m.log("upgrade from %s to %s (%s)", m.version, version, program)
	if err := m.line.Upgrade(file); err != nil {
		m.do(func() {
			m.stay()
			m.tellOfUpgradeTo(events.Upgrade{From: m.version, To: version}, err)
		})
		return err
	}
	m.do(func() {
		m.leaves = true
		m.events.Update(func(s *events.State) { s.Left, s.Upgrade = true, &events.Upgrade{From: m.version, To: version} })
	})
	return nil
}

// CheckMode is the first argument with which a program says, as JSON, that it is
// a nekoctl and of which version.
const CheckMode = "__check"

// identity is what a program says in CheckMode. State is the newest version of
// the state file that it can read.
type identity struct {
	Nekoctl string `json:"nekoctl"`
	State   int    `json:"state"`
}

// CheckMain answers in CheckMode, and returns the exit code.
func CheckMain(version string) int {
	if err := json.NewEncoder(os.Stdout).Encode(identity{version, stateVersion}); err != nil {
		return 1
	}
	return 0
}

// checkUpgrade opens a program that says that it is a nekoctl which can take over.
func checkUpgrade(program string) (file *os.File, version string, err error) {
	bad := func(format string, args ...any) error {
		return failure("give the path of a nekoctl; nothing was changed", "cannot upgrade to %s: %s", program, fmt.Sprintf(format, args...))
	}
	if !filepath.IsAbs(program) {
		return nil, "", bad("it is no absolute path")
	}
	info, err := os.Stat(program)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, "", bad("no such file")
	case err == nil && !info.Mode().IsRegular():
		return nil, "", bad("it is no file")
	case err == nil && unix.Faccessat(unix.AT_FDCWD, program, unix.X_OK, unix.AT_EACCESS) != nil:
		return nil, "", bad("it is not executable")
	case err == nil:
		file, err = os.Open(program)
	}
	if err != nil {
		return nil, "", bad("%v", err)
	}
	defer func() {
		if err != nil {
			file.Close()
		}
	}()
	// The very file that is opened, whatever becomes of its path.
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, "/proc/self/fd/3", CheckMode)
	cmd.Args[0] = program
	cmd.ExtraFiles = []*os.File{file}
	cmd.WaitDelay = time.Second
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, runErr := cmd.Output()
	var is identity
	switch {
	case runErr != nil:
		return nil, "", bad("it does not run: %v %.200s", runErr, strings.TrimSpace(errs.String()))
	case json.Unmarshal(out, &is) != nil || is.Nekoctl == "":
		return nil, "", bad("it is not a nekoctl that knows upgrades")
	case is.State < stateVersion:
		return nil, "", bad("it is too old: its state has version %d, and that of the daemon %d", is.State, stateVersion)
	}
	return file, is.Nekoctl, nil
}

// becomeKeeper takes the place of a keeper that was killed: this process becomes
// one, with all that it has, and starts another master. Its children stay its
// own, and so their exit statuses come through.
func (m *master) becomeKeeper() {
	m.pauseMetrics()
	_ = m.yield(quiet{}, 0) // a command that goes on for longer is cut off
	for again := true; again; {
		again = false // should this master have ended
		m.do(func() {
			if m.stopping {
				return
			}
			e, err := m.estate()
			if err == nil {
				m.tellOfDaemon("keeper-replaced", "", "the keeper was killed; pid %d becomes the keeper", os.Getpid())
				m.events.Update(func(s *events.State) { s.Left = true })
				err = e.Become("/proc/self/exe", m.signals)
			}
			if again = errors.Is(err, keeper.ErrSignal); again {
				return
			}
			leaveSignals()
			m.heedSignals()
			m.stay()
			m.events.Update(func(s *events.State) { s.Left = false })
			m.warn("keeper", fmt.Sprintf("the keeper is gone and could not be replaced (%v): nothing would start the master again; restart the daemon when you can", err))
		})
	}
}

// estate is all that a keeper would hold now.
func (m *master) estate() (keeper.Estate, error) {
	e := keeper.Estate{Home: m.home, Records: m.conn.Records(), Files: map[string][]int{}}
	if m.upgrading { // to this program, which the keeper is from now on
		delete(e.Records, keeper.UpgradeRecord)
	}
	maps.Copy(e.Files, m.held)
	for _, a := range m.apps {
		for i, g := range a.groups {
			for j, fd := range g.FDs() {
				if fd >= 0 {
					e.Files[socketsName(a.name, i, j)] = []int{fd}
				}
			}
		}
	}
	for name, p := range m.piped {
		fds, err := p.dupPipes()
		if err != nil {
			return e, err
		}
		if len(fds) > 0 {
			e.Files[name] = fds
		}
	}
	for _, p := range m.processes {
		if p.channel == nil {
			continue
		}
		fd, err := p.channel.Dup()
		if err != nil {
			return e, err
		}
		e.Files[p.channelName()] = []int{fd}
	}
	return e, nil
}

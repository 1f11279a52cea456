package supervisor

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nekoctl/neko/supervisor/control"
	"github.com/nekoctl/neko/supervisor/home"
	"github.com/nekoctl/neko/supervisor/metrics"
)

// What was counted outlives masters and keepers in a file beside the run folders, on
// tmpfs, which is replaced whenever something was counted, and before anybody is told of
// it. So whoever is killed, and when: what was told does not go back. A process that has
// ended is first written down as counted and then its file removed; a master that is
// killed in between leaves a list of those that are counted already (countedState.Retired).

// countedName is not the name of an app, which begins with a letter or a number.
const countedName = ".counted"

// mostCounted bounds what is read back, in bytes.
const mostCounted = 256 << 20

// countedState is the file. Fields are only added.
type countedState struct {
	// Sequence grows with each write: where there are two files, for the folder of the
	// first was away for a while, the later one counts.
	Sequence int64                 `json:"sequence"`
	Apps     map[string]countedApp `json:"apps,omitempty"` // by unique ids
	Daemon   daemonCounts          `json:"daemon,omitzero"`
	Retired  []countedProcess      `json:"retired,omitempty"` // whose files may be there still
}

type countedProcess struct {
	App string            `json:"app"`
	ID  metrics.ProcessID `json:"id"`
}

type countedApp struct {
	Account  *metrics.Account  `json:"account,omitempty"`
	Failures uint64            `json:"failures,omitempty"`
	Crashes  uint64            `json:"crashes,omitempty"`
	Restarts map[string]uint64 `json:"restarts,omitempty"` // by reason
	Reloads  map[string]uint64 `json:"reloads,omitempty"`  // by result
	CPU      cpuAccount        `json:"cpu,omitzero"`
	Lost     uint64            `json:"lost,omitempty"` // lines of logs
}

// daemonCounts are of no app: those of the events, which outlive a master by themselves,
// and not the death of it and its keeper.
type daemonCounts struct {
	Events map[string]tally `json:"events,omitempty"` // by kind
	Calls  map[string]tally `json:"calls,omitempty"`  // of hooks, by result
}

// tally is a count that may begin anew, and does not show it.
type tally struct {
	Total uint64 `json:"total"`
	Told  uint64 `json:"told"`
}

// observe goes on with what is counted elsewhere, and says whether something is new.
func observe(tallies *map[string]tally, counts map[string]uint64) (changed bool) {
	for key, n := range counts {
		t := (*tallies)[key]
		if n == t.Told {
			continue
		}
		if n < t.Told {
			t.Told = 0
		}
		if *tallies == nil {
			*tallies = map[string]tally{}
		}
		(*tallies)[key] = tally{t.Total + n - t.Told, n}
		changed = true
	}
	return changed
}

// countedPlaces are where the file can be, the best first.
func countedPlaces(h home.Dir) (list []string) {
	for _, dir := range runDirs(h) {
		list = append(list, filepath.Join(dir, countedName))
	}
	return list
}

// loadCounted reads what an earlier master has counted, before any process is started: no
// other is to have the name of one that is accounted for.
func (m *master) loadCounted() {
	c := m.collector
	for _, path := range countedPlaces(m.home) {
		s, err := readCounted(path)
		switch {
		case errors.Is(err, fs.ErrNotExist):
		case err != nil:
			m.log("what an earlier master has counted cannot be read: %v", err)
		case s.Sequence >= c.saved.Sequence:
			c.saved, c.place = *s, path
		}
	}
	for _, a := range c.saved.Apps {
		if a.Account != nil {
			for _, id := range a.Account.Processes() {
				m.lastLaunch = max(m.lastLaunch, int64(id))
			}
		}
	}
}

func readCounted(path string) (*countedState, error) {
	file, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if errors.Is(err, syscall.ENOTDIR) {
		err = fs.ErrNotExist
	}
	if err != nil {
		return nil, err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	if st, ok := info.Sys().(*syscall.Stat_t); !info.Mode().IsRegular() || ok && int(st.Uid) != os.Geteuid() {
		return nil, fmt.Errorf("%s is no file of this user", path) // in /dev/shm anybody can have been quicker
	}
	text, err := io.ReadAll(io.LimitReader(file, mostCounted))
	if err != nil {
		return nil, err
	}
	var s countedState
	if err := json.Unmarshal(text, &s); err != nil {
		return nil, fmt.Errorf("%s is damaged: %w", path, err)
	}
	return &s, nil
}

// restoreCounted goes on with what was loaded: for the apps that are still there, and with
// the ends of the processes that have ended while there was no master.
func (m *master) restoreCounted() {
	c := m.collector
	saved := c.saved
	c.saved = countedState{Sequence: saved.Sequence}
	c.daemon = saved.Daemon
	type known struct {
		name, id, dir string
		living        map[metrics.ProcessID]bool
	}
	var apps []known
	m.do(func() {
		c.restored = true
		for _, name := range m.order {
			a := m.apps[name]
			apps = append(apps, known{a.name, a.uniqueID, a.runDir, map[metrics.ProcessID]bool{}})
		}
		for _, p := range m.processes {
			for i := range apps {
				if apps[i].name == p.slot.app.name {
					apps[i].living[metrics.ProcessID(p.launch)] = true
				}
			}
		}
	})
	late := time.Now().Add(restoreTime)
	for _, app := range apps {
		var gone []metrics.ProcessID
		if was, known := saved.Apps[app.id]; known {
			a := c.account(app.id, app.name, app.dir)
			if was.Account == nil {
				was.Account = a.Account
			}
			a.countedApp = was
			gone = append(gone, was.Account.Processes()...)
			for id := range was.CPU.Told {
				gone = append(gone, id)
			}
		}
		written := len(gone)
		for i, id := range append(gone, lastFiles(app.dir)...) {
			if i >= written && time.Now().After(late) {
				m.log("there is so much in %s that not all of what processes have counted last is read", app.dir)
				break // by the next master, perhaps
			}
			s := source{app: app.id, name: app.name, dir: app.dir, id: id}
			switch {
			case app.living[id]:
			case slices.Contains(saved.Retired, countedProcess{app.id, id}):
				c.retired = append(c.retired, retired{app.id, id, app.dir})
			default:
				m.retire(s)
			}
		}
	}
}

// lastFiles are the processes of which there is a file in a run folder with what they have
// counted last.
func lastFiles(dir string) (ids []metrics.ProcessID) {
	if dir == "" {
		return nil
	}
	folder, err := os.Open(dir)
	if err != nil {
		return nil
	}
	defer folder.Close()
	names, _ := folder.Readdirnames(mostNames)
	for _, name := range names {
		number, found := strings.CutPrefix(name, metricsSocket(0)[:len("metrics-")])
		number, last := strings.CutSuffix(number, lastCounted)
		if id, err := strconv.ParseInt(number, 10, 64); err == nil && found && last && id > 0 {
			ids = append(ids, metrics.ProcessID(id))
		}
	}
	return ids
}

// saveCounted writes what was counted, if something was.
func (m *master) saveCounted() {
	c := m.collector
	if !c.dirty || !c.restored { // or this master has ended before it knew
		return
	}
	c.dirty = false
	if len(c.accounts)+len(c.daemon.Events)+len(c.daemon.Calls) == 0 {
		m.removeCounted()
		return
	}
	c.saved.Sequence++
	s := countedState{Sequence: c.saved.Sequence, Apps: map[string]countedApp{}, Daemon: c.daemon}
	for id, a := range c.accounts {
		s.Apps[id] = a.countedApp
	}
	for _, r := range c.retired {
		s.Retired = append(s.Retired, countedProcess{r.app, r.id})
	}
	text, err := json.Marshal(s)
	if err != nil {
		m.log("write down what was counted: %v", err)
		return
	}
	place := ""
	for _, path := range countedPlaces(m.home) {
		if err = writeCounted(path, text); err == nil {
			place = path
			break
		}
	}
	if place != c.place && c.place != "" && place != "" {
		_ = os.Remove(c.place) // its folder may be away
	}
	warning := ""
	if c.place = place; place == "" {
		warning = fmt.Sprintf("what was counted cannot be written down: %v; should this master be killed, counters begin anew", err)
	}
	if warning != c.warning {
		c.warning = warning
		m.do(func() { m.warn("counted", warning) })
	}
}

func writeCounted(path string, text []byte) error {
	if err := ownDir(filepath.Dir(path), 0o711, os.Geteuid()); err != nil { // as the run folders have it
		return err
	}
	fresh := path + ".new"
	_ = os.Remove(fresh) // of a master that was killed
	file, err := os.OpenFile(fresh, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = file.Write(text)
	if err = errors.Join(err, file.Close()); err == nil {
		err = os.Rename(fresh, path)
	}
	if err != nil {
		_ = os.Remove(fresh)
	}
	return err
}

// removeCounted is done when there is nothing to be kept, and at the daemon's orderly end,
// when the collector has ended.
func (m *master) removeCounted() {
	place := m.collector.place
	if place == "" {
		return
	}
	m.collector.place = ""
	if err := os.Remove(place); err != nil && !errors.Is(err, fs.ErrNotExist) {
		m.log("%v", err)
	}
	_ = os.Remove(filepath.Dir(place)) // unless others have theirs there
}

// count changes a count of an app's. It is called in the loop, and never waits.
func (m *master) count(a *app, change func(*countedApp)) {
	c := m.collector
	id, name, dir := a.uniqueID, a.name, a.runDir
	c.later(func() {
		change(&c.account(id, name, dir).countedApp)
		c.dirty = true
	})
}

func (a *countedApp) restarted(reason string) {
	if a.Restarts == nil {
		a.Restarts = map[string]uint64{}
	}
	a.Restarts[reason]++
}

func (m *master) countRestart(a *app, reason control.Cause) {
	m.count(a, func(c *countedApp) { c.restarted(string(reason)) })
}

func (m *master) countCrash(a *app) { m.count(a, func(c *countedApp) { c.Crashes++ }) }

// countReload is not called in the loop.
func (m *master) countReload(a *app, err error) {
	result := "ok"
	if err != nil {
		result = "failed"
	}
	m.do(func() {
		m.count(a, func(c *countedApp) {
			if c.Reloads == nil {
				c.Reloads = map[string]uint64{}
			}
			c.Reloads[result]++
		})
	})
}

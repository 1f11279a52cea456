package supervisor

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nekoctl/neko/supervisor/control"
	"github.com/nekoctl/neko/supervisor/keeper"
	"github.com/nekoctl/neko/supervisor/logs"
	"github.com/nekoctl/neko/supervisor/spec"
)

// ConsoleVariable says how a foreground daemon shows what the processes print:
// "raw", "json", or each line with the name of its slot.
const ConsoleVariable = "NEKO_CONSOLE"

// pump moves a process's output into its files. While it is not ready its last
// lines are remembered, to be shown if it never gets there.
func (m *master) pump(p *process, out, errRead int, fresh bool) {
	files := m.logFiles(p.spec, p.slot)
	for i, fd := range []int{out, errRead} {
		o := logs.Options{Form: m.form(p, i == 1), All: files[2], Merged: p.spec != nil && p.spec.MergeLogs || files[0] == files[1]}
		if fresh {
			o.Sink = p.tails[i]
		}
		if m.consoles[i] != nil {
			o.Console = m.shown(p, i, o.Form)
			files[i].Optional()
			if o.All != nil {
				o.All.Optional()
			}
		}
		if p.spec != nil && p.spec.PM2 != nil { // PM2 has these files from the start
			for _, file := range []*logs.File{files[i], o.All} {
				if file != nil {
					go file.Create()
				}
			}
		}
		pump, err := logs.Start(fd, files[i], o)
		if err != nil {
			m.log("log of %s: %v", p.slot, err)
			continue
		}
		p.pumps[i] = pump
	}
	m.piped[p.pipesName()] = p
	m.printing.Add(1)
	logs.AllDone(p.pumps[:], func() { // a grandchild may hold the pipes longer than the process lives
		m.printing.Done()
		m.post(func() { m.forget(p) })
	})
}

// form is how the lines of a process are rewritten, nil: not at all.
func (m *master) form(p *process, errs bool) *logs.Form {
	if p.spec == nil || p.spec.LogType != logs.JSON && p.spec.LogDateFormat == "" {
		return nil
	}
	f := &logs.Form{App: p.spec.ShownName(), Process: p.slot.id, Errors: errs}
	if p.spec.LogType == logs.JSON {
		f.Type = logs.JSON
	}
	if p.spec.LogDateFormat != "" {
		f.Date = logs.ParseDate(p.spec.LogDateFormat)
	}
	return f
}

// shown is how a foreground daemon shows a process's lines. JSON has no prefix.
func (m *master) shown(p *process, stream int, form *logs.Form) *logs.Console {
	c := &logs.Console{Out: m.consoles[stream], Form: form}
	switch how := os.Getenv(ConsoleVariable); {
	case form != nil && form.Type == logs.JSON:
	case how == "json":
		c.Form = &logs.Form{Type: logs.JSON, App: p.slot.app.name, Process: p.slot.id, Errors: stream == 1}
	case how != "raw":
		c.Prefix = p.slot.String() + " | "
	}
	return c
}

// logPaths are where a slot's standard output and error go, and both; "": there is no
// such file.
func (m *master) logPaths(app *spec.App, s *slot) (paths [3]string) {
	index := s.index
	if app != nil && app.MergeLogs {
		index = -1
	}
	paths = [3]string{m.home.OutLog(s.app.name, index), m.home.ErrLog(s.app.name, index)}
	if app == nil {
		return paths
	}
	for i := range 2 {
		if path := app.LogFile(i == 1, s.index, s.id); path != "" {
			paths[i] = path
		}
	}
	if paths[2] = app.AllFileOf(s.index, s.id); slices.Contains(paths[:2], paths[2]) {
		paths[2] = "" // its lines are there already
	}
	return paths
}

// logFiles are these files. There is one for a path. The folders of those that are
// elsewhere are made here and not by the command line, for also what is resurrected
// at boot needs them.
func (m *master) logFiles(app *spec.App, s *slot) (files [3]*logs.File) {
	rotate := spec.Defaults().LogRotate
	if app != nil {
		rotate = app.LogRotate
	}
	for i, path := range m.logPaths(app, s) {
		if path == "" {
			continue
		}
		if m.files[path] == nil {
			m.files[path] = logs.NewFile(path)
			if app == nil || app.PM2 == nil { // what PM2 lists has the paths
				m.link(s, i, path)
			}
		}
		if filepath.Dir(path) != m.home.Logs() {
			_ = os.MkdirAll(filepath.Dir(path), 0o755) // or the file says what is wrong
		}
		files[i] = m.files[path]
		files[i].Rotate(logs.Rotation{
			Size: int64(rotate.Size), Every: rotate.Every.D(), Keep: rotate.Keep, Gzip: rotate.Gzip, Compress: compress,
		})
	}
	return files
}

// link leaves in the home where a log is that is elsewhere, for `nekoctl logs` to
// find it while there is no daemon.
func (m *master) link(s *slot, stream int, path string) {
	if stream == 2 || filepath.Dir(path) == m.home.Logs() || path == os.DevNull {
		return
	}
	name := m.home.OutLog(s.app.name, s.index)
	if stream == 1 {
		name = m.home.ErrLog(s.app.name, s.index)
	}
	if info, err := os.Lstat(name); err == nil && info.Mode().IsRegular() {
		if err := logs.PutAside(name); err != nil {
			return
		}
	} else if target, err := os.Readlink(name); err == nil && target == path {
		return
	} else if err == nil {
		_ = os.Remove(name)
	}
	_ = os.Symlink(path, name) // a courtesy
}

// CompressMode is the first argument that makes the binary compress a file: in a
// process of its own, so that the master stays small and others come first.
const CompressMode = "__gzip"

// CompressMain is that process. It returns its exit code.
func CompressMain(args []string) int {
	if len(args) != 1 {
		return 2
	}
	_ = unix.Setpriority(unix.PRIO_PROCESS, 0, 19)
	if err := logs.Compress(args[0]); err != nil {
		return 1
	}
	return 0
}

func compress(path string) error {
	devNull, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer devNull.Close()
	p, err := os.StartProcess("/proc/self/exe", []string{"neko-gzip", CompressMode, path}, &os.ProcAttr{
		Env: append(os.Environ(), "GOMAXPROCS=1"), Files: []*os.File{devNull, devNull, devNull},
	})
	if err != nil {
		return err
	}
	state, err := p.Wait()
	if err == nil && !state.Success() {
		err = errors.New("cannot compress " + path + ": " + state.String())
	}
	return err
}

// tidyLogs goes on with what an earlier master has begun to compress.
func (m *master) tidyLogs() {
	var folders []string
	m.do(func() {
		seen := map[string]bool{}
		for path := range m.files {
			if dir := filepath.Dir(path); !seen[dir] && path != os.DevNull {
				seen[dir] = true
				folders = append(folders, dir)
			}
		}
	})
	for _, folder := range folders {
		for _, path := range logs.Unfinished(folder) {
			m.do(func() {
				if file := m.files[path]; file != nil {
					file.Tidy()
				}
			})
		}
	}
}

// reopenLogs lets pumps open their files anew, by name, and returns when all have.
func (m *master) reopenLogs() error {
	var files []*logs.File
	m.do(func() {
		for _, file := range m.files {
			files = append(files, file)
		}
	})
	return eachFile(files, (*logs.File).Reopen)
}

// flush empties the logs of what targets mean.
func (m *master) flush(targets []string) error {
	list, err := m.choose(targets)
	if err != nil {
		return err
	}
	seen := map[*logs.File]bool{}
	var files []*logs.File
	m.do(func() {
		for _, c := range list {
			for _, s := range c.slots() {
				for _, file := range m.logFiles(s.spec, s) {
					if file != nil && !seen[file] {
						seen[file] = true
						files = append(files, file)
					}
				}
			}
		}
	})
	return eachFile(files, (*logs.File).Flush)
}

func eachFile(files []*logs.File, f func(*logs.File) error) error {
	errs := make([]error, len(files))
	var all sync.WaitGroup
	for i, file := range files {
		all.Go(func() { errs[i] = f(file) })
	}
	all.Wait()
	return errors.Join(errs...)
}

// lossesRecord names the record of what could not be written to a log, and has
// not been confessed in it.
const lossesRecord = "lost/"

// keepLosses goes on as long as the master: the next one is to know what is
// missing in a log, and what is missing is to be said there, even if nobody prints
// to it any more.
func (m *master) keepLosses() {
	for {
		var silent []*logs.File
		m.do(func() {
			recorded := m.losses
			for path, file := range m.files {
				loss := file.Lost()
				if loss == recorded[path] {
					if loss.Bytes > 0 {
						silent = append(silent, file)
					}
					continue
				}
				if loss.Bytes > 0 && recorded[path].Bytes == 0 {
					m.tellOfLoss(path, loss.Reason)
				}
				recorded[path] = loss
				if loss.Bytes == 0 {
					delete(recorded, path)
					m.withdraw(lossesRecord + path)
				} else if text, err := json.Marshal(loss); err == nil {
					m.kept(lossesRecord+path, m.conn.Set(lossesRecord+path, string(text)))
				}
			}
		})
		for _, file := range silent {
			file.Confess()
		}
		select {
		case <-time.After(time.Second):
		case <-m.ended:
			return
		}
	}
}

// adoptLosses takes over what an earlier master knew to be missing.
func (m *master) adoptLosses(in *keeper.Inheritance) {
	for _, name := range names(in, lossesRecord) {
		var loss logs.Loss
		if !m.parse(in, name, &loss) {
			continue
		}
		path := strings.TrimPrefix(name, lossesRecord)
		if m.files[path] == nil {
			m.files[path] = logs.NewFile(path)
		}
		m.files[path].Miss(loss)
		m.losses[path] = m.files[path].Lost()
	}
}

// showLost is what is missing in the logs of a slot, for people.
func (m *master) showLost(paths [3]string) (lost []control.Lost) {
	for _, path := range paths {
		if file := m.files[path]; file != nil {
			if l := file.Lost(); l.Bytes > 0 {
				lost = append(lost, control.Lost{Path: path, Bytes: l.Bytes, Lines: l.Lines, Reason: l.Reason})
			}
		}
	}
	return lost
}

package spec

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/adhocore/gronx"
	"github.com/bmatcuk/doublestar/v4"
	"go.yaml.in/yaml/v4"
	"golang.org/x/sys/unix"
)

func backoffFields(b *Backoff) []field {
	return []field{
		{"initial", "The first wait; 0: none ever.", "duration", func(p *parser, v *yaml.Node) { p.duration(v, &b.Initial) }},
		{"max", "The longest wait.", "duration", func(p *parser, v *yaml.Node) { p.duration(v, &b.Max) }},
		{"jitter", "How much of a wait may be left out at random, 0 to 1.", "fraction",
			func(p *parser, v *yaml.Node) { p.fraction(v, &b.Jitter) }},
	}
}

// backoff is the first wait, as in PM2, or a mapping.
func (p *parser) backoff(d *draft, v *yaml.Node) {
	if v.Kind == yaml.ScalarNode {
		p.duration(v, &d.Backoff.Initial)
		d.Backoff.Max = max(d.Backoff.Max, d.Backoff.Initial)
		return
	}
	p.fields(v, backoffFields(&d.Backoff))
}

func (b Backoff) check() *Error {
	switch {
	case b.Max < b.Initial:
		return &Error{Message: fmt.Sprintf("max, %v, is less than initial, %v", b.Max.D(), b.Initial.D())}
	case !(b.Jitter >= 0 && b.Jitter <= 1):
		return &Error{Message: "jitter: " + expected("a number from 0 to 1", fmt.Sprint(b.Jitter))}
	}
	for _, d := range []Duration{b.Initial, b.Max} {
		if err := checkDuration(d, true); err != nil {
			return err
		}
	}
	return nil
}

func (p *parser) stopExitCodes(d *draft, v *yaml.Node) {
	for _, n := range p.oneOrMore(v) {
		var code int
		if p.number(n, &code) {
			d.StopExitCodes = append(d.StopExitCodes, code)
		}
	}
}

// stopSignal is a name with or without SIG, or a number.
func (p *parser) stopSignal(d *draft, v *yaml.Node) {
	if !p.text(v, "a signal such as SIGINT", &d.StopSignal) {
		return
	}
	d.StopSignal = signalName(d.StopSignal)
}

// signalName is the name of a signal that is given with or without SIG, or as a number.
func signalName(text string) string {
	name := strings.ToUpper(text)
	if n, err := strconv.Atoi(name); err == nil && n > 0 {
		if known := unix.SignalName(unix.Signal(n)); known != "" {
			return known
		}
	} else if !strings.HasPrefix(name, "SIG") {
		name = "SIG" + name
	}
	return name
}

// ParseSignal reads a signal as people write it.
func ParseSignal(text string) (syscall.Signal, error) {
	name := signalName(text)
	if s := unix.SignalNum(name); s != 0 {
		return s, nil
	}
	var known []string
	for n := range unix.Signal(64) {
		if name := unix.SignalName(n); name != "" {
			known = append(known, name)
		}
	}
	hint := "there are " + strings.ReplaceAll(strings.Join(known, ", "), "SIG", "")
	if near := Nearest(name, known); near != "" {
		hint = "did you mean " + near + "?"
	}
	return 0, &Error{Message: fmt.Sprintf("there is no signal %q", clip(text)), Hint: hint}
}

// Signal is StopSignal as the system knows it.
func (a *App) Signal() syscall.Signal {
	if s := unix.SignalNum(a.StopSignal); s != 0 {
		return s
	}
	return unix.SIGTERM
}

func checkSignal(name string) *Error {
	if unix.SignalNum(name) == 0 {
		return &Error{Message: expected("a signal such as SIGINT", name)}
	}
	return nil
}

// watch is true, which is cwd, or paths, which wait for cwd: see app.
func (p *parser) watch(d *draft, v *yaml.Node) {
	if v.Kind == yaml.ScalarNode && v.ShortTag() == "!!bool" {
		watch := false
		if p.bool(v, &watch); watch {
			d.Watch = []string{"."}
		}
		return
	}
	d.Watch = p.oneOrMoreTexts(v, "a folder or file, a list of them, or true")
}

func (p *parser) ignoreWatch(d *draft, v *yaml.Node) {
	d.IgnoreWatch = p.oneOrMoreTexts(v, "a glob or a list of them")
}

// Ignores says whether a change of path is of no interest: the path, or a folder
// in which it is, matches one of IgnoreWatch, as it is under base, the element of
// Watch. A glob without a slash matches a name at any depth; ** any folders.
func (a *App) Ignores(base, path string) bool {
	rel, err := filepath.Rel(base, path)
	if err != nil {
		return true
	}
	for at := filepath.ToSlash(rel); at != "." && at != "/"; at = filepath.ToSlash(filepath.Dir(at)) {
		for _, glob := range a.IgnoreWatch {
			glob = strings.TrimSuffix(strings.TrimPrefix(glob, "./"), "/")
			name := at
			if !strings.Contains(glob, "/") {
				name = filepath.Base(at)
			} else if filepath.IsAbs(glob) {
				name = filepath.Join(base, at)
			}
			if ok, _ := doublestar.Match(glob, name); ok {
				return true
			}
		}
	}
	return false
}

// checkPolicy is what of an app says when its processes are replaced.
func (a *App) checkPolicy(add func(key string, err *Error)) {
	if a.MaxRestarts < 0 {
		add("max_restarts", &Error{Message: expected("a number from 0", strconv.Itoa(a.MaxRestarts))})
	}
	for _, code := range a.StopExitCodes {
		if code < 0 || code > 255 {
			add("stop_exit_codes", &Error{Message: expected("a number from 0 to 255", strconv.Itoa(code))})
		}
	}
	add("stop_signal", checkSignal(a.StopSignal))
	add("exp_backoff_restart_delay", a.Backoff.check())
	// gronx takes a year for a seventh field, too; there is no restart once.
	if n := len(strings.Fields(a.CronRestart)); a.CronRestart != "" && (n > 6 || !gronx.IsValid(a.CronRestart)) {
		add("cron_restart", &Error{Message: expected("a cron expression", a.CronRestart),
			Hint: `minute, hour, day of the month, month, day of the week: "0 3 * * *" is every night at three`})
	}
	if a.MaxMemory < 0 {
		add("max_memory_restart", &Error{Message: expected("a number of bytes", strconv.FormatInt(int64(a.MaxMemory), 10))})
	}
	for _, path := range a.Watch {
		if !filepath.IsAbs(path) {
			add("watch", &Error{Message: expected("an absolute path", path)})
		}
	}
	for _, glob := range a.IgnoreWatch {
		if !doublestar.ValidatePattern(glob) {
			add("ignore_watch", &Error{Message: expected("a glob", glob), Hint: `"*.tmp", "build" or "assets/**/*.map", for example`})
		}
	}
	if a.Type == Task {
		for _, not := range []struct {
			key string
			has bool
		}{{"listen", len(a.Listen) > 0}, {"spare", a.Spare > 0}, {"watchdog", a.Watchdog > 0}, {"liveness", a.Liveness != nil},
			{"readiness", a.Readiness != nil}, {"startup", a.Startup != nil}, {"instances", a.Instances != 1}, {"wait_ready", a.WaitReady},
			{"exec_mode", a.Node == NodeCluster}} {
			if not.has {
				add(not.key, &Error{Message: "a task does its work and ends; this is for a service"})
			}
		}
	} else if a.Type != Service {
		add("type", &Error{Message: expected("service or task", string(a.Type))})
	}
}

// checkWatched looks whether what is to be watched is there.
func (a *App) checkWatched() (errs Errors) {
	for _, path := range a.Watch {
		if _, err := os.Stat(path); err != nil {
			errs = append(errs, &Error{Key: "watch", Message: errorText(err)})
		}
	}
	return errs
}

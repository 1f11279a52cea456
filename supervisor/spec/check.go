package spec

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"golang.org/x/sys/unix"
)

// The most that a spec may ask for.
const (
	MaxInstances = 1024
	MaxListeners = 32
	MaxName      = 64
	MaxTitle     = 255
	MaxDuration  = Duration(24 * time.Hour)
)

// Complete derives what follows from the rest of a: the name from the command,
// an absolute Cwd (from base, which is absolute), Command[0] and Watch, the names
// of listeners, and PWD. It is the last step before [App.Check].
func (a *App) Complete(base string) {
	if !filepath.IsAbs(a.Cwd) {
		a.Cwd = filepath.Join(base, a.Cwd)
	}
	a.Cwd = filepath.Clean(a.Cwd)
	for i, path := range a.Watch {
		if !filepath.IsAbs(path) {
			a.Watch[i] = filepath.Join(a.Cwd, path)
		}
		a.Watch[i] = filepath.Clean(a.Watch[i])
	}
	if len(a.Command) > 0 {
		if a.Name == "" {
			a.Name = nameOf(a.Command)
		}
		a.Command[0] = a.program(a.Command[0])
	}
	if a.Env == nil {
		a.Env = map[string]string{}
	}
	if _, ok := a.Env["PWD"]; !ok {
		a.Env["PWD"] = a.Cwd
	}
	nameListeners(a.Listen)
}

// program is Command[0] as it is kept: a path made absolute, or a bare name to
// be found on PATH when a process starts. A bare name that is not on PATH but
// is a file in Cwd means that file, as in `nekoctl start server.js`.
func (a *App) program(name string) string {
	switch {
	case name == "" || filepath.IsAbs(name):
		return name
	case strings.ContainsRune(name, '/'):
		return filepath.Join(a.Cwd, name)
	}
	if lookPath(name, a.Cwd, a.path()) == "" {
		if file := filepath.Join(a.Cwd, name); isFile(file) {
			return file
		}
	}
	return name
}

// Program is the file to execute: Command[0], or what its bare name finds on
// PATH now.
func (a *App) Program() (string, error) {
	name := a.Command[0]
	if strings.ContainsRune(name, '/') {
		return name, nil
	}
	if found := lookPath(name, a.Cwd, a.path()); found != "" {
		return found, nil
	}
	return "", fmt.Errorf("there is no program %q on PATH", clip(name))
}

// ProgramOf is the file to execute for another command in the app's folder and
// environment, a probe's say.
func (a *App) ProgramOf(command []string) (string, error) {
	other := App{Command: []string{a.program(command[0])}, Env: a.Env}
	return other.Program()
}

// path is where bare names of programs are looked up.
func (a *App) path() string {
	if path, ok := a.Env["PATH"]; ok {
		return path
	}
	return os.Getenv("PATH")
}

// nameFrom is the name of an app that was given none.
func nameFrom(command string) string {
	base := filepath.Base(command)
	if ext := filepath.Ext(base); ext != base {
		base = strings.TrimSuffix(base, ext)
	}
	name := strings.Map(func(r rune) rune {
		if r < 128 && isNameByte(byte(r)) {
			return r
		}
		return '-'
	}, base)
	name = strings.TrimLeft(name, "-.")
	return name[:min(len(name), MaxName)]
}

// Check says what is wrong with a: everything, as [Errors], or nil. It looks at
// the file system, for a program that is not there is better found now.
func (a *App) Check() error {
	errs, files := a.checkValues(), append(a.checkFiles(), a.checkSystem()...)
	if a.Name == "" && len(files) > 0 { // a name would have come from the command
		errs = slices.DeleteFunc(errs, func(e *Error) bool { return e.Key == "name" })
	}
	if errs = append(errs, files...); len(errs) == 0 {
		return nil
	}
	return errs
}

// CheckValues is [App.Check] without the file system and the system's users, for
// an app that need not be able to run.
func (a *App) CheckValues() error {
	if errs := a.checkValues(); len(errs) > 0 {
		return errs
	}
	return nil
}

// checkValues is Check without the file system.
func (a *App) checkValues() (errs Errors) {
	add := func(key string, err *Error) {
		if err != nil {
			err.Key = key
			errs = append(errs, err)
		}
	}
	if len(a.Command) == 0 || a.Command[0] == "" {
		add("command", &Error{Message: "there is no command to run"})
	}
	if a.Name != "" || len(errs) == 0 {
		add("name", checkName(a.Name))
	}
	for _, text := range []struct{ key, value string }{{"title", a.Title}, {"namespace", a.Namespace}} {
		if len(text.value) > MaxTitle || strings.ContainsFunc(text.value, unicode.IsControl) {
			add(text.key, &Error{Message: expected(fmt.Sprintf("a line of at most %d bytes", MaxTitle), text.value)})
		}
	}
	for _, arg := range a.Command {
		if strings.ContainsRune(arg, 0) {
			add("command", &Error{Message: "there is a NUL byte in the command"})
			break
		}
	}
	if a.Instances < -MaxInstances || a.Instances > MaxInstances {
		add("instances", &Error{Message: expected(instancesForm, strconv.Itoa(a.Instances))})
	}
	if a.Node != NodeNone && a.Node != NodeFork && a.Node != NodeCluster {
		add("exec_mode", &Error{Message: expected(execModes, string(a.Node))})
	}
	if a.Balance != BalanceSlots && a.Balance != BalanceShared {
		add("balance", &Error{Message: expected("slots or shared", string(a.Balance))})
	}
	if a.URLPath != "" && !isURLPath(a.URLPath) {
		add("url_path", &Error{Message: expected("a path such as /graphql", a.URLPath)})
	}
	for _, key := range slices.Sorted(maps.Keys(a.Env)) {
		add("env", checkSetting(key, a.Env[key]))
	}
	add("listen", checkListeners(a.Listen))
	for _, d := range []struct {
		key   string
		value Duration
		zero  bool
	}{
		{"listen_timeout", a.ListenTimeout, false},
		{"drain_timeout", a.DrainTimeout, true},
		{"kill_timeout", a.KillTimeout, true},
		{"min_uptime", a.MinUptime, true},
		{"restart_window", a.RestartWindow, false},
		{"watchdog", a.Watchdog, true},
		{"shutdown_delay", a.ShutdownDelay, true},
		{"restart_delay", a.RestartDelay, true},
		{"watch_delay", a.WatchDelay, true},
	} {
		add(d.key, checkDuration(d.value, d.zero))
	}
	if a.Spare < 0 || a.Spare > 1 {
		add("spare", &Error{Message: expected("0 or 1", strconv.Itoa(a.Spare))})
	}
	if a.Parallel < 1 || a.Parallel > MaxInstances {
		add("parallel", &Error{Message: expected(fmt.Sprintf("a number from 1 to %d", MaxInstances), strconv.Itoa(a.Parallel))})
	}
	add("instance_var", checkNumberVar(a.InstanceVar))
	if a.IncrementVar != "" {
		add("increment_var", checkNumberVar(a.IncrementVar))
	}
	add("pm2", a.checkPM2())
	for _, probe := range []struct {
		key string
		*Probe
	}{{"startup", a.Startup}, {"readiness", a.Readiness}, {"liveness", a.Liveness}} {
		if probe.Probe != nil {
			add(probe.key, a.checkProbe(probe.Probe))
		}
	}
	a.checkPolicy(add)
	a.checkLogs(add)
	a.checkLimits(add)
	return errs
}

func checkName(name string) *Error {
	const rule = "letters, digits, dots, dashes, underscores"
	switch {
	case name == "":
		return &Error{Message: "the app has no name", Hint: "give it one of " + rule}
	case len(name) > MaxName:
		return &Error{Message: fmt.Sprintf("the name %q has more than %d letters", clip(name), MaxName)}
	case name == "all":
		return &Error{Message: `"all" cannot be a name: it means every app`}
	case strings.Trim(name, "0123456789") == "":
		return &Error{Message: fmt.Sprintf("%q cannot be a name: a number means the id of a process", name)}
	case name[0] == '-' || name[0] == '.':
		return &Error{Message: fmt.Sprintf("%q cannot be a name: it starts with a %c", name, name[0])}
	}
	for i := range len(name) {
		if !isNameByte(name[i]) {
			return &Error{Message: fmt.Sprintf("%q cannot be a name", clip(name)), Hint: "a name has " + rule}
		}
	}
	return nil
}

func isNameByte(c byte) bool {
	return c == '_' || c == '-' || c == '.' || '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
}

func checkListeners(list []Listener) *Error {
	if len(list) > MaxListeners {
		return &Error{Message: fmt.Sprintf("an app has at most %d listeners, and this one %d", MaxListeners, len(list))}
	}
	names := map[string]bool{}
	for i, l := range list {
		if l.Name == "" || strings.ContainsAny(l.Name, ":\x00\n") || len(l.Name) > 255 { // sd_listen_fds(3)
			return &Error{Message: fmt.Sprintf("%q cannot be the name of a listener: it has no colon and 1 to 255 letters", clip(l.Name))}
		}
		if names[l.Name] {
			return &Error{Message: fmt.Sprintf("two listeners have the name %q", clip(l.Name))}
		}
		names[l.Name] = true
		if l.Network != "tcp" && l.Network != "unix" || l.Network == "tcp" && !strings.Contains(l.Address, ":") {
			return &Error{Message: fmt.Sprintf("cannot listen on %q %q", clip(l.Network), clip(l.Address))}
		}
		for _, other := range list[:i] {
			if clash(l, other) {
				return &Error{Message: fmt.Sprintf("%s and %s cannot both be listened on", other, l)}
			}
		}
	}
	return nil
}

func isURLPath(s string) bool {
	return strings.HasPrefix(s, "/") && !strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r >= 0x7f }) && len(s) <= 1024
}

func checkDuration(d Duration, zero bool) *Error {
	if d < 0 || d == 0 && !zero || d > MaxDuration {
		least := "1ms"
		if zero {
			least = "0"
		}
		return &Error{Message: expected("a time from "+least+" to 24h", d.D().String())}
	}
	return nil
}

// checkSystem looks whether this machine has what the app needs beside its program.
func (a *App) checkSystem() (errs Errors) {
	if e := a.checkIdentity(); e != nil {
		errs = append(errs, e)
	}
	return append(errs, a.checkWatched()...)
}

// checkFiles looks whether the processes could start: Cwd and the program.
func (a *App) checkFiles() (errs Errors) {
	info, err := os.Stat(a.Cwd)
	switch {
	case err != nil:
		return Errors{{Key: "cwd", Message: errorText(err), Hint: "cwd is the folder in which the processes start"}}
	case !info.IsDir():
		return Errors{{Key: "cwd", Message: a.Cwd + " is not a folder"}}
	}
	if len(a.Command) == 0 || a.Command[0] == "" || strings.ContainsRune(a.Command[0], 0) {
		return nil // checkValues has said it
	}
	program := a.Command[0]
	if !strings.ContainsRune(program, '/') {
		if found := lookPath(program, a.Cwd, a.path()); found != "" {
			program = found
		} else {
			return Errors{{Key: "command", Message: fmt.Sprintf("there is no program %q on PATH, nor a file of that name in %s", clip(program), a.Cwd),
				Hint: "give the path of the program, or check PATH"}}
		}
	}
	if e := checkProgram(program); e != nil {
		e.Key = "command"
		return Errors{e}
	}
	return nil
}

func checkProgram(file string) *Error {
	info, err := os.Stat(file)
	if err != nil {
		e := &Error{Message: errorText(err)}
		if errors.Is(err, fs.ErrNotExist) {
			e.Hint = "a program on PATH is named without a slash, another by its path"
			if near := nearFile(file); near != "" {
				e.Hint = "there is " + near
			}
		}
		return e
	}
	if info.IsDir() {
		return &Error{Message: file + " is a folder, not a program"}
	}
	if !info.Mode().IsRegular() {
		return &Error{Message: file + " is not a program"}
	}
	if err := unix.Faccessat(unix.AT_FDCWD, file, unix.X_OK, unix.AT_EACCESS); err != nil {
		e := &Error{Message: file + ": not executable", Hint: "chmod +x " + file}
		if filepath.Ext(file) == ".go" {
			e.Hint = "go build it, and give the path of what that makes"
		}
		return e
	}
	return checkShebang(file)
}

// checkShebang looks for the interpreter of a script: without it the kernel
// says "no such file" of a file that is there.
func checkShebang(file string) *Error {
	line, ok := bytes.CutPrefix(head(file, 256), []byte("#!"))
	if !ok {
		return nil
	}
	line, _, _ = bytes.Cut(line, []byte("\n"))
	words := strings.Fields(string(line))
	switch {
	case len(words) == 0:
		return nil
	case bytes.HasSuffix(line, []byte("\r")):
		return &Error{Message: file + ": its first line ends with CR LF, which no interpreter is found by",
			Hint: "sed -i 's/\\r$//' " + file}
	}
	if _, err := os.Stat(words[0]); err != nil {
		return &Error{Message: fmt.Sprintf("%s: its first line names %s, and there is no such file", file, words[0])}
	}
	return nil
}

// nearFile is a file in the same folder with nearly the same name.
func nearFile(file string) string {
	dir, err := os.Open(filepath.Dir(file))
	if err != nil {
		return ""
	}
	defer dir.Close()
	names, _ := dir.Readdirnames(1000)
	if near := Nearest(filepath.Base(file), names); near != "" {
		return filepath.Join(filepath.Dir(file), near)
	}
	return ""
}

// lookPath finds an executable on path as execvp(3) does, "" if there is none.
func lookPath(name, cwd, path string) string {
	if name == "" {
		return ""
	}
	for dir := range strings.SplitSeq(path, ":") {
		if !filepath.IsAbs(dir) {
			dir = filepath.Join(cwd, dir) // also "", which means the working directory
		}
		file := filepath.Join(dir, name)
		if isFile(file) && unix.Faccessat(unix.AT_FDCWD, file, unix.X_OK, unix.AT_EACCESS) == nil {
			return file
		}
	}
	return ""
}

func isFile(file string) bool {
	info, err := os.Stat(file)
	return err == nil && info.Mode().IsRegular()
}

// errorText is an error of the file system in the order people read: path,
// then what is wrong with it.
func errorText(err error) string {
	var pe *fs.PathError
	if errors.As(err, &pe) {
		what := pe.Err.Error()
		if errors.Is(err, fs.ErrNotExist) {
			what = "no such file"
		}
		return pe.Path + ": " + what
	}
	return err.Error()
}

// expected is the message for a value that is none of what.
func expected(what, got string) string {
	return fmt.Sprintf("expected %s, not %q", what, clip(got))
}

package spec

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// Run is how an app was told to be run, before it is known by what.
type Run struct {
	// Line is a command in one string, Words one that is taken apart already.
	Line  string
	Words []string
	// Script says that the command is a file in Cwd rather than a program on PATH.
	Script bool
	// Args follow the command.
	Args []string
	// Interpreter runs it, "none" that nothing does; "": what the file asks for.
	Interpreter     string
	InterpreterArgs []string
	// ExecMode is "cluster", "fork" or "".
	ExecMode string
	// Counted says that a number of instances was given, be it one.
	Counted bool
}

// resolver finds out what an app is run by.
type resolver struct {
	*App
	Run
	opts   Options
	pin    *string // the node that the app's folder asks for, if that is known
	argsOf bool    // InterpreterArgs have been taken
	noted  bool
}

// Resolve makes Command and Node of what an app was told, and puts into Env what
// belongs to its way of running. Cwd is absolute, and all else is there but the name,
// which may come from the command. An error is an [*Error].
func (a *App) Resolve(run Run, opts Options) error {
	if a.Env == nil {
		a.Env = map[string]string{}
	}
	r := &resolver{App: a, Run: run, opts: opts}
	if err := r.resolve(); err != nil {
		return err
	}
	return nil
}

func (r *resolver) resolve() *Error {
	words := slices.Clone(r.Words)
	if r.Line != "" {
		line := strings.TrimSpace(r.Line)
		split, shell, err := split(line, ofShells)
		if err != nil {
			e, _ := errors.AsType[*Error](err)
			e.Key = r.blame("command")
			e.Message = e.Key + ": " + e.Message
			return e
		}
		if shell != 0 {
			return r.shell(line)
		}
		words = r.settings(split)
	}
	if len(words) == 0 || words[0] == "" {
		return &Error{Key: r.blame("command"), Message: "there is no command to run"}
	}
	words = append(words, r.Args...)
	r.Command = words
	if r.Name == "" {
		r.Name = nameOf(words)
	}
	if r.opts.NamesOnly || !isFolder(r.Cwd) { // of which the check tells
		return nil
	}
	var err *Error
	switch {
	case r.Interpreter == "":
		err = r.byItself(words)
	case r.Interpreter == "none":
		r.Command = append([]string{r.findOr(words[0])}, words[1:]...)
	default:
		err = r.byInterpreter(words)
	}
	if err != nil {
		return err
	}
	return r.finish()
}

// blame is the key to blame for what is to be run: an app of PM2's has a script.
func (r *resolver) blame(key string) string {
	if r.Script && key == "command" {
		return "script"
	}
	return key
}

// settings takes NAME=value from the front of a command line into the environment, as
// a shell does.
func (r *resolver) settings(words []string) []string {
	for len(words) > 1 {
		key, value, ok := strings.Cut(words[0], "=")
		if !ok || !isEnvKey(key) {
			break
		}
		r.Env[key] = value
		words = words[1:]
	}
	return words
}

// shell runs a line by a shell.
func (r *resolver) shell(line string) *Error {
	main := mainCommand(line)
	if r.Name == "" {
		if len(main) > 0 {
			r.Name = nameOf(main)
		}
		if r.Name == "" {
			r.Name = "sh"
		}
	}
	for _, not := range []struct {
		key string
		has bool
	}{{"args", len(r.Args) > 0}, {"interpreter", r.Interpreter != "" && r.Interpreter != "none"}, {"interpreter_args", len(r.InterpreterArgs) > 0}} {
		if not.has {
			return &Error{Key: not.key, Message: "a shell runs the line " + clip(line), Hint: "write all of it into the line; or one program alone, without what only a shell knows"}
		}
	}
	with := "/bin/sh"
	if !r.opts.NamesOnly && r.look("bash") != "" {
		with = "bash"
	}
	r.Command = []string{with, "-c", execLast(line)}
	if len(main) > 0 && (r.ExecMode == string(NodeCluster) || r.Counted && r.Instances != 1 && len(r.Listen) == 0 && (isNode(main[0]) || slices.Contains(managers, main[0]))) {
		r.forked("a shell runs it")
	}
	return r.finish()
}

// byItself runs a command by what its program is.
func (r *resolver) byItself(words []string) *Error {
	name, args := words[0], words[1:]
	bare := !strings.ContainsRune(name, '/')
	file := r.find(name)
	switch {
	case bare && isNode(name) && file != filepath.Join(r.Cwd, name):
		node, err := r.node()
		if err == nil {
			r.runNode(node, args, "")
		}
		return err
	case bare && slices.Contains(managers, name) && file != filepath.Join(r.Cwd, name):
		return r.wrapper(words)
	case bare && isTSX(words) && r.tsx(r.absolute(args[0])) != "":
		node, err := r.node()
		if err == nil {
			r.runNode(node, append([]string{"--import", r.tsx(r.absolute(args[0]))}, args...), "")
		}
		return err
	case file == "" && r.Script && bare:
		if e := checkProgram(r.absolute(name)); e != nil {
			e.Key = "script"
			return e
		}
	case file == "":
		r.Command = words // of which the check tells
		return nil
	}
	if script, nodeArgs := nodeScript(file); script != "" {
		node, err := r.node()
		if err == nil {
			r.runNode(node, slices.Concat(nodeArgs, []string{script}, args), filepath.Base(name))
		}
		return err
	}
	bang, ending := shebangOf(file), filepath.Ext(file)
	executable := unix.Faccessat(unix.AT_FDCWD, file, unix.X_OK, unix.AT_EACCESS) == nil
	switch {
	case ending == ".py" && len(bang) == 1 && strings.HasPrefix(bang[0], "python") && r.python() != "": // env python3
		return r.byEnding(file, args)
	case len(bang) > 0 && !executable:
		if filepath.IsAbs(bang[0]) && !isFile(bang[0]) || !filepath.IsAbs(bang[0]) && r.look(bang[0]) == "" {
			return &Error{Key: r.blame("command"), Message: fmt.Sprintf("%s: its first line names %s, and there is no such program", file, clip(bang[0]))}
		}
		return r.runBy(bang, file, args)
	case len(bang) == 0 && interpreters[ending] != nil:
		return r.byEnding(file, args)
	default:
		r.Command = append([]string{r.findOr(name)}, args...)
	}
	return nil
}

// byInterpreter runs a file by the program that was named.
func (r *resolver) byInterpreter(words []string) *Error {
	with, err := Words(r.Interpreter)
	if file := r.absolute(r.Interpreter); isFile(file) { // blanks in its path are no separators
		with, err = []string{file}, nil
	}
	if err != nil || len(with) == 0 {
		e := &Error{Message: "there is no program"}
		if err != nil {
			e, _ = errors.AsType[*Error](err)
		}
		e.Key = "interpreter"
		return e
	}
	file := r.find(words[0])
	if file == "" && len(r.InterpreterArgs) == 0 && len(with) == 1 { // else it may be the value of an option: -m
		file = words[0]
		if !filepath.IsAbs(file) {
			file = filepath.Join(r.Cwd, file)
		}
		e := checkProgram(file)
		if e == nil {
			return nil
		}
		e.Key = r.blame("command")
		return e
	}
	words = append([]string{}, words...)
	if file != "" {
		words[0] = file
	}
	name, version, _ := strings.Cut(with[0], "@")
	switch {
	case filepath.Base(with[0]) == "tsx" && r.tsx(file) != "":
		with = []string{"node", "--import", r.tsx(file)}
	case with[0] == "python" && r.look("python") == "" && r.look("python3") != "":
		with[0] = "python3"
	case name == "node" && version != "":
		node, err := r.nodeOf(version)
		if err != nil {
			return err
		}
		with[0] = node
	}
	if with[0] == "node" {
		node, err := r.node()
		if err != nil {
			err.Key = "interpreter"
			return err
		}
		with[0] = node
	}
	if strings.ContainsRune(with[0], '/') {
		if with[0] = r.absolute(with[0]); !isFile(with[0]) {
			return &Error{Key: "interpreter", Message: with[0] + ": no such file", Hint: "a program on PATH is named without a slash, another by its path"}
		}
	} else if r.program(with[0]) == "" {
		return missing("interpreter", with[0])
	}
	if isNode(filepath.Base(with[0])) {
		r.runNode(with[0], append(with[1:], words...), "")
		return nil
	}
	return r.runBy(with, words[0], words[1:])
}

// finish looks whether the app's way of running is what its keys are for.
func (r *resolver) finish() *Error {
	name := filepath.Base(r.Command[0])
	switch {
	case len(r.InterpreterArgs) > 0 && !r.argsOf:
		return &Error{Key: "interpreter_args", Message: fmt.Sprintf("%s is run without an interpreter that could get them", clip(name)),
			Hint: "say by what it is run with interpreter; what npm and its like start gets them by NODE_OPTIONS in env"}
	case r.ExecMode == string(NodeCluster) && r.Node == NodeNone && !r.noted && !r.opts.NamesOnly:
		return &Error{Key: "exec_mode", Message: fmt.Sprintf("cluster mode is for programs of Node's, and %s is none", clip(name)),
			Hint: "a program of another make shares the sockets that listen gives it"}
	case r.ShutdownWithMessage && r.Node == NodeNone && !r.opts.NamesOnly:
		return &Error{Key: "shutdown_with_message", Message: "only a program of Node's that runs in cluster or fork mode gets messages"}
	}
	// Else what it prints comes in blocks of some KiB, and the last of it never.
	if _, said := r.Env["PYTHONUNBUFFERED"]; !said && (strings.HasPrefix(name, "python") || r.ofPython()) {
		r.Env["PYTHONUNBUFFERED"] = "1"
	}
	return nil
}

// ofPython says that the command is a script that Python runs, as gunicorn is.
func (r *resolver) ofPython() bool {
	if r.opts.NamesOnly {
		return false
	}
	bang := shebangOf(r.look(r.Command[0]))
	return len(bang) > 0 && strings.HasPrefix(filepath.Base(bang[0]), "python")
}

// takeArgs are the arguments for the interpreter, which has been found.
func (r *resolver) takeArgs() []string {
	r.argsOf = true
	return r.InterpreterArgs
}

// find is the file that a command means, "" if there is none.
func (r *resolver) find(name string) string {
	here := r.absolute(name)
	switch {
	case strings.ContainsRune(name, '/') || r.Script && isFile(here):
	case r.look(name) != "":
		return r.look(name)
	}
	if isFile(here) {
		return here
	}
	return r.installed(name)
}

// installed is a program that has been installed for the app's folder alone, and is
// not on PATH: in node_modules, or in a virtualenv.
func (r *resolver) installed(name string) string {
	folders := []string{filepath.Join(r.Cwd, "venv", "bin"), filepath.Join(r.Cwd, ".venv", "bin")}
	for dir := range above(r.Cwd) {
		folders = append(folders, filepath.Join(dir, "node_modules", ".bin"))
	}
	for _, dir := range folders {
		if file := filepath.Join(dir, name); !strings.ContainsRune(name, '/') && isFile(file) {
			return file
		}
	}
	return ""
}

// findOr is the word for a command that is run as it is.
func (r *resolver) findOr(name string) string {
	if file := r.find(name); file != "" && file != r.look(name) {
		return file
	}
	return name
}

// program is the file of a program on PATH or installed for the folder, "" if there is
// none.
func (r *resolver) program(name string) string {
	if file := r.look(name); file != "" {
		return file
	}
	return r.installed(name)
}

// look finds a program on the app's PATH.
func (r *resolver) look(name string) string {
	if filepath.IsAbs(name) {
		return name
	}
	return lookPath(name, r.Cwd, r.path())
}

func (r *resolver) absolute(file string) string {
	if filepath.IsAbs(file) {
		return file
	}
	return filepath.Join(r.Cwd, file)
}

// forked tells that what was to be a cluster is none.
func (r *resolver) forked(why string) {
	r.noted = true
	if r.ExecMode == "" && len(r.Listen) > 0 {
		r.note("what it starts may not get the sockets of listen: %s", why)
		return
	}
	r.note("it runs in fork mode, where each process listens by itself: %s", why)
}

func (r *resolver) note(format string, args ...any) {
	if r.opts.Note != nil {
		r.opts.Note(r.Name + ": " + fmt.Sprintf(format, args...))
	}
}

// nameOf is the name of an app that was given none: that of its program, but many an
// app is a `node server.js`, and two of them are not one "node".
func nameOf(words []string) string {
	if len(words) > 1 && interpreters[filepath.Ext(words[1])] != nil {
		return nameFrom(words[1])
	}
	return nameFrom(words[0])
}

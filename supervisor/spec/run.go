package spec

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
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
			e.Key = r.key()
			e.Message = e.Key + ": " + e.Message
			return e
		}
		if shell != 0 {
			return r.shell(line)
		}
		words = leadingSettings(split, r.Env)
	}
	if len(words) == 0 || words[0] == "" {
		return &Error{Key: r.key(), Message: "there is no command to run"}
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

// key is the one to blame for what is to be run.
func (r *resolver) key() string {
	if r.Script {
		return "script"
	}
	return "command"
}

// leadingSettings takes NAME=value from the front of a command into env, as a shell
// does, and what else only leads to a program: cross-env, env and exec.
func leadingSettings(words []string, env map[string]string) []string {
	for len(words) > 0 {
		key, value, ok := strings.Cut(words[0], "=")
		switch {
		case ok && isEnvKey(key):
			env[key] = value
		case slices.Contains([]string{"cross-env", "env", "exec"}, words[0]) && len(words) > 1 && !strings.HasPrefix(words[1], "-"):
		default:
			return words
		}
		words = words[1:]
	}
	return nil
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

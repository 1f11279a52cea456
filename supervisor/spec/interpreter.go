package spec

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// interpreters are what runs files that people give as a command, by their endings;
// PM2's table. Of several the first that is there is taken.
var interpreters = map[string][]string{
	".js": {"node"}, ".mjs": {"node"}, ".cjs": {"node"},
	".ts": {"tsx"}, ".mts": {"tsx"}, ".cts": {"tsx"}, ".tsx": {"tsx"}, // or what else runs TypeScript: typeScript
	".py": {"python3", "python"}, ".rb": {"ruby"}, ".sh": {"bash", "sh"}, ".bash": {"bash"}, ".pl": {"perl"}, ".php": {"php"},
	".coffee": {"coffee"}, ".ls": {"lsc"}, ".jar": {"java -jar"},
}

// install is what to install for a program, where it is called otherwise.
var install = map[string]string{"node": "Node.js", "python3": "Python 3", "python": "Python 3", "ruby": "Ruby", "perl": "Perl", "php": "PHP (php-cli)",
	"coffee": "CoffeeScript (npm install --global coffeescript)", "lsc": "LiveScript (npm install --global livescript)", "java": "Java",
	"bun": "Bun", "deno": "Deno"}

// missing is the error of an interpreter that is not there.
func missing(key, program string) *Error {
	what := install[program]
	if what == "" {
		what = program
	}
	return &Error{Key: key, Message: fmt.Sprintf("there is no program %q on PATH", clip(program)), Hint: "install " + clip(what) + ", or check PATH"}
}

// byItself runs a command by what its program is.
func (r *resolver) byItself(words []string) *Error {
	name, args := words[0], words[1:]
	file := r.find(name)
	if file == "" {
		if e := checkProgram(r.absolute(name)); r.Script && e != nil {
			e.Key = "script"
			return e
		}
		if !isNode(name) && !slices.Contains(managers, name) && !isTSX(words) {
			r.Command = words // of which the check tells
			return nil
		}
	}
	if file != r.absolute(name) { // it was found by its bare name
		switch {
		case isNode(name):
			return r.byNode(args, "")
		case slices.Contains(managers, name):
			return r.wrapper(words)
		case isTSX(words):
			if loader := r.tsx(r.absolute(args[0])); loader != "" {
				return r.byNode(append([]string{"--import", loader}, args...), "")
			}
		}
	}
	script, nodeArgs := nodeScript(file)
	switch {
	case script == "" && isNode(filepath.Base(file)): // by its path
		r.runNode(name, args, "")
		return nil
	case script == "":
	case slices.Contains(managers, filepath.Base(name)): // by its path
		return r.wrapper(words)
	case isTypeScript(script):
		return r.typeScript(script, args)
	default:
		return r.byNode(slices.Concat(nodeArgs, []string{script}, args), filepath.Base(name))
	}
	bang, ending := shebangOf(file), filepath.Ext(file)
	switch {
	case ending == ".py" && len(bang) == 1 && strings.HasPrefix(bang[0], "python") && r.python() != "": // env python3
		return r.byEnding(file, args)
	case len(bang) > 0 && unix.Faccessat(unix.AT_FDCWD, file, unix.X_OK, unix.AT_EACCESS) != nil:
		if program := r.program(bang[0]); !isFile(program) && interpreters[ending] != nil {
			return r.byEnding(file, args) // what it names is called otherwise here
		} else if !isFile(program) {
			return &Error{Key: r.key(), Message: fmt.Sprintf("%s: its first line names %s, and there is no such program", file, clip(bang[0]))}
		}
		return r.runBy(bang, file, args)
	case len(bang) == 0 && interpreters[ending] != nil:
		return r.byEnding(file, args)
	}
	r.Command = append([]string{r.findOr(name)}, args...)
	return nil
}

// byInterpreter runs a file by the program that was named.
func (r *resolver) byInterpreter(words []string) *Error {
	with, err := Words(r.Interpreter)
	if file := r.absolute(r.Interpreter); isFile(file) { // blanks in its path are no separators
		with, err = []string{file}, nil
	}
	if e, ok := errors.AsType[*Error](err); ok {
		e.Key = "interpreter"
		return e
	}
	if len(with) == 0 {
		return &Error{Key: "interpreter", Message: "there is no program"}
	}
	words = slices.Clone(words)
	file := r.find(words[0])
	if file != "" {
		words[0] = file
	} else if len(r.InterpreterArgs) == 0 && len(with) == 1 { // else it may be the value of an option: -m
		if e := checkProgram(r.absolute(words[0])); e != nil {
			e.Key = r.key()
			return e
		}
	}
	name, version, _ := strings.Cut(with[0], "@")
	switch {
	case filepath.Base(with[0]) == "tsx" && r.tsx(file) != "":
		return r.blamed("interpreter", r.byNode(slices.Concat([]string{"--import", r.tsx(file)}, with[1:], words), ""))
	case with[0] == "node":
		return r.blamed("interpreter", r.byNode(append(with[1:], words...), ""))
	case name == "node" && version != "":
		node, err := r.nodeOf(version)
		if err == nil {
			r.runNode(node, append(with[1:], words...), "")
		}
		return err
	case with[0] == "python" && r.look("python") == "" && r.look("python3") != "":
		with[0] = "python3"
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

// blamed is an error of a program that one key has named.
func (r *resolver) blamed(key string, e *Error) *Error {
	if e != nil {
		e.Key = key
	}
	return e
}

// byEnding runs a file by the table.
func (r *resolver) byEnding(file string, args []string) *Error {
	ending := filepath.Ext(file)
	switch with := interpreters[ending]; {
	case isTypeScript(file):
		return r.typeScript(file, args)
	case with[0] == "node":
		return r.byNode(append([]string{file}, args...), "")
	case ending == ".py":
		if python := r.python(); python != "" {
			return r.runBy([]string{python}, file, args)
		}
		return r.firstOf(with, file, args)
	default:
		return r.firstOf(with, file, args)
	}
}

// firstOf runs a file by the first of some programs that is there.
func (r *resolver) firstOf(with []string, file string, args []string) *Error {
	for _, line := range with {
		if words := strings.Fields(line); r.program(words[0]) != "" {
			return r.runBy(words, file, args)
		}
	}
	e := missing(r.key(), strings.Fields(with[0])[0])
	e.Message = file + ": " + e.Message
	return e
}

// runBy makes the command a file with the program that runs it. If that is a script of
// Node's itself, as ts-node is, so is the file.
func (r *resolver) runBy(with []string, file string, args []string) *Error {
	program := r.program(with[0])
	words := slices.Concat(with[1:], r.takeArgs(), []string{file}, args)
	script, nodeArgs := nodeScript(program)
	if script == "" {
		if r.look(with[0]) == "" {
			with[0] = program
		}
		r.Command = append([]string{with[0]}, words...)
		return nil
	}
	r.InterpreterArgs = nil // they are words
	return r.byNode(slices.Concat(nodeArgs, []string{script}, words), filepath.Base(with[0]))
}

// python is that of the virtualenv in the app's folder, or else of the one that is
// active; "": there is none.
func (r *resolver) python() string {
	for _, dir := range []string{filepath.Join(r.Cwd, "venv"), filepath.Join(r.Cwd, ".venv"), r.Env["VIRTUAL_ENV"]} {
		if python := filepath.Join(dir, "bin", "python"); filepath.IsAbs(dir) && isFile(python) {
			return python
		}
	}
	return ""
}

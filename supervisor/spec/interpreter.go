package spec

import (
	"fmt"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strings"
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

// byEnding runs a file by the table.
func (r *resolver) byEnding(file string, args []string) *Error {
	ending := filepath.Ext(file)
	switch with := interpreters[ending]; {
	case with[0] == "tsx":
		return r.typeScript(file, args)
	case with[0] == "node":
		node, err := r.node()
		if err == nil {
			r.runNode(node, append([]string{file}, args...), "")
		}
		return err
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
	e := missing(r.blame("command"), strings.Fields(with[0])[0])
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
	node, err := r.node()
	if err == nil {
		r.InterpreterArgs = nil
		r.runNode(node, slices.Concat(nodeArgs, []string{script}, words), filepath.Base(with[0]))
	}
	return err
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

// typeScript runs a file by a Node that strips types, by tsx in Node, or by what is
// there of Bun and Deno.
func (r *resolver) typeScript(file string, args []string) *Error {
	script := append([]string{file}, args...)
	node, noNode := r.node()
	var version nodeVersion
	if noNode == nil && r.opts.NodeVersion != nil {
		version = parseNodeVersion(r.opts.NodeVersion(r.look(node)))
	}
	strips := filepath.Ext(file) != ".tsx" // JSX is more than types
	loader := r.tsx(file)
	switch {
	case noNode == nil && strips && version.stripsTypes():
		r.runNode(node, script, "")
	case noNode == nil && loader != "":
		r.runNode(node, append([]string{"--import", loader}, script...), "")
	case noNode == nil && strips && version.atLeast(22, 6):
		r.runNode(node, append([]string{"--experimental-strip-types"}, script...), "")
	case r.program("bun") != "":
		return r.runBy([]string{"bun"}, file, args)
	case r.program("deno") != "":
		return r.runBy([]string{"deno", "run", "--allow-all"}, file, args)
	default:
		what := "nothing is there that runs TypeScript"
		if len(version) == 3 {
			what = fmt.Sprintf("Node %d.%d.%d does not run TypeScript", version[0], version[1], version[2])
		}
		return &Error{Key: r.blame("command"), Message: file + ": " + what,
			Hint: "npm install tsx; or install Node 22.18 or later, Bun or Deno"}
	}
	return nil
}

// isTSX says of a command that it is tsx with a file, and none of its other uses.
func isTSX(words []string) bool {
	return len(words) > 1 && words[0] == "tsx" && interpreters[filepath.Ext(words[1])] != nil
}

// tsx is what Node is to import to run TypeScript: the package where the app's folder
// has it, else the file of a global one; "": there is none.
func (r *resolver) tsx(file string) string {
	const loader = "dist/loader.mjs"
	for dir := range above(r.Cwd) {
		if isFile(filepath.Join(dir, "node_modules", "tsx", loader)) {
			return "tsx"
		}
	}
	for dir := range above(filepath.Dir(file)) {
		if found := filepath.Join(dir, "node_modules", "tsx", loader); isFile(found) {
			return found
		}
	}
	if program := r.look("tsx"); program != "" {
		if real, err := filepath.EvalSymlinks(program); err == nil {
			if found := filepath.Join(filepath.Dir(real), "loader.mjs"); isFile(found) {
				return found
			}
		}
	}
	return ""
}

// above are a folder and those that it is in.
func above(dir string) iter.Seq[string] {
	return func(yield func(string) bool) {
		for yield(dir) && dir != filepath.Dir(dir) {
			dir = filepath.Dir(dir)
		}
	}
}

func isFolder(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}

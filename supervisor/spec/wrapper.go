package spec

import (
	"encoding/json"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
)

// managers are the programs that start what a package.json says. In cluster mode it
// would be they who are the workers, so the program behind them is run.
var managers = []string{"npm", "yarn", "pnpm", "npx", "pnpx", "bunx"}

// behind is what is found behind such a program.
type behind struct {
	cwd   string
	env   map[string]string
	words []string // a command that begins with node, a path or tsx
	depth int
}

// wrapper runs `npm start` and its like: as it is, or what is behind it where
// processes get their sockets from the master.
func (r *resolver) wrapper(words []string) *Error {
	r.Command = words
	if r.ExecMode == string(NodeFork) || r.Type == Task || r.ExecMode == "" && !r.Counted && len(r.Listen) == 0 {
		r.pinned()
		return nil
	}
	b := &behind{cwd: r.Cwd, env: map[string]string{}}
	why := b.follow(append([]string{filepath.Base(words[0])}, words[1:]...))
	if why == "" && strings.ContainsRune(b.words[0], '/') {
		file := b.words[0]
		if !filepath.IsAbs(file) {
			file = filepath.Join(b.cwd, file)
		}
		if script, _ := nodeScript(file); script == "" {
			why = clip(filepath.Base(file)) + " is no program of Node's"
		}
	}
	if why != "" {
		r.pinned()
		r.forked(why)
		return nil
	}
	r.Cwd = b.cwd
	maps.Copy(r.Env, b.env)
	bin := filepath.Join(b.cwd, "node_modules", ".bin")
	if isFolder(bin) {
		r.toPath(bin)
	}
	return r.byItself(b.words)
}

// follow finds the program behind a command, or says why it cannot.
func (b *behind) follow(words []string) (why string) {
	if b.depth++; b.depth > 8 {
		return "its scripts call each other"
	}
	if words = leadingSettings(words, b.env); len(words) == 0 {
		return "it starts nothing"
	}
	switch name := words[0]; {
	case name == "npm":
		return b.npm(words[1:])
	case name == "yarn", name == "pnpm":
		return b.short(name, words[1:])
	case slices.Contains(managers, name):
		return b.npx(words[1:])
	case isNode(name), isTSX(words):
		b.words = words
	case slices.Contains(launchers, name):
		return name + " starts the program itself"
	case strings.ContainsRune(name, '/'):
		b.words = words
	default:
		return b.bin(name, words[1:])
	}
	return ""
}

func (b *behind) npm(args []string) string {
	for len(args) > 0 && (args[0] == "-s" || args[0] == "--silent") {
		args = args[1:]
	}
	if len(args) == 0 {
		return "it starts nothing"
	}
	script, args := args[0], args[1:]
	exec := false
	switch script {
	case "start", "test":
	case "run", "run-script", "exec", "x":
		if exec = script == "exec" || script == "x"; exec && len(args) > 0 && args[0] == "--" {
			args = args[1:]
		}
		if len(args) == 0 {
			return "it starts nothing"
		}
		script, args = args[0], args[1:]
	default:
		return fmt.Sprintf("npm %s is not looked into", clip(script))
	}
	own := args // what comes after -- is the program's
	if i := slices.Index(args, "--"); i >= 0 {
		own, args = args[:i], slices.Delete(slices.Clone(args), i, i+1)
	}
	for _, arg := range append(slices.Clone(own), script) {
		if strings.HasPrefix(arg, "-") {
			return fmt.Sprintf("the option %s of npm is not looked into", clip(arg))
		}
	}
	if exec {
		return b.bin(script, args)
	}
	return b.script(script, args)
}

// short is for yarn and pnpm, which take the name of a script or a program as it is.
func (b *behind) short(manager string, args []string) string {
	if len(args) > 0 && (args[0] == "run" || args[0] == "exec") {
		exec := args[0] == "exec"
		if args = args[1:]; exec && len(args) > 0 {
			return b.bin(args[0], args[1:])
		}
	}
	switch {
	case len(args) == 0:
		return "it starts nothing"
	case strings.HasPrefix(args[0], "-"):
		return fmt.Sprintf("the option %s of %s is not looked into", clip(args[0]), manager)
	case args[0] == "node" && manager == "yarn":
		return b.follow(args)
	}
	rest := args[1:]
	if len(rest) > 0 && rest[0] == "--" && manager == "yarn" {
		rest = rest[1:]
	}
	if _, pkg, _ := nearestPackage(b.cwd); pkg.Scripts[args[0]] == "" && args[0] != "start" {
		return b.bin(args[0], rest)
	}
	return b.script(args[0], rest)
}

func (b *behind) npx(args []string) string {
	for len(args) > 0 && slices.Contains([]string{"-y", "--yes", "--no", "--no-install", "--"}, args[0]) {
		args = args[1:]
	}
	switch {
	case len(args) == 0:
		return "it starts nothing"
	case strings.HasPrefix(args[0], "-"):
		return fmt.Sprintf("the option %s of npx is not looked into", clip(args[0]))
	}
	return b.bin(args[0], args[1:])
}

// packageJSON is what is read of a package.json.
type packageJSON struct {
	Name    string            `json:"name"`
	Version string            `json:"version"`
	Scripts map[string]string `json:"scripts"`
}

// nearestPackage is the package.json of a folder, or of one that it is in.
func nearestPackage(dir string) (file string, pkg packageJSON, err error) {
	for dir := range above(dir) {
		if file = filepath.Join(dir, "package.json"); isFile(file) {
			pkg, err = parsePackage(head(file, MaxFile))
			return file, pkg, err
		}
	}
	return "", pkg, nil
}

func parsePackage(text []byte) (pkg packageJSON, err error) {
	err = json.Unmarshal(text, &pkg)
	return pkg, err
}

// script follows a script of the package.json, as npm would run it.
func (b *behind) script(name string, args []string) (why string) {
	file, pkg, err := nearestPackage(b.cwd)
	switch {
	case file == "":
		return "there is no package.json"
	case err != nil:
		return fmt.Sprintf("%s: %v", file, err)
	}
	root := filepath.Dir(file)
	line, ok := pkg.Scripts[name]
	if !ok && name == "start" && isFile(filepath.Join(root, "server.js")) {
		line, ok = "node server.js", true
	}
	switch {
	case !ok:
		return fmt.Sprintf("%s has no script %q", file, clip(name))
	case pkg.Scripts["pre"+name] != "" || pkg.Scripts["post"+name] != "":
		return fmt.Sprintf("there is a script before or after %q", clip(name))
	case isFile(filepath.Join(root, ".pnp.cjs")):
		return "Yarn's Plug'n'Play is not looked into"
	}
	words, env, why := scriptCommand(line)
	if why != "" {
		return fmt.Sprintf("its script %q %s: %s", clip(name), why, clip(line))
	}
	b.cwd = root
	maps.Copy(b.env, env)
	for key, value := range map[string]string{"npm_package_name": pkg.Name, "npm_package_version": pkg.Version,
		"npm_package_json": file, "npm_lifecycle_event": name, "npm_lifecycle_script": line} {
		if checkSetting(key, value) == nil {
			b.env[key] = value
		}
	}
	return b.follow(append(words, args...))
}

// scriptCommand takes the line of a script apart: the words of its command, and the
// variables that it sets.
func scriptCommand(line string) (words []string, env map[string]string, why string) {
	words, shell, err := split(strings.TrimSpace(line), ofShells)
	switch {
	case err != nil:
		return nil, nil, "is not understood"
	case shell != 0:
		return nil, nil, "takes a shell"
	}
	env = map[string]string{}
	if words = leadingSettings(words, env); len(words) == 0 {
		return nil, nil, "starts nothing"
	}
	return words, env, ""
}

// bin is a program of the packages that are installed.
func (b *behind) bin(name string, args []string) (why string) {
	switch {
	case slices.Contains(launchers, name) || name == "cross-env":
		return b.follow(append([]string{name}, args...))
	case name == "" || strings.ContainsAny(name, "/@"): // npx github:…, npx next@14
		return clip(name) + " is not looked into"
	}
	for dir := range above(b.cwd) {
		if file := filepath.Join(dir, "node_modules", ".bin", name); isFile(file) {
			b.words = append([]string{file}, args...)
			return ""
		}
	}
	return fmt.Sprintf("there is no %s in node_modules/.bin", clip(name))
}

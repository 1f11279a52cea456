package spec

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// nodeVersion is a version of Node, nil if it is none.
type nodeVersion []int

func parseNodeVersion(s string) nodeVersion {
	var v nodeVersion
	s, _, _ = strings.Cut(strings.TrimPrefix(strings.TrimSpace(s), "v"), "-") // a nightly's
	for part := range strings.SplitSeq(s, ".") {
		n, err := strconv.ParseUint(part, 10, 31)
		if err != nil || len(v) == 3 {
			return nil
		}
		v = append(v, int(n))
	}
	return v
}

func (v nodeVersion) atLeast(numbers ...int) bool { return slices.Compare(v, numbers) >= 0 }

// stripsTypes says that this Node runs TypeScript as it is.
func (v nodeVersion) stripsTypes() bool {
	return v.atLeast(22, 18) && !v.atLeast(23) || v.atLeast(23, 6)
}

// nvm is the folder of nvm, "" if it is not there.
func (a *App) nvm() string {
	dir := a.Env["NVM_DIR"]
	if home := a.Env["HOME"]; dir == "" && home != "" {
		dir = filepath.Join(home, ".nvm")
	}
	if !filepath.IsAbs(dir) || !isFolder(filepath.Join(dir, "versions", "node")) {
		return ""
	}
	return dir
}

// nodeIn is the node of the newest version that nvm has installed of those that
// want stands for: 20, v20.11.1, lts/iron, lts/*, node, or another of nvm's aliases.
func nodeIn(nvm, want string) string {
	for range 8 { // an alias of an alias
		if parseNodeVersion(want) != nil || !filepath.IsLocal(want) {
			break
		}
		to := strings.TrimSpace(string(head(filepath.Join(nvm, "alias", want), 256)))
		if to == "" {
			break
		}
		want = to
	}
	wanted := parseNodeVersion(want)
	if wanted == nil && !slices.Contains([]string{"node", "stable", "latest", "current"}, want) {
		return ""
	}
	entries, _ := os.ReadDir(filepath.Join(nvm, "versions", "node"))
	var newest nodeVersion
	file := ""
	for _, e := range entries {
		v := parseNodeVersion(e.Name())
		program := filepath.Join(nvm, "versions", "node", e.Name(), "bin", "node")
		if len(v) == 3 && slices.Equal(v[:len(wanted)], wanted) && slices.Compare(v, newest) > 0 && isFile(program) {
			newest, file = v, program
		}
	}
	return file
}

// versionFile is the nearest .nvmrc or .node-version above a folder, and the version
// that it asks for.
func versionFile(dir string) (file, version string) {
	for dir := range above(dir) {
		for _, name := range []string{".nvmrc", ".node-version"} {
			for line := range strings.Lines(string(head(filepath.Join(dir, name), 4<<10))) {
				line, _, _ = strings.Cut(line, "#")
				if line = strings.TrimSpace(line); line != "" {
					return filepath.Join(dir, name), line
				}
			}
		}
	}
	return "", ""
}

// node is what runs the app's programs of Node's: the version that its folder asks
// for, else the one on PATH.
func (r *resolver) node() (string, *Error) {
	if file := r.pinned(); file != "" {
		return file, nil
	}
	for _, name := range []string{"node", "nodejs"} { // the second is Debian's once
		if r.look(name) != "" {
			return name, nil
		}
	}
	return "", &Error{Key: r.key(), Message: `there is no program "node" on PATH`, Hint: "install Node.js, or check PATH"}
}

// pinned is the node of the version that the app's folder asks for, "" if that is not
// there. What the app starts finds the same one.
func (r *resolver) pinned() string {
	if r.pin != nil {
		return *r.pin
	}
	r.pin = new(string)
	nvm := r.nvm()
	file, version := versionFile(r.Cwd)
	if nvm == "" || file == "" {
		return ""
	}
	program := nodeIn(nvm, version)
	if program == "" {
		r.note("%s asks for Node %s, which nvm has not installed: it runs with the node on PATH", file, clip(version))
		return ""
	}
	*r.pin = program
	r.toPath(filepath.Dir(program))
	return program
}

// nodeOf is the node of `interpreter: node@VERSION`.
func (r *resolver) nodeOf(version string) (string, *Error) {
	nvm := r.nvm()
	if nvm == "" {
		return "", &Error{Key: "interpreter", Message: fmt.Sprintf("node@%s is a version of nvm's, and there is no nvm in $NVM_DIR or ~/.nvm", clip(version)),
			Hint: "install nvm, or give the path of a node"}
	}
	file := nodeIn(nvm, version)
	if file == "" {
		return "", &Error{Key: "interpreter", Message: fmt.Sprintf("nvm has not installed Node %s", clip(version)), Hint: "nvm install " + clip(version)}
	}
	r.pin = &file
	r.toPath(filepath.Dir(file))
	return file, nil
}

// toPath puts a folder before all others on the app's PATH.
func (r *resolver) toPath(dir string) {
	if path := r.path(); path != dir && !strings.HasPrefix(path, dir+":") {
		r.Env["PATH"] = strings.TrimSuffix(dir+":"+path, ":")
	}
}

// launchers start the program that they are told to as a child of their own.
var launchers = strings.Fields(`c8 concurrently cross-env-shell dotenv dotenvx env-cmd forever lerna nest nodemon npm-run-all npm-run-all2 nx nyc
	pm2 pm2-runtime run-p run-s start-server-and-test ts-node-dev tsnd tsx turbo wait-on`)

// starts says why a command of Node's is not itself the program that serves, "" if it
// is: words are what follows node.
func starts(words []string) string {
	for _, word := range words {
		option, _, _ := strings.Cut(word, "=")
		if slices.Contains([]string{"--watch", "--watch-path", "--run", "--test"}, option) {
			return "node " + option + " starts the program itself"
		}
		if !strings.HasPrefix(word, "-") {
			break
		}
	}
	return ""
}

// byNode is runNode with the app's own node.
func (r *resolver) byNode(words []string, called string) *Error {
	node, err := r.node()
	if err == nil {
		r.runNode(node, words, called)
	}
	return err
}

// runNode makes the command one of Node's: words are what follows node. Called is
// the name by which a program of that name was found, "" for a file.
func (r *resolver) runNode(node string, words []string, called string) {
	r.Command = append(append([]string{node}, r.takeArgs()...), words...)
	r.Node = r.mode()
	if r.Node != NodeCluster {
		return
	}
	why := starts(words)
	if why == "" && slices.Contains(launchers, called) {
		why = called + " starts the program itself"
	}
	if why != "" {
		r.forked(why)
		r.Node = NodeFork
	}
}

// mode is PM2's rule: a number of instances makes a cluster. A program of Node's with
// sockets to inherit is like any other.
func (r *resolver) mode() NodeMode {
	switch {
	case r.ExecMode == string(NodeCluster):
		return NodeCluster
	case len(r.Listen) > 0:
		return NodeNone
	case r.Counted && r.ExecMode == "" && r.Type != Task:
		return NodeCluster
	}
	return NodeFork
}

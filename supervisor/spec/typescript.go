package spec

import (
	"fmt"
	"path/filepath"
)

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
		return r.byNode(script, "")
	case noNode == nil && loader != "":
		return r.byNode(append([]string{"--import", loader}, script...), "")
	case noNode == nil && strips && version.atLeast(22, 6):
		return r.byNode(append([]string{"--experimental-strip-types"}, script...), "")
	case r.program("bun") != "":
		return r.runBy([]string{"bun"}, file, args)
	case r.program("deno") != "":
		return r.runBy([]string{"deno", "run", "--allow-all"}, file, args)
	}
	what := "nothing is there that runs TypeScript"
	if len(version) == 3 {
		what = fmt.Sprintf("Node %d.%d.%d does not run TypeScript", version[0], version[1], version[2])
	}
	return &Error{Key: r.key(), Message: file + ": " + what, Hint: "npm install tsx; or install Node 22.18 or later, Bun or Deno"}
}

func isTypeScript(file string) bool {
	with := interpreters[filepath.Ext(file)]
	return with != nil && with[0] == "tsx"
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

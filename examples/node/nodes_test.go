package node

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/nekoctl/neko/scripts/npm"
)

// node is a version of Node, in a folder. It is what a test runs on: the one on PATH,
// and with NEKO_TEST_NODES=all those of versions, too.
type node struct {
	folder       string
	major, minor int
}

// versions are installed by npm.
var versions = []string{"node@22.23.3", "node@24.9.0"}

// eachNode runs a test on each Node that there is.
func eachNode(t *testing.T, test func(t *testing.T, n node)) {
	t.Helper()
	t.Parallel()
	if os.Getenv("NEKO_TEST_NODES") != "all" {
		test(t, nodeOnPath(t))
		return
	}
	nodes := []node{nodeOnPath(t)}
	for _, v := range versions {
		nodes = append(nodes, nodeIn(t, filepath.Join(npm.Need(t, v), "node_modules", "node", "bin")))
	}
	for _, n := range nodes {
		t.Run(fmt.Sprintf("node %d", n.major), func(t *testing.T) {
			t.Parallel()
			test(t, n)
		})
	}
}

func nodeOnPath(t *testing.T) node {
	t.Helper()
	return nodeIn(t, filepath.Dir(npm.Node(t, "node")))
}

func nodeIn(t *testing.T, folder string) node {
	t.Helper()
	out, err := exec.Command(filepath.Join(folder, "node"), "--version").Output()
	if err != nil {
		t.Fatal(err)
	}
	n := node{folder: folder}
	if _, err := fmt.Sscanf(string(out), "v%d.%d.", &n.major, &n.minor); err != nil {
		t.Fatalf("%q is no version: %v", out, err)
	}
	return n
}

func (n node) program() string { return filepath.Join(n.folder, "node") }

// path has this Node before any other.
func (n node) path() string { return n.folder + ":" + os.Getenv("PATH") }

// since says whether n is of this version or a later one.
func (n node) since(major, minor int) bool {
	return n.major > major || n.major == major && n.minor >= minor
}

// atLeast skips a test of what an older Node does not have.
func (n node) atLeast(t *testing.T, major, minor int) {
	t.Helper()
	if !n.since(major, minor) {
		t.Skipf("Node %d.%d does not have it, %d.%d does", n.major, n.minor, major, minor)
	}
}

// dependencies is the package.json of the packages that the programs of a folder need,
// "" if they need none.
func dependencies(folder string) string {
	switch folder {
	case "express", "fastify", "koa", "typescript", "ws":
		return "package.json"
	case "next":
		return "next/package.json"
	}
	return ""
}

// modules is a folder into which npm has installed what a package.json names.
func modules(t *testing.T, file string) string {
	t.Helper()
	return npm.Need(t, listed(t, file)...)
}

// listed are the packages of a package.json.
func listed(t *testing.T, file string) (packages []string) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var list struct{ Dependencies map[string]string }
	if err := json.Unmarshal(text, &list); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	for name, version := range list.Dependencies {
		packages = append(packages, name+"@"+version)
	}
	return packages
}

package graphiql

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nekoctl/neko/scripts/npm"
)

const rebuild = "make graphiql"

// Nobody changes a source without what is made of it.
func TestDistIsOfTheseSources(t *testing.T) {
	recorded := string(read("sources.sha256"))
	for line := range strings.Lines(recorded) {
		_, name, _ := strings.Cut(strings.TrimSpace(line), "  ")
		source, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if got := fmt.Sprintf("%x  %s\n", sha256.Sum256(source), name); got != line {
			t.Errorf("%s has changed since dist was built: %s", name, rebuild)
		}
	}
	for _, name := range []string{"build.js", "package-lock.json", "package.json", "page.css", "page.html", "page.jsx"} {
		if !strings.Contains(recorded, "  "+name+"\n") {
			t.Errorf("%s is not recorded", name)
		}
	}
}

// Nor what is made of them without a source: built again, in another place, it is
// the same, byte by byte. How well gzip packs depends on the Node, and is not compared.
func TestDistIsReproducible(t *testing.T) {
	node, dir := npm.Node(t, "node"), npm.NeedLocked(t, ".")
	elsewhere := t.TempDir()
	if err := os.Symlink(filepath.Join(dir, "node_modules"), filepath.Join(elsewhere, "node_modules")); err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(read("sources.sha256"))) {
		_, name, _ := strings.Cut(strings.TrimSpace(line), "  ")
		source, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(elsewhere, name), source, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.CommandContext(t.Context(), node, "build.js")
	cmd.Dir = elsewhere
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	built, err := os.ReadDir(filepath.Join(elsewhere, "dist"))
	if err != nil {
		t.Fatal(err)
	}
	committed, err := dist.ReadDir("dist")
	if err != nil {
		t.Fatal(err)
	}
	if len(built) != len(committed) {
		t.Errorf("%d files are built, and %d committed: %s", len(built), len(committed), rebuild)
	}
	for _, e := range built {
		now, err := os.ReadFile(filepath.Join(elsewhere, "dist", e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		then, err := dist.ReadFile("dist/" + e.Name())
		if err != nil {
			t.Errorf("%v: %s", err, rebuild)
			continue
		}
		if strings.HasSuffix(e.Name(), ".gz") {
			now, then = unpack(now), unpack(then)
		}
		if !bytes.Equal(now, then) {
			t.Errorf("%s is not what is built: %s", e.Name(), rebuild)
		}
	}
}

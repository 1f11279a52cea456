package examples

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nekoctl/neko/scripts/debian"
	"github.com/nekoctl/neko/scripts/npm"
)

// runtime is what an example runs on: check succeeds if it is there, and packages
// of Debian or one of npm bring it.
type runtime struct {
	check  string
	debian []string
	npm    string
}

var (
	golang    = runtime{check: "go version"}
	python    = runtime{check: "python3 --version", debian: []string{"python3"}}
	gunicorn  = runtime{check: "gunicorn --version", debian: []string{"gunicorn"}}
	uvicorn   = runtime{check: "uvicorn --version", debian: []string{"python3-uvicorn", "uvicorn"}}
	hypercorn = runtime{check: "hypercorn --help", debian: []string{"python3-hypercorn"}}
	puma      = runtime{check: "puma --version", debian: []string{"ruby", "puma", "ruby-sd-notify"}}
	php       = runtime{check: "php --version", debian: []string{"php-cli"}}
	bun       = runtime{check: "bun --version", npm: "bun@1.4.5"}
	deno      = runtime{check: "deno --version", npm: "deno@2.9.6"}
)

// get looks whether the runtime is there. In CI it is installed: from Debian, or
// by npm into the user's cache folder, once. Elsewhere its test is skipped.
func (r runtime) get(t *testing.T) {
	t.Helper()
	if r.there() {
		return
	}
	how := append([]string{"apt-get", "install", "-y", "--no-install-recommends"}, r.debian...)
	if r.npm != "" {
		how = []string{"npm", "install", r.npm}
	}
	if os.Getenv("CI") != "true" {
		t.Skipf("%s does not run here: %s", r.check, strings.Join(how, " "))
	}
	if r.npm != "" {
		npm.Need(t, r.npm)
	} else if err := debian.Install(t.Context(), r.there, r.debian...); err != nil {
		t.Fatal(err)
	}
	if !r.there() {
		t.Fatalf("%s does not run, though %s succeeded", r.check, strings.Join(how, " "))
	}
}

func (r runtime) there() bool {
	cmd := exec.Command("env", strings.Fields(r.check)...) // env looks on the PATH that is given to it
	cmd.Env = environment()
	return cmd.Run() == nil
}

// environment has the programs that were installed here first on its PATH, and
// then those of the system: a python3 of another make lacks their packages.
func environment() []string {
	var path []string
	for _, r := range []runtime{bun, deno} {
		if folder, _, err := npm.Find(r.npm); err == nil {
			path = append(path, filepath.Join(folder, "node_modules", ".bin"))
		}
	}
	path = append(path, "/usr/bin", os.Getenv("PATH"))
	return append(os.Environ(), "PATH="+strings.Join(path, ":"))
}

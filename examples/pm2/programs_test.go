package pm2

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/nekoctl/neko/scripts/npm"
)

const realPM2 = "pm2@7.0.4"

// program is one that brings a process file.
type program struct {
	name string
	// packages of npm have it, and what it needs.
	packages []string
	// create puts it into a folder, as who deploys it does.
	create func(t *testing.T, modules, dir string) (app string)
	// file is its process file, and options are for the command that is given the file.
	file    string
	options []string
	// port is what it listens on by its own configuration; it reads PORT if 0.
	port int
	// path is answered with what contains says. A program without one prints that.
	path, says string
	// clustered programs are reloaded, and lose nothing.
	clustered bool
	// needs is a program that must be there.
	needs string
}

var programs = []program{
	{
		// instances: 0, kill_timeout, max_memory_restart; the program is an ES module,
		// and closes its server by itself.
		name:      "iframely",
		packages:  []string{"iframely@2.4.3"},
		create:    asPacked("iframely"),
		file:      "pm2.json",
		path:      "/debug",
		says:      "Iframely dev debug tool",
		clustered: true,
	},
	{
		// An absolute cwd, empty node_args, args and env. In fork mode, where the program
		// is a cluster by itself.
		name: "thinkjs",
		packages: []string{
			"thinkjs@3.2.15", "think-cache@1.1.2", "think-cache-file@1.1.2", "think-logger3@1.4.0", "think-model@1.5.4",
			"think-model-mysql@1.1.7", "think-session@1.1.6", "think-session-file@1.1.4", "think-view@1.0.13", "think-view-nunjucks@1.0.11",
		},
		create: thinkJS,
		file:   "pm2.json",
		port:   8360,
		path:   "/",
		says:   "New ThinkJS Application",
	},
	{
		// JavaScript with comments, instances: "max", and env_production with the port.
		name: "quickstart",
		packages: []string{
			"cookie-parser@1.4.7", "cors@2.8.6", "dotenv@16.6.1", "express@4.22.3", "morgan@1.12.1",
			"swagger-ui-express@5.0.1", "winston@3.19.0", "winston-daily-rotate-file@5.0.0", "yamljs@0.3.0", "zod@3.25.76",
		},
		create:    quickstart,
		file:      "ecosystem.config.js",
		options:   []string{"--env", "production"},
		port:      3000,
		path:      "/health",
		says:      `"status":"UP"`,
		clustered: true,
	},
	{
		// Several apps: in fork mode and in a cluster, with a relative cwd and --only.
		name:     "pm2-gui",
		packages: []string{"pm2-gui@0.1.4"},
		create:   asPacked("pm2-gui"),
		file:     "test/process.json",
		options:  []string{"--only", "Colorful,Randomize,Tick,Tock"},
		says:     "Tock every 5 seconds.",
	},
	{
		// Four instances without an exec_mode, env beside env_production.
		name:      "http-server",
		packages:  []string{realPM2},
		create:    asPacked("pm2/lib/templates/sample-apps/http-server"),
		file:      "ecosystem.config.js",
		path:      "/",
		says:      "hey",
		clustered: true,
	},
	{
		// No program of Node's: the interpreter is that of its extension.
		name:     "python",
		packages: []string{realPM2},
		create:   asPacked("pm2/lib/templates/sample-apps/python-app"),
		file:     "ecosystem.config.js",
		says:     "second line",
		needs:    "python3",
	},
}

// app is a program in a folder of its own.
type app struct {
	program
	dir     string
	env     []string
	address string
}

func deploy(t *testing.T, p program) *app {
	t.Helper()
	if p.needs != "" {
		npm.Node(t, p.needs)
	}
	modules := filepath.Join(npm.Need(t, p.packages...), "node_modules")
	dir, err := os.MkdirTemp("", "app")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	a := &app{program: p, dir: p.create(t, modules, dir)}
	link(t, modules, filepath.Join(a.dir, "node_modules"))
	if p.path == "" {
		return a
	}
	// The kernel knows a port that is free, and whether the program's own is.
	l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(p.port)))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	a.address = l.Addr().String()
	if p.port == 0 {
		_, port, _ := net.SplitHostPort(a.address)
		a.env = append(a.env, "PORT="+port)
	}
	return a
}

// link makes a node_modules with all that is in another, but for the process files' own
// program: iframely takes a package of its own kind there for a plugin.
func link(t *testing.T, modules, folder string) {
	t.Helper()
	entries, err := os.ReadDir(modules)
	if err == nil {
		err = os.Mkdir(folder, 0o755)
	}
	for _, e := range entries {
		if err == nil && e.Name() != "iframely" {
			err = os.Symlink(filepath.Join(modules, e.Name()), filepath.Join(folder, e.Name()))
		}
	}
	if err != nil {
		t.Fatal(err)
	}
}

// asPacked is a program that is as its package has it.
func asPacked(name string) func(t *testing.T, modules, dir string) string {
	return func(t *testing.T, modules, dir string) string {
		t.Helper()
		dir = filepath.Join(dir, filepath.Base(name))
		if err := os.CopyFS(dir, os.DirFS(filepath.Join(modules, name))); err != nil {
			t.Fatal(err)
		}
		return dir
	}
}

// thinkJS is what `thinkjs new` makes.
func thinkJS(t *testing.T, _, dir string) string {
	t.Helper()
	maker := npm.Need(t, "think-cli@2.2.8")
	defaults, err := filepath.Abs("testdata/defaults.cjs")
	if err != nil {
		t.Fatal(err)
	}
	run(t, dir, "node", "--require", defaults, filepath.Join(maker, "node_modules", "think-cli", "bin", "thinkjs-new"), "web")
	return filepath.Join(dir, "web")
}

// quickstart is what `nodejs-quickstart init` makes without services that it would need.
func quickstart(t *testing.T, _, dir string) string {
	t.Helper()
	maker := npm.Need(t, "nodejs-quickstart-structure@2.9.5")
	args := append(strings.Fields(`
		--project-name web --language JavaScript --architecture MVC --view-engine None --database None --db-name none
		--ci-provider None --no-include-security --caching None --auth None --social-auth None --terraform None
		--resilience Timeout --no-with-elk --no-background-jobs --use-api-gateway No --api-gateway None
		--no-advanced-options --communication`), "REST APIs")
	run(t, dir, "node", append([]string{filepath.Join(maker, "node_modules", "nodejs-quickstart-structure", "bin", "index.js"), "init"}, args...)...)
	return filepath.Join(dir, "web")
}

func run(t *testing.T, dir, command string, args ...string) {
	t.Helper()
	cmd := exec.Command(npm.Node(t, command), args...)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), "HOME="+dir)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s %s: %v\n%s", command, strings.Join(args, " "), err, out)
	}
}

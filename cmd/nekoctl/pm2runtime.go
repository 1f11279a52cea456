package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nekoctl/neko/pm2/ecosystem"
	"github.com/nekoctl/neko/supervisor"
	"github.com/nekoctl/neko/supervisor/control"
	"github.com/nekoctl/neko/supervisor/home"
	"github.com/nekoctl/neko/supervisor/spec"
)

// pm2-runtime, or pm2-docker, is PM2 in a container: the daemon is in the foreground,
// as PID 1 too, shows what the apps print, and ends with them.

// runtimeOptions are those of pm2-runtime that PM2 itself does not have, or has in
// another way.
var runtimeOptions = []pm2Option{
	{"--secret [key]", "is accepted; nothing is sent anywhere"},
	{"--public [key]", "is accepted; nothing is sent anywhere"},
	{"--machine-name [name]", "is accepted; nothing is sent anywhere"},
	{"--format", "lines as key=value"},
	{"--raw", "the lines alone (default)"},
	{"--formatted", "lines with the id and the name of the app before them"},
	{"--json", "an object for each line"},
	{"--delay <seconds>", "wait before the start"},
	{"--web [port]", "is not here"},
	{"--no-auto-exit", "stay when no app runs any more"},
	{"--env [name]", "merge env_NAME of the file over env"},
	{"--watch", "restart when files change"},
}

const runtimeUsage = `
  Usage: pm2-runtime app.js | ecosystem.config.js

  The daemon in the foreground, for containers: it shows what the apps print, ends
  with them and with their exit code, and drains them at SIGTERM and SIGINT.

  Options:

`

func runPM2Runtime(args []string, stdout, stderr io.Writer) int {
	options := slices.Clone(runtimeOptions)
	for _, o := range pm2Options {
		if !slices.ContainsFunc(options, func(own pm2Option) bool { return own.key() == o.key() }) {
			options = append(options, o)
		}
	}
	f := &face{cli: &cli{out: newTerminal(stdout), err: newTerminal(stderr), machine: thisMachine()}}
	// Options that are not known are passed over, as pm2-runtime does.
	line, err := parseLine(args, options, func(string) ([]pm2Option, bool) { return nil, false })
	f.line = line
	switch {
	case err != nil && !strings.HasPrefix(err.Error(), "unknown option"):
	case line.given.has("version"):
		fmt.Fprintln(f.out, pm2Version)
		return exitOK
	case line.given.has("help"), line.command == "":
		var b strings.Builder
		b.WriteString(runtimeUsage)
		writeOptions(&b, options)
		fmt.Fprint(f.out, b.String())
		if line.command == "" {
			return exitFailed
		}
		return exitOK
	default:
		err = f.runtime()
	}
	return f.end(err)
}

func (f *face) runtime() error {
	script := f.line.command
	if script == "start" && len(f.line.words) > 0 {
		script, f.line.words = f.line.words[0], f.line.words[1:]
	}
	if f.line.given.has("web") {
		return failed("probe the app itself, or nekoctl ping", "--web is not here")
	}
	seconds, err := strconv.ParseFloat(cmp.Or(f.line.given.last("delay"), "0"), 64)
	if err != nil || seconds < 0 {
		return failed("", "--delay: expected a number of seconds, not %q", f.line.given.last("delay"))
	}
	if err := f.settleRuntime(); err != nil {
		return err
	}
	if err := f.besidePM2(context.Background()); err != nil {
		return err
	}
	apps, err := f.appsOf(context.Background(), script, true)
	if err != nil {
		return err
	}
	how := "raw"
	switch {
	case f.line.given.is("json"):
		how = "json"
	case f.line.given.is("format"), f.line.given.is("formatted"):
		how = ""
	}
	if err := os.Setenv(supervisor.ConsoleVariable, how); err != nil {
		return err
	}
	time.Sleep(time.Duration(seconds * float64(time.Second)))
	if os.Getenv("PM2_RUNTIME_DEBUG") != "" {
		return f.runtimeDetached(apps)
	}
	if f.line.given.last("auto-exit") == "false" {
		var saved []control.Saved
		for _, app := range apps {
			saved = append(saved, control.Saved{App: app})
		}
		return exitCode(supervisor.ForegroundSaved(f.home, version(), saved, spec.Daemon{}))
	}
	return exitCode(supervisor.Foreground(f.home, version(), apps, spec.Daemon{}, ""))
}

// settleRuntime is settle where a home may not be writable: in a container with a
// read-only root.
func (f *face) settleRuntime() error {
	if os.Getenv("PM2_HOME") == "" {
		h, err := home.Find()
		if err != nil {
			return badHome(err)
		}
		if user := os.Getenv("HOME"); user == "" || !strings.HasPrefix(string(h), user) {
			if err := os.Setenv("PM2_HOME", string(h)); err != nil {
				return err
			}
		}
	}
	return f.settle()
}

// appsOf are the apps of a file or of a script, for a daemon in the foreground. If
// the console is to have what they print, files get it only if that was asked for.
func (f *face) appsOf(ctx context.Context, script string, console bool) ([]spec.App, error) {
	var configs []*ecosystem.Config
	if ecosystem.IsFile(script) {
		var err error
		if configs, err = f.load(ctx, script); err != nil {
			return nil, err
		}
		for _, c := range configs {
			if err := f.overFile(c); err != nil {
				return nil, err
			}
		}
	} else {
		c, err := f.config()
		if err != nil {
			return nil, err
		}
		if err := c.Set("script", script); err != nil {
			return nil, err
		}
		if err := f.setArgs(c); err != nil {
			return nil, err
		}
		configs = append(configs, c)
	}
	var apps []spec.App
	for _, c := range configs {
		for option, key := range map[string]string{"output": "out_file", "error": "error_file"} {
			if given := f.line.given.last(option); console && (given != "" || !c.Has(key)) {
				if err := c.Set(key, cmp.Or(given, os.DevNull)); err != nil {
					return nil, err
				}
			}
		}
		app, err := f.app(c)
		if err != nil {
			return nil, f.badApp(err)
		}
		app.Name = ecosystem.Unique(app.Name, taken(nil, apps))
		apps = append(apps, app)
	}
	if len(apps) == 0 {
		return nil, failed("", "0 application started (no apps to run on %s)", printable(script))
	}
	return apps, nil
}

// runtimeDetached is for tests of those who have some for pm2-runtime: the daemon
// is in the background.
func (f *face) runtimeDetached(apps []spec.App) error {
	ctx := context.Background()
	if err := f.connect(ctx, false); err != nil {
		return err
	}
	return f.forgive(f.client.Start(ctx, control.StartRequest{Apps: apps}, nil))
}

// foreground is `pm2 start --no-daemon`.
func (f *face) foreground(ctx context.Context) error {
	if up, err := f.up(ctx); err != nil {
		return err
	} else if up {
		return failed("pm2 start without --no-daemon adds apps to it; pm2 kill ends it", "a daemon runs on %s already", f.home)
	}
	var apps []spec.App
	words := f.line.words
	if len(words) == 0 {
		words = []string{defaultFile()}
	}
	for _, script := range words {
		more, err := f.appsOf(ctx, script, false)
		if err != nil {
			return err
		}
		apps = append(apps, more...)
	}
	return exitCode(supervisor.Foreground(f.home, version(), apps, spec.Daemon{}, ""))
}

package main

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/nekoctl/neko/pm2/ecosystem"
	"github.com/nekoctl/neko/supervisor/control"
	"github.com/nekoctl/neko/supervisor/spec"
)

// fileHere is the file of apps in the working directory: neko's own, or else PM2's.
func fileHere() string {
	for _, name := range append([]string{"neko.yaml"}, ecosystem.Candidates()...) {
		if exists(name) {
			return name
		}
	}
	return ""
}

// isSpecFile tells a file of apps from a program and from the name of an app.
func isSpecFile(arg string) bool {
	switch filepath.Ext(arg) {
	case ".yaml", ".yml", ".json":
		return true
	}
	return isPM2File(arg)
}

// isPM2File tells PM2's process files: those that are programs, which it knows by
// their endings, and those of the names that people give them.
func isPM2File(file string) bool {
	base := filepath.Base(file)
	for _, ending := range []string{".config.js", ".config.cjs", ".config.mjs", ".config.ts", ".config.cts", ".config.mts", ".toml"} {
		if strings.HasSuffix(base, ending) {
			return true
		}
	}
	first, _, _ := strings.Cut(base, ".")
	return slices.Contains([]string{"ecosystem", "pm2", "process", "processes"}, first) && ecosystem.IsFile(base)
}

// fileFlags are what is said of a file on the command line.
type fileFlags struct {
	env  string   // the NAME of --env: env_NAME in PM2's file
	only []string // apps, if not all
}

// options are for reading what is to be started now.
func (c *cli) options() spec.Options {
	return spec.Options{
		Environ:     os.Environ(),
		NodeVersion: nodeVersions(),
		Note:        func(text string) { c.note("%s", text) },
	}
}

// nodeVersions asks each node for its version once.
func nodeVersions() func(node string) string {
	known := map[string]string{}
	return func(node string) string {
		version, asked := known[node]
		if !asked {
			ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
			defer cancel()
			out, _ := exec.CommandContext(ctx, node, "--version").Output() // who does not answer is of no known version
			version = string(out)
			known[node] = version
		}
		return version
	}
}

// readSpec are the apps of a file, complete and checked, and what it says of the daemon,
// which one of PM2's does not.
func (c *cli) readSpec(ctx context.Context, file string, f fileFlags, opts spec.Options) ([]spec.App, spec.Daemon, error) {
	if isPM2File(file) {
		apps, err := c.readPM2(ctx, file, f, opts)
		return apps, spec.Daemon{}, err
	}
	if f.env != "" {
		return nil, spec.Daemon{}, failed("a neko.yaml has env_file for that", "--env %s: %s has one environment", f.env, file)
	}
	apps, daemon, err := spec.Read(file, opts)
	if err == nil && len(f.only) > 0 {
		apps, err = onlyOf(file, apps, f.only)
	}
	return apps, daemon, err
}

// readPM2 are the apps of a file of PM2's, by neko's own defaults.
func (c *cli) readPM2(ctx context.Context, file string, f fileFlags, opts spec.Options) ([]spec.App, error) {
	o, err := c.ecosystemOptions(f, opts)
	if err != nil {
		return nil, err
	}
	configs, err := ecosystem.Load(ctx, file, o)
	if err != nil {
		return nil, unevaluated(err)
	}
	var (
		apps []spec.App
		errs spec.Errors
	)
	for _, config := range configs {
		app, err := config.App(o)
		if list, ok := errors.AsType[spec.Errors](err); ok {
			errs = append(errs, list...)
		} else if err != nil {
			return nil, err
		}
		app.Name = ecosystem.Unique(app.Name, func(name string) bool {
			return slices.ContainsFunc(apps, func(other spec.App) bool { return other.Name == name })
		})
		apps = append(apps, app)
	}
	if len(errs) > 0 {
		return nil, errs
	}
	if len(f.only) > 0 {
		return onlyOf(file, apps, f.only)
	}
	return apps, nil
}

func (c *cli) ecosystemOptions(f fileFlags, opts spec.Options) (ecosystem.Options, error) {
	here, err := os.Getwd()
	if err == nil {
		err = c.findHome()
	}
	return ecosystem.Options{Cwd: here, Home: string(c.home), Environ: os.Environ(), Env: f.env, Args: os.Args[1:], NamesOnly: opts.NamesOnly,
		Node: opts.NodeVersion, Note: opts.Note, Output: c.err, Warn: func(text string) {
			if !opts.NamesOnly {
				c.warn("%s", text)
			}
		}}, err
}

// onlyOf are the apps that --only names, in the order of the file.
func onlyOf(file string, apps []spec.App, only []string) ([]spec.App, error) {
	var names []string
	for _, a := range apps {
		names = append(names, a.Name)
	}
	for _, name := range only {
		if !slices.ContainsFunc(apps, func(a spec.App) bool { return a.Name == name || a.Title == name }) {
			return nil, failed("there is "+strings.Join(names, ", "), "--only: %s has no app %s", file, quote(name))
		}
	}
	return slices.DeleteFunc(apps, func(a spec.App) bool { return !slices.Contains(only, a.Name) && !slices.Contains(only, a.Title) }), nil
}

// unevaluated shows what could be in the place of a file that nothing here can
// evaluate.
func unevaluated(err error) error {
	e, ok := errors.AsType[*ecosystem.NoRuntime](err)
	if !ok {
		return err
	}
	shown := &control.Error{Message: e.Error(), Hint: "install node, or write its apps down in a neko.yaml"}
	if e.YAML != nil {
		shown.Output = strings.Split(strings.TrimSpace(string(e.YAML)), "\n")
		shown.Hint = "install node, or write a neko.yaml, which could be like that"
	}
	return shown
}

package main

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/nekoctl/neko/pm2/ecosystem"
	"github.com/nekoctl/neko/pm2/object"
	"github.com/nekoctl/neko/pm2/shape"
	"github.com/nekoctl/neko/supervisor/control"
	"github.com/nekoctl/neko/supervisor/spec"
)

// pm2Actions are PM2's words for what a command does to a process, and the commands
// of the daemon that do it.
var pm2Actions = map[string]string{
	"stopProcessId":    "stop",
	"restartProcessId": "restart",
	"reloadProcessId":  "reload",
	"deleteProcessId":  "delete",
}

func (f *face) stop(ctx context.Context) error { return f.operateAll(ctx, "stopProcessId") }

func (f *face) delete(ctx context.Context) error { return f.operateAll(ctx, "deleteProcessId") }

// operateAll stops or deletes all that the words mean, also files and standard
// input.
func (f *face) operateAll(ctx context.Context, action string) error {
	for _, word := range f.line.words {
		var err error
		switch {
		case word == "-":
			err = f.operateFile(ctx, action, "")
		case ecosystem.IsFile(word):
			err = f.operateFile(ctx, action, word)
		default:
			err = f.operate(ctx, action, word, nil)
		}
		if err != nil {
			return err
		}
	}
	return f.speedList(ctx)
}

// operateFile stops or deletes the apps of a file, as far as they are there, or
// restarts them into what the file says.
func (f *face) operateFile(ctx context.Context, action, file string) error {
	configs, err := f.load(ctx, file)
	if err != nil {
		return err
	}
	for _, c := range configs {
		list, apps, err := f.processes(ctx)
		if err != nil {
			return err
		}
		name := c.Title(f.ecosystem())
		list = slices.DeleteFunc(list, func(e entry) bool { return e.name() != name })
		if len(list) == 0 {
			continue
		}
		if action == "restartProcessId" {
			err = f.renewFromFile(ctx, c, list, apps, action)
		} else {
			err = f.command(ctx, action, list, nil)
		}
		if err != nil {
			return err
		}
		f.ticked(list)
	}
	return nil
}

// ticked says of each process that what was asked for is done.
func (f *face) ticked(list []entry) {
	for _, e := range list {
		f.ok("[%s](%d) ✓", e.name(), e.id())
	}
}

// operate does something to what a target means, and tells as PM2 does. Changes are
// keys that the apps get new values for.
func (f *face) operate(ctx context.Context, action, target string, changes *changes) error {
	list, apps, err := f.processes(ctx)
	if err != nil {
		return err
	}
	found, err := f.find(list, action, target)
	if err != nil {
		return err
	}
	f.applying(action, target, found)
	if changes != nil {
		changes.env = f.confEnv(target)
	}
	renewed, err := f.renewed(apps, found, changes)
	if err != nil {
		return err
	}
	if err := f.command(ctx, action, found, renewed); err != nil {
		return err
	}
	for _, e := range found {
		name := e.name()
		if len(renewed) > 0 {
			name = renewed[0].ShownName()
		}
		f.ok("[%s](%d) ✓", name, e.id())
		if cron := e.text("cron_restart"); action == "stopProcessId" && cron != "" {
			f.caution("App %s stopped but CRON RESTART is still UP %s", e.name(), cron)
		}
	}
	return nil
}

func (f *face) applying(action, target string, list []entry) {
	ids := make([]any, len(list))
	for i, e := range list {
		if ids[i] = e.id(); strconv.Itoa(e.id()) == target && len(list) == 1 {
			ids[i] = target // PM2 has it as it was given
		}
	}
	f.ok("Applying action %s on app [%s](ids: %s)", action, printable(target), shape.Inspect(ids))
}

// concerns says that one of the processes is of an app.
func concerns(a control.AppDetail, list []entry) bool {
	return slices.ContainsFunc(list, func(e entry) bool {
		return slices.ContainsFunc(a.Processes, func(p control.ProcessExtra) bool { return p.ID == e.id() })
	})
}

// command does it: in new settings if there are, else by the ids.
func (f *face) command(ctx context.Context, action string, list []entry, renewed []spec.App) error {
	parallel := f.parallel()
	if parallel == 0 && action == "restartProcessId" { // so that others serve on meanwhile
		parallel = min(max(len(list)-1, 1), 2)
	}
	if len(renewed) > 0 {
		return f.forgive(f.client.Start(ctx, control.StartRequest{
			Apps: renewed, Restart: action == "restartProcessId", Reload: action == "reloadProcessId", Parallel: parallel,
		}, nil))
	}
	if action == "reloadProcessId" { // what does not run has nobody to take over from
		var idle []entry
		list, idle = split(list, func(e entry) bool { return e.pid() != 0 })
		if len(idle) > 0 {
			if err := f.command(ctx, "restartProcessId", idle, nil); err != nil || len(list) == 0 {
				return err
			}
		}
	}
	request := control.TargetRequest{Targets: idsOf(list), Parallel: parallel, Unwatch: action == "stopProcessId"}
	return f.forgive(f.client.Command(ctx, pm2Actions[action], request, nil))
}

// split are those of which something is so, and the others.
func split(list []entry, is func(entry) bool) (those, others []entry) {
	for _, e := range list {
		if is(e) {
			those = append(those, e)
		} else {
			others = append(others, e)
		}
	}
	return those, others
}

// forgive takes an error of a process that was launched and has failed since for
// what it is to PM2: no failure of the command. The list shows it.
func (f *face) forgive(_ control.Done, err error) error {
	if e, ok := errors.AsType[*control.Error](err); ok && e.Launched {
		return nil
	}
	return err
}

// changes are what a restart or a reload is to change of an app.
type changes struct {
	config    *ecosystem.Config // keys that were given
	updateEnv bool              // the environment of this shell is merged over the app's
	env       map[string]string // over that
	toggle    bool              // --watch turns off what is watched already
}

// renewed are the apps of the processes with the changes, nil if there are none.
func (f *face) renewed(apps []control.AppDetail, list []entry, c *changes) ([]spec.App, error) {
	if c == nil || c.config.Len() == 0 && !c.updateEnv && len(c.env) == 0 {
		return nil, nil
	}
	var renewed []spec.App
	for _, a := range apps {
		if !concerns(a, list) {
			continue
		}
		var processes []*object.Object
		for _, e := range list {
			if concerns(a, []entry{e}) {
				processes = append(processes, e.env())
			}
		}
		config := c.config
		if c.toggle && config.Get("watch") == true && len(a.Spec.Watch) > 0 {
			config = config.Clone()
			if err := config.Set("watch", false); err != nil {
				return nil, err
			}
		}
		next, err := ecosystem.Update(a.Spec, processes, config, f.ecosystem(), c.updateEnv)
		if err != nil {
			return nil, err
		}
		next.Instances, next.Node = a.Spec.Instances, a.Spec.Node // a restart does not scale: pm2 scale does
		for key, value := range c.env {
			next.Env[key] = value
		}
		renewed = append(renewed, next)
	}
	return renewed, nil
}

const immutable = "Use --update-env to update environment variables"

func (f *face) restart(ctx context.Context) error {
	for _, word := range f.line.words {
		var err error
		switch {
		case word == "-":
			err = f.operateFile(ctx, "restartProcessId", "")
		case ecosystem.IsFile(word):
			err = f.startFile(ctx, word, "restartProcessId")
		default:
			err = f.again(ctx, "restartProcessId", word)
		}
		if err != nil {
			return err
		}
	}
	return f.speedList(ctx)
}

// reload ends without the list, as PM2's does.
func (f *face) reload(ctx context.Context) error {
	word := f.line.words[0]
	if ecosystem.IsFile(word) {
		return f.startFile(ctx, word, "reloadProcessId")
	}
	return f.again(ctx, "reloadProcessId", word)
}

// again restarts or reloads, with what options there are.
func (f *face) again(ctx context.Context, action, target string) error {
	if f.line.given.has("env") {
		f.fail("Using --env [env] without passing the ecosystem.config.js does not work")
		return pm2Exit(1)
	}
	update := f.line.given.is("update-env")
	if !update {
		f.print("%s", f.out.paint(bold, immutable))
	}
	config, err := f.config()
	if err != nil {
		return err
	}
	if err := f.setArgs(config); err != nil {
		return err
	}
	f.tellCron(config)
	return f.operate(ctx, action, target, &changes{config: config, updateEnv: update, toggle: action == "restartProcessId"})
}

// ecosystem are the options by which apps are read and made.
func (f *face) ecosystem() ecosystem.Options {
	here, err := os.Getwd()
	if err != nil {
		here = "/"
	}
	if f.node == nil { // each program is asked once in a command, not once for each app
		f.node = nodeVersions()
	}
	o := ecosystem.Options{
		Cwd: here, Home: f.place.Home, Logs: f.place.Logs, PIDs: f.place.PIDs, Environ: os.Environ(), PM2: true,
		Env: f.line.given.last("env"), Node: f.node, Args: os.Args[1:], Output: f.console(),
		Note: func(text string) {
			say := f.info
			if strings.HasPrefix(text, "Creating folder") { // without a mark, as PM2 has it
				say = f.ok
			}
			say("%s", printable(text))
		},
		Warn: func(text string) {
			say := f.alarm
			if strings.HasPrefix(text, "Environment [") { // PM2 prints this one to standard output
				say = f.caution
			}
			say("%s", printable(text))
		},
	}
	if only := f.line.given.last("only"); only != "" {
		o.Only = strings.FieldsFunc(only, func(r rune) bool { return r == ',' || r == ' ' })
	}
	return o
}

// console gets what a file prints when it is evaluated.
func (f *face) console() io.Writer {
	if f.silent {
		return nil
	}
	return f.out
}

// pathOf is where a script of the command line is.
func pathOf(script string) string {
	abs, err := filepath.Abs(script)
	if err != nil {
		return script
	}
	return abs
}

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/nekoctl/neko/supervisor/control"
	"github.com/nekoctl/neko/supervisor/spec"
)

const describeHelp = `Show all about apps: their settings, their processes, how these get on and why
they were restarted last, with what they printed then. What looks secret is
hidden: variables, arguments, passwords in URLs.

Usage:
    nekoctl describe [OPTIONS] NAME | ID | all ...

Also: show, inspect, desc, info

Options:
    --config        print a neko.yaml with all that is set, and what is default;
                    of the environment, what yours here does not have
    --env           show the whole environment, too
    --watch[=TIME]  show it anew every second, or TIME, until Ctrl-C
    --json          print JSON: name, spec, processes; of several apps, a list;
                    with --watch, on a line for each time

Examples:
    $ nekoctl describe web
    $ nekoctl describe web --config > neko.yaml
    $ nekoctl describe web --json | jq '.processes[].ends[0]'
`

func (c *cli) describeCommand() *cobra.Command {
	var o describeOptions
	var every string
	cmd := &cobra.Command{
		Use:               "describe",
		Aliases:           []string{"show", "inspect", "desc", "info"},
		Long:              describeHelp,
		ValidArgsFunction: c.completeNames,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 || args[0] == "" {
				return &usageError{"describe which app?", "name one, or nekoctl describe all; nekoctl list shows them"}
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			interval, err := parseEvery("describe", every)
			if err != nil {
				return err
			}
			if o.config && (o.json || interval > 0) {
				return misuse("describe", "--config goes with neither --json nor --watch")
			}
			client, err := c.client()
			if err != nil {
				return err
			}
			if interval == 0 {
				return c.describeAll(cmd.Context(), client, args, o)
			}
			o.lines = true
			return c.watch(cmd.Context(), client, watching{what: "nekoctl describe", every: interval, json: o.json, frame: func(ctx context.Context, c *cli) error {
				return c.describeAll(ctx, client, args, o)
			}})
		},
	}
	cmd.Flags().BoolVar(&o.json, "json", false, "")
	cmd.Flags().BoolVar(&o.env, "env", false, "")
	cmd.Flags().BoolVar(&o.config, "config", false, "")
	addWatchFlag(cmd, &every)
	return cmd
}

type describeOptions struct {
	json, env, config bool
	lines             bool // JSON on one line
}

// describeAll shows all that the targets mean.
func (c *cli) describeAll(ctx context.Context, client *control.Client, targets []string, o describeOptions) error {
	names, several, err := describedBy(ctx, client, targets)
	if err != nil {
		return err
	}
	apps := []control.AppDetail{}
	for _, name := range names {
		app, err := client.Describe(ctx, name)
		if err != nil {
			return err
		}
		apps = append(apps, app)
	}
	switch {
	case o.json:
		var value any = apps
		if !several {
			value = apps[0]
		}
		if o.lines {
			return json.NewEncoder(c.out).Encode(value)
		}
		return c.json(value)
	case o.config:
		var specs []spec.App
		for _, app := range apps {
			specs = append(specs, app.Spec)
		}
		inherited := map[string]string{}
		if !o.env {
			inherited = spec.Inherit(os.Environ())
		}
		text, err := spec.YAML(specs, inherited)
		if err != nil {
			return err
		}
		_, err = c.out.Write(text)
		return err
	}
	for i, app := range apps {
		if i > 0 {
			fmt.Fprintln(c.out)
		}
		c.describe(app, o.env)
	}
	return nil
}

// describedBy are the names and ids that targets stand for, and whether these may be
// several.
func describedBy(ctx context.Context, client *control.Client, targets []string) (names []string, several bool, err error) {
	all, err := client.Processes(ctx)
	if err != nil {
		return nil, false, err
	}
	for _, target := range targets {
		found, byID, err := control.Choose(all, target)
		switch {
		case err != nil:
			return nil, false, err
		case byID:
			names = append(names, target)
			continue
		case target == "all":
			several = true
		case len(found) == 0: // the master says what there is
			names = append(names, target)
		}
		for _, p := range found {
			if !slices.Contains(names, p.Name) {
				names = append(names, p.Name)
			}
		}
	}
	return names, several || len(names) != 1, nil
}

// describe shows facts in the order in which people ask: what is it, does it
// run, where does it print, how is it set.
func (c *cli) describe(app control.AppDetail, env bool) {
	fmt.Fprintln(c.out, c.out.paint(bold, printable(app.Spec.ShownName())))
	name, kind := "", ""
	if app.Spec.Title != "" && app.Spec.Title != app.Name {
		name = app.Name
	}
	if app.Spec.Type == spec.Task {
		kind = string(spec.Task)
	}
	c.facts("  ", [][2]string{
		{"known as", name},
		{"namespace", app.Spec.Namespace},
		{"type", kind},
		{"command", quoteWords(app.Spec.Command)},
		{"cwd", app.Spec.Cwd},
		{"from", app.Spec.Source},
		{"instances", instances(app.Spec.Instances)},
		{"exec mode", string(app.Spec.Node)},
		{"listen", listeners(app.Spec.Listen)},
		{"url", app.URL},
		{"balance", string(app.Spec.Balance)},
		{"listen_pid", fmt.Sprint(app.Spec.ListenPID)},
		{"wait_ready", fmt.Sprint(app.Spec.WaitReady)},
		{"timeouts", fmt.Sprintf("listen %v, drain %v, kill %v", app.Spec.ListenTimeout.D(), app.Spec.DrainTimeout.D(), app.Spec.KillTimeout.D())},
		{"stop", stops(app.Spec)},
		{"runs as", rights(app.Spec)},
		{"depends on", needs(app.Spec)},
		{"startup", startup(app.Spec.Startup)},
		{"readiness", asked(app.Spec.Readiness)},
		{"watched by", watches(app.Spec)},
		{"spare", zeroless(app.Spec.Spare)},
		{"restarts", restarts(app.Spec)},
		{"waits", waits(app.Spec)},
		{"cron", app.Spec.CronRestart + dueIn(app.NextCron)},
		{"max memory", limit(app.Spec.MaxMemory)},
		{"watch", strings.Join(app.Spec.Watch, ", ")},
	})
	for _, p := range app.Processes {
		state := c.out.paint(stateColor(p.State), string(p.State))
		if p.Reason != "" {
			state += ": " + printable(p.Reason)
		}
		fmt.Fprintf(c.out, "\nprocess %d, slot %d: %s\n", p.ID, p.Slot, state)
		facts := [][2]string{
			{"pid", zeroless(p.PID)},
			{"uptime", ""},
			{"restarts", strconv.Itoa(p.Restarts) + restartsLeft(p, app.Spec)},
			{"cpu", ""}, {"memory", ""},
			{"listening", strings.Join(p.Listeners, ", ")},
			{"queue", queues(p.Queues)},
			{"connected", connections(p)},
			{"not ready", p.Unready},
			{"probes", probes(p.Probes)},
			{"watchdog", watchdog(p.Watchdog)},
			{"next try", dueAt(p.NextAttempt)},
			{"no metrics", p.MetricsProblem},
			{"status", p.Status},
			{"metrics", metrics(p.Process)},
			{"actions", strings.Join(p.Actions, ", ")},
			{"starting", zeroless(p.Starting)},
			{"spare", zeroless(p.Spare)},
			{"stand-in", zeroless(p.StandIn)},
			{"draining", strings.Trim(fmt.Sprint(p.Draining), "[]")},
			{"pid file", p.PIDFile},
			{"out log", p.OutLog},
			{"error log", p.ErrLog},
			{"log of both", p.AllLog},
			{"lost", lost(p.Lost)},
		}
		if p.PID != 0 {
			facts[1][1] = uptime(time.Duration(p.UptimeMS)*time.Millisecond) + date(", since", p.StartedAt)
			facts[3][1], facts[4][1] = percent(p.Process), size(p.MemoryBytes)
		}
		c.facts("  ", facts)
		c.ends(p)
	}
	if env {
		fmt.Fprintln(c.out, "\nenvironment")
		for _, key := range slices.Sorted(maps.Keys(app.Spec.Env)) {
			fmt.Fprintf(c.out, "  %s=%s\n", printable(key), printable(app.Spec.Env[key]))
		}
	}
}

// metrics are what a program of Node's tells by @pm2/io.
func metrics(p control.Process) string {
	var list []string
	for _, name := range slices.Sorted(maps.Keys(p.Metrics)) {
		var m struct {
			Value any    `json:"value"`
			Unit  string `json:"unit"`
		}
		if json.Unmarshal(p.Metrics[name], &m) == nil && m.Value != nil {
			list = append(list, strings.TrimSpace(fmt.Sprintf("%s %v %s", name, m.Value, m.Unit)))
		}
	}
	return strings.Join(list, ", ")
}

// rights are the keys of an app about whom its processes run as, and with what
// limits.
func rights(app spec.App) string {
	var list []string
	for _, r := range [][2]string{{"uid", app.UID}, {"gid", app.GID}, {"umask", app.Umask}, {"nice", zeroless(app.Nice)}} {
		if r[1] != "" {
			list = append(list, r[0]+" "+r[1])
		}
	}
	for _, name := range slices.Sorted(maps.Keys(app.Rlimits)) {
		list = append(list, name+" "+app.Rlimits[name].String())
	}
	if app.Pin {
		list = append(list, "pinned, each to a CPU")
	}
	return strings.Join(list, ", ")
}

func (c *cli) facts(indent string, facts [][2]string) {
	for _, f := range facts {
		if f[1] != "" {
			c.fact(indent, f[0], f[1])
		}
	}
}

// fact is a name and what there is to say, set in where a terminal is too narrow for it.
func (c *cli) fact(indent, name, text string) {
	const room = 11
	text = printable(text)
	if width := c.out.columns() - len(indent) - room; width >= 20 {
		text = strings.ReplaceAll(wrapped(text, width), "\n", "\n"+indent+strings.Repeat(" ", room))
	}
	io.WriteString(c.out, indent+c.out.paint(dim, fmt.Sprintf("%-*s", room, name))+text+"\n")
}

func date(word string, t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return word + " " + t.Local().Format("2006-01-02 15:04:05")
}

func instances(n int) string {
	switch {
	case n == spec.Max:
		return "max"
	case n < 0:
		return fmt.Sprintf("max%d", n)
	}
	return strconv.Itoa(n)
}

func listeners(list []spec.Listener) string {
	var parts []string
	for _, l := range list {
		if l.Name == "listen" { // nobody has chosen it
			parts = append(parts, l.String())
		} else {
			parts = append(parts, l.Name+" "+l.String())
		}
	}
	return strings.Join(parts, ", ")
}

func zeroless(n int) string {
	if n == 0 {
		return ""
	}
	return strconv.Itoa(n)
}

// quote is s as a message has it.
func quote(s string) string { return strconv.Quote(s) }

// quoteWords is a command as a shell would take it.
func quoteWords(words []string) string {
	var parts []string
	for _, w := range words {
		if w == "" || strings.ContainsAny(w, " \t\n'\"\\$`|&;<>()*?[]#~!{}") {
			w = "'" + strings.ReplaceAll(w, "'", `'\''`) + "'"
		}
		parts = append(parts, w)
	}
	return strings.Join(parts, " ")
}

// watches is how a process is found to be hung.
func watches(app spec.App) string {
	var list []string
	if app.Watchdog > 0 {
		list = append(list, fmt.Sprintf("WATCHDOG=1 within %v", app.Watchdog.D()))
	}
	if p := app.Liveness; p != nil {
		list = append(list, asked(p))
	}
	return strings.Join(list, "; ")
}

// restarts is whether a process that ends has a successor.
func restarts(app spec.App) string {
	text := "none (autorestart: false)"
	if app.Autorestart {
		text = fmt.Sprintf("at most %d in %v, of processes younger than %v", app.MaxRestarts, app.RestartWindow.D(), app.MinUptime.D())
	}
	if len(app.StopExitCodes) > 0 {
		text += "; none after exit code " + strings.Trim(strings.ReplaceAll(fmt.Sprint(app.StopExitCodes), " ", ", "), "[]")
	}
	return text
}

// waits are those before a restart, where they are not the default.
func waits(app spec.App) string {
	var list []string
	if app.RestartDelay > 0 {
		list = append(list, fmt.Sprintf("at least %v", app.RestartDelay.D()))
	}
	if b := app.Backoff; b != spec.Defaults().Backoff {
		list = append(list, fmt.Sprintf("from %v up to %v, up to %.0f %% less at random", b.Initial.D(), b.Max.D(), 100*b.Jitter))
	}
	return strings.Join(list, "; ")
}

// stops is how a process is stopped, where that is not the default.
func stops(app spec.App) string {
	var list []string
	if app.ShutdownDelay > 0 {
		list = append(list, fmt.Sprintf("serves on for %v", app.ShutdownDelay.D()))
	}
	if app.ShutdownWithMessage {
		list = append(list, "by the message 'shutdown'")
	}
	if app.StopSignal != spec.Defaults().StopSignal {
		list = append(list, app.StopSignal)
	}
	if !app.Treekill {
		list = append(list, "what it has started lives on (treekill: false)")
	}
	return strings.Join(list, "; ")
}

func limit(s spec.Size) string {
	if s == 0 {
		return ""
	}
	return size(int64(s))
}

// lost is what logs do not have, and do not tell of yet.
func lost(list []control.Lost) string {
	var parts []string
	for _, l := range list {
		parts = append(parts, fmt.Sprintf("%d bytes of output, as %s cannot be written: %s", l.Bytes, l.Path, l.Reason))
	}
	return strings.Join(parts, "; ")
}

// asked is how often a probe asks what.
func asked(p *spec.Probe) string {
	if p == nil {
		return ""
	}
	times := ""
	switch n := p.Failures - 1; n {
	case 0:
	case 1:
		times = ", which may fail once in a row"
	default:
		times = fmt.Sprintf(", which may fail %d times in a row", n)
	}
	return fmt.Sprintf("%s every %v%s, each within %v", p, p.Interval.D(), times, p.Timeout.D())
}

// startup is asked until it passes, however often it fails.
func startup(p *spec.Probe) string {
	if p == nil {
		return ""
	}
	once := *p
	once.Failures = 1
	return asked(&once)
}

// needs are the apps that must have come to something first.
func needs(app spec.App) string {
	var list []string
	for _, dep := range app.DependsOn {
		list = append(list, fmt.Sprintf("%s (%s)", dep.App, dep.Condition))
	}
	return strings.Join(list, ", ")
}

package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/nekoctl/neko/supervisor/control"
	"github.com/nekoctl/neko/supervisor/spec"
)

const listHelp = `Show all processes: one line for each process of each app. On a terminal the
table is as wide as that has room for; elsewhere it has all columns, and nothing
is cut.

Usage:
    nekoctl list [OPTIONS] [NAME | ID | all ...]

Also: ls, l, ps, status

Options:
    --sort KEY      by name, id, pid, state, restarts, uptime, cpu or memory;
                    KEY:desc for the largest first; id, if not given
    --watch[=TIME]  show it anew every second, or TIME, until Ctrl-C; where
                    standard output is no terminal, one table after the other
    --json          print JSON: a list of objects with id, name, namespace,
                    slot, pid, state, restarts, uptime_ms, memory_bytes,
                    cpu_percent, listeners, and of some: title, reason,
                    unready; with --watch, such a list on a line for each time

States are launching, online, stopping, stopped, errored (it crashed too often
and is not started again) and waiting restart. The column ↺ counts restarts.

Examples:
    $ nekoctl list
    $ nekoctl list web --sort memory:desc
    $ nekoctl list --watch=500ms
    $ nekoctl list --json | jq -r '.[] | select(.state != "online") | .name'
`

func (c *cli) listCommand() *cobra.Command {
	var asJSON bool
	var order, every string
	cmd := &cobra.Command{
		Use:               "list",
		Aliases:           []string{"ls", "l", "ps", "status"},
		Long:              listHelp,
		ValidArgsFunction: c.completeNames,
		RunE: func(cmd *cobra.Command, args []string) error {
			by, err := parseOrder(order)
			if err != nil {
				return err
			}
			interval, err := parseEvery("list", every)
			if err != nil {
				return err
			}
			client, err := c.client()
			if err != nil {
				return err
			}
			look := func(ctx context.Context, c *cli) error {
				return c.listOnce(ctx, client, args, by, asJSON, interval > 0)
			}
			if interval == 0 {
				return look(cmd.Context(), c)
			}
			if all, err := client.Processes(cmd.Context()); err == nil { // a mistake is told, and not watched
				if _, err := chosenOf(all, args); err != nil {
					return err
				}
			}
			return c.watch(cmd.Context(), client, watching{what: "nekoctl list", every: interval, json: asJSON, frame: look})
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "")
	cmd.Flags().StringVar(&order, "sort", "id", "")
	addWatchFlag(cmd, &every)
	_ = cmd.RegisterFlagCompletionFunc("sort", func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		var words []string
		for _, key := range orderKeys {
			words = append(words, key.name, key.name+":desc")
		}
		return words, cobra.ShellCompDirectiveNoFileComp
	})
	return cmd
}

// listOnce shows what is there now of what the targets mean.
func (c *cli) listOnce(ctx context.Context, client *control.Client, targets []string, by order, asJSON, again bool) error {
	all, err := client.Processes(ctx)
	up, err := runs(err)
	if err != nil {
		return err
	}
	list, err := chosenOf(all, targets)
	if err != nil {
		if !again && up { // else it may be there soon
			return err
		}
		list = nil
	}
	by.sort(list)
	if asJSON {
		if list == nil {
			list = []control.Process{}
		}
		if again {
			return json.NewEncoder(c.out).Encode(list)
		}
		return c.json(list)
	}
	c.list(list)
	if c.quiet {
		return nil
	}
	say := c.hint
	if again {
		say = func(format string, args ...any) { fmt.Fprintf(c.out, format+"\n", args...) }
	}
	switch {
	case !up:
		say("no daemon runs on %s; %s", c.home, c.elsewhere())
	case err != nil:
		say("%v", err)
	case len(list) == 0 && len(all) == 0:
		say("no app runs; nekoctl start begins one")
	}
	return nil
}

// chosenOf are the processes that targets mean, each of which must mean some; all, if
// there are no targets.
func chosenOf(all []control.Process, targets []string) ([]control.Process, error) {
	if len(targets) == 0 {
		return all, nil
	}
	meant := map[int]bool{}
	for _, target := range targets {
		found, _, err := control.Choose(all, target)
		if err != nil {
			return nil, err
		}
		if len(found) == 0 && target != "all" {
			return nil, unknownTarget(all, target)
		}
		for _, p := range found {
			meant[p.ID] = true
		}
	}
	return slices.DeleteFunc(slices.Clone(all), func(p control.Process) bool { return !meant[p.ID] }), nil
}

// unknownTarget says that nothing is called so, and what is.
func unknownTarget(all []control.Process, target string) error {
	if _, err := time.ParseDuration(target); err == nil {
		return failed("a time goes with --watch as --watch="+target, "there is no app or process %s", quote(target))
	}
	var names []string
	for _, p := range all {
		if name := p.ShownName(); !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	hint := "nothing runs; nekoctl start starts something"
	if near := spec.Nearest(target, names); near != "" {
		hint = "did you mean " + near + "?"
	} else if len(names) > 0 {
		hint = "there is " + strings.Join(names, ", ")
	}
	return failed(hint, "there is no app or process %s", quote(target))
}

// order is how a list is sorted.
type order struct {
	compare func(a, b control.Process) int
	desc    bool
}

// orderKey is a name of an order; also are PM2's words for the same.
type orderKey struct {
	name    string
	also    []string
	compare func(a, b control.Process) int
}

var orderKeys = []orderKey{
	{"id", []string{"pm_id"}, func(a, b control.Process) int { return cmp.Compare(a.ID, b.ID) }},
	{"name", nil, func(a, b control.Process) int { return cmp.Compare(a.ShownName(), b.ShownName()) }},
	{"pid", nil, func(a, b control.Process) int { return cmp.Compare(a.PID, b.PID) }},
	{"state", []string{"status"}, func(a, b control.Process) int { return cmp.Compare(a.State, b.State) }},
	{"restarts", []string{"restart"}, func(a, b control.Process) int { return cmp.Compare(a.Restarts, b.Restarts) }},
	{"uptime", nil, func(a, b control.Process) int { return cmp.Compare(a.UptimeMS, b.UptimeMS) }},
	{"cpu", nil, func(a, b control.Process) int { return cmp.Compare(a.CPUPercent, b.CPUPercent) }},
	{"memory", []string{"mem"}, func(a, b control.Process) int { return cmp.Compare(a.MemoryBytes, b.MemoryBytes) }},
}

// parseOrder reads KEY, KEY:asc or KEY:desc.
func parseOrder(text string) (o order, err error) {
	name, direction, directed := strings.Cut(text, ":")
	for _, key := range orderKeys {
		if key.name == name || slices.Contains(key.also, name) {
			o.compare = key.compare
		}
	}
	switch {
	case o.compare == nil:
		var names []string
		for _, key := range orderKeys {
			names = append(names, key.name)
		}
		hint := "nekoctl list --help shows how"
		if near := spec.Nearest(name, names); near != "" {
			hint = "did you mean " + near + "?"
		}
		return o, &usageError{"--sort: expected " + strings.Join(names, ", ") + ", not " + quote(name), hint}
	case directed && direction != "asc" && direction != "desc":
		return o, misuse("list", "--sort: expected asc or desc after the colon, not %s", quote(direction))
	}
	o.desc = direction == "desc"
	return o, nil
}

// sort leaves those that are equal in the order of their ids.
func (o order) sort(list []control.Process) {
	slices.SortFunc(list, func(a, b control.Process) int {
		by := o.compare(a, b)
		if o.desc {
			by = -by
		}
		return cmp.Or(by, cmp.Compare(a.ID, b.ID))
	})
}

// list shows processes as a table, and below it why some are not online, or not ready.
func (c *cli) list(list []control.Process) {
	width := c.out.columns()
	columns, s := listColumns(list), plain
	if width > 0 {
		columns, s = narrow(columns, width), boxed
	}
	text := c.out.table(columns, s)
	if width > 0 && s.width(columns) > width { // not even that has room
		lines := strings.Split(text, "\n")
		for i := range lines {
			lines[i] = fit(lines[i], width)
		}
		text = strings.Join(lines, "\n")
	}
	io.WriteString(c.out, text)
	for _, p := range list {
		name := fmt.Sprintf("%s:%d", cell(p.ShownName()), p.Slot)
		if p.Reason != "" {
			fmt.Fprintln(c.out, wrapped(fmt.Sprintf("%s %s: %s", name, c.out.paint(stateColor(p.State), string(p.State)), cell(p.Reason)), width))
		}
		if p.Unready != "" {
			fmt.Fprintln(c.out, wrapped(fmt.Sprintf("%s not ready: %s", name, cell(p.Unready)), width))
		}
	}
}

// listColumns are all columns, with PM2's names where these are short.
func listColumns(list []control.Process) []column {
	columns := []column{
		{title: "id", right: true}, {title: "name"}, {title: "slot", right: true}, {title: "pid", right: true}, {title: "state"},
		{title: "↺", right: true}, {title: "uptime", right: true}, {title: "cpu", right: true}, {title: "memory", right: true}, {title: "listening"},
	}
	columns[4].color = func(row int) color { return stateColor(list[row].State) }
	for _, p := range list {
		for i, text := range []string{strconv.Itoa(p.ID), cell(p.ShownName()), strconv.Itoa(p.Slot), orDash(p.PID), string(p.State), strconv.Itoa(p.Restarts),
			uptime(time.Duration(p.UptimeMS) * time.Millisecond), percent(p), size(p.MemoryBytes), cell(addresses(p.Listeners))} {
			columns[i].cells = append(columns[i].cells, text)
		}
	}
	if slices.ContainsFunc(list, func(p control.Process) bool {
		return p.Namespace != "" && p.Namespace != spec.DefaultNamespace
	}) {
		namespace := column{title: "namespace"}
		for _, p := range list {
			namespace.cells = append(namespace.cells, cell(p.Namespace))
		}
		columns = slices.Insert(columns, 2, namespace)
	}
	return columns
}

// leastName is how much of names a terminal shows before other columns go for them.
const leastName = 12

// narrow makes columns as narrow as a terminal is. First the addresses go, which
// describe shows too, and the ends of long names; then other columns.
func narrow(columns []column, width int) []column {
	for _, title := range []string{"listening", "slot", "namespace", "name", "cpu", "uptime", "memory", "pid", "↺", "name"} {
		excess := boxed.width(columns) - width
		switch {
		case excess <= 0:
		case title == "name":
			least := leastName
			if len(columns) == 3 { // id and state are what is left beside it
				least = 4
			}
			name := columns[1]
			room := max(name.width()-excess, least)
			name.cells = slices.Clone(name.cells)
			for i, text := range name.cells {
				name.cells[i] = fit(text, room)
			}
			columns[1] = name
		default:
			columns = slices.DeleteFunc(columns, func(col column) bool { return col.title == title })
		}
	}
	return columns
}

// addresses are as many as a line has room for.
func addresses(list []string) string {
	if len(list) > 1 {
		return list[0] + " +" + strconv.Itoa(len(list)-1)
	}
	return strings.Join(list, "")
}

func orDash(n int) string {
	if n == 0 {
		return "-"
	}
	return strconv.Itoa(n)
}

func percent(p control.Process) string {
	if p.PID == 0 {
		return "-"
	}
	return strconv.FormatFloat(p.CPUPercent, 'f', 1, 64) + "%"
}

// uptime is d to the largest unit.
func uptime(d time.Duration) string {
	switch {
	case d <= 0:
		return "-"
	case d < time.Minute:
		return fmt.Sprintf("%ds", d/time.Second)
	case d < time.Hour:
		return fmt.Sprintf("%dm", d/time.Minute)
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh", d/time.Hour)
	}
	return fmt.Sprintf("%dd", d/(24*time.Hour))
}

// size is bytes as PM2 writes them: 1024 each step.
func size(bytes int64) string {
	if bytes == 0 {
		return "-"
	}
	value, units := float64(bytes), []string{"b", "kb", "mb", "gb", "tb"}
	for value >= 1024 && len(units) > 1 {
		value, units = value/1024, units[1:]
	}
	return strconv.FormatFloat(value, 'f', 1, 64) + units[0]
}

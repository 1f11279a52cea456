package main

import (
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

const listHelp = `Show all processes: one line for each process of each app.

Usage:
    nekoctl list [--json]

Also: ls, l, ps, status

Options:
    --json  print JSON: a list of objects with id, name, namespace, slot, pid,
            state, restarts, uptime_ms, memory_bytes, cpu_percent,
            listeners, and of some: title, reason, unready

States are launching, online, stopping, stopped, errored (it crashed too often
and is not started again) and waiting restart. The column ↺ counts restarts.

Examples:
    $ nekoctl list
    $ nekoctl list --json | jq -r '.[] | select(.state != "online") | .name'
`

func (c *cli) listCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:     "list",
		Aliases: []string{"ls", "l", "ps", "status"},
		Long:    listHelp,
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			client, err := c.client()
			if err != nil {
				return err
			}
			list, err := client.Processes(cmd.Context())
			up, err := runs(err)
			if err != nil {
				return err
			}
			if asJSON {
				if list == nil {
					list = []control.Process{}
				}
				return c.json(list)
			}
			c.list(list)
			switch {
			case c.quiet:
			case !up:
				c.hint("no daemon runs on %s; nekoctl start begins one", c.home)
			case len(list) == 0:
				c.hint("no app runs; nekoctl start begins one")
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "")
	return cmd
}

// list shows processes as a table, and below it why some are not online, or not ready.
func (c *cli) list(list []control.Process) {
	columns := []column{
		{title: "id", right: true}, {title: "name"}, {title: "slot", right: true}, {title: "pid", right: true}, {title: "state"},
		{title: "↺", right: true}, {title: "uptime", right: true}, {title: "cpu", right: true}, {title: "memory", right: true}, {title: "listening"},
	}
	columns[4].color = func(row int) color { return stateColor(list[row].State) }
	for _, p := range list {
		for i, cell := range []string{strconv.Itoa(p.ID), printable(p.ShownName()), strconv.Itoa(p.Slot), orDash(p.PID), string(p.State), strconv.Itoa(p.Restarts),
			uptime(time.Duration(p.UptimeMS) * time.Millisecond), percent(p), size(p.MemoryBytes), addresses(p.Listeners)} {
			columns[i].cells = append(columns[i].cells, cell)
		}
	}
	if slices.ContainsFunc(list, func(p control.Process) bool {
		return p.Namespace != "" && p.Namespace != spec.DefaultNamespace
	}) {
		namespace := column{title: "namespace"}
		for _, p := range list {
			namespace.cells = append(namespace.cells, printable(p.Namespace))
		}
		columns = slices.Insert(columns, 2, namespace)
	}
	if c.out.width > 0 {
		columns = narrow(columns, c.out.width)
	}
	io.WriteString(c.out, c.out.table(columns))
	for _, p := range list {
		if p.Reason != "" {
			fmt.Fprintf(c.out, "%s:%d %s: %s\n", p.Name, p.Slot, c.out.paint(stateColor(p.State), string(p.State)), printable(p.Reason))
		}
		if p.Unready != "" {
			fmt.Fprintf(c.out, "%s:%d not ready: %s\n", p.Name, p.Slot, printable(p.Unready))
		}
	}
}

// narrow makes columns as narrow as a terminal is. First the addresses go, which
// describe shows too, and the ends of long names; then other columns.
func narrow(columns []column, width int) []column {
	for _, title := range []string{"listening", "namespace", "name", "slot", "cpu", "uptime", "memory"} {
		excess := tableWidth(columns) - width
		switch {
		case excess <= 0:
		case title == "name":
			name := columns[1]
			room := max(name.width()-excess, 16)
			for i, cell := range name.cells {
				name.cells[i] = fit(cell, room)
			}
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

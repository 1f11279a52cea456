package show

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/nekoctl/neko/pm2/object"
	"github.com/nekoctl/neko/pm2/shape"
)

// Table is the list that ends most commands: the widest of three forms that the
// terminal has room for. The order is that of sort, "FIELD" or "FIELD:desc"; by name
// if there is no such field.
func Table(w io.Writer, list []*object.Object, s Style, sort string) {
	processes := make([]process, len(list))
	for i, entry := range list {
		processes[i] = processOf(entry)
	}
	order(processes, sort)

	columns := layout(list, s)
	g := grid{}
	for _, c := range columns {
		g.head = append(g.head, c.name)
		g.widths = append(g.widths, c.width)
	}
	for _, p := range processes {
		r := row{titled: true}
		for _, c := range columns {
			r.cells = append(r.cells, p.column(c, s))
		}
		g.rows = append(g.rows, r)
	}
	fmt.Fprintln(w, g.text(s))
}

type column struct {
	name  string
	width int
}

// layout chooses the columns.
func layout(list []*object.Object, s Style) []column {
	const idLeast, nameEmpty, nameMost = 4, 11, 40
	id, name := idLeast, nameEmpty
	for i, entry := range list {
		id = max(id, 2+len(shape.Text(entry.Get("pm_id"))))
		if i == 0 {
			name = 0
		}
		name = max(name, min(units(shape.Text(entry.Get("name")))+5, nameMost))
	}
	full := []column{
		{"id", id}, {"name", name}, {"namespace", 13}, {"version", 9}, {"mode", 9}, {"pid", 10}, {"uptime", 8},
		{"↺", 6}, {"status", 11}, {"cpu", 10}, {"mem", 10}, {"user", 10}, {"watching", 10},
	}
	condensed := []column{
		{"id", id}, {"name", min(name, 20)}, {"mode", 10}, {"↺", 6}, {"status", 11}, {"cpu", 10}, {"memory", 10},
	}
	mini := []column{{"id", id}, {"name", min(name, 16)}, {"status", 11}, {"cpu", 8}, {"mem", 10}}
	for _, columns := range [][]column{full, condensed} {
		width := len(columns) + 1
		for _, c := range columns {
			width += c.width
		}
		if s.Width == 0 || s.Width >= width {
			return columns
		}
	}
	return mini
}

func (p process) column(c column, s Style) string {
	switch c.name {
	case "id":
		return s.paint(shape.Text(p.env.Get("pm_id")), bold, cyan)
	case "name":
		return truncated(said(p.env, "name"), c.width)
	case "mode":
		if p.env.Get("exec_mode") == "fork_mode" {
			return s.paint("fork", inverse, bold)
		}
		return s.paint("cluster", blue, bold)
	case "pid":
		return cell(p.entry.Get("pid"))
	case "uptime":
		return p.uptime(s)
	case "↺":
		return p.restarts()
	case "status":
		return s.status(said(p.env, "status"))
	case "cpu":
		monit, _ := p.entry.Get("monit").(*object.Object)
		return said(monit, "cpu") + "%"
	case "mem", "memory":
		return p.size()
	case "user":
		return s.paint(truncated(p.user(s), c.width), bold)
	case "watching":
		if truthy(p.env.Get("watch")) {
			return s.paint("enabled", green, bold)
		}
		return s.paint("disabled", gray)
	}
	return cell(p.env.Get(c.name))
}

func (p process) restarts() string {
	if n := p.env.Get("restart_time"); truthy(n) {
		return shape.Text(n)
	}
	return "0"
}

func (p process) user(s Style) string {
	uid := p.env.Get("uid")
	if !truthy(uid) {
		if name := p.env.Get("username"); name != nil {
			return shape.Text(name)
		}
		return ""
	}
	if n, ok := number(uid); ok && s.UserName != nil {
		if name := s.UserName(int(n)); name != "" {
			return name
		}
	}
	return shape.Text(uid)
}

func truncated(text string, width int) string {
	if units(text) > width-2 {
		return truncate(text, width-2)
	}
	return text
}

func order(list []process, sort string) {
	field, direction, _ := strings.Cut(sort, ":")
	get := func(p process) any { return p.env.Get("name") }
	switch strings.ToLower(field) {
	case "namespace", "status":
		get = func(p process) any { return p.env.Get(strings.ToLower(field)) }
	case "pid":
		get = func(p process) any { return p.entry.Get("pid") }
	case "id":
		get = func(p process) any { return p.entry.Get("pm_id") }
	case "uptime":
		get = func(p process) any { return p.env.Get("pm_uptime") }
	case "cpu", "memory":
		get = func(p process) any {
			monit, _ := p.entry.Get("monit").(*object.Object)
			return monit.Get(strings.ToLower(field))
		}
	case "name":
	default:
		direction = ""
	}
	slices.SortStableFunc(list, func(a, b process) int {
		c := compare(get(a), get(b))
		if direction == "desc" {
			c = -c
		}
		return c
	})
}

func compare(a, b any) int {
	x, isNumber := number(a)
	y, areNumbers := number(b)
	if isNumber && areNumbers {
		return cmp.Compare(x, y)
	}
	return cmp.Compare(shape.Text(a), shape.Text(b))
}

// Mini is the list of --mini-list.
func Mini(w io.Writer, list []*object.Object, s Style) {
	for _, entry := range list {
		p := processOf(entry)
		mode, _, _ := strings.Cut(said(p.env, "exec_mode"), "_mode")
		watching := "no"
		if truthy(p.env.Get("watch")) {
			watching = "yes"
		}
		fmt.Fprintf(w, "+--- %s\n", said(p.env, "name"))
		fmt.Fprintf(w, "namespace : %s\n", said(p.env, "namespace"))
		fmt.Fprintf(w, "version : %s\n", said(p.env, "version"))
		fmt.Fprintf(w, "pid : %s\n", said(entry, "pid"))
		fmt.Fprintf(w, "pm2 id : %s\n", said(p.env, "pm_id"))
		fmt.Fprintf(w, "status : %s\n", said(p.env, "status"))
		fmt.Fprintf(w, "mode : %s\n", mode)
		fmt.Fprintf(w, "restarted : %s\n", p.restarts())
		fmt.Fprintf(w, "uptime : %s\n", p.uptime(s))
		fmt.Fprintf(w, "memory usage : %s\n", p.size())
		fmt.Fprintf(w, "error log : %s\n", said(p.env, "pm_err_log_path"))
		fmt.Fprintf(w, "watching : %s\n", watching)
		fmt.Fprintf(w, "PID file : %s\n\n", said(p.env, "pm_pid_path"))
	}
}

package show

import (
	"fmt"
	"strconv"
	"time"

	"github.com/nekoctl/neko/pm2/object"
	"github.com/nekoctl/neko/pm2/shape"
)

// process is an entry of the list.
type process struct {
	entry *object.Object
	env   *object.Object // pm2_env
}

func processOf(entry *object.Object) process {
	env, _ := entry.Get("pm2_env").(*object.Object)
	return process{entry, env}
}

// cell is what a table has of a value: N/A if there is none.
func cell(value any) string {
	if value == nil {
		return "N/A"
	}
	return shape.Text(value)
}

// said is the same for a line that is made with %s.
func said(o *object.Object, key string) string {
	if !o.Has(key) {
		return "undefined"
	}
	return shape.Text(o.Get(key))
}

// truthy is what JavaScript takes for yes.
func truthy(value any) bool {
	switch v := value.(type) {
	case nil:
		return false
	case bool:
		return v
	case []any, *object.Object:
		return true
	}
	text := shape.Text(value)
	if _, isText := value.(string); isText {
		return text != ""
	}
	return text != "0"
}

func number(value any) (float64, bool) {
	switch value.(type) {
	case nil, bool, string, []any, *object.Object:
		return 0, false
	}
	f, err := strconv.ParseFloat(shape.Text(value), 64)
	return f, err == nil
}

func (p process) uptime(s Style) string {
	began, _ := number(p.env.Get("pm_uptime"))
	if began == 0 || p.env.Get("status") != "online" {
		return "0"
	}
	return since(s.Now, time.UnixMilli(int64(began)))
}

// since is how long something has lasted, in the largest unit of which there are two.
func since(now, began time.Time) string {
	seconds := floor(now.Sub(began).Milliseconds(), 1000)
	for _, unit := range []struct {
		seconds int64
		name    string
	}{{31536000, "Y"}, {2592000, "M"}, {86400, "D"}, {3600, "h"}, {60, "m"}} {
		if n := seconds / unit.seconds; n > 1 {
			return fmt.Sprint(n, unit.name)
		}
	}
	return fmt.Sprintf("%ds", seconds)
}

func floor(n, by int64) int64 {
	q := n / by
	if n%by < 0 {
		q--
	}
	return q
}

// size is what the process has of memory. A space follows, as in PM2.
func (p process) size() string {
	monit, _ := p.entry.Get("monit").(*object.Object)
	bytes, ok := number(monit.Get("memory"))
	if !ok {
		return "NaNb "
	}
	return size(int64(bytes))
}

func size(bytes int64) string {
	if bytes < 1<<10 {
		return fmt.Sprintf("%db ", bytes)
	}
	unit, name := int64(1<<10), "kmgt"
	for bytes >= unit<<10 && len(name) > 1 {
		unit, name = unit<<10, name[1:]
	}
	tenths := (20*bytes + unit) / (2 * unit) // a half is rounded up
	return fmt.Sprintf("%d.%d%cb ", tenths/10, tenths%10, name[0])
}

func (s Style) status(status string) string {
	switch status {
	case "online":
		return s.paint(status, green, bold)
	case "launching":
		return s.paint(status, blue, bold)
	}
	return s.paint(status, red, bold)
}

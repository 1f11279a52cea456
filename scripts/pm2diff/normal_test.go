package pm2diff

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/nekoctl/neko/pm2/object"
)

// chance is what differs from run to run, and what stands for it.
var chance = []struct {
	pattern *regexp.Regexp
	with    string
}{
	{regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}`), "<uuid>"},
	{regexp.MustCompile(`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:?\d\d)?`), "<time>"},
	{regexp.MustCompile(`\d{4}-\d\d-\d\d[ -]\d\d:\d\d(:\d\d)?( ?[+-]\d\d:\d\d)?`), "<time>"},
	{regexp.MustCompile(`\b\d\d:\d\d:\d\d\b`), "<clock>"},
	{regexp.MustCompile(`\b1[789]\d{11}\b`), "<ms>"},
	{regexp.MustCompile(`\b\d+(\.\d+)?[kmg]?b\b`), "<memory>"},
	{regexp.MustCompile(`\b\d+(\.\d+)?%`), "<percent>"},
	{regexp.MustCompile(`(?i)(\bpid["']?\s*[:=]?\s*)[1-9]\d*`), "${1}<pid>"},
	{regexp.MustCompile(`(?m)^[1-9]\d+$`), "<pid>"},
	{regexp.MustCompile(`(\bmemory: )[1-9]\d*`), "${1}<memory>"},
	{regexp.MustCompile(`(\bcpu: )[\d.]+`), "${1}<cpu>"},
	{regexp.MustCompile(`(uptime\s*: )\d+[smhDY]`), "${1}<uptime>"},
	{regexp.MustCompile(`(\bunstable_restarts: |unstable restarts +│ )\d+`), "${1}<number>"},
	{regexp.MustCompile(`(_tree_pids: )\[[^\]]*\]`), "${1}<pids>"},
	{regexp.MustCompile(`ws://127\.0\.0\.1:\d+/\S+`), "<inspector>"},
}

// colour is an escape sequence. Where there are any, a scenario of their own looks.
var colour = regexp.MustCompile("\x1b\\[[0-9;]*m")

// reported is what programs of Node's report of themselves, as prettylist shows it. How
// much they have reported by then is chance.
var reported = regexp.MustCompile(`(?s)\n( *)axm_actions: .*?\n *axm_dynamic: [^\n]*`)

// measured are lines that are there once PM2 has measured something: a line below a list,
// and a table that describe shows.
var measured = regexp.MustCompile(`(?m)^.*host metrics.*\n|^.* Code metrics value .*\n┌.*\n(│.*\n)*└.*\n`)

// A line of a table, and its cells.
var (
	border = regexp.MustCompile(`─+`)
	cell   = regexp.MustCompile(` {2,}`)
	onlyID = regexp.MustCompile(`│ [1-9]\d{2,} +│`)
	age    = regexp.MustCompile(`│ \d+[smhDY] +│`)
)

// normal is text in lines, without what differs by chance and by the side's folder.
func (s *side) normal(text string) []string {
	if text == "" {
		return nil
	}
	if value, err := object.Parse([]byte(strings.TrimSpace(text))); err == nil {
		switch value.(type) {
		case *object.Object, []any:
			return s.flat(nil, "", value)
		}
	}
	text = colour.ReplaceAllString(strings.ReplaceAll(text, s.folder, "$DIR"), "")
	text = reported.ReplaceAllString(text, "\n${1}<reported>")
	text = measured.ReplaceAllString(text, "")
	for _, c := range chance {
		text = c.pattern.ReplaceAllString(text, c.with)
	}
	lines := strings.Split(text, "\n")
	for i, line := range lines {
		if strings.ContainsAny(line, "│┌├└") {
			line = onlyID.ReplaceAllString(line, "│ <pid> │")
			line = age.ReplaceAllString(line, "│ <uptime> │")
			lines[i] = border.ReplaceAllString(cell.ReplaceAllString(line, " "), "─")
		}
	}
	return lines
}

// flat has a line for each value, with the way to it. The order of keys is not compared.
func (s *side) flat(lines []string, at string, value any) []string {
	switch v := value.(type) {
	case *object.Object:
		if v.Len() == 0 {
			return append(lines, at+" = {}")
		}
		keys := map[string]any{}
		maps.Insert(keys, v.All())
		for _, key := range slices.Sorted(maps.Keys(keys)) {
			switch value := keys[key]; {
			case key == "node_version" && strings.HasSuffix(at, "pm2_env"): // PM2 learns it from the program, some time
			case strings.HasPrefix(key, "axm_"), key == "_tree_pids", key == "unstable_restarts":
				lines = append(lines, fmt.Sprintf("%s.%s is there", at, key))
			case slices.Contains([]string{"pid", "memory", "cpu", "pm_uptime", "created_at"}, key):
				if key == "cpu" || fmt.Sprint(value) != "0" {
					value = "<" + key + ">"
				}
				lines = append(lines, fmt.Sprintf("%s.%s = %v", at, key, value))
			default:
				lines = s.flat(lines, at+"."+key, value)
			}
		}
		return lines
	case []any:
		if len(v) == 0 {
			return append(lines, at+" = []")
		}
		for i, value := range v {
			lines = s.flat(lines, fmt.Sprintf("%s[%d]", at, i), value)
		}
		return lines
	case string:
		text := strings.ReplaceAll(v, s.folder, "$DIR")
		for _, c := range chance {
			text = c.pattern.ReplaceAllString(text, c.with)
		}
		return append(lines, fmt.Sprintf("%s = %q", at, text))
	default:
		return append(lines, fmt.Sprintf("%s = %v", at, v))
	}
}

func TestWhatDiffersByChanceIsTakenOut(t *testing.T) {
	s := &side{folder: "/tmp/x/a"}
	for _, c := range []struct{ text, want string }{
		{"/tmp/x/a/app/web.js", "$DIR/app/web.js"},
		{"4711", "<pid>"},
		{"0", "0"},
		{"\x1b[32m[PM2] \x1b[39mDone.", "[PM2] Done."},
		{`{"b":1,"a":2}`, ".a = 2\n.b = 1"},
		{"pid : 4711", "pid : <pid>"},
		{"kill_timeout: 1600", "kill_timeout: 1600"},
		{"│ 0  │ web │ 22386    │ 12s    │ 0 │ 49.9mb   │", "│ 0 │ web │ <pid> │ <uptime> │ 0 │ <memory> │"},
		{"┌────┬──┐", "┌─┬─┐"},
		{"2026-11-29T03:21:25: ok", "<time>: ok"},
		{`[{"pid":12,"name":"/tmp/x/a"}]`, "[0].name = \"$DIR\"\n[0].pid = <pid>"},
		{"{\n  axm_actions: [],\n  axm_monitor: {\n    'Heap': {\n      value: 1\n    }\n  },\n  axm_dynamic: {},\n  pm_id: 0\n}",
			"{\n  <reported>\n  pm_id: 0\n}"},
	} {
		if got := strings.Join(s.normal(c.text), "\n"); got != c.want {
			t.Errorf("%q\nis   %q\nwant %q", c.text, got, c.want)
		}
	}
}

package show

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/nekoctl/neko/pm2/object"
)

var update = flag.Bool("update", false, "have the real PM2 write what is expected")

var styles = map[string]Style{
	"pipe":     {},
	"colour":   {Color: true},
	"terminal": {Color: true, Frame: true, Width: 160},
	"narrow":   {Width: 100},
	"mini":     {Width: 60},
}

// styled adds the time of the fixtures, and the users of testdata/pm2.cjs.
func styled(s Style) Style {
	s.Now = time.UnixMilli(1795435407000 + 90_000)
	s.UserName = func(uid int) string { return map[int]string{33: "www-data"}[uid] }
	return s
}

func fixtures(t *testing.T) []*object.Object {
	t.Helper()
	text, err := os.ReadFile("../shape/testdata/list.json")
	if err != nil {
		t.Fatal(err)
	}
	var list []*object.Object
	if err := json.Unmarshal(text, &list); err != nil {
		t.Fatal(err)
	}
	return list
}

func TestWhatIsPrintedIsWhatPM2Prints(t *testing.T) {
	list := fixtures(t)
	local := map[string]string{"LANG": "de_DE.UTF-8"}
	host := Host{CPU: 45.26, Memory: 4, Read: 0.0004, Written: 12.5, Interfaces: []Interface{
		{"eth0", 1.25, 30, 2, 0}, {"lo", 0, 0.0001, 5, 5}},
		Filesystems: []Filesystem{{"/", 85.5}, {"/home", 12}}}
	for _, c := range []struct {
		name  string
		forms []string
		ask   request
		print func(w io.Writer, s Style)
	}{
		{"list", []string{"pipe", "colour", "terminal", "narrow", "mini"}, request{"what": "list", "list": list, "host": metrics(host)},
			func(w io.Writer, s Style) {
				Table(w, list, s, "")
				HostMetrics(w, host, list, s)
			}},
		{"list-empty", []string{"pipe"}, request{"what": "list", "list": []any{}},
			func(w io.Writer, s Style) { Table(w, nil, s, "") }},
		{"list-by-memory", []string{"pipe"}, request{"what": "list", "list": list, "sort": "memory:desc"},
			func(w io.Writer, s Style) { Table(w, list, s, "memory:desc") }},
		{"mini-list", []string{"pipe"}, request{"what": "mini", "list": list},
			func(w io.Writer, s Style) { Mini(w, list, s) }},
		{"describe", []string{"pipe", "terminal", "mini"}, request{"what": "describe", "list": list, "local": local},
			func(w io.Writer, s Style) {
				for _, entry := range list {
					Describe(w, entry, local, s)
				}
			}},
		{"env", []string{"pipe", "colour"}, request{"what": "env", "list": list[:1]},
			func(w io.Writer, s Style) { Env(w, list[0], s) }},
	} {
		for _, form := range c.forms {
			t.Run(c.name+"/"+form, func(t *testing.T) {
				s := styled(styles[form])
				var got bytes.Buffer
				c.print(&got, s)
				golden := filepath.Join("testdata", c.name+"."+form+".txt")
				if *update {
					text, _ := startPM2(t, s).prints(t, s, c.ask)
					if err := os.WriteFile(golden, []byte(text), 0o644); err != nil {
						t.Fatal(err)
					}
				}
				want, err := os.ReadFile(golden)
				if err != nil {
					t.Fatal(err)
				}
				same(t, got.String(), string(want))
			})
		}
	}
}

// same compares line by line. Where PM2 cuts the end of a colour off it is a table's
// fault, and all that follows has it.
func same(t failer, got, want string) {
	t.Helper()
	g, w := strings.Split(got, "\n"), strings.Split(want, "\n")
	for i := range max(len(g), len(w)) {
		a, b := "", ""
		if i < len(g) {
			a = g[i]
		}
		if i < len(w) {
			b = w[i]
		}
		if strings.Contains(b, "\x1b[1…") {
			a, b = escapes.ReplaceAllString(a, ""), escapes.ReplaceAllString(b, "")
			a, b = strings.Replace(a, "waiting …", "", 1), strings.Replace(b, "\x1b[1…", "", 1)
		}
		if a != b {
			t.Errorf("line %d is\n%q\nwant\n%q", i+1, a, b)
		}
	}
}

// metrics are those of a host in the form in which PM2's daemon has them.
func metrics(h Host) *object.Object {
	o := &object.Object{}
	set := func(name string, value string) {
		o.Set(name, (&object.Object{}).Set("value", json.Number(value)))
	}
	set("CPU Usage", rounded(h.CPU, 1))
	set("RAM Usage", rounded(h.Memory, 1))
	for _, i := range h.Interfaces {
		set("net:rx_5:"+i.Name, rounded(i.Received, 3))
		set("net:tx_5:"+i.Name, rounded(i.Sent, 3))
		set("net:rx_errors_60:"+i.Name, rounded(i.Errors, 0))
		set("net:rx_dropped_60:"+i.Name, rounded(i.Dropped, 0))
	}
	set("Disk Reads", rounded(h.Read, 3))
	set("Disk Writes", rounded(h.Written, 3))
	for _, f := range h.Filesystems {
		set("fs:use:"+f.Mount, rounded(f.Used, 2))
	}
	return o
}

func TestAnyListIsPrintedAsPM2PrintsIt(t *testing.T) {
	for form, s := range styles {
		t.Run(form, func(t *testing.T) {
			p := startPM2(t, s)
			rapid.Check(t, func(t *rapid.T) {
				s := styled(s)
				if s.Width > 0 {
					s.Width = rapid.IntRange(40, 200).Draw(t, "width")
				}
				list := drawList(t)
				sort := rapid.SampledFrom([]string{"", "name", "cpu:desc", "Memory", "id:desc", "pid:asc", "uptime:desc", "status", "namespace:desc", "nothing:desc"}).Draw(t, "sort")
				var got bytes.Buffer
				Table(&got, list, s, sort)
				want, _ := p.prints(t, s, request{"what": "list", "list": list, "sort": sort})
				same(t, got.String(), want)
				got.Reset()
				Mini(&got, list, s)
				want, _ = p.prints(t, s, request{"what": "mini", "list": list})
				same(t, got.String(), want)
				for _, entry := range list {
					local := rapid.MapOfN(rapid.SampledFrom([]string{"A", "B", "name", "C"}), rapid.SampledFrom([]string{"", "1", "x"}), 0, 4).Draw(t, "local")
					got.Reset()
					Describe(&got, entry, local, s)
					want, _ = p.prints(t, s, request{"what": "describe", "list": []any{entry}, "local": local})
					if len(local) > 1 { // in the order of an environment
						continue
					}
					same(t, got.String(), want)
				}
			})
		})
	}
}

func drawList(t *rapid.T) []*object.Object {
	list := []*object.Object{}
	for id := range rapid.IntRange(0, 3).Draw(t, "processes") {
		id *= rapid.SampledFrom([]int{1, 7, 300}).Draw(t, "step")
		name := rapid.StringMatching(`[a-zA-Zé _-]{1,50}`).Draw(t, "name")
		env := &object.Object{}
		maybe := func(key string, draw func() any) {
			if rapid.Bool().Draw(t, key+"?") {
				env.Set(key, draw())
			}
		}
		text := func(of ...string) func() any {
			return func() any { return rapid.SampledFrom(of).Draw(t, "text") }
		}
		env.Set("name", name)
		env.Set("namespace", rapid.StringMatching(`[a-z]{1,15}`).Draw(t, "namespace"))
		env.Set("env", (&object.Object{}).Set("NODE_ENV", "production"))
		maybe("version", text("1.2.3", "10.20.30-beta", "N/A"))
		maybe("watch", func() any {
			return rapid.SampledFrom([]any{true, false, "", nil, 0, 1, []any{}, []any{"lib"}}).Draw(t, "watch")
		})
		maybe("uid", func() any { return rapid.SampledFrom([]any{33, 0, 1000, "deploy", "33"}).Draw(t, "uid") })
		maybe("username", text("root", "someone-with-a-long-name"))
		maybe("args", func() any {
			return rapid.SampledFrom([]any{[]any{"a", "b c"}, []any{"two\nlines"}, []any{}}).Draw(t, "args")
		})
		env.Set("node_args", rapid.SampledFrom([]any{[]any{}, []any{"--inspect"}, []any{"--a", "--b", "--c"}}).Draw(t, "node args"))
		maybe("cron_restart", text("0 0 * * *"))
		maybe("max_memory_restart", func() any { return rapid.SampledFrom([]any{0, 1 << 20}).Draw(t, "memory") })
		maybe("pm_log_path", text("/var/log/all.log"))
		env.Set("pm_exec_path", "/srv/app.js")
		env.Set("exec_mode", rapid.SampledFrom([]string{"fork_mode", "cluster_mode"}).Draw(t, "mode"))
		env.Set("status", rapid.SampledFrom([]string{"online", "stopped", "stopping", "errored", "launching", "waiting restart"}).Draw(t, "status"))
		maybe("A", text("1", "2"))
		maybe("B", func() any {
			return rapid.SampledFrom([]any{1, nil, "", []any{"x", 1}, &object.Object{}}).Draw(t, "B")
		})
		began := 1795435407000 + 90_000 - rapid.Int64Range(-2000, 5e11).Draw(t, "age")
		env.Set("pm_uptime", began)
		env.Set("created_at", rapid.SampledFrom([]any{began, nil}).Draw(t, "created"))
		env.Set("pm_id", id)
		env.Set("restart_time", rapid.IntRange(0, 1e6).Draw(t, "restarts"))
		maybe("unstable_restarts", func() any { return 0 })
		if rapid.Bool().Draw(t, "metrics?") {
			env.Set("axm_monitor", (&object.Object{}).
				Set("Heap", (&object.Object{}).Set("value", "7.5").Set("unit", "MiB")).
				Set("Jobs", (&object.Object{}).Set("value", 3)))
			env.Set("axm_actions", []any{(&object.Object{}).Set("action_name", "gc"), (&object.Object{}).Set("action_name", "a longer one")})
		}
		list = append(list, (&object.Object{}).
			Set("pid", rapid.IntRange(0, 4e6).Draw(t, "pid")).
			Set("name", name).
			Set("pm2_env", env).
			Set("pm_id", id).
			Set("monit", (&object.Object{}).
				Set("memory", rapid.OneOf(rapid.Int64Range(0, 1<<42), rapid.Int64Range(0, 1<<14), rapid.Just(int64(5<<20+1<<18))).Draw(t, "memory")).
				Set("cpu", json.Number(fmt.Sprint(float64(rapid.IntRange(0, 9999).Draw(t, "cpu"))/10)))))
	}
	return list
}

// What is listed has come from files that people write.
func FuzzAnyEntryIsPrinted(f *testing.F) {
	f.Add(`{"pid":1,"name":"web","pm2_env":{"name":"web","pm_id":0,"node_args":["x"],"axm_actions":[{}],"axm_monitor":{"a":1}},"monit":{"memory":1e30,"cpu":0}}`, 50)
	f.Fuzz(func(t *testing.T, text string, width int) {
		value, err := object.Parse([]byte(text))
		entry, ok := value.(*object.Object)
		if err != nil || !ok {
			return
		}
		for _, s := range styles {
			s := styled(s)
			s.Width = width % 300
			list := []*object.Object{entry, entry}
			Table(io.Discard, list, s, "cpu")
			Mini(io.Discard, list, s)
			Describe(io.Discard, entry, map[string]string{"name": "x"}, s)
			Env(io.Discard, entry, s)
		}
	})
}

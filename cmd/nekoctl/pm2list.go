package main

import (
	"context"
	"encoding/json"
	"io"
	"math"
	"os"
	"os/user"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nekoctl/neko/pm2/object"
	"github.com/nekoctl/neko/pm2/shape"
	"github.com/nekoctl/neko/pm2/show"
	"github.com/nekoctl/neko/supervisor/control"
	"github.com/nekoctl/neko/supervisor/monit"
)

// entry is a process as PM2 lists it.
type entry struct{ *object.Object }

func (e entry) env() *object.Object { o, _ := e.Get("pm2_env").(*object.Object); return o }
func (e entry) text(key string) string {
	text, _ := e.env().Get(key).(string)
	return text
}
func (e entry) id() int           { return number(e.Get("pm_id")) }
func (e entry) pid() int          { return number(e.Get("pid")) }
func (e entry) name() string      { return e.text("name") }
func (e entry) namespace() string { return e.text("namespace") }
func (e entry) status() string    { return e.text("status") }

// isNamed says that a target means the process: by its name, or by its script.
func (e entry) isNamed(target string) bool {
	return e.name() == target || e.text("pm_exec_path") == pathOf(target)
}

func number(value any) int {
	switch n := value.(type) {
	case int:
		return n
	case int64:
		return int(n)
	case float64:
		return int(n)
	case json.Number:
		i, _ := n.Int64()
		return int(i)
	}
	return 0
}

// processes are all, as PM2 lists them, and the apps that they are of.
func (f *face) processes(ctx context.Context) ([]entry, []control.AppDetail, error) {
	apps, err := f.client.Apps(ctx)
	if err != nil {
		return nil, nil, err
	}
	var list []entry
	for _, o := range shape.List(apps, f.context()) {
		list = append(list, entry{o})
	}
	return list, apps, nil
}

func (f *face) context() shape.Context {
	return shape.Context{Version: pm2Version, Home: string(f.home), User: userName(os.Geteuid())}
}

func objects(list []entry) []*object.Object {
	plain := make([]*object.Object, len(list))
	for i, e := range list {
		plain[i] = e.Object
	}
	return plain
}

// isNaN is JavaScript's of a text, by which PM2 tells names from ids.
func isNaN(text string) bool {
	text = strings.TrimSpace(text)
	if text == "" {
		return false
	}
	n, err := strconv.ParseFloat(text, 64)
	return err != nil || math.IsNaN(n)
}

// errNotFound is a target that means nothing; that is said already.
const errNotFound = pm2Exit(1)

// expression is what a target between slashes means; a slash within it may have a
// backslash before it.
func expression(target string) (*regexp.Regexp, error) {
	pattern, err := regexp.Compile(strings.ReplaceAll(target[1:len(target)-1], `\/`, "/"))
	if err != nil {
		return nil, failed("a regular expression is in RE2's syntax", "%s: %v", target, err)
	}
	return pattern, nil
}

// matching are the processes that a target means, by PM2's rules: all, a /regexp/, a
// name, a namespace, an id.
func matching(list []entry, target string) ([]entry, error) {
	means := []func(entry) bool{
		func(e entry) bool { return e.isNamed(target) },
		func(e entry) bool { return e.namespace() == target },
		func(e entry) bool { return strconv.Itoa(e.id()) == strings.TrimSpace(target) },
	}
	switch {
	case target == "all":
		return list, nil
	case isExpression(target):
		pattern, err := expression(target)
		if err != nil {
			return nil, err
		}
		means = []func(entry) bool{func(e entry) bool { return pattern.MatchString(e.name()) }}
	}
	for _, is := range means {
		if found := slices.DeleteFunc(slices.Clone(list), func(e entry) bool { return !is(e) }); len(found) > 0 {
			return found, nil
		}
	}
	return nil, nil
}

func isExpression(target string) bool {
	return len(target) > 1 && target[0] == '/' && target[len(target)-1] == '/'
}

// noSuchID is what PM2's daemon says of an id that it does not have.
var noSuchID = map[string]string{
	"restartProcessId": "God db process id unknown",
	"reloadProcessId":  "PM2 ID unknown",
	"stopProcessId":    "%s : id unknown",
	"deleteProcessId":  "%s : id unknown",
}

// find are the processes that a target means. It says it if there is none.
func (f *face) find(list []entry, action, target string) ([]entry, error) {
	found, err := matching(list, target)
	switch {
	case err != nil || len(found) > 0:
		return found, err
	case target == "all" || isExpression(target):
		f.alarm("No process found")
	case isNaN(target):
		f.fail("Process or Namespace %s not found", printable(target))
	default:
		f.ok("Applying action %s on app [%s](ids: %s)", action, target, shape.Inspect([]any{target}))
		f.fail("%s", strings.ReplaceAll(noSuchID[action], "%s", target))
	}
	return nil, errNotFound
}

// userName is the name of a uid, "" if it has none.
func userName(uid int) string {
	who, err := user.LookupId(strconv.Itoa(uid))
	if err != nil {
		return ""
	}
	return who.Username
}

func (f *face) style() show.Style {
	return show.Style{Color: f.out.color, Frame: f.out.color, Width: f.out.width, Now: time.Now(), UserName: userName}
}

// list is PM2's list, as commands end with it.
func (f *face) list(ctx context.Context) error {
	if f.line.given.has("watch") && f.line.command != "" {
		return f.monit(ctx)
	}
	return f.speedList(ctx)
}

// speedList shows the list.
func (f *face) speedList(ctx context.Context) error {
	if f.silent {
		return nil
	}
	list, _, err := f.processes(ctx)
	if err != nil {
		return err
	}
	return f.showList(f.out, list)
}

func (f *face) showList(w io.Writer, list []entry) error {
	if f.line.given.is("mini-list") {
		show.Mini(w, objects(list), f.style())
		return nil
	}
	show.Table(w, objects(list), f.style(), f.line.given.last("sort"))
	time.Sleep(hostSample - time.Since(f.began.At)) // most commands took longer
	show.HostMetrics(w, show.ReadSample().Since(f.began), objects(list), f.style())
	return nil
}

// hostSample is how long the machine is looked at, at least, to say how busy it is.
const hostSample = 50 * time.Millisecond

func (f *face) jlist(ctx context.Context) error {
	list, _, err := f.processes(ctx)
	if err != nil {
		return err
	}
	_, err = f.out.Write(shape.JSON(objects(list)))
	return err
}

func (f *face) prettylist(ctx context.Context) error {
	list, _, err := f.processes(ctx)
	if err != nil {
		return err
	}
	values := make([]any, len(list))
	for i, e := range list {
		values[i] = e.Object
	}
	_, err = io.WriteString(f.out, shape.Inspect(values))
	return err
}

func (f *face) pids(ctx context.Context) error {
	list, _, err := f.processes(ctx)
	if err != nil {
		return err
	}
	var pids []string
	for _, e := range list {
		if len(f.line.words) == 0 || e.name() == f.line.words[0] {
			pids = append(pids, strconv.Itoa(e.pid()))
		}
	}
	f.print("%s", strings.Join(pids, "\n"))
	return nil
}

func (f *face) ids(ctx context.Context) error {
	list, _, err := f.processes(ctx)
	if err != nil {
		return err
	}
	ids := []any{}
	for _, e := range list {
		if e.isNamed(f.line.words[0]) {
			ids = append(ids, e.id())
		}
	}
	f.print("%s", shape.Inspect(ids))
	return nil
}

func (f *face) describe(ctx context.Context) error {
	list, _, err := f.processes(ctx)
	if err != nil {
		return err
	}
	target := f.line.words[0]
	list = slices.DeleteFunc(list, func(e entry) bool { return e.name() != target && strconv.Itoa(e.id()) != target })
	if len(list) == 0 {
		f.alarm("%s doesn't exist", printable(target))
		return pm2Exit(1)
	}
	if f.silent {
		return nil
	}
	local := map[string]string{}
	for _, setting := range os.Environ() {
		key, value, _ := strings.Cut(setting, "=")
		local[key] = value
	}
	for _, e := range list {
		show.Describe(f.out, e.Object, local, f.style())
	}
	return nil
}

func (f *face) env(ctx context.Context) error {
	list, _, err := f.processes(ctx)
	if err != nil {
		return err
	}
	for _, e := range list {
		if strconv.Itoa(e.id()) == f.line.words[0] {
			if !f.silent {
				show.Env(f.out, e.Object, f.style())
			}
			return nil
		}
	}
	f.fail("Modules with id %s not found", printable(f.line.words[0]))
	return pm2Exit(1)
}

// monit is nekoctl's own, where there is a terminal for it; else it is the list.
func (f *face) monit(ctx context.Context) error {
	if f.out.width > 0 && onTerminal() == nil {
		return f.cli.monit(ctx, f.client, monit.Options{Interval: time.Second})
	}
	list, _, err := f.processes(ctx)
	if err != nil {
		return err
	}
	return f.showList(f.out, list)
}

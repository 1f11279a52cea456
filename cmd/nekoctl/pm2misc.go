package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/nekoctl/neko/pm2/object"
	"github.com/nekoctl/neko/pm2/shape"
	"github.com/nekoctl/neko/pm2/show"
	"github.com/nekoctl/neko/supervisor/control"
	"github.com/nekoctl/neko/supervisor/logs"
	"github.com/nekoctl/neko/supervisor/spec"
)

// scale changes the number of processes of an app.
func (f *face) scale(ctx context.Context) error {
	name, number := f.line.words[0], f.line.words[1]
	list, apps, err := f.processes(ctx)
	if err != nil {
		return err
	}
	list = slices.DeleteFunc(list, func(e entry) bool { return !e.isNamed(name) })
	if len(list) == 0 {
		f.fail("Application %s not found", printable(name))
		return pm2Exit(1)
	}
	n, err := strconv.Atoi(number)
	switch {
	case err != nil:
		return failed("pm2 scale "+name+" 4, or +1, or -1", "expected a number, not %q", number)
	case number[0] == '+' || number[0] == '-':
		n += len(list)
	}
	if n == len(list) {
		f.fail("Nothing to do")
		return pm2Exit(1)
	}
	if n < 1 {
		return failed("pm2 delete "+name+" ends it", "%s cannot have %d processes", name, n)
	}
	if n < len(list) { // those that were started first go, as in PM2
		oldest := list[:len(list)-n]
		for _, e := range oldest {
			f.ok("Applying action deleteProcessId on app [%d](ids: %s)", e.id(), shape.Inspect([]any{e.id()}))
			if err := f.command(ctx, "deleteProcessId", []entry{e}, nil); err != nil {
				return err
			}
			f.ticked([]entry{e})
		}
		return f.speedList(ctx)
	}
	i := slices.IndexFunc(apps, func(a control.AppDetail) bool { return concerns(a, list[:1]) })
	for range n - len(list) {
		f.ok("Scaling up application")
	}
	request := control.ScaleRequest{Name: apps[i].Name, Instances: strconv.Itoa(len(apps[i].Processes) + n - len(list))}
	if _, err := f.client.Scale(ctx, request, nil); err != nil {
		return err
	}
	return f.speedList(ctx)
}

func (f *face) reset(ctx context.Context) error {
	target := f.line.words[0]
	list, _, err := f.processes(ctx)
	if err != nil {
		return err
	}
	found := slices.DeleteFunc(list, func(e entry) bool {
		return target != "all" && !e.isNamed(target) && strconv.Itoa(e.id()) != target
	})
	if len(found) == 0 && target != "all" {
		return f.complain("Unknown process name")
	}
	if len(found) > 0 {
		if _, err := f.client.Command(ctx, "reset", control.TargetRequest{Targets: idsOf(found)}, nil); err != nil {
			return err
		}
	}
	for _, e := range found {
		f.ok("Resetting meta for process id %d", e.id())
	}
	return f.speedList(ctx)
}

func idsOf(list []entry) []string {
	ids := make([]string, len(list))
	for i, e := range list {
		ids[i] = strconv.Itoa(e.id())
	}
	return ids
}

func (f *face) sendSignal(ctx context.Context) error {
	signal, target := f.line.words[0], f.line.words[1]
	kind := "name"
	if _, err := strconv.Atoi(target); err == nil {
		kind = "id"
	}
	f.ok("Sending signal to process %s %s", kind, printable(target))
	list, _, err := f.processes(ctx)
	if err != nil {
		return err
	}
	found, err := matching(list, target)
	switch _, unknown := spec.ParseSignal(signal); {
	case err != nil:
		return err
	case unknown != nil:
		return f.complain("Unknown signal: %s", printable(signal))
	case len(found) == 0 && kind == "id":
		return f.complain("%s id unknown", target)
	case len(found) == 0:
		return f.complain("Unknown process name")
	}
	if _, err := f.client.Signal(ctx, control.SignalRequest{Targets: idsOf(found), Signal: signal}); err != nil {
		return err
	}
	f.print("successfully sent signal %s to process %s %s", signal, kind, target)
	return f.speedList(ctx)
}

func (f *face) ping(context.Context) error {
	f.print("{ msg: 'pong' }")
	return nil
}

// update replaces the daemon in place: nothing is stopped, nothing started again.
func (f *face) update(ctx context.Context) error {
	program, err := os.Executable()
	if err != nil {
		return err
	}
	if err := f.upgrade(ctx, f.client, program); err != nil {
		return err
	}
	f.print("%s", f.out.paint(cyan, ">>>>>>>>>> PM2 updated"))
	return f.speedList(ctx)
}

func (f *face) killAll(ctx context.Context) error {
	list, _, err := f.processes(ctx)
	if err != nil {
		return err
	}
	if len(list) == 0 {
		f.alarm("No process found")
	} else {
		f.applying("deleteProcessId", "all", list)
	}
	ping, err := f.client.Ping(ctx)
	if err != nil {
		return err
	}
	if err := f.killDaemon(ctx, f.client, ping.Keeper, nil); err != nil {
		return err
	}
	f.ticked(list)
	f.ok("[v] All Applications Stopped")
	f.ok("[v] PM2 Daemon Stopped")
	return nil
}

func (f *face) sendLine(ctx context.Context) error {
	list, _, err := f.processes(ctx)
	if err != nil {
		return err
	}
	id := f.line.words[0]
	if !slices.Contains(idsOf(list), id) {
		f.fail("Error: Process with ID <%s> unknown.", printable(id))
		return pm2Exit(1)
	}
	request := control.SendRequest{Targets: f.line.words[:1], Text: f.line.words[1] + "\n"}
	if err := f.client.Send(ctx, request); err != nil {
		return err
	}
	return f.speedList(ctx)
}

func (f *face) trigger(ctx context.Context) error {
	target, action := f.line.words[0], f.line.words[1]
	list, _, err := f.processes(ctx)
	if err != nil {
		return err
	}
	found, err := matching(list, target)
	if err != nil {
		return err
	}
	if len(found) == 0 {
		return f.complain("Not any process has received a command (offline or unexistent)")
	}
	request := control.TriggerRequest{Targets: idsOf(found), Action: action, TimeoutMS: 10_000}
	if len(f.line.words) > 2 {
		if request.Parameter, err = json.Marshal(f.line.words[2]); err != nil {
			return err
		}
	}
	replies, err := f.client.Trigger(ctx, request)
	if len(replies) > 0 {
		f.print("%s", f.out.paint(bold, fmt.Sprintf("%d processes have received command %s", len(replies), action)))
	}
	for _, r := range replies {
		i := slices.IndexFunc(found, func(e entry) bool { return e.id() == r.ID })
		if i >= 0 {
			f.print("[%s:%d:%s]=%s", found[i].name(), r.ID, found[i].namespace(), r.Value)
		}
	}
	return err
}

func (f *face) flush(ctx context.Context) error {
	target := ""
	if len(f.line.words) > 0 {
		target = f.line.words[0]
	}
	if target == "" {
		f.ok("Flushing %s", f.place.Log)
		if err := os.Truncate(f.place.Log, 0); err != nil && !os.IsNotExist(err) {
			return err
		}
	}
	list, _, err := f.processes(ctx)
	if err != nil {
		return err
	}
	var found []entry
	for _, e := range list {
		if target != "" && e.name() != target && strconv.Itoa(e.id()) != target {
			continue
		}
		found = append(found, e)
		f.ok("Flushing:")
		for _, key := range []string{"pm_log_path", "pm_out_log_path", "pm_err_log_path"} {
			if path := e.text(key); path != "" {
				f.ok("%s", path)
			}
		}
	}
	if len(found) > 0 {
		if _, err := f.client.Command(ctx, "flush", control.TargetRequest{Targets: idsOf(found)}, nil); err != nil {
			return err
		}
	}
	f.ok("Logs flushed")
	return nil
}

func (f *face) reloadLogs(ctx context.Context) error {
	f.print("Reloading all logs...")
	if _, err := f.client.Command(ctx, "reopen", control.TargetRequest{}, nil); err != nil {
		return err
	}
	f.print("All logs reloaded")
	return nil
}

// bugReport is what whoever is asked for help wants to know.
func (f *face) bugReport(ctx context.Context) error {
	ping, err := f.client.Ping(ctx)
	if err != nil {
		return err
	}
	list, _, err := f.processes(ctx)
	if err != nil || f.silent {
		return err
	}
	show.Report(f.out, show.Reported{
		Daemon: []show.Field{
			{Name: "nekoctl", Value: ping.Version}, {Name: "keeper", Value: strconv.Itoa(ping.Keeper)},
			{Name: "master", Value: strconv.Itoa(ping.Master)}, {Name: "home", Value: string(f.home)},
			{Name: "warnings", Value: strings.Join(ping.Warnings, "; ")},
		},
		CLI: []show.Field{
			{Name: "nekoctl", Value: version()}, {Name: "speaks pm2", Value: pm2Version},
			{Name: "argv", Value: strings.Join(os.Args, " ")}, {Name: "user", Value: userName(os.Geteuid())},
			{Name: "uid", Value: strconv.Itoa(os.Geteuid())},
		},
		System: []show.Field{{Name: "system", Value: systemLine()}, {Name: "cpus nb", Value: strconv.Itoa(runtime.NumCPU())}},
		List:   objects(list), DaemonLog: f.place.Log, LastLines: lastLines(f.place.Log, 20),
		Conclusion: "https://github.com/nekoctl/neko/issues",
	}, f.style())
	return nil
}

func (f *face) startup(ctx context.Context) error { return f.unitOf(ctx, "startup", f.cli.startup) }
func (f *face) unstartup(ctx context.Context) error {
	return f.unitOf(ctx, "unstartup", f.cli.unstartup)
}

func (f *face) unitOf(ctx context.Context, command string, do func(context.Context, *unit, startupFlags) error) error {
	// PM2's guides name the distribution.
	if len(f.line.words) > 0 && !slices.Contains([]string{"systemd", "ubuntu", "centos", "arch", "oracle"}, f.line.words[0]) {
		return failed("pm2 "+command+" systemd", "systemd is all that %s knows, and here is %s", command, quote(f.line.words[0]))
	}
	flags := startupFlags{as: asPM2, user: f.line.given.last("user"), hp: f.line.given.last("hp"), service: f.line.given.last("service-name")}
	u, err := f.unit(ctx, command, flags)
	if err != nil {
		return err
	}
	return do(ctx, u, flags)
}

// shapePath is what PM2 calls the path of an app's program.
func shapePath(app spec.App) string {
	known := &object.Object{}
	if err := json.Unmarshal(app.PM2, known); err == nil {
		if path, _ := known.Get("pm_exec_path").(string); path != "" {
			return path
		}
	}
	return app.Command[0]
}

// systemLine is uname -a, in short.
func systemLine() string {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return runtime.GOOS
	}
	return strings.Join([]string{unix.ByteSliceToString(u.Sysname[:]), unix.ByteSliceToString(u.Release[:]), unix.ByteSliceToString(u.Machine[:])}, " ")
}

func lastLines(path string, n int) (lines []string) {
	past, _, err := logs.Past(path, logs.Query{Last: n})
	if err != nil {
		return nil
	}
	for _, line := range past {
		lines = append(lines, string(line.Text))
	}
	return lines
}

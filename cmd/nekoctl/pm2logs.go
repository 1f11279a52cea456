package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"syscall"
	"time"

	"github.com/nekoctl/neko/pm2/show"
	"github.com/nekoctl/neko/supervisor/control"
	"github.com/nekoctl/neko/supervisor/logs"
)

// pm2Log is a log that PM2 shows, and whose it is.
type pm2Log struct {
	path string
	id   int
	name string
	kind show.Kind
}

func (f *face) logs(ctx context.Context) error {
	target := "all"
	if len(f.line.words) > 0 {
		target = f.line.words[0]
	}
	lines := 15
	if n, err := strconv.Atoi(f.line.given.last("lines")); err == nil {
		lines = max(n, -n)
	}
	if lines > 1_000_000 {
		return failed("", "--lines: expected a number up to 1000000, not %d", lines)
	}
	list, err := f.logsOf(ctx, target)
	if err != nil {
		return err
	}
	plain := f.line.given.is("json") || f.line.given.is("format")
	if lines > 0 && (!plain || f.line.given.is("nostream")) {
		if err := f.tail(list, target, lines); err != nil {
			return err
		}
	}
	if f.line.given.is("nostream") {
		return nil
	}
	return f.stream(ctx, target)
}

// logsOf are the logs of a target, each path once, that of the daemon first.
func (f *face) logsOf(ctx context.Context, target string) (list []pm2Log, err error) {
	only := f.line.given
	if (target == "all" || target == "PM2") && !only.is("raw") && !only.is("err") && !only.is("out") {
		list = append(list, pm2Log{f.place.Log, -1, "PM2", show.Daemon})
	}
	processes, _, err := f.processes(ctx)
	if err != nil {
		return nil, err
	}
	matches, err := f.matcher(target)
	if err != nil {
		return nil, err
	}
	add := func(l pm2Log) {
		known := slices.ContainsFunc(list, func(other pm2Log) bool { return other.path == l.path })
		if l.path != "" && l.path != os.DevNull && !known {
			list = append(list, l)
		}
	}
	for _, e := range processes {
		if !matches(e) || slices.Contains(only.values["exclude"], e.name()) {
			continue
		}
		if !only.is("err") {
			add(pm2Log{e.text("pm_out_log_path"), e.id(), e.name(), show.Out})
		}
		if !only.is("out") {
			add(pm2Log{e.text("pm_err_log_path"), e.id(), e.name(), show.Err})
		}
	}
	return list, nil
}

// matcher tells what a target of logs means: unlike a command's it may mean nothing
// yet.
func (f *face) matcher(target string) (func(entry) bool, error) {
	if len(target) > 1 && target[0] == '/' && target[len(target)-1] == '/' {
		pattern, err := expression(target)
		if err != nil {
			return nil, err
		}
		return func(e entry) bool { return pattern.MatchString(e.name()) }, nil
	}
	return func(e entry) bool {
		return target == "all" || e.name() == target || strconv.Itoa(e.id()) == target || e.namespace() == target
	}, nil
}

// tail prints the last lines of each log, the one that was written to last at the
// end.
func (f *face) tail(list []pm2Log, target string, lines int) error {
	if !f.silent {
		show.Tailing(f.out, lines, target, f.style())
	}
	written := func(l pm2Log) time.Time {
		info, err := os.Stat(l.path)
		if err != nil {
			return time.Time{}
		}
		return info.ModTime()
	}
	apps := slices.Clone(list)
	first := 0
	if len(apps) > 0 && apps[0].kind == show.Daemon {
		first = 1
	}
	slices.SortStableFunc(apps[first:], func(a, b pm2Log) int { return written(a).Compare(written(b)) })
	for _, l := range apps {
		past, _, err := logs.Past(l.path, logs.Query{Last: lines})
		if errors.Is(err, fs.ErrNotExist) || !exists(l.path) {
			continue
		}
		if err != nil {
			return err
		}
		var texts []string
		for _, line := range past {
			texts = append(texts, string(line.Text))
		}
		if f.silent {
			continue
		}
		show.Tail(f.out, f.err, l.path, l.kind, l.id, l.name, texts, lines, f.line.given.is("raw"), f.style())
	}
	return nil
}

// stream prints what comes, until it is interrupted.
func (f *face) stream(ctx context.Context, target string) error {
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	stream := &show.Stream{Style: f.style(), Raw: f.line.given.is("raw")}
	if mark := f.line.given.last("highlight"); mark != "true" {
		stream.Highlight = mark
	}
	print := stream.Line
	switch {
	case f.line.given.is("json"):
		print = func(out, _ io.Writer, e show.Entry) { stream.JSON(out, e) }
	case f.line.given.is("format"):
		print = func(out, _ io.Writer, e show.Entry) { stream.Format(out, e) }
	}
	stamp := f.line.given.last("timestamp")
	switch {
	case f.line.given.is("format"):
		stamp = "YYYY-MM-DD-HH:mm:ssZZ"
	case stamp == "true":
		stamp = "YYYY-MM-DD-HH:mm:ss"
	}
	form := logs.ParseDate(stamp)
	known := map[logs.Name]pm2Log{}
	follower := &logs.Follower{
		Find: func() (sources []logs.Source, err error) {
			list, err := f.logsOf(ctx, target)
			if err != nil {
				return nil, err
			}
			for _, l := range list {
				name := logs.Name{App: l.name, Err: l.kind == show.Err, Slot: l.id}
				known[name] = l
				sources = append(sources, logs.Source{Name: name, Path: l.path})
			}
			return sources, nil
		},
		Show: func(name logs.Name, at time.Time, text []byte) error {
			l := known[name]
			e := show.Entry{ID: l.id, Name: l.name, Kind: l.kind, Time: at, Text: string(text)}
			if stamp != "" {
				e.Stamp = string(form.Append(nil, at))
			}
			print(f.out, f.err, e)
			return f.out.Writer.(*checked).err
		},
	}
	if err := follower.Begin(logs.Query{}); err != nil {
		return err
	}
	return follower.Follow(ctx)
}

// attach is the other end of one process: what is typed goes to its standard input,
// line by line, and what it prints is shown.
func (f *face) attach(ctx context.Context) error {
	id := f.line.words[0]
	if isNaN(id) {
		return f.complain("pm_id must be a process number (not a process name)")
	}
	separator := "\n"
	if len(f.line.words) > 1 {
		separator = f.line.words[1]
	}
	list, err := f.logsOf(ctx, id)
	if err != nil {
		return err
	}
	if len(list) == 0 {
		f.fail("Process %s not found", id)
		return pm2Exit(1)
	}
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	follower := &logs.Follower{
		Find: func() (sources []logs.Source, err error) {
			for _, l := range list {
				sources = append(sources, logs.Source{Name: logs.Name{App: l.name, Err: l.kind == show.Err, Slot: l.id}, Path: l.path})
			}
			return sources, nil
		},
		Show: func(_ logs.Name, _ time.Time, text []byte) error {
			_, err := fmt.Fprintf(f.out, "%s\n", text)
			return err
		},
	}
	if err := follower.Begin(logs.Query{}); err != nil {
		return err
	}
	ctx, end := context.WithCancelCause(ctx)
	go func() {
		lines := bufio.NewScanner(os.Stdin)
		for lines.Scan() {
			if err := f.client.Send(ctx, control.SendRequest{Targets: []string{id}, Text: lines.Text() + separator}); err != nil {
				end(err)
				return
			}
		}
		end(lines.Err())
	}()
	if err := follower.Follow(ctx); err != nil {
		return err
	}
	if err := context.Cause(ctx); !errors.Is(err, context.Canceled) {
		return err
	}
	return follower.Look() // what has come until our input was at its end
}

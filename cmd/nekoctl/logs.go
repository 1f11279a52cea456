package main

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/nekoctl/neko/supervisor/control"
	"github.com/nekoctl/neko/supervisor/spec"
)

const logsHelp = `Show the last lines that apps printed, and go on with what they print now.
Works while the daemon is down, too: it reads the files in $NEKO_HOME/logs.

Usage:
    nekoctl logs [NAME | ID ...] [OPTIONS]

Without a name: all apps that there are. Name one that was deleted to see what
it printed.

Options:
    -n, --lines N   begin with the last N lines of each file (15)
        --out       standard output only
        --err       standard error only
        --nostream  print the last lines and end

Examples:
    $ nekoctl logs
    $ nekoctl logs web --err
    $ nekoctl logs web --lines 200 --nostream | grep timeout
`

func (c *cli) logsCommand() *cobra.Command {
	var (
		lines               int
		out, errs, noFollow bool
	)
	cmd := &cobra.Command{
		Use:               "logs",
		Aliases:           []string{"log"},
		Long:              logsHelp,
		ValidArgsFunction: c.completeNames,
		RunE: func(cmd *cobra.Command, args []string) error {
			if lines < 0 || lines > 1_000_000 {
				return misuse("logs", "--lines: expected a number from 0 to 1000000, not %q", strconv.Itoa(lines))
			}
			if err := c.findHome(); err != nil {
				return err
			}
			want, err := c.wantedLogs(cmd.Context(), args)
			if err != nil {
				return err
			}
			f := &follower{dir: c.home.Logs(), out: c.out, files: map[string]*logFile{}}
			f.wanted = func(l logName) bool {
				return want(l) && (out == errs || l.err == errs)
			}
			if len(args) == 0 {
				f.past = c.pastApps(cmd.Context())
			}
			if err := f.begin(lines); err != nil {
				return err
			}
			if noFollow {
				return nil
			}
			return f.follow(cmd.Context())
		},
	}
	cmd.Flags().IntVarP(&lines, "lines", "n", 15, "")
	cmd.Flags().BoolVar(&out, "out", false, "")
	cmd.Flags().BoolVar(&errs, "err", false, "")
	cmd.Flags().BoolVar(&noFollow, "nostream", false, "")
	return cmd
}

// pastApps tells the apps whose logs are there but that the daemon does not
// know. Without a daemon there are none.
func (c *cli) pastApps(ctx context.Context) func(logName) bool {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	list, err := control.NewClient(c.home.Control()).Processes(ctx)
	if err != nil {
		return nil
	}
	return func(l logName) bool {
		return !slices.ContainsFunc(list, func(p control.Process) bool { return p.Name == l.app })
	}
}

// wantedLogs tells which logs targets mean. A target that neither has a log nor
// is known to the daemon is an error.
func (c *cli) wantedLogs(ctx context.Context, targets []string) (func(logName) bool, error) {
	entries, err := os.ReadDir(c.home.Logs())
	if err != nil {
		return nil, failed("nekoctl start begins", "there are no logs in %s yet", c.home)
	}
	if len(targets) == 0 || slices.Contains(targets, "all") {
		return func(logName) bool { return true }, nil
	}
	var known []string
	for _, entry := range entries {
		if l, ok := parseLogName(entry.Name()); ok {
			known = append(known, l.app)
		}
	}
	client, err := c.client()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	list, _ := client.Processes(ctx)
	for _, p := range list {
		known = append(known, p.Name)
	}

	slots := map[logName]bool{}
	apps := map[string]bool{}
	for _, target := range targets {
		if isNumber(target) {
			found := false
			for _, p := range list {
				if strconv.Itoa(p.ID) == target {
					slots[logName{app: p.Name, slot: p.Slot}] = true
					found = true
				}
			}
			if !found {
				return nil, failed("nekoctl list shows the ids", "there is no process with the id %s", target)
			}
			continue
		}
		if !slices.Contains(known, target) {
			hint := "nekoctl list shows the apps"
			if near := spec.Nearest(target, known); near != "" {
				hint = fmt.Sprintf("did you mean %s?", near)
			}
			return nil, failed(hint, "there is no app %q", target)
		}
		apps[target] = true
	}
	return func(l logName) bool { return apps[l.app] || slots[logName{app: l.app, slot: l.slot}] }, nil
}

// logName is what the name of a log file says.
type logName struct {
	app  string
	err  bool
	slot int
}

// parseLogName reads NAME-out-SLOT.log and NAME-error-SLOT.log.
func parseLogName(file string) (l logName, ok bool) {
	rest, ok := strings.CutSuffix(file, ".log")
	if !ok {
		return l, false
	}
	i := strings.LastIndexByte(rest, '-')
	if i < 0 || !isNumber(rest[i+1:]) {
		return l, false
	}
	l.slot, _ = strconv.Atoi(rest[i+1:])
	if app, ok := strings.CutSuffix(rest[:i], "-out"); ok && app != "" {
		l.app = app
		return l, true
	}
	if app, ok := strings.CutSuffix(rest[:i], "-error"); ok && app != "" {
		l.app, l.err = app, true
		return l, true
	}
	return l, false
}

package main

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/nekoctl/neko/supervisor/control"
	"github.com/nekoctl/neko/supervisor/logs"
	"github.com/nekoctl/neko/supervisor/spec"
)

const logsHelp = `Show the last lines that apps printed, those of all apps in the order of their
times, and go on with what they print now. Works while the daemon is down, too:
it reads the files, also those that were put aside by rotation.

Usage:
    nekoctl logs [NAME | ID ...] [OPTIONS]

Without a name: all apps that there are. Name one that was deleted to see what
it printed.

Options:
    -n, --lines N      begin with the last N lines of each log (15; all, with
                       --since)
        --since TIME   only what was printed since: 10m, 2h, 1d (ago), 15:04,
                       "2026-01-31 15:04"
        --grep REGEXP  only lines that match
        --out          standard output only
        --err          standard error only
        --nostream     print the last lines and end
        --timestamp    with the time of each line; of lines without a date it is
                       known to the second
        --raw          without the names of the apps
        --json         an object for each line

Examples:
    $ nekoctl logs
    $ nekoctl logs web --err
    $ nekoctl logs --since 10m --grep 'timeout|refused' --nostream
    $ nekoctl logs web --lines 200 --nostream --raw > web.txt
`

func (c *cli) logsCommand() *cobra.Command {
	var (
		lines               int
		from, pattern       string
		out, errs, noFollow bool
		style               lineStyle
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
			query := logs.Query{Last: lines}
			var err error
			if query.Match, err = grep(pattern); err != nil {
				return misuse("logs", "--grep: %v", err)
			}
			if from != "" {
				if query.Since, err = since(from, time.Now()); err != nil {
					return misuse("logs", "--since: %v", err)
				}
				if !cmd.Flags().Changed("lines") {
					query.Last = 1_000_000
				}
			}
			if err := c.findHome(); err != nil {
				return err
			}
			want, err := c.wantedLogs(cmd.Context(), args)
			if err != nil {
				return err
			}
			style.out = c.out
			f := &logs.Follower{Match: query.Match, Show: style.print}
			f.Find = logs.In(c.home.Logs(), func(l logs.Name) bool { return want(l) && (out == errs || l.Err == errs) })
			if len(args) == 0 {
				f.Past = c.pastApps(cmd.Context())
			}
			if err := f.Begin(query); err != nil {
				return err
			}
			if noFollow {
				return nil
			}
			return f.Follow(cmd.Context())
		},
	}
	cmd.Flags().IntVarP(&lines, "lines", "n", 15, "")
	cmd.Flags().StringVar(&from, "since", "", "")
	cmd.Flags().StringVar(&pattern, "grep", "", "")
	cmd.Flags().BoolVar(&out, "out", false, "")
	cmd.Flags().BoolVar(&errs, "err", false, "")
	cmd.Flags().BoolVar(&noFollow, "nostream", false, "")
	cmd.Flags().BoolVar(&style.timestamp, "timestamp", false, "")
	cmd.Flags().BoolVar(&style.raw, "raw", false, "")
	cmd.Flags().BoolVar(&style.json, "json", false, "")
	return cmd
}

// pastApps tells the apps whose logs are there but that the daemon does not
// know. Without a daemon there are none.
func (c *cli) pastApps(ctx context.Context) func(logs.Name) bool {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	list, err := control.NewClient(c.home.Control()).Processes(ctx)
	if err != nil {
		return nil
	}
	return func(l logs.Name) bool {
		return !slices.ContainsFunc(list, func(p control.Process) bool { return p.Name == l.App })
	}
}

// wantedLogs tells which logs targets mean. A target that neither has a log nor
// is known to the daemon is an error.
func (c *cli) wantedLogs(ctx context.Context, targets []string) (func(logs.Name) bool, error) {
	entries, err := os.ReadDir(c.home.Logs())
	if err != nil {
		return nil, failed("nekoctl start begins", "there are no logs in %s yet", c.home)
	}
	if len(targets) == 0 || slices.Contains(targets, "all") {
		return func(logs.Name) bool { return true }, nil
	}
	var known []string
	for _, entry := range entries {
		if l, ok := logs.ParseName(entry.Name()); ok {
			known = append(known, l.App)
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
		known = append(known, p.ShownName())
	}

	slots := map[logs.Name]bool{}
	apps := map[string]bool{}
	for _, target := range targets {
		found, byID, err := control.Choose(list, target)
		switch {
		case err != nil:
			return nil, err
		case byID && len(found) == 0:
			return nil, failed("nekoctl list shows the ids", "there is no process with the id %s", target)
		case byID:
			slots[logs.Name{App: found[0].Name, Slot: found[0].Slot}] = true
			continue
		case len(found) > 0:
			for _, p := range found {
				apps[p.Name] = true
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
	return func(l logs.Name) bool {
		return apps[l.App] || slots[logs.Name{App: l.App, Slot: l.Slot}]
	}, nil
}

package main

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/nekoctl/neko/supervisor/control"
	"github.com/nekoctl/neko/supervisor/logs"
	"github.com/nekoctl/neko/supervisor/monit"
)

const monitHelp = `Watch apps and their processes: what they use, how many requests they answer and
how fast, and what they print. Keys reload, restart, stop and scale what is
chosen, and ask first; ? lists them.

Usage:
    nekoctl monit [APP] [OPTIONS]

Also: top, stats, imonit, dashboard, dash

With APP, only apps with that in their name or namespace are shown; esc shows
all.

Options:
    --once           print one frame of plain text, and end
    --json           print one JSON object: daemon, and apps with their workers
                     and figures; a figure that is not known is left out
    --watch          with --json: an object each interval, one a line
    --interval TIME  how often to look, and what rates are measured over by
                     --once and --json; 1s

Figures of requests are of programs that offer metrics, as neko-api does; Node
programs show what they tell by @pm2/io. The log is read from the files, and
goes on while the daemon is replaced.

Examples:
    $ nekoctl monit
    $ nekoctl monit api
    $ nekoctl monit --once
    $ nekoctl monit --json | jq '.apps[] | {name, requests_per_second}'
`

func (c *cli) monitCommand() *cobra.Command {
	var text, asJSON, follow bool
	var every string
	cmd := &cobra.Command{
		Use:               "monit",
		Aliases:           []string{"top", "stats", "imonit", "dashboard", "dash"},
		Long:              monitHelp,
		ValidArgsFunction: c.completeNames,
		RunE: func(cmd *cobra.Command, args []string) error {
			interval, err := parseInterval("monit", "--interval", every, 200*time.Millisecond, time.Minute)
			if err != nil {
				return err
			}
			options := monit.Options{Interval: interval}
			switch {
			case len(args) > 1:
				return misuse("monit", "monit takes one name, and here are %d", len(args))
			case follow && !asJSON:
				return misuse("monit", "--watch goes with --json")
			case text && asJSON:
				return misuse("monit", "--once and --json exclude each other")
			case len(args) == 1:
				options.Filter = args[0]
			}
			client, err := c.client()
			if err != nil {
				return err
			}
			switch {
			case text:
				return c.monitOnce(cmd.Context(), client, options)
			case asJSON:
				return c.monitJSON(cmd.Context(), client, options, follow)
			}
			return c.monit(cmd.Context(), client, options)
		},
	}
	cmd.Flags().BoolVar(&text, "once", false, "")
	cmd.Flags().BoolVar(&asJSON, "json", false, "")
	cmd.Flags().BoolVar(&follow, "watch", false, "")
	cmd.Flags().StringVar(&every, "interval", "1s", "")
	return cmd
}

func (c *cli) monitOnce(ctx context.Context, client *control.Client, options monit.Options) error {
	text, err := monit.Text(ctx, client, options, c.out.width)
	if err != nil {
		return err
	}
	_, err = c.out.Write([]byte(text))
	return err
}

func (c *cli) monitJSON(ctx context.Context, client *control.Client, options monit.Options, follow bool) error {
	if !follow {
		return monit.Watch(ctx, client, options, false, func(st *monit.State) error { return c.json(st) })
	}
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	lines := json.NewEncoder(c.out)
	lines.SetEscapeHTML(false)
	return monit.Watch(ctx, client, options, true, func(st *monit.State) error { return lines.Encode(st) })
}

// monit shows the screen.
func (c *cli) monit(ctx context.Context, client *control.Client, options monit.Options) error {
	if err := onTerminal(); err != nil {
		return err
	}
	// What an earlier daemon has left is taken over now; nothing is begun or said once
	// the screen is there.
	if _, err := client.Ping(ctx); err != nil {
		return err
	}
	client.Revive = nil
	options.NoColor = !c.out.color
	options.Logs = func(ctx context.Context, app string, slot int) ([]logs.Source, error) {
		return logsOf(ctx, client, app, slot)
	}
	return monit.Run(ctx, client, options, os.Stdin, os.Stdout)
}

// onTerminal says why the screen cannot be shown, nil if it can.
func onTerminal() error {
	const instead = "nekoctl monit --once prints one frame, nekoctl monit --json the figures"
	for _, file := range []*os.File{os.Stdin, os.Stdout} {
		if newTerminal(file).width == 0 {
			return failed(instead, "monit needs a terminal")
		}
	}
	if name := os.Getenv("TERM"); name == "dumb" || name == "" {
		return failed(instead, "monit needs a terminal that can move its cursor, and TERM is %s", quote(name))
	}
	return nil
}

// logsOf are the logs of an app, or of one of its slots. Slots may share one.
func logsOf(ctx context.Context, client *control.Client, app string, slot int) (list []logs.Source, err error) {
	detail, err := client.App(ctx, app)
	if err != nil {
		return nil, err
	}
	if detail.Name != app {
		return nil, errors.New("it is gone")
	}
	slots := map[string]int{}
	for _, p := range detail.Processes {
		for _, path := range []string{p.OutLog, p.ErrLog} {
			if _, shared := slots[path]; shared {
				slots[path] = -1
			} else {
				slots[path] = p.Slot
			}
		}
	}
	seen := map[string]bool{"": true, os.DevNull: true}
	for _, p := range detail.Processes {
		if slot >= 0 && p.Slot != slot {
			continue
		}
		for _, l := range []logs.Source{
			{Name: logs.Name{App: app, Slot: slots[p.OutLog]}, Path: p.OutLog},
			{Name: logs.Name{App: app, Slot: slots[p.ErrLog], Err: true}, Path: p.ErrLog},
		} {
			if !seen[l.Path] {
				seen[l.Path] = true
				list = append(list, l)
			}
		}
	}
	return list, nil
}

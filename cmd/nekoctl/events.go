package main

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/nekoctl/neko/supervisor/control"
)

const eventsHelp = `Show what has happened to apps, and go on with what happens now: crashes,
restarts, reloads, scaling, upgrades of the daemon, and what workers say of
circuit breakers and rate limits. It goes on through an upgrade or a kill of the
daemon's master and shows each event once.

Usage:
    nekoctl events [APP ...] [OPTIONS]

Without an app: of all, and of the daemon. The daemon keeps about the last 1000.

Options:
    -e, --event KIND,...  only these kinds: crash, hung, exit, errored, restart,
                          start, stop, delete, reload, scale, unready, ready,
                          log-lost, upgrade, daemon, breaker, limit, app.NAME of
                          programs themselves; app.* is all that begin so
    -n, --lines N         begin with the last N events (20; all, with --since or
                          --no-follow)
        --since TIME      only what has happened since: 10m, 2h, 1d (ago),
                          15:04, "2026-01-31 15:04"
        --no-follow       print what there is and end
        --json            an object for each event: id, time, event, name, slot,
                          process, pid, message, details, output

Examples:
    $ nekoctl events
    $ nekoctl events web --event crash,errored --since 1d --no-follow
    $ nekoctl events --json | jq -r 'select(.event == "crash") | .output[]'
`

func (c *cli) eventsCommand() *cobra.Command {
	var (
		kinds            []string
		from             string
		lines            int
		noFollow, asJSON bool
	)
	cmd := &cobra.Command{
		Use:               "events",
		Aliases:           []string{"event"},
		Long:              eventsHelp,
		ValidArgsFunction: c.completeNames,
		RunE: func(cmd *cobra.Command, args []string) error {
			if lines < 0 || lines > 1_000_000 {
				return misuse("events", "--lines: expected a number from 0 to 1000000, not %q", strconv.Itoa(lines))
			}
			r := control.EventsRequest{Apps: args, Last: lines, Follow: !noFollow}
			if slices.Contains(args, "all") {
				r.Apps = nil
			}
			for _, k := range kinds {
				k, err := control.ParseKind(k)
				if err != nil {
					return misuse("events", "--event: %v", err)
				}
				r.Events = append(r.Events, k)
			}
			if from != "" {
				var err error
				if r.Since, err = since(from, time.Now()); err != nil {
					return misuse("events", "--since: %v", err)
				}
			}
			if (from != "" || noFollow) && !cmd.Flags().Changed("lines") {
				r.Last = -1
			}
			client, err := c.client()
			if err != nil {
				return err
			}
			lines := json.NewEncoder(c.out)
			lines.SetEscapeHTML(false)
			return client.Events(cmd.Context(), r, func(e control.Event) error {
				if asJSON {
					return lines.Encode(e)
				}
				_, err := io.WriteString(c.out, c.eventLines(&e))
				return err
			}, func(m control.Missed) { c.warn("%s", m) })
		},
	}
	cmd.Flags().StringSliceVarP(&kinds, "event", "e", nil, "")
	cmd.Flags().IntVarP(&lines, "lines", "n", 20, "")
	cmd.Flags().StringVar(&from, "since", "", "")
	cmd.Flags().BoolVar(&noFollow, "no-follow", false, "")
	cmd.Flags().BoolVar(&asJSON, "json", false, "")
	_ = cmd.RegisterFlagCompletionFunc("event", func(_ *cobra.Command, _ []string, begun string) (words []string, _ cobra.ShellCompDirective) {
		before := begun[:strings.LastIndex(begun, ",")+1] // of a list the last is being written
		for _, k := range control.EventKinds {
			words = append(words, before+string(k.Kind))
		}
		return append(words, before+control.OwnEvents+"*"), cobra.ShellCompDirectiveNoFileComp
	})
	return cmd
}

// eventColor is how bad it is.
func eventColor(e *control.Event) color {
	switch e.Kind {
	case control.EventCrash, control.EventHung, control.EventErrored, control.EventLogLost:
		return red
	case control.EventUnready, control.EventLimit:
		return yellow
	case control.EventBreaker:
		if e.Details["to"] != "CLOSED" {
			return yellow
		}
	case control.EventExit:
		if code := e.Details["exit_code"]; code != "0" {
			return yellow
		}
		return dim
	}
	if e.Details["result"] == "failed" {
		return red
	}
	return green
}

// eventLines is an event for people, with the last words of a process indented.
func (c *cli) eventLines(e *control.Event) string {
	var b strings.Builder
	at := e.Time.Local()
	form := "15:04:05"
	if now := time.Now(); at.YearDay() != now.YearDay() || at.Year() != now.Year() {
		form = "2006-01-02 15:04:05"
	}
	fmt.Fprintf(&b, "%s  %s  %s  %s\n", c.out.paint(dim, at.Format(form)), c.out.paint(eventColor(e), fmt.Sprintf("%-8s", e.Kind)),
		c.out.paint(bold, printable(fmt.Sprintf("%-10s", e.Subject()))), printable(e.Message))
	for _, line := range e.Output {
		b.WriteString(c.out.paint(dim, "          | ") + printable(line) + "\n")
	}
	return b.String()
}

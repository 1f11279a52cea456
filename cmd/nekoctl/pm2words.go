package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/nekoctl/neko/supervisor/control"
)

// Commands of PM2's that nekoctl has by its own name too, for scripts: what they
// print is PM2's, so that whatever reads it goes on.

const jlistHelp = `List all processes as JSON in the shape of "pm2 jlist": with the environment of
each, secrets too. "nekoctl list --json" is nekoctl's own list, without those.

Usage:
    nekoctl jlist

Examples:
    $ nekoctl jlist | jq '.[].pm2_env.status'
`

const prettylistHelp = `List all processes as "pm2 prettylist" does: jlist as Node prints an object.

Usage:
    nekoctl prettylist

Examples:
    $ nekoctl prettylist | grep restart_time
`

const pidHelp = `Print the pids of an app, or of all: one a line, 0 for a process that does not
run.

Usage:
    nekoctl pid [NAME]

Examples:
    $ nekoctl pid web
    4711
`

const idHelp = `Print the ids of an app.

Usage:
    nekoctl id NAME

Examples:
    $ nekoctl id web
    [ 0, 1 ]
`

const envHelp = `Print the environment of a process, secrets too.

Usage:
    nekoctl env ID

Examples:
    $ nekoctl env 0
`

const reportHelp = `Print what a bug report needs: versions, the list, the end of the daemon's log.

Usage:
    nekoctl report

Examples:
    $ nekoctl report > report.txt
`

// pm2Words are those commands.
func (c *cli) pm2Words() []*cobra.Command {
	word := func(name, help string, min, max int, run func(*face, context.Context) error) *cobra.Command {
		return &cobra.Command{
			Use: name, Long: help,
			ValidArgsFunction: c.completeNames,
			Args: func(_ *cobra.Command, args []string) error {
				if len(args) < min || len(args) > max {
					return misuse(name, "%s takes %s", name, map[bool]string{true: "no arguments", false: "one name or id"}[max == 0])
				}
				return nil
			},
			RunE: func(cmd *cobra.Command, args []string) error {
				client, err := c.client()
				if err != nil {
					return err
				}
				return run(c.face(client, args), cmd.Context())
			},
		}
	}
	return []*cobra.Command{
		word("jlist", jlistHelp, 0, 0, (*face).jlist),
		word("prettylist", prettylistHelp, 0, 0, (*face).prettylist),
		word("pid", pidHelp, 0, 1, (*face).pids),
		word("id", idHelp, 1, 1, (*face).ids),
		word("env", envHelp, 1, 1, (*face).env),
		word("report", reportHelp, 0, 0, (*face).bugReport),
	}
}

// face is PM2's command line on nekoctl's own home.
func (c *cli) face(client *control.Client, args []string) *face {
	h := c.home
	return &face{
		cli: c, client: client, line: pm2Line{words: args},
		place: pm2Places{Home: string(h), Log: h.Log(), PID: h.PID(), Dump: h.Dump(), Logs: h.Logs()},
	}
}

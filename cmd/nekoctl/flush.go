package main

import (
	"github.com/spf13/cobra"

	"github.com/nekoctl/neko/supervisor/control"
)

const flushHelp = `Empty the logs of apps, and remove what was put aside of them. Nothing that is
printed from then on is lost.

Usage:
    nekoctl flush [NAME | ID ...]

Without a name: all apps.

Examples:
    $ nekoctl flush web
`

func (c *cli) flushCommand() *cobra.Command {
	return &cobra.Command{
		Use:               "flush",
		Long:              flushHelp,
		ValidArgsFunction: c.completeNames,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				args = []string{"all"}
			}
			client, err := c.client()
			if err != nil {
				return err
			}
			if _, err := client.Command(cmd.Context(), "flush", control.TargetRequest{Targets: args}, nil); err != nil {
				return err
			}
			c.note("the logs are empty")
			return nil
		},
	}
}

const reloadLogsHelp = `Open all logs anew, by name, at the end of a line: for who rotates them from
outside, as logrotate does. The same as SIGUSR1 to the daemon.

Usage:
    nekoctl reloadLogs

Also: reloadlogs

Examples:
    $ mv web.log web.log.1 && nekoctl reloadLogs && gzip web.log.1
`

func (c *cli) reloadLogsCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "reloadLogs",
		Aliases: []string{"reloadlogs"},
		Long:    reloadLogsHelp,
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			client, err := c.client()
			if err != nil {
				return err
			}
			if _, err := client.Command(cmd.Context(), "reopen", control.TargetRequest{Targets: []string{"all"}}, nil); err != nil {
				return err
			}
			c.note("all logs were opened anew")
			return nil
		},
	}
}

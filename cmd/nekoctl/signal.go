package main

import (
	"strings"

	"github.com/spf13/cobra"

	"github.com/nekoctl/neko/supervisor/control"
)

const sendSignalHelp = `Send a signal to the processes of apps that are online.

Usage:
    nekoctl sendSignal SIGNAL NAME | ID | all ...

A SIGNAL is a name, with or without SIG, or a number. A process that ends of it
has ended by itself, and is started again as its app has it; see stop.

Also: signal, sendsignal

Examples:
    $ nekoctl sendSignal SIGUSR2 web
    $ nekoctl sendSignal HUP 0
`

func (c *cli) sendSignalCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "sendSignal",
		Aliases: []string{"signal", "sendsignal"},
		Long:    sendSignalHelp,
		ValidArgsFunction: func(cmd *cobra.Command, args []string, toComplete string) ([]string, cobra.ShellCompDirective) {
			if len(args) == 0 {
				return []string{"SIGHUP", "SIGINT", "SIGTERM", "SIGUSR1", "SIGUSR2"}, cobra.ShellCompDirectiveNoFileComp
			}
			return c.completeNames(cmd, args, toComplete)
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) < 2 {
				return misuse("sendSignal", "sendSignal takes a signal, and names or ids of who is to get it")
			}
			client, err := c.client()
			if err != nil {
				return err
			}
			if _, err := client.Signal(cmd.Context(), control.SignalRequest{Signal: args[0], Targets: args[1:]}); err != nil {
				return err
			}
			c.note("sent %s to %s", args[0], strings.Join(args[1:], ", "))
			return nil
		},
	}
}

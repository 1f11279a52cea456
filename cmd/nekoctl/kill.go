package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/nekoctl/neko/supervisor/control"
)

const killHelp = `Stop every app and then the daemon. The apps drain first, as with stop.

Usage:
    nekoctl kill

Example:
    $ nekoctl kill
    the daemon on /home/me/.neko has ended
`

func (c *cli) killCommand() *cobra.Command {
	return &cobra.Command{
		Use:  "kill",
		Long: killHelp,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			client, err := c.client()
			if err != nil {
				return err
			}
			ping, err := client.Ping(cmd.Context())
			if errors.Is(err, control.ErrNoDaemon) {
				_, err := fmt.Fprintf(c.out, "no daemon runs on %s\n", c.home)
				return err
			}
			if err != nil {
				return err
			}
			// A pidfd sees the end of the keeper even where nobody reaps it.
			keeper, pidErr := unix.PidfdOpen(ping.Keeper, 0)
			p := c.progress()
			_, err = client.Kill(cmd.Context(), p.step)
			p.end()
			if err != nil {
				return err
			}
			// The keeper says goodbye after the master has answered.
			if pidErr == nil {
				defer unix.Close(keeper)
				if n, _ := unix.Poll([]unix.PollFd{{Fd: int32(keeper), Events: unix.POLLIN}}, 5000); n == 0 {
					return failed(c.home.Log()+" says more", "the apps have stopped, but the keeper (pid %d) still runs", ping.Keeper)
				}
			}
			_, err = fmt.Fprintf(c.out, "the daemon on %s has ended\n", c.home)
			return err
		},
	}
}

package main

import (
	"context"
	"errors"
	"time"

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
				c.say("no daemon runs on %s", c.home)
				return nil
			}
			if err != nil {
				return err
			}
			p := c.progress()
			err = c.killDaemon(cmd.Context(), client, ping.Keeper, p.step)
			p.end()
			if err != nil {
				return err
			}
			c.say("the daemon on %s has ended", c.home)
			return nil
		},
	}
}

// killDaemon returns when the daemon has ended, its keeper too.
func (c *cli) killDaemon(ctx context.Context, client *control.Client, keeper int, step func(control.Progress)) error {
	// A pidfd sees the end of the keeper even where nobody reaps it.
	pidfd, pidErr := unix.PidfdOpen(keeper, 0)
	if _, err := client.Kill(ctx, step); err != nil {
		return err
	}
	if pidErr != nil {
		return nil // it has ended already
	}
	defer unix.Close(pidfd)
	if step != nil {
		step(control.Progress{Whole: true, Message: "waits for the daemon to end"})
	}
	// The keeper says goodbye after the master has answered.
	for end := time.Now().Add(5 * time.Second); ; {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}}, int(max(time.Until(end), 0)/time.Millisecond))
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if n == 0 {
			return failed(c.home.Log()+" says more", "the apps have stopped, but the keeper (pid %d) still runs", keeper)
		}
		return nil
	}
}

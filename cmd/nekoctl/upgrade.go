package main

import (
	"context"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/nekoctl/neko/supervisor/control"
)

const upgradeHelp = `Replace the daemon by another nekoctl, this one if none is named. Apps serve on:
no process of theirs is restarted, no connection is lost, and the main pid stays
what it is. Commands that are under way end first.

Usage:
    nekoctl upgrade [PROGRAM]

Also: update

The program is asked for its version before anything is done. If its master does
not live for a second, the present one goes on, and upgrade fails.

SIGUSR2 to the main process does the same with what is now where the present
program was.

Examples:
    $ nekoctl upgrade
    upgraded from v1.0.0 to v1.1.0: keeper 4711, master 4890
    $ nekoctl upgrade /usr/local/bin/nekoctl.old
`

func (c *cli) upgradeCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "upgrade",
		Aliases: []string{"update"},
		Long:    upgradeHelp,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 1 {
				return misuse("upgrade", "upgrade takes one program, and here is also %s", quote(args[1]))
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			program, err := os.Executable()
			if len(args) == 1 {
				program, err = filepath.Abs(args[0])
			}
			if err != nil {
				return err
			}
			client, err := c.client()
			if err != nil {
				return err
			}
			return c.upgrade(cmd.Context(), client, program)
		},
	}
}

func (c *cli) upgrade(ctx context.Context, client *control.Client, program string) error {
	before, err := client.Ping(ctx)
	if err != nil {
		return err
	}
	p := c.progress()
	defer p.end()
	_, err = client.Upgrade(ctx, control.UpgradeRequest{Program: program}, p.step)
	if err != nil {
		return err
	}
	now, err := untilUpgraded(ctx, client, before.Master, p)
	p.end()
	if err != nil {
		return err
	}
	if now.UpgradeFailed != "" {
		return failed(c.home.Log()+" has what it said", "%s", now.UpgradeFailed)
	}
	c.say("upgraded from %s to %s: keeper %d, master %d", before.Version, now.Version, now.Keeper, now.Master)
	if now.KeeperVersion != now.Version {
		c.note("the keeper stays %s; %s says why", now.KeeperVersion, c.home.Log())
	}
	return nil
}

// untilUpgraded waits for the master after the one with this pid, and until it is
// sure that it stays.
func untilUpgraded(ctx context.Context, client *control.Client, master int, p *progress) (control.Ping, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	p.waitsFor("waits for the master of the new program")
	told := false
	for {
		now, err := client.Ping(ctx)
		if err != nil || now.Master != master && !now.Upgrading {
			return now, err
		}
		if now.Upgrading && !told {
			p.waitsFor("the new program serves, and is on trial")
			told = true
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
		}
	}
}

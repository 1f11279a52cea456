package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/nekoctl/neko/supervisor"
	"github.com/nekoctl/neko/supervisor/control"
	"github.com/nekoctl/neko/supervisor/dump"
)

const saveHelp = `Save the list of apps, with their settings and the number of their processes,
for "nekoctl resurrect". An app that is stopped is saved as stopped.

Usage:
    nekoctl save [--force]

Also: dump

Options:
    --force  save also if there is no app, and so forget what was saved

The list is dump.json in the home; the one before is kept as dump.json.bak. It
holds the environment of the apps, secrets too, and nobody else can read it.
What is changed afterwards is not in it until the next save.

Examples:
    $ nekoctl save
    saved 2 apps to /home/me/.neko/dump.json
`

const resurrectHelp = `Start the apps that "nekoctl save" has saved. What was stopped is there again as
stopped. Apps that are in the list already keep the settings that they have.

Usage:
    nekoctl resurrect [--no-daemon]

Options:
    --no-daemon  begin the daemon in the foreground, as the unit of "nekoctl
                 startup" does: also if nothing is saved, and it stays when all
                 apps have ended or failed

An app that cannot be started keeps no other from it; "nekoctl list" says why it
is stopped.

Examples:
    $ nekoctl resurrect
`

func (c *cli) saveCommand() *cobra.Command {
	var force bool
	cmd := &cobra.Command{
		Use:     "save",
		Aliases: []string{"dump"},
		Long:    saveHelp,
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			client, err := c.client()
			if err != nil {
				return err
			}
			apps, err := client.Specs(cmd.Context())
			if err != nil {
				return err
			}
			if len(apps) == 0 && !force {
				return failed("nekoctl save --force forgets what was saved", "there is no app to save")
			}
			daemon, err := client.Daemon(cmd.Context())
			if err != nil {
				return err
			}
			if err := dump.Write(c.home, apps, daemon); err != nil {
				return failed("what was saved before is as it was", "cannot save: %v", err)
			}
			c.say("saved %s to %s", count(len(apps), "app"), c.home.Dump())
			return nil
		},
	}
	cmd.Flags().BoolVar(&force, "force", false, "")
	return cmd
}

func (c *cli) resurrectCommand() *cobra.Command {
	var noDaemon bool
	cmd := &cobra.Command{
		Use:  "resurrect",
		Long: resurrectHelp,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return c.resurrect(cmd, noDaemon) },
	}
	cmd.Flags().BoolVar(&noDaemon, "no-daemon", false, "")
	return cmd
}

func (c *cli) resurrect(cmd *cobra.Command, noDaemon bool) error {
	if err := c.findHome(); err != nil {
		return err
	}
	client := control.NewClient(c.home.Control())
	ping, err := client.Ping(cmd.Context())
	up, err := runs(err)
	if err != nil {
		return err
	}
	if up && noDaemon {
		return c.runsAlready("resurrect", ping)
	}
	apps, daemon, instead, err := dump.Read(c.home)
	switch {
	case errors.Is(err, dump.ErrNone) && noDaemon:
		c.note("nothing is saved on %s; the daemon waits for apps", c.home)
	case errors.Is(err, dump.ErrNone):
		return failed("nekoctl save saves what runs", "nothing is saved on %s", c.home)
	case err != nil:
		return failed("nothing was started; nekoctl start starts apps, and nekoctl save saves them anew", "%v", err)
	case instead != nil:
		c.warn("%v", instead)
		c.hint("this is what was saved before that, from %s", dump.Backup(c.home))
	}
	if noDaemon {
		return exitCode(supervisor.ForegroundSaved(c.home, version(), apps, daemon))
	}
	if len(apps) == 0 {
		c.say("no app was saved on %s", c.home)
		return nil
	}
	begun := false
	if !up {
		if begun, err = c.spawnShown(cmd.Context()); err != nil {
			return err
		}
		if begun {
			c.noteBegun()
		}
	}
	_, err = c.carryOut("resurrected", func(step func(control.Progress)) (control.Done, error) {
		return client.Resurrect(cmd.Context(), control.ResurrectRequest{Apps: apps, Daemon: daemon}, step)
	})
	if err != nil && begun {
		c.endUnused(cmd, client)
	}
	return err
}

// count is a number of things, in words.
func count(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}

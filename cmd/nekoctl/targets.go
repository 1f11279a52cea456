package main

import (
	"context"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/nekoctl/neko/supervisor/control"
	"github.com/nekoctl/neko/supervisor/spec"
)

const stopHelp = `Stop apps. Their processes finish what they serve and end; the apps stay in the
list, and "nekoctl start NAME" or "nekoctl restart NAME" starts them again.

Usage:
    nekoctl stop NAME | ID | FILE | all ...

A FILE, a neko.yaml or PM2's ecosystem.config.js, stands for the apps that it
names.
"nekoctl help targets" has what else there is.

Examples:
    $ nekoctl stop web
    $ nekoctl stop all
`

const restartHelp = `Stop the processes of apps and start them again, with the settings that they
were started with. Apps that are stopped or errored are started. What is served
is finished, but nobody answers in between: see reload.

Usage:
    nekoctl restart NAME | ID | all ... [--parallel N]

Options:
    --parallel N  so many processes of an app at a time; all, if not given

Examples:
    $ nekoctl restart web
    $ nekoctl restart 3
`

const reloadHelp = `Replace the processes of apps one by one: a new one starts, and only when it is
ready does the old one finish what it serves and end. No request is lost. If a
new process does not become ready, the old ones stay, and reload fails. Programs
that bind a port themselves, which one process can, are restarted instead.

Usage:
    nekoctl reload [OPTIONS] NAME | ID | all ...
    nekoctl reload [OPTIONS] FILE

With a FILE, a neko.yaml or PM2's ecosystem.config.js, it is read anew: its apps
get the settings that it has now, and apps that did not run are started. Apps
that the file no longer has go on.

Options:
        --parallel N     once the first new process of an app has proved itself,
                         so many at a time; 1, or the app's parallel, if not
                         given
        --env NAME       with a file of PM2's: env_NAME is put over env
        --only NAMES     only these apps of the file: web,api

Also: gracefulReload

Examples:
    $ nekoctl reload all
    $ nekoctl reload neko.yaml
    $ nekoctl reload ecosystem.config.js --env production
`

const deleteHelp = `Stop apps and forget them. Their logs stay.

Usage:
    nekoctl delete NAME | ID | FILE | all ...

Also: del, rm

Examples:
    $ nekoctl delete web
`

const resetHelp = `Count the restarts of apps from 0 on. The processes go on as they are.

Usage:
    nekoctl reset NAME | ID | all ...

Examples:
    $ nekoctl reset all
`

func (c *cli) stopCommand() *cobra.Command {
	return c.targetCommand("stop", "stopped", stopHelp, false, nil)
}

func (c *cli) resetCommand() *cobra.Command {
	return c.targetCommand("reset", "reset", resetHelp, false, nil)
}

func (c *cli) restartCommand() *cobra.Command {
	cmd := c.targetCommand("restart", "restarted", restartHelp, false, func(cmd *cobra.Command, args []string) (bool, error) {
		for _, arg := range args {
			if isSpecFile(arg) {
				return false, &usageError{"restart takes names of apps, not " + quote(arg), "nekoctl reload " + arg + " reads the file anew"}
			}
		}
		return false, nil
	})
	cmd.Flags().Int(parallelFlag, 0, "")
	return cmd
}

func (c *cli) deleteCommand() *cobra.Command {
	return c.targetCommand("delete", "deleted", deleteHelp, true, nil, "del", "rm")
}

func (c *cli) reloadCommand() *cobra.Command {
	var f fileFlags
	cmd := c.targetCommand("reload", "reloaded", reloadHelp, false, func(cmd *cobra.Command, args []string) (bool, error) {
		for _, arg := range args {
			if !isSpecFile(arg) {
				continue
			}
			if len(args) > 1 {
				return false, misuse("reload", "reload takes one file, and nothing beside it")
			}
			apps, daemon, err := c.readSpec(cmd.Context(), arg, f, c.options())
			if err != nil {
				return false, err
			}
			parallel, err := parallelOf(cmd)
			if err != nil {
				return false, err
			}
			client, err := c.client()
			if err != nil {
				return false, err
			}
			_, err = c.carryOut("reloaded", func(step func(control.Progress)) (control.Done, error) {
				return client.Start(cmd.Context(), control.StartRequest{Apps: apps, Daemon: daemon, Reload: true, Parallel: parallel}, step)
			})
			return true, err
		}
		if f.env != "" || len(f.only) > 0 {
			return false, misuse("reload", "--env and --only go with a file")
		}
		return false, nil
	}, "gracefulReload")
	cmd.Flags().StringVar(&f.env, "env", "", "")
	cmd.Flags().StringSliceVar(&f.only, "only", nil, "")
	cmd.Flags().Int(parallelFlag, 0, "")
	return cmd
}

const parallelFlag = "parallel"

// parallelOf is how many processes of an app a command may replace at a time; 0: it does
// not say.
func parallelOf(cmd *cobra.Command) (int, error) {
	if flag := cmd.Flags().Lookup(parallelFlag); flag == nil || !flag.Changed {
		return 0, nil
	}
	n, err := cmd.Flags().GetInt(parallelFlag)
	if err == nil && (n < 1 || n > spec.MaxInstances) {
		err = misuse(path(cmd), "--parallel: expected a number from 1 to %d, not %d", spec.MaxInstances, n)
	}
	return n, err
}

// targetCommand is a command on apps that run. First may take it over.
func (c *cli) targetCommand(name, verb, help string, gone bool, first func(*cobra.Command, []string) (bool, error), aliases ...string) *cobra.Command {
	return &cobra.Command{
		Use:               name,
		Aliases:           aliases,
		Long:              help,
		ValidArgsFunction: c.completeNames,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return &usageError{name + " which app?", "name it, or nekoctl " + name + " all; nekoctl list shows them"}
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if first != nil {
				if ended, err := first(cmd, args); ended || err != nil {
					return err
				}
			}
			parallel, err := parallelOf(cmd)
			if err != nil {
				return err
			}
			client, err := c.client()
			if err != nil {
				return err
			}
			targets, err := c.targetsOf(cmd.Context(), client, args)
			if err != nil {
				return err
			}
			done, err := c.carryOut(verb, func(step func(control.Progress)) (control.Done, error) {
				return client.Command(cmd.Context(), name, control.TargetRequest{Targets: targets, Parallel: parallel}, step)
			})
			if err == nil && gone && len(done.Processes) == 0 {
				c.say("deleted %s", strings.Join(targets, ", "))
			}
			return err
		},
	}
}

// targetsOf is args with files replaced by the names of their apps, as far as
// these are there.
func (c *cli) targetsOf(ctx context.Context, client *control.Client, args []string) (targets []string, err error) {
	for _, arg := range args {
		if !isSpecFile(arg) {
			targets = append(targets, arg)
			continue
		}
		apps, _, err := c.readSpec(ctx, arg, fileFlags{}, spec.Options{NamesOnly: true})
		if err != nil {
			return nil, err
		}
		list, err := client.Processes(ctx)
		if err != nil {
			return nil, err
		}
		before := len(targets)
		for _, a := range apps {
			if slices.ContainsFunc(list, func(p control.Process) bool { return p.Name == a.Name }) {
				targets = append(targets, a.Name)
			}
		}
		if len(targets) == before {
			return nil, failed("nekoctl list shows what there is", "none of the apps of %s is there", arg)
		}
	}
	return targets, nil
}

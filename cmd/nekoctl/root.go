package main

import (
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/nekoctl/neko/supervisor"
	"github.com/nekoctl/neko/supervisor/control"
	"github.com/nekoctl/neko/supervisor/home"
	"github.com/nekoctl/neko/supervisor/spec"
)

// cli is one run of nekoctl.
type cli struct {
	out, err terminal
	quiet    bool
	home     home.Dir
	machine  machine   // on which startup installs units
	live     *progress // of the command that is under way
}

const rootHelp = `nekoctl runs servers: one worker per CPU core, restarted when they crash,
replaced without losing a request.

Usage:
    nekoctl start [FILE.yaml | COMMAND] [-- ARGUMENTS]
    nekoctl reload | restart | stop | delete APP...
    nekoctl list

Commands:
    start       start apps and, if none runs yet, the daemon
    reload      replace the processes of apps one by one, losing no request
    restart     stop the processes of apps and start them again
    stop        stop apps, and remember them
    delete      stop apps, and forget them
    reset       count the restarts of apps from 0 on
    scale       change the number of processes of an app
    list        show all processes
    describe    show all about one app
    monit       watch apps: figures, logs, and keys to act on them
    logs        show what apps print, as they print it
    events      show what happens to apps, as it happens
    send        send a line or a message to a process
    sendSignal  send a signal to processes
    attach      type to a process, and see what it prints
    trigger     run an action of a Node program
    flush       empty the logs
    reloadLogs  open the logs anew, after others have renamed them
    save        save the list of apps
    resurrect   start what was saved
    convert     write a neko.yaml of a process file of PM2's
    startup     have systemd start what was saved, at each boot
    unstartup   undo startup
    metrics     show what apps and the daemon count, as Prometheus reads it
    ping        say who runs
    upgrade     replace the daemon by another nekoctl; apps serve on
    kill        stop every app and the daemon
    version     print the version
    jlist       list all processes as JSON, in PM2's shape
    prettylist  the same for people
    pid         print the pids of an app
    id          print the ids of an app
    env         print the environment of a process
    report      print what a bug report needs
    completion  print a completion script for a shell
    man         write the manual pages
    help        show help on a command, or on targets, exit-codes, environment

Options:
    -q, --quiet  print nothing but errors, and what list and the like are for
    -h, --help   show help; "nekoctl COMMAND --help" on a command
    --version    print the version

Examples:
    $ nekoctl start                            # ./neko.yaml, or else the API
    $ nekoctl start ./server -i max --listen :8080
    $ nekoctl reload all
    $ nekoctl monit
    $ nekoctl logs server
`

const exitCodesHelp = `Exit codes:
    0  what was asked for is done
    1  it failed: "error:" on standard error says why, "hint:" what to do
    2  the command line makes no sense

With --json, too, an error is text on standard error, and standard output is
empty.

"nekoctl ping" fails when no daemon runs; "nekoctl list" shows an empty table.
"nekoctl start --no-daemon" exits with 0 when it was told to stop, with --exit-with
APP with the code of that app, and with the code of its only app if that has
failed for good.
`

const targetsHelp = `What commands are about:
    NAME       all processes of the app
    ID         one process; nekoctl list shows the ids
    NAMESPACE  all apps of that namespace, if no app is called so
    /REGEXP/   all apps whose names match: nekoctl reload '/^api-/'
    all        all apps
`

const environmentHelp = `Environment:
    NEKO_HOME  the folder of the daemon: its socket, its state, the logs of apps;
               ~/.neko if it is not set, or where nothing can be made there
               /dev/shm/neko-UID; one daemon per folder
    NEKO_LOG_FORMAT
               json: a daemon that is started with it writes neko.log as JSON,
               an object a line, with the app, the slot, the pid and the trace
    TRACEPARENT
               the trace that a command belongs to, in W3C's form: lines of such
               a neko.log that come of the command have its id
    NO_COLOR   if set, no colors

"nekoctl start" without a file and a command starts neko-api and reads:
    NEKO_API_LISTEN  its address, in the forms of --listen
    PORT             its port on 127.0.0.1
`

// run is nekoctl with these arguments; it returns the exit code.
func run(args []string, stdout, stderr io.Writer) int {
	c := &cli{out: newTerminal(stdout), err: newTerminal(stderr), machine: thisMachine()}
	root := c.command()
	root.SetArgs(args)
	err := root.Execute()
	if out := c.out.Writer.(*checked); err == nil {
		err = out.err
	}
	if err != nil {
		return c.report(err)
	}
	return exitOK
}

func (c *cli) command() *cobra.Command {
	root := &cobra.Command{
		Use:           "nekoctl",
		Long:          rootHelp,
		SilenceErrors: true,
		SilenceUsage:  true,
		Version:       version(),
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return nil
			}
			hint := "nekoctl help lists the commands"
			if near := spec.Nearest(args[0], names(cmd)); near != "" {
				hint = "did you mean nekoctl " + near + "?"
			}
			return &usageError{"unknown command " + quote(args[0]), hint}
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			return &usageError{"there is no command", "nekoctl help lists them; nekoctl start begins"}
		},
	}
	root.SetOut(c.out)
	root.SetErr(c.err)
	root.SetVersionTemplate("nekoctl {{.Version}}\n")
	root.SetHelpFunc(func(cmd *cobra.Command, _ []string) { io.WriteString(c.out, cmd.Long) })
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return misuse(path(cmd), "%s", strings.ReplaceAll(err.Error(), "\n", " "))
	})
	root.PersistentFlags().BoolVarP(&c.quiet, "quiet", "q", false, "")
	root.PersistentFlags().BoolP("help", "h", false, "")
	root.CompletionOptions.DisableDefaultCmd = true
	root.AddCommand(
		c.startCommand(), c.stopCommand(), c.restartCommand(), c.reloadCommand(), c.deleteCommand(), c.resetCommand(), c.scaleCommand(),
		c.sendCommand(), c.sendSignalCommand(), c.attachCommand(), c.triggerCommand(),
		c.listCommand(), c.describeCommand(), c.monitCommand(), c.logsCommand(), c.eventsCommand(), c.flushCommand(), c.reloadLogsCommand(),
		c.saveCommand(), c.resurrectCommand(), c.convertCommand(), c.startupCommand(), c.unstartupCommand(), c.pingCommand(), c.metricsCommand(), c.upgradeCommand(), c.killCommand(), c.versionCommand(),
		completionCommand(), c.manCommand(),
	)
	root.AddCommand(c.pm2Words()...)
	root.SetHelpCommand(helpCommand())
	return root
}

func helpCommand() *cobra.Command {
	return &cobra.Command{
		Use:  "help",
		Long: rootHelp,
		ValidArgsFunction: func(cmd *cobra.Command, args []string, _ string) (words []string, _ cobra.ShellCompDirective) {
			if len(args) > 0 {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			for _, sub := range cmd.Root().Commands() {
				if !sub.Hidden {
					words = append(words, sub.Name())
				}
			}
			return append(words, "targets", "exit-codes", "environment"), cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			text := ""
			switch strings.Join(args, " ") {
			case "exit-codes":
				text = exitCodesHelp
			case "environment":
				text = environmentHelp
			case "targets":
				text = targetsHelp
			default:
				about, rest, err := cmd.Root().Find(args)
				if err != nil || len(rest) > 0 {
					return &usageError{"there is no help on " + quote(strings.Join(args, " ")), "nekoctl help lists what there is"}
				}
				return about.Help()
			}
			_, err := io.WriteString(cmd.OutOrStdout(), text)
			return err
		},
	}
}

// names are the commands of cmd, as people write them.
func names(cmd *cobra.Command) (list []string) {
	for _, sub := range cmd.Commands() {
		list = append(append(list, sub.Name()), sub.Aliases...)
	}
	return list
}

// path is cmd without the "nekoctl".
func path(cmd *cobra.Command) string {
	_, p, _ := strings.Cut(cmd.CommandPath(), " ")
	return p
}

// client is the way to the daemon of the home, after the home is checked.
func (c *cli) client() (*control.Client, error) {
	if err := c.findHome(); err != nil {
		return nil, err
	}
	client := control.NewClient(c.home.Control())
	client.Revive = c.takeOver
	return client, nil
}

// takeOver starts a daemon for what an earlier one has left, whose keeper and
// master were both killed. It is false if there is nothing.
func (c *cli) takeOver(ctx context.Context) (bool, error) {
	n := supervisor.Orphans(c.home)
	if n == 0 {
		return false, nil
	}
	c.note("the daemon was killed, and %d of its processes live on: starting one that takes them over", n)
	_, err := c.spawn(ctx)
	return err == nil, err
}

func (c *cli) findHome() (err error) {
	if c.home != "" {
		return nil
	}
	h, err := home.Find()
	if err == nil {
		err = h.Check()
	}
	if err != nil {
		return badHome(err)
	}
	c.home = h
	return nil
}

func badHome(err error) error {
	return failed("set NEKO_HOME to a folder of your own", "cannot use the home: %v", err)
}

// completionPatience is how long a shell is kept waiting.
const completionPatience = 300 * time.Millisecond

// completeNames offers what runs, to the shell.
func (c *cli) completeNames(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	client, err := c.client()
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	ctx, cancel := context.WithTimeout(cmd.Context(), completionPatience)
	defer cancel()
	list, _ := client.Processes(ctx)
	offered := []string{"all"}
	for _, p := range list {
		if name := p.ShownName(); !slices.Contains(offered, name) {
			offered = append(offered, name)
		}
	}
	return offered, cobra.ShellCompDirectiveNoFileComp
}

func noArgs(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return misuse(path(cmd), "%s takes no arguments, and here is %s", path(cmd), quote(args[0]))
	}
	return nil
}

// runs tells whether a daemon does; any other error of asking is an error.
func runs(err error) (bool, error) {
	if errors.Is(err, control.ErrNoDaemon) {
		return false, nil
	}
	return err == nil, err
}

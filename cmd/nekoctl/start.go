package main

import (
	"context"
	"errors"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/nekoctl/neko/supervisor"
	"github.com/nekoctl/neko/supervisor/control"
	"github.com/nekoctl/neko/supervisor/spec"
)

const startHelp = `Start apps, and the daemon if none runs yet; return when the apps are ready.

Usage:
    nekoctl start [FILE] [--only NAMES] [--env NAME]
    nekoctl start [OPTIONS] COMMAND [-- ARGUMENTS]
    nekoctl start NAME | ID

A FILE is a neko.yaml, or a process file of PM2's: ecosystem.config.js and its
like, in JavaScript, JSON, YAML or TOML. Without a file and a command:
./neko.yaml, or ./ecosystem.config.js and the like, or else the API: the program
neko-api beside nekoctl or on PATH, one process per CPU, on 127.0.0.1:4000.

An app that runs already stays as it is; one whose settings have changed is
reloaded into the new ones; one that was stopped is started.

Options with a file:
        --only NAMES       only these of its apps: web,api
        --env NAME         with one of PM2's: env_NAME is put over env

Options with a command:
    -i, --instances N      number of processes; max: one for each CPU; -1:
                           one fewer; makes a program of Node's a cluster
        --name NAME        name of the app; that of the program or script if
                           not given
        --namespace NAME   a name for several apps together, which commands take
                           in the place of theirs
        --listen ADDRESS   a socket to listen on, which the processes inherit:
                           4000 (this machine only), :4000 (all addresses),
                           10.0.0.7:4000, unix:/run/app.sock; can be repeated
        --cwd FOLDER       where the processes start; here if not given
        --env KEY=VALUE    a variable of the processes; can be repeated
        --env-file FILE    a file of KEY=VALUE lines; can be repeated
        --uid USER         whom the processes run as, a name or a number; for a
                           daemon that runs as root
        --gid GROUP        their group; the user's if not given
        --no-daemon        stay in the foreground, for systemd and containers;
                           what the processes print is shown
        --exit-with NAME   with --no-daemon: end when a process of this app has
                           ended, with its exit code; it is not restarted

What runs the program:
        --interpreter PROGRAM   what runs its file, if not what that asks for:
                                python3.12, node@20; none: nothing does
        --interpreter-args ARGS
                                what goes between the two; also: --node-args
        --exec-mode MODE        cluster: the daemon has the sockets of a program
                                of Node's; fork: it listens by itself
    -x, --execute-command       the same as --exec-mode fork

Starting and stopping:
        --wait-ready            ready is only what says READY=1 (sd_notify)
        --listen-timeout TIME   how long a process may take to become ready
        --shutdown-delay TIME   how long it serves on before it is told to stop
        --kill-timeout TIME     how long it may be late before it is killed
        --parallel N            how many processes a reload replaces at a time
        --shutdown-with-message
                                the message 'shutdown', and no signal, tells a
                                program of Node's to finish

When a process ends:
        --no-autorestart        it is not started again
        --stop-exit-codes LIST  not after these exit codes: 0,78
        --restart-delay TIME    the least time from an end to the next start
        --exp-backoff-restart-delay TIME
                                the first of the waits, which double as long as
                                processes are unstable
        --min-uptime TIME       what ends sooner is unstable
        --max-restarts N        more of such ends within a minute, and it is
                                given up

Restarts of another kind:
        --cron-restart CRON     when to reload: "0 3 * * *"; also: --cron
        --max-memory-restart SIZE
                                a process with more is replaced: 300M, 1.5G
        --watch[=PATH]          reload when files in PATH, or where the
                                processes start, have changed; can be repeated
        --ignore-watch GLOB     but not for these; can be repeated
        --watch-delay TIME      for how long nothing must have changed

A TIME is 500ms, 1.5s, 2m or a number of milliseconds. docs/configuration.md
has the defaults, and what only a neko.yaml can say.

COMMAND is a program on PATH, a file, or a quoted command line; what only a
shell understands is run by one. The processes get the environment of this
shell, over it --env-file, over it --env.

Examples:
    $ nekoctl start                              # what is in ./neko.yaml
    $ nekoctl start ./server -i max --listen 8080
    $ nekoctl start python3 --name hello -- -m http.server 8000
    $ nekoctl start server.js -i max --env NODE_ENV=production
    $ nekoctl start app.py --interpreter python3.12 -- --port 8000
    $ nekoctl start "npm run serve" -i 4 --name web
    $ nekoctl start "cc hello.c; ./a.out"
    $ nekoctl start ecosystem.config.js --env production --only web,api
    $ nekoctl start --no-daemon neko.yaml
`

// startFlags are what `nekoctl start` was told beside what to start.
type startFlags struct {
	instances, name, cwd     string
	exitWith                 string
	listen, env, envFile     []string
	waitReady, noDaemon, any bool
	executeCommand           bool
	noAutorestart            bool
	keys                     keyValues
	file                     fileFlags
}

func (c *cli) startCommand() *cobra.Command {
	var f startFlags
	cmd := &cobra.Command{
		Use:  "start",
		Long: startHelp,
		Args: func(cmd *cobra.Command, args []string) error {
			if dash := cmd.ArgsLenAtDash(); dash > 1 || dash < 0 && len(args) > 1 {
				return &usageError{"start takes one file or command, and here is also " + quote(args[1]),
					"the arguments of a command go after --: nekoctl start " + args[0] + " -- " + strings.Join(args[1:], " ")}
			} else if dash == 0 && len(args) > 0 {
				return misuse("start", "the command goes before the --")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			for _, name := range []string{"instances", "name", "listen", "cwd", "env", "env-file", "only", "wait-ready", "no-autorestart", "execute-command"} {
				flag := cmd.Flags().Lookup(name)
				f.any = f.any || flag.Changed && name != "env" && name != "only"
				if flag.Changed && flag.Value.String() == "" { // an unset variable of a script
					return misuse("start", "--%s: there is no value", name)
				}
			}
			if cmd.Flags().Changed("exit-with") && !f.noDaemon {
				return misuse("start", "--exit-with goes with --no-daemon")
			}
			f.any = f.any || f.keys.any()
			if err := f.environmentOfFile(args); err != nil {
				return err
			}
			return c.start(cmd, f, args)
		},
	}
	flags := cmd.Flags()
	flags.StringVarP(&f.instances, "instances", "i", "", "")
	flags.StringVar(&f.name, "name", "", "")
	flags.StringArrayVar(&f.listen, "listen", nil, "")
	flags.StringVar(&f.cwd, "cwd", "", "")
	flags.StringArrayVar(&f.env, "env", nil, "")
	flags.StringArrayVar(&f.envFile, "env-file", nil, "")
	flags.StringSliceVar(&f.file.only, "only", nil, "")
	flags.BoolVar(&f.waitReady, "wait-ready", false, "")
	flags.BoolVar(&f.noAutorestart, "no-autorestart", false, "")
	flags.BoolVarP(&f.executeCommand, "execute-command", "x", false, "")
	flags.BoolVar(&f.noDaemon, "no-daemon", false, "")
	flags.StringVar(&f.exitWith, "exit-with", "", "")
	f.keys = addKeyFlags(flags)
	return cmd
}

// environmentOfFile takes the --env of a file from those of a command.
func (f *startFlags) environmentOfFile(args []string) error {
	ofFile := len(args) > 0 && isSpecFile(args[0]) || len(args) == 0 && !f.any && fileHere() != ""
	switch {
	case !ofFile && len(f.file.only) > 0:
		return misuse("start", "--only goes with a file")
	case ofFile && len(f.env) == 1 && !strings.Contains(f.env[0], "="):
		f.file.env, f.env = f.env[0], nil
	}
	f.any = f.any || len(f.env) > 0
	return nil
}

func (c *cli) start(cmd *cobra.Command, f startFlags, args []string) error {
	// All that can be wrong is found before anything is started.
	if err := c.findHome(); err != nil {
		return err
	}
	client := control.NewClient(c.home.Control())
	ping, err := client.Ping(cmd.Context())
	up, err := runs(err)
	if err != nil {
		return err
	}
	if up && f.noDaemon {
		return c.runsAlready("start", ping)
	}
	if up && len(args) == 1 && !f.any && cmd.ArgsLenAtDash() < 0 {
		if known, err := c.startKnown(cmd, client, args[0]); known || err != nil {
			return err
		}
	}
	apps, daemon, err := c.whatToStart(cmd.Context(), f, args)
	if err != nil {
		return err
	}
	if err := f.checkExitWith(apps); err != nil {
		return err
	}
	if err := c.home.Create(); err != nil {
		return badHome(err)
	}
	if f.noDaemon {
		return exitCode(supervisor.Foreground(c.home, version(), apps, daemon, f.exitWith))
	}
	if !up {
		begun, err := c.spawnShown(cmd.Context())
		if err != nil {
			return err
		}
		if up = !begun; begun {
			c.noteBegun()
		}
	}
	done, err := c.carryOut("started", func(step func(control.Progress)) (control.Done, error) {
		return client.Start(cmd.Context(), control.StartRequest{Apps: apps, Daemon: daemon}, step)
	})
	if err != nil {
		if !up {
			c.endUnused(cmd, client)
		}
		return err
	}
	for _, app := range apps {
		if app.URLPath != "" {
			if detail, err := client.App(cmd.Context(), app.Name); err == nil && detail.URL != "" {
				c.say("%s", detail.URL)
			}
		}
	}
	if len(done.Processes) > 0 {
		c.note("look with: nekoctl list, nekoctl logs %s", done.Processes[0].Name)
	}
	return nil
}

// checkExitWith makes the app that the daemon is to end with one without restarts.
func (f startFlags) checkExitWith(apps []spec.App) error {
	var names []string
	for i := range apps {
		if names = append(names, apps[i].Name); apps[i].Name == f.exitWith {
			apps[i].Autorestart = false
			return nil
		}
	}
	if f.exitWith == "" {
		return nil
	}
	e := misuse("start", "--exit-with: there is no app %s", quote(f.exitWith))
	e.hint = "there is " + strings.Join(names, ", ")
	return e
}

// endUnused ends a daemon that was begun for apps of which none could be
// started: nothing stays half done.
func (c *cli) endUnused(cmd *cobra.Command, client *control.Client) {
	list, err := client.Processes(cmd.Context())
	if err != nil || len(list) > 0 {
		return
	}
	if ping, err := client.Ping(cmd.Context()); err == nil && c.killDaemon(cmd.Context(), client, ping.Keeper, nil) == nil {
		c.note("ended the daemon again")
	}
}

// startKnown starts an app that the daemon knows, as PM2 does: by whatever
// [control.Choose] finds it. It says whether the daemon knows it.
func (c *cli) startKnown(cmd *cobra.Command, client *control.Client, name string) (bool, error) {
	list, err := client.Processes(cmd.Context())
	if err != nil {
		return false, err
	}
	list, _, err = control.Choose(list, name)
	if err != nil || len(list) == 0 { // what is no expression may be a folder
		return false, nil
	}
	var down []string // ids: the answer is about those, all of them
	for _, p := range list {
		if p.State == control.Stopped || p.State == control.Errored {
			down = append(down, strconv.Itoa(p.ID))
		}
	}
	if len(down) == 0 {
		c.outcome("running", control.Done{Processes: list})
		return true, nil
	}
	_, err = c.carryOut("started", func(step func(control.Progress)) (control.Done, error) {
		return client.Start(cmd.Context(), control.StartRequest{Targets: down}, step)
	})
	return true, err
}

// whatToStart are the apps that a command line means, complete and checked, and what it
// sets of the daemon.
func (c *cli) whatToStart(ctx context.Context, f startFlags, args []string) (apps []spec.App, daemon spec.Daemon, err error) {
	if len(args) > 0 && isSpecFile(args[0]) || len(args) == 0 && !f.any && fileHere() != "" {
		file := fileHere()
		if len(args) > 0 {
			file = args[0]
		}
		if f.any {
			return nil, daemon, misuse("start", "these options go with a command; an app in %s has its settings there", file)
		}
		if len(args) > 1 {
			return nil, daemon, misuse("start", "arguments go with a command, not with %s", file)
		}
		return c.readSpec(ctx, file, f.file, c.options())
	}
	app, run := spec.Defaults(), spec.Run{}
	if len(args) > 0 {
		if strings.TrimSpace(args[0]) == "" {
			return nil, daemon, misuse("start", "the command is empty")
		}
		if run.Args = args[1:]; exists(args[0]) || exists(filepath.Join(f.cwd, args[0])) {
			run.Words = args[:1]
		} else {
			run.Line = args[0]
		}
	} else if err := api(&app, f); err != nil {
		return nil, daemon, err
	}
	if err := f.apply(&app, run, c.options()); err != nil {
		return nil, daemon, err
	}
	err = app.Check()
	if list, ok := errors.AsType[spec.Errors](err); ok && f.keys.flagOf(list[0].Key) != "" {
		return nil, daemon, misusedFlag("--"+f.keys.flagOf(list[0].Key), list[0])
	}
	return []spec.App{app}, daemon, err
}

// apply completes app with the flags, and with what run makes of it if it has no
// command.
func (f startFlags) apply(app *spec.App, run spec.Run, opts spec.Options) error {
	here, err := os.Getwd()
	if err != nil {
		return err
	}
	if f.instances != "" {
		if app.Instances, err = spec.ParseInstances(f.instances); err != nil {
			return misusedFlag("--instances", err)
		}
		run.Counted = true
	}
	if f.name != "" {
		app.Name = f.name
	}
	if app.Cwd = f.cwd; !filepath.IsAbs(app.Cwd) {
		app.Cwd = filepath.Join(here, app.Cwd)
	}
	app.WaitReady = app.WaitReady || f.waitReady
	app.Autorestart = app.Autorestart && !f.noAutorestart
	if err := f.keys.apply(app, &run); err != nil {
		return err
	}
	if f.executeCommand {
		if run.ExecMode == string(spec.NodeCluster) {
			return misuse("start", "-x is --exec-mode fork, and here is --exec-mode cluster")
		}
		run.ExecMode = string(spec.NodeFork)
	}
	if len(f.listen) > 0 {
		app.Listen = nil
	}
	for _, address := range f.listen {
		l, err := spec.ParseListen(address, here)
		if err != nil {
			return misusedFlag("--listen", err)
		}
		app.Listen = append(app.Listen, l)
	}
	app.Env = spec.Inherit(os.Environ())
	if len(*f.keys["uid"]) > 0 {
		spec.ForgetUser(app.Env)
	}
	for _, file := range f.envFile {
		if file == "" {
			return misuse("start", "--env-file: there is no value")
		}
		values, err := spec.ReadEnv(file)
		if err != nil {
			return err
		}
		maps.Copy(app.Env, values)
	}
	for _, setting := range f.env {
		key, value, err := spec.ParseSetting(setting)
		if err != nil {
			return misusedFlag("--env", err)
		}
		app.Env[key] = value
	}
	if app.Command == nil {
		err := app.Resolve(run, opts)
		if e, ok := errors.AsType[*spec.Error](err); ok && f.keys.flagOf(e.Key) != "" {
			return misusedFlag("--"+f.keys.flagOf(e.Key), e)
		} else if ok {
			return spec.Errors{e}
		}
	}
	app.Complete(here)
	return nil
}

const apiName = "neko-api"

// api makes app the Neko Defense API.
func api(app *spec.App, f startFlags) error {
	program := ""
	if self, err := os.Executable(); err == nil {
		if beside := filepath.Join(filepath.Dir(self), apiName); exists(beside) {
			program = beside
		}
	}
	if program == "" {
		found, err := exec.LookPath(apiName)
		if err != nil {
			return failed("nekoctl start ./server starts a program; nekoctl start --help says more",
				"nothing to start: here is no neko.yaml, and no program %s beside nekoctl or on PATH", apiName)
		}
		if program, err = filepath.Abs(found); err != nil {
			return err
		}
	}
	address, from := "4000", ""
	if port := os.Getenv("PORT"); port != "" {
		address, from = port, "PORT"
	}
	if listen := os.Getenv("NEKO_API_LISTEN"); listen != "" {
		address, from = listen, "NEKO_API_LISTEN"
	}
	l, err := spec.ParseListen(address, "/")
	if err != nil && len(f.listen) == 0 {
		return failed(hintOf(err), "%s: %v", from, err)
	}
	app.Name, app.Command = apiName, []string{program}
	app.Instances, app.Listen = spec.Max, []spec.Listener{l}
	app.WaitReady, app.ListenPID, app.URLPath = true, false, "/graphql"
	return nil
}

// misusedFlag blames a flag for an error of its value.
func misusedFlag(flag string, err error) error {
	e := misuse("start", "%s: %v", flag, err)
	if hint := hintOf(err); hint != "" {
		e.hint = hint
	}
	return e
}

func hintOf(err error) string {
	if e, ok := err.(*spec.Error); ok {
		return e.Hint
	}
	return ""
}

func exists(file string) bool {
	_, err := os.Stat(file)
	return err == nil
}

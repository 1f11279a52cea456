package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/nekoctl/neko/pm2/show"
	"github.com/nekoctl/neko/supervisor/control"
	"github.com/nekoctl/neko/supervisor/home"
)

// Called as pm2, nekoctl is a drop-in for PM2: its commands, options, words, files
// and exit codes, as far as they are of use here. docs/migrating-from-pm2.md lists
// what is different. What it does, it does by the same requests as any other
// command.

// pm2Version is the version of the PM2 that is spoken here; scripts ask for it.
const pm2Version = "7.0.4"

// pm2Names are the names by which the binary is called for this.
var pm2Names = map[string]func(args []string, stdout, stderr io.Writer) int{
	"pm2":         runPM2,
	"pm2-runtime": runPM2Runtime,
	"pm2-docker":  runPM2Runtime,
}

// calledAs is the command line that a name of the binary means, nil for its own.
func calledAs(name string) func(args []string, stdout, stderr io.Writer) int {
	return pm2Names[filepath.Base(name)]
}

// face is one run of PM2's command line.
type face struct {
	*cli
	line   pm2Line
	place  pm2Places
	silent bool
	client *control.Client
	began  show.Sample // how the machine was when the command began
	node   func(program string) (version string)
}

// pm2Command is one of PM2's commands.
type pm2Command struct {
	name    string
	aliases []string
	args    string // as the help shows them; <x> must be there
	about   string
	options []pm2Option
	// apart says that the command needs no daemon: nothing is begun for it.
	apart bool
	// bare says that a program reads what the command prints, and nothing is to be
	// printed beside it.
	bare bool
	// alone says that it takes no arguments, and fails with some.
	alone bool
	run   func(f *face, ctx context.Context) error
}

func (c pm2Command) is(name string) bool { return c.name == name || slices.Contains(c.aliases, name) }

func pm2CommandOf(name string) (pm2Command, bool) {
	i := slices.IndexFunc(pm2Commands(), func(c pm2Command) bool { return c.is(name) })
	if i < 0 {
		return pm2Command{}, false
	}
	return pm2Commands()[i], true
}

// pm2Exit is the end of a command that has said all there is to say.
type pm2Exit = exitCode

func newFace(args []string, stdout, stderr io.Writer) (*face, error) {
	f := &face{cli: &cli{out: newTerminal(stdout), err: newTerminal(stderr), machine: thisMachine()}}
	line, err := parseLine(args, pm2Options, func(name string) ([]pm2Option, bool) {
		c, known := pm2CommandOf(name)
		return c.options, known
	})
	f.line = line
	f.silent = line.given.is("silent") || os.Getenv("PM2_SILENT") != ""
	f.quiet = f.silent
	if line.given.last("color") == "false" {
		f.out.color, f.err.color = false, false
	}
	return f, err
}

// runPM2 is PM2's command line; it returns the exit code.
func runPM2(args []string, stdout, stderr io.Writer) int {
	if len(args) > 0 && strings.HasPrefix(args[0], "__complete") {
		f := &face{cli: &cli{out: newTerminal(stdout), err: newTerminal(stderr)}}
		return f.end(f.complete(args))
	}
	f, err := newFace(args, stdout, stderr)
	if err == nil {
		err = f.run()
	}
	if out := f.out.Writer.(*checked); err == nil {
		err = out.err
	}
	return f.end(err)
}

func (f *face) run() error {
	line := f.line
	command, known := pm2CommandOf(line.command)
	switch {
	case line.given.has("version"):
		fmt.Fprintln(f.out, pm2Version)
		return nil
	case line.given.has("help") && known:
		fmt.Fprint(f.out, pm2CommandHelp(command))
		return nil
	case line.given.has("help") && line.command == "":
		fmt.Fprint(f.out, pm2Help())
		return nil
	case line.command == "":
		fmt.Fprint(f.out, pm2Usage)
		return pm2Exit(1)
	case !known:
		f.tell(f.out, red, "[PM2][ERROR] ", "Command not found\n")
		fmt.Fprint(f.out, pm2Usage)
		if near := nearPM2Command(line.command); near != "" {
			f.hint("did you mean pm2 %s?", near)
		}
		return pm2Exit(1)
	}
	if command.alone && len(line.words) > 0 {
		f.ok("\nUnknown command argument: %s", printable(line.words[0]))
		fmt.Fprint(f.out, pm2Help())
		return pm2Exit(1)
	}
	required := strings.Count(command.args, "<")
	if len(line.words) < required && !(command.name == "start" && line.dashes) {
		names := strings.FieldsFunc(command.args, func(r rune) bool { return strings.ContainsRune("<>[]", r) })
		names = slices.DeleteFunc(names, func(s string) bool { return strings.TrimSpace(s) == "" })
		return usageText("missing required argument `" + strings.TrimSuffix(names[len(line.words)], "...") + "'")
	}
	f.began = show.ReadSample()
	if err := f.settle(); err != nil {
		return err
	}
	ctx := context.Background()
	if !command.apart {
		if err := f.besidePM2(ctx); err != nil {
			return err
		}
	}
	begins := line.given.last("daemon") == "false" && (command.name == "start" || command.name == "resurrect")
	if !command.apart && !begins {
		if err := f.connect(ctx, command.bare); err != nil {
			return err
		}
	}
	return command.run(f, ctx)
}

// settle finds the home, and makes what PM2 has there.
func (f *face) settle() error {
	var err error
	if f.place, err = pm2PlacesOf(os.Getenv); err != nil {
		return failed("set PM2_HOME to a folder of your own", "cannot use the home: %v", err)
	}
	f.home = home.Dir(f.place.Home)
	if f.place.runningPM2() == 0 { // else nothing is touched
		if err := f.place.make(); err != nil {
			return failed(fmt.Sprintf("chmod go-w %s, if nobody else has put anything there; or set PM2_HOME to a folder of your own", f.home), "cannot use the home: %v", err)
		}
	}
	f.client = control.NewClient(f.home.Control())
	f.client.Revive = f.takeOver
	return nil
}

// besidePM2 is the error that PM2's own daemon has the home, nil if it has not, or if
// ours had it first.
func (f *face) besidePM2(ctx context.Context) error {
	pid := f.place.runningPM2()
	if pid == 0 {
		return nil
	}
	if up, err := f.up(ctx); err != nil || !up {
		return failed("let it save what runs and end: npx pm2 save && npx pm2 kill; then pm2 resurrect",
			"PM2 itself runs on %s (pid %d)", f.home, pid)
	}
	return nil
}

// connect begins a daemon if none runs, as every command of PM2's does.
func (f *face) connect(ctx context.Context, bare bool) error {
	up, err := f.up(ctx)
	if err != nil || up {
		return err
	}
	if !bare {
		f.ok("Spawning PM2 daemon with pm2_home=%s", f.home)
	}
	if err := f.place.link(true); err != nil {
		return err
	}
	begun, err := f.spawn(ctx)
	if err != nil {
		return err
	}
	if begun && !bare {
		f.ok("PM2 Successfully daemonized")
	}
	return nil
}

func (f *face) up(ctx context.Context) (bool, error) {
	_, err := f.client.Ping(ctx)
	return runs(err)
}

// end tells what went wrong, and is the exit code.
func (f *face) end(err error) int {
	if err == nil {
		return exitOK
	}
	if text, ok := errors.AsType[usageText](err); ok {
		if !f.silent {
			fmt.Fprintf(f.err, "\n  error: %s\n\n", text)
		}
		return 1
	}
	if code, ok := errors.AsType[pm2Exit](err); ok {
		return int(code)
	}
	if !f.silent {
		f.report(err)
	}
	return 1
}

// PM2's messages. They go to standard output, but for errors and a few warnings,
// which go where PM2 prints them.

func (f *face) ok(format string, args ...any) { f.tell(f.out, green, "[PM2] ", format, args...) }

func (f *face) info(format string, args ...any) { f.tell(f.out, cyan, "[PM2][INFO] ", format, args...) }

func (f *face) caution(format string, args ...any) {
	f.tell(f.out, yellow, "[PM2][WARN] ", format, args...)
}

func (f *face) alarm(format string, args ...any) {
	f.tell(f.err, yellow, "[PM2][WARN] ", format, args...)
}

func (f *face) fail(format string, args ...any) {
	f.tell(f.err, red, "[PM2][ERROR] ", format, args...)
}

// complain is an error that PM2 prints without a prefix.
func (f *face) complain(format string, args ...any) error {
	if !f.silent {
		fmt.Fprintf(f.err, format+"\n", args...)
	}
	return pm2Exit(1)
}

func (f *face) tell(to terminal, c color, prefix, format string, args ...any) {
	if !f.silent {
		fmt.Fprintf(to, to.paint(c, prefix)+format+"\n", args...)
	}
}

// print is a line without a prefix.
func (f *face) print(format string, args ...any) {
	if !f.silent {
		fmt.Fprintf(f.out, format+"\n", args...)
	}
}

// Command neko-api is the Neko Defense API: threat intelligence over GraphQL,
// one worker of it. nekoctl starts one for each CPU; alone it is a server too.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"github.com/nekoctl/neko/worker/settings"
)

// Version is set by the linker.
var Version = ""

func main() {
	os.Exit(run(os.Args[1:], streams{os.Stdin, os.Stdout, os.Stderr}))
}

// streams are what a command reads and writes.
type streams struct {
	in       io.Reader
	out, err io.Writer
}

// run is main with its surroundings, and returns the exit code: 0, 1 for what
// went wrong, 2 for a command line that makes no sense.
func run(args []string, s streams) int {
	o := newOptions()
	words, err := o.Load(args)
	if errors.Is(err, settings.ErrHelp) {
		return help(s, o, args)
	}
	if err == nil {
		err = dispatch(o, words, s)
	}
	switch {
	case err == nil:
		return 0
	case isUsage(err):
		return fail(s.err, err, 2)
	}
	return fail(s.err, err, 1)
}

// untilSignal is the context of a command that a signal ends.
func untilSignal() (context.Context, context.CancelFunc) {
	return signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
}

// fail prints what happened and what to do about it.
func fail(w io.Writer, err error, code int) int {
	fmt.Fprintln(w, "error:", err)
	var advice interface{ Hint() string }
	if errors.As(err, &advice) && advice.Hint() != "" {
		fmt.Fprintln(w, "hint:", advice.Hint())
	}
	return code
}

// hinted is an error with what to do about it.
type hinted struct{ message, hint string }

func (e hinted) Error() string { return e.message }
func (e hinted) Hint() string  { return e.hint }

// usageError is a command line that makes no sense.
type usageError struct{ message, hint string }

func (e usageError) Error() string { return e.message }
func (e usageError) Hint() string  { return e.hint }

func isUsage(err error) bool {
	var own usageError
	var setting *settings.Error
	return errors.As(err, &own) || errors.As(err, &setting)
}

// programVersion is that of the linker, else that of the module.
func programVersion() string {
	if Version != "" {
		return Version
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "devel"
}

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
	"runtime"
	"runtime/debug"
	"syscall"

	"github.com/nekoctl/neko/api/stix"
	"github.com/nekoctl/neko/api/store"
	"github.com/nekoctl/neko/worker/settings"
)

const usage = `neko-api serves threat intelligence over GraphQL.

Usage:
  neko-api [serve] [--listen ADDR] [--store STORE] [...]
  neko-api import FILE|-        load a STIX 2.0 or 2.1 bundle, plain or .gz
  neko-api migrate [--dry-run]  bring the store to the schema of this version
  neko-api version

Examples:
  neko-api                                      # http://127.0.0.1:4000/graphql
  PORT=8080 neko-api
  neko-api --listen :80 --store /var/lib/neko/api.db
  NEKO_API_STORE=mongodb://user:password@db1,db2/neko?replicaSet=rs0 neko-api
  neko-api import enterprise-attack.json
  curl -L https://example.org/bundle.json.gz | neko-api import -
  curl 127.0.0.1:4000/graphql -H 'Content-Type: application/json' \
    -d '{"query": "{threatActors(first: 3) {nodes {name}}}"}'

Settings, each by a flag, by the environment, or in the YAML file that --config
names. A flag is stronger than the environment, and that than the file.

%s
Under nekoctl, systemd or another supervisor it serves on the sockets that it
inherits (LISTEN_FDS), and --listen does not count. See docs/worker-contract.md.
`

// Version is set by the linker.
var Version = ""

func main() {
	os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// run is main with its surroundings, and returns the exit code: 0, 1 for what
// went wrong, 2 for a command line that makes no sense.
func run(args []string, in io.Reader, out, errs io.Writer) int {
	o := newOptions()
	rest, err := o.Load(args)
	if errors.Is(err, settings.ErrHelp) {
		fmt.Fprintf(out, usage, o.Help())
		return 0
	}
	if err != nil {
		return fail(errs, err, 2)
	}
	command := "serve"
	if len(rest) > 0 {
		command, rest = rest[0], rest[1:]
	}
	switch {
	case command == "serve" && len(rest) == 0:
		err = serve(o)
	case command == "import" && len(rest) == 1:
		err = importBundle(o, rest[0], stix.Streams{In: in, Out: out, Err: errs})
	case command == "migrate" && len(rest) == 0:
		ctx, stop := interruptible()
		err = migrate(ctx, o, out)
		stop()
	case command == "version" && len(rest) == 0:
		fmt.Fprintf(out, "neko-api %s (%s, %s/%s)\n", programVersion(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
	case command == "help" && len(rest) == 0:
		fmt.Fprintf(out, usage, o.Help())
	case command == "import":
		err = usageError{"import wants one file", "neko-api import FILE, or - for standard input"}
	case command == "serve" || command == "migrate" || command == "version" || command == "help":
		err = usageError{fmt.Sprintf("%s wants no argument, and was given %q", command, rest[0]), "see neko-api --help"}
	default:
		err = usageError{fmt.Sprintf("unknown command %q", command), "see neko-api --help"}
	}
	if u := (usageError{}); errors.As(err, &u) {
		return fail(errs, err, 2)
	}
	if err != nil {
		return fail(errs, err, 1)
	}
	return 0
}

// importBundle loads a bundle into the store. A signal ends it, and the store is
// as it was then; but a MongoDB, if it was being written, has a mix of old and new.
func importBundle(o *options, file string, streams stix.Streams) error {
	ctx, stop := interruptible()
	defer stop()
	st, err := openStore(ctx, o)
	if err != nil {
		return err
	}
	defer st.Close()
	err = stix.Command(ctx, st, file, streams)
	if partial := (*store.PartialError)(nil); err != nil && ctx.Err() != nil && !errors.As(err, &partial) {
		return errors.New("interrupted: nothing was imported")
	}
	return err
}

func interruptible() (context.Context, context.CancelFunc) {
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

type usageError struct{ message, hint string }

func (e usageError) Error() string { return e.message }
func (e usageError) Hint() string  { return e.hint }

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

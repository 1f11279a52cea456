// Gameday lets failures happen to a deployment, one after the other, while clients use it, and
// compares what they lose and for how long with docs/deployment/disaster-recovery.md.
//
// It starts a deployment of its own on this machine, or takes one that runs. It exits with 1 if a
// failure cost more than the page says, and with 2 if it could not be tried.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"regexp"
	"runtime"
	"strings"
	"syscall"
	"time"
)

const usage = `Usage: gameday [options]

Without -url it starts what it breaks: nekoctl, two workers of neko-api, redis-server, and a store.
With -url and -home it breaks a nekoctl that runs, and asks before each failure.

  -list             what failures there are
  -only REGEXP      those whose name matches
  -dry-run          say what would be done, and do nothing
  -store KIND       of the deployment that it starts: sqlite or mongodb (FerretDB in its place) (sqlite)
  -bin FOLDER       where nekoctl and neko-api are (bin)
  -clients N        how many clients ask all the time, beside the probes (16; with -url none, as rate limits would stop them)
  -url URL          of a deployment that runs, e.g. http://127.0.0.1:4000
  -home FOLDER      its NEKO_HOME; its nekoctl is that of -bin
  -app NAME         its app (neko-api)
  -yes              do not ask
  -kubectl          failures of a deployment in Kubernetes: print the commands. They were never run against a
                    cluster by whoever wrote them: read them first
  -namespace NAME   of that deployment (production)
  -run              run them, with -kubectl and -url, and measure; asks before each
  -json             a line of JSON for each failure in the place of the table

Examples:
  make gameday
  go run ./scripts/gameday -only 'kill -9'
  go run ./scripts/gameday -store mongodb -only MongoDB
  go run ./scripts/gameday -url http://127.0.0.1:4000 -home /var/lib/neko -only worker
  go run ./scripts/gameday -kubectl
`

type config struct {
	list, dryRun, yes, json bool
	kubectl, run            bool
	only                    *regexp.Regexp
	store, bin, url, home   string
	app, namespace          string
	clients                 int
	in                      io.Reader
	out, err                io.Writer
}

func main() {
	runtime.LockOSThread() // servers that we start end with the thread that has started them
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	os.Exit(gameday(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

func gameday(ctx context.Context, args []string, in io.Reader, out, errs io.Writer) int {
	c := &config{in: in, out: out, err: errs}
	flags := flag.NewFlagSet("gameday", flag.ContinueOnError)
	flags.SetOutput(errs)
	flags.Usage = func() { fmt.Fprint(errs, usage) }
	only := flags.String("only", "", "")
	for to, name := range map[*bool]string{&c.list: "list", &c.dryRun: "dry-run", &c.yes: "yes", &c.json: "json", &c.kubectl: "kubectl", &c.run: "run"} {
		flags.BoolVar(to, name, false, "")
	}
	flags.StringVar(&c.store, "store", "sqlite", "")
	flags.StringVar(&c.bin, "bin", "bin", "")
	flags.StringVar(&c.url, "url", "", "")
	flags.StringVar(&c.home, "home", "", "")
	flags.StringVar(&c.app, "app", "neko-api", "")
	flags.StringVar(&c.namespace, "namespace", "production", "")
	flags.IntVar(&c.clients, "clients", -1, "")
	if err := flags.Parse(args); errors.Is(err, flag.ErrHelp) {
		return 0
	} else if err != nil {
		return 2
	}
	err := c.check(flags.Args())
	if err == nil {
		c.only, err = regexp.Compile("(?i)" + *only)
	}
	if err != nil {
		fmt.Fprintln(errs, "error:", err)
		return 2
	}
	var results []result
	if c.kubectl {
		results, err = c.cluster(ctx)
	} else {
		results, err = c.machine(ctx)
	}
	code := 0
	for _, r := range results {
		if r.Verdict == broken {
			code = 1
		}
		if r.Verdict == untried {
			code = max(code, 2)
		}
	}
	if len(results) > 0 && !c.json {
		printTable(out, results)
	}
	if err != nil {
		fmt.Fprintln(errs, "error:", err)
		return 2
	}
	return code
}

func (c *config) check(rest []string) error {
	switch {
	case len(rest) > 0:
		return fmt.Errorf("unknown argument %q: see -help", rest[0])
	case c.store != "sqlite" && c.store != "mongodb":
		return fmt.Errorf("-store %q: write sqlite or mongodb", c.store)
	case c.clients < -1 || c.clients > 1000:
		return errors.New("-clients wants a number from 0 to 1000")
	case !c.kubectl && (c.url == "") != (c.home == ""):
		return errors.New("-url and -home belong together: whom clients ask, and which daemon is broken")
	case c.run && (!c.kubectl || c.url == ""):
		return errors.New("-run goes with -kubectl and -url")
	}
	return nil
}

// machine goes through the failures of a machine.
func (c *config) machine(ctx context.Context) (results []result, err error) {
	foreign := c.url != ""
	if c.clients < 0 && !foreign {
		c.clients = 16
	}
	var todo []failure
	for _, f := range failures {
		if c.only.MatchString(f.name) && (!foreign || f.anywhere) && (foreign || f.store == "" || f.store == c.store) {
			todo = append(todo, f)
		}
	}
	if len(todo) == 0 {
		return nil, errors.New("no failure has such a name: -list shows all; of a deployment that runs only some are tried")
	}
	if c.list || c.dryRun {
		for _, f := range todo {
			fmt.Fprintf(c.out, "%-32s %s\n", f.name, f.what)
			if c.dryRun {
				fmt.Fprintf(c.out, "%-32s → %s; it may take %v, and cost %s\n", "", f.repair, f.rto, f.cost())
			}
		}
		return nil, nil
	}
	s, err := newStage(ctx, c)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	for _, f := range todo {
		if ctx.Err() != nil {
			return results, errors.New("interrupted")
		}
		if foreign && !c.agrees(f.name, f.what) {
			continue
		}
		r := s.happens(ctx, f)
		results = append(results, r)
		c.tell(r)
		if r.Verdict != kept && s.healthy(ctx) != nil {
			return results, fmt.Errorf("after %q nothing is as before: no further failures are tried", f.name)
		}
	}
	return results, nil
}

// agrees asks whether a failure may happen to what gameday has not started.
func (c *config) agrees(name, what string) bool {
	if c.yes {
		return true
	}
	fmt.Fprintf(c.err, "%s: %s, at %s. Go on? [y/N] ", name, what, c.url)
	var word string
	fmt.Fscanln(c.in, &word)
	return strings.EqualFold(word, "y") || strings.EqualFold(word, "yes")
}

func (c *config) tell(r result) {
	if c.json {
		json.NewEncoder(c.out).Encode(r)
		return
	}
	fmt.Fprintf(c.err, "   %s: %s\n\n", r.Verdict, r.summary())
}

func (c *config) say(format string, args ...any) {
	fmt.Fprintf(c.err, time.Now().Format("15:04:05 ")+format+"\n", args...)
}

// Loadclient sends requests to an HTTP server and counts every error by kind.
// It exits with 1 if there was one.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/nekoctl/neko/scripts/load"
)

const usage = `Usage: loadclient [options] URL

  -mode new|keep-alive|slow
                        a connection for each request, or one for many, or for
                        each and the request in two halves (new)
  -slow-for D           the time between the halves (500ms)
  -clients N            concurrent clients (16)
  -duration D           how long; 0 is until Ctrl-C (10s)
  -requests N           how many at most
  -think MIN-MAX        wait between answer and next request: 0-50ms
  -timeout D            for one request, its connect included (10s)
  -method M             GET, or POST with a body
  -body TEXT|@FILE      body to send
  -header 'NAME: V'     header to send; may be repeated
  -address ADDR         connect to host:port or unix:/path instead of URL's host
  -expect TEXT          what every body must contain
  -status N             status that counts as success (any 2xx)
  -who HEADER           count answers by this header
  -look                 notice connections that the server closed while idle
  -seed N               for the think times
  -json                 print the report as JSON

Examples:
  loadclient http://127.0.0.1:4000/livez
  loadclient -mode keep-alive -clients 64 -think 0-50ms \
      -header 'Content-Type: application/json' -body '{"query":"{__typename}"}' \
      http://127.0.0.1:4000/graphql
`

func main() {
	failed, err := run()
	if err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(2)
	}
	if failed {
		os.Exit(1)
	}
}

func run() (failed bool, err error) {
	var cfg load.Config
	var body, think, expect, who, mode string
	var asJSON bool
	f := flag.NewFlagSet("loadclient", flag.ExitOnError)
	f.Usage = func() { fmt.Fprint(os.Stderr, usage) }
	f.StringVar(&mode, "mode", "new", "")
	f.IntVar(&cfg.Clients, "clients", 16, "")
	f.DurationVar(&cfg.Duration, "duration", 10*time.Second, "")
	f.Int64Var(&cfg.Requests, "requests", 0, "")
	f.StringVar(&think, "think", "", "")
	f.DurationVar(&cfg.Timeout, "timeout", 0, "")
	f.DurationVar(&cfg.SlowFor, "slow-for", 0, "")
	f.StringVar(&cfg.Method, "method", "", "")
	f.StringVar(&body, "body", "", "")
	f.Func("header", "", func(line string) error { cfg.Header = append(cfg.Header, line); return nil })
	f.StringVar(&cfg.Address, "address", "", "")
	f.StringVar(&expect, "expect", "", "")
	f.IntVar(&cfg.Status, "status", 0, "")
	f.StringVar(&who, "who", "", "")
	f.BoolVar(&cfg.LookBeforeReuse, "look", false, "")
	f.Uint64Var(&cfg.Seed, "seed", 0, "")
	f.BoolVar(&asJSON, "json", false, "")
	f.Parse(os.Args[1:])
	if f.NArg() != 1 {
		f.Usage()
		os.Exit(2)
	}
	cfg.URL, cfg.Mode = f.Arg(0), load.Mode(mode)
	if file, ok := strings.CutPrefix(body, "@"); ok {
		if cfg.Body, err = os.ReadFile(file); err != nil {
			return false, err
		}
	} else if body != "" {
		cfg.Body = []byte(body)
	}
	if cfg.ThinkMin, cfg.ThinkMax, err = parseThink(think); err != nil {
		return false, err
	}
	if expect != "" {
		cfg.Check = func(r *load.Response) error {
			if !bytes.Contains(r.Body, []byte(expect)) {
				return fmt.Errorf("no %q in a body of %d bytes", expect, len(r.Body))
			}
			return nil
		}
	}
	if who != "" {
		cfg.Who = load.HeaderWho(who)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	report, err := load.Do(ctx, cfg)
	if err != nil {
		return false, err
	}
	if asJSON {
		text, _ := json.MarshalIndent(report, "", "  ")
		fmt.Println(string(text))
	} else {
		fmt.Print(report)
	}
	return report.Failed(), nil
}

// parseThink reads "0-50ms", "10ms-50ms" or "50ms".
func parseThink(s string) (from, to time.Duration, err error) {
	if s == "" {
		return 0, 0, nil
	}
	low, high, ranged := strings.Cut(s, "-")
	if !ranged {
		high = low
	}
	if from, err = time.ParseDuration(low); err == nil {
		to, err = time.ParseDuration(high)
	}
	if err != nil || from < 0 || to < from {
		return 0, 0, fmt.Errorf("think time %q is not like 0-50ms", s)
	}
	return from, to, nil
}

// Bench measures what a user of a supervisor waits for, pays and loses: start,
// crash, list and memory; and under load reload, scale-down, update and kill -9;
// each figure of neko beside that of PM2, from the same run.
//
// The two take turns (A B A B …), so that a busy machine is busy for both, and
// a figure is the median of its rounds. All load goes to 127.0.0.1, and all
// files into temporary folders but PM2 itself, which is installed once into the
// user's cache folder.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"syscall"
)

const usage = `Usage: go run ./scripts/bench [options]       (or: make bench)

  -bin DIR     where nekoctl and neko-api are (bin)
  -rounds N    rounds of each figure (9); of memory three at most, of what is
               lost under load one to five
  -only REGEXP only figures whose name matches
  -data FILE   a STIX bundle that neko-api imports for its figures; default is
               the ICS bundle in $NEKO_TEST_ATTACK, else the sample data
  -no-pm2      neko alone
  -json        print the figures as JSON, with all rounds
  -markdown    print the rows that a reader asks for first, as a table in Markdown
  -claims      not the figures, but what docs/deployment/capacity.md claims, each
               with what it comes to (or: make claims); -only goes with it
  -write       with -claims: write what they come to into that document
`

func main() {
	run := run
	if len(os.Args) == 3 {
		for command, f := range map[string]func(string) error{decideCommand: decide, driveCommand: drive, rawCommand: serveRaw} {
			if os.Args[1] == command {
				run = func() error { return f(os.Args[2]) }
			}
		}
	}
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

// bench is what all figures need.
type bench struct {
	ctx    context.Context
	bin    string // folder of nekoctl and neko-api, absolute
	tmp    string
	bundle string // STIX file or ""
	rounds int
	node   string // server.js
	drains string // worker.js
	bare   string // the bare worker
	peer   string // limits.js
	pm2    string // PM2's script, "" for none
}

func run() error {
	var b bench
	var only string
	var withoutPM2, asJSON, asMarkdown, theClaims, write bool
	f := flag.NewFlagSet("bench", flag.ExitOnError)
	f.Usage = func() { fmt.Fprint(os.Stderr, usage) }
	f.StringVar(&b.bin, "bin", "bin", "")
	f.IntVar(&b.rounds, "rounds", 9, "")
	f.StringVar(&only, "only", "", "")
	f.StringVar(&b.bundle, "data", defaultBundle(), "")
	f.BoolVar(&withoutPM2, "no-pm2", false, "")
	f.BoolVar(&asJSON, "json", false, "")
	f.BoolVar(&asMarkdown, "markdown", false, "")
	f.BoolVar(&theClaims, "claims", false, "")
	f.BoolVar(&write, "write", false, "")
	f.Parse(os.Args[1:])
	wanted, err := regexp.Compile(only)
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	b.ctx = ctx
	if err := b.prepare(withoutPM2); err != nil {
		return err
	}
	defer os.RemoveAll(b.tmp)

	if theClaims {
		return b.checkClaims(wanted.MatchString, write, os.Stdout)
	}
	want := wanted.MatchString
	if asMarkdown && only == "" {
		want = inFirstRows
	}
	if write {
		return errors.New("-write goes with -claims")
	}
	report := b.newReport()
	var done []figure
	for _, m := range b.measurements() {
		if only == "" && m.name == "capacity" {
			continue // figures for scripts/capacity, whose --measure asks for them
		}
		rows := m.want(want)
		if len(rows) == 0 {
			continue
		}
		fmt.Fprintf(os.Stderr, "%s …\n", m.name)
		m.run(&b)
		if ctx.Err() != nil {
			return errors.New("interrupted")
		}
		for _, f := range rows {
			done = append(done, *f)
		}
	}
	if asJSON {
		out := json.NewEncoder(os.Stdout)
		out.SetIndent("", "  ")
		report.Figures = done
		return out.Encode(report)
	}
	if asMarkdown {
		report.Figures = done
		printMarkdown(os.Stdout, report)
	} else {
		printTable(os.Stdout, done)
	}
	for _, f := range done {
		if f.Neko.Error != "" {
			return errors.New("not all could be measured")
		}
	}
	return nil
}

func defaultBundle() string {
	if dir := os.Getenv("NEKO_TEST_ATTACK"); dir != "" {
		if found, _ := filepath.Glob(filepath.Join(dir, "ics-attack*.json")); len(found) > 0 {
			return found[0]
		}
	}
	return ""
}

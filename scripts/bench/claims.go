package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"
)

// What a claim can come to. Whether the last is so somebody has decided, not a figure.
const (
	met      = "met"
	notMet   = "not met"
	notShown = "not shown here"
)

// claim is something that the API is to be able to do, in the words of its document,
// docs/deployment/capacity.md.
type claim struct {
	name string
	run  func(*claims) (finding, error)
}

// finding is what it has come to now.
type finding struct {
	figure  string
	verdict string
}

// found is met or not.
func found(ok bool, format string, args ...any) finding {
	f := finding{fmt.Sprintf(format, args...), notMet}
	if ok {
		f.verdict = met
	}
	return f
}

// claims is what the claims of a run share: what one has measured another reckons with.
type claims struct {
	*capacityRun
	b *bench

	core    *core
	failing *failing
}

func allClaims() []claim {
	return []claim{
		{"10,000 requests a second", (*claims).tenThousand},
		{"100 million requests a day", (*claims).hundredMillion},
		{"cached answers within 1 to 5 ms", (*claims).fewMilliseconds},
		{"10 to 50 times faster when cached, store 1 to 5 ms away", (*claims).fasterThanAway},
		{"10 to 50 times faster when cached, SQLite in the process", (*claims).fasterThanSQLite},
		{"80 % less load on the database", (*claims).lessLoad},
		{"1000 requests a minute, all workers of a host", (*claims).limitOfHost},
		{"1000 requests a minute, several hosts", (*claims).limitOfHosts},
		{"an error within 3 s, and at once when that is known", (*claims).failFast},
		{"recovery tried every 30 s", (*claims).triedAgain},
		{"8 times as much by 8 cores", (*claims).eightCores},
		{"99.99 %", (*claims).fourNines},
		{"5 times Mercurius with its cache", peerClaim("Mercurius", 5)},
		{"8 times Apollo Server with its cache", peerClaim("Apollo", 8)},
	}
}

// claimCommand is what shows a claim alone.
func claimCommand(name string) string {
	return "go run ./scripts/bench -claims -only '^" + name + "$'"
}

// checkClaims runs those that are wanted, prints their table, and fails if one cannot be
// tried, or is not met any more although the document says that it is. With write the
// document says then what was found.
func (b *bench) checkClaims(wanted func(string) bool, write bool, w io.Writer) error {
	text, err := os.ReadFile(claimsPage)
	if err != nil {
		return fmt.Errorf("%w\nhint: run it in the root of the repository", err)
	}
	written, err := readClaims(string(text))
	if err != nil {
		return fmt.Errorf("%s: %w", claimsPage, err)
	}
	r := b.newReport()
	c := &claims{b: b, capacityRun: &capacityRun{hits: &hits{b: b}, files: map[string]string{}}}
	defer c.end()
	ran, worse, failed := 0, 0, 0
	for _, one := range allClaims() {
		if !wanted(one.name) {
			continue
		}
		ran++
		fmt.Fprintf(os.Stderr, "%s …\n", one.name)
		f, err := one.run(c)
		if b.ctx.Err() != nil {
			return errors.New("interrupted")
		}
		before := written[one.name]
		switch {
		case err != nil:
			failed++
			f = finding{"could not be tried: " + strings.TrimSpace(err.Error()), "failed"}
		case before.verdict == met && f.verdict != met:
			worse++
			f.figure += " (it was met before)"
		}
		fmt.Fprintf(w, "%-14s  %s\n%16s%s\n", f.verdict, one.name, "", f.figure)
		if r.Busy != "" {
			f.figure += " (busy machine)"
		}
		if err == nil {
			written[one.name] = f
		}
	}
	if ran == 0 {
		return fmt.Errorf("no claim has such a name\nhint: %s has them all", claimsPage)
	}
	fmt.Fprintf(w, "\n%s\n", r.of())
	if write {
		// It may have been edited meanwhile.
		if text, err = os.ReadFile(claimsPage); err != nil {
			return err
		}
		page, err := writeClaims(string(text), r, written)
		if err == nil {
			err = os.WriteFile(claimsPage, []byte(page), 0o644)
		}
		if err != nil {
			return err
		}
	}
	switch {
	case failed > 0:
		return fmt.Errorf("%d of the claims could not be tried", failed)
	case worse > 0:
		return fmt.Errorf("%d of the claims are not met, and were", worse)
	}
	return nil
}

// The document, seen from the root of the repository, and what is around the table in it.
const (
	claimsPage  = "docs/deployment/capacity.md"
	claimsBegin = "<!-- claims: make capacity writes them -->\n"
	claimsEnd   = "<!-- end of claims -->\n"
)

// readClaims reads what the document says of each claim.
func readClaims(page string) (map[string]finding, error) {
	_, rest, ok := strings.Cut(page, claimsBegin)
	table, _, ended := strings.Cut(rest, claimsEnd)
	if !ok || !ended {
		return nil, fmt.Errorf("there is no table of claims between %q and %q", strings.TrimSpace(claimsBegin), strings.TrimSpace(claimsEnd))
	}
	written := map[string]finding{}
	for line := range strings.Lines(table) {
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
		if len(cells) != 4 || strings.HasPrefix(cells[0], "-") || strings.TrimSpace(cells[0]) == "claim" {
			continue
		}
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		if want := "`" + claimCommand(cells[0]) + "`"; cells[3] != want {
			return nil, fmt.Errorf("%q is shown by %s, and not by %s", cells[0], cells[3], want)
		}
		written[cells[0]] = finding{verdict: strings.Trim(cells[1], "*"), figure: cells[2]}
	}
	return written, nil
}

// writeClaims is the document with another table.
func writeClaims(page string, r report, written map[string]finding) (string, error) {
	before, rest, _ := strings.Cut(page, claimsBegin)
	_, after, ok := strings.Cut(rest, claimsEnd)
	if !ok {
		return "", errors.New("the table of claims has no end")
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s%s\n| claim | | figure | shown by |\n|---|---|---|---|\n", before, claimsBegin)
	for _, one := range allClaims() {
		f := written[one.name]
		if f.verdict == "" {
			f = finding{"no figure yet", notShown}
		}
		verdict := f.verdict
		if verdict != met {
			verdict = "**" + verdict + "**" // nobody is to overlook it
		}
		fmt.Fprintf(&b, "| %s | %s | %s | `%s` |\n", one.name, verdict, strings.ReplaceAll(f.figure, "|", "/"), claimCommand(one.name))
	}
	fmt.Fprintf(&b, "\n%s\n\n%s%s", r.of(), claimsEnd, after)
	return b.String(), nil
}

// of says what figures are of.
func (r report) of() string {
	text := fmt.Sprintf("Measured on %s: %s; data: %s.", r.Taken.Format(time.DateOnly), r.Machine, r.Data)
	if r.Busy != "" {
		text += " The machine was not quiet: " + r.Busy + "."
	}
	return text
}

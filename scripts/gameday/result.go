package main

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/nekoctl/neko/scripts/load"
)

type verdict string

const (
	kept    verdict = "ok"
	broken  verdict = "BROKEN"
	skipped verdict = "skipped"
	untried verdict = "could not be tried"
)

// result is what a failure has cost.
type result struct {
	Failure string `json:"failure"`
	Page    string `json:"page_says"` // RTO and cost
	// FirstGood is from the failure (or the beginning of its repair) to the end of the first request that was begun after it, needs the store, and was answered right.
	FirstGood float64 `json:"first_good_seconds"`
	// Recovered is from the failure to the end of the last request that failed; 0: none did.
	Recovered float64 `json:"recovered_seconds"`
	// Slowest is how long the slowest request took that was answered right.
	Slowest float64 `json:"slowest_seconds"`
	// Of requests that were sent once each on a connection of their own, at a fixed rate, by what they needed.
	Probes map[class]map[string]int `json:"probe_errors"`
	// Of clients that ask as fast as they are answered, half of them on connections that they keep.
	Clients map[load.Kind]int64 `json:"client_errors"`
	Asked   int64               `json:"client_requests"`
	Acked   int                 `json:"changes_acknowledged"`
	Lost    int                 `json:"changes_lost"`
	Verdict verdict             `json:"verdict"`
	Why     string              `json:"why,omitempty"`
	Took    map[string]float64  `json:"took_seconds,omitempty"` // of steps of the repair
}

func (r result) errors() string {
	var parts []string
	for _, c := range []class{keptAnswer, newAnswer, change} {
		for _, kind := range slices.Sorted(maps.Keys(r.Probes[c])) {
			parts = append(parts, fmt.Sprintf("%s %s %d", c, kind, r.Probes[c][kind]))
		}
	}
	for _, kind := range slices.Sorted(maps.Keys(r.Clients)) {
		if r.Clients[kind] > 0 {
			parts = append(parts, fmt.Sprintf("clients' %s %d", kind, r.Clients[kind]))
		}
	}
	if parts == nil {
		return "none"
	}
	return strings.Join(parts, ", ")
}

func (r result) summary() string {
	if r.Verdict == skipped || r.Verdict == untried {
		return r.Why
	}
	text := fmt.Sprintf("first good answer after %.2f s, the last error after %.2f s, the slowest answer took %.2f s; errors: %s; %d of %d changes lost", r.FirstGood, r.Recovered, r.Slowest, r.errors(), r.Lost, r.Acked)
	for _, step := range slices.Sorted(maps.Keys(r.Took)) {
		text += fmt.Sprintf("; %s took %.2f s", step, r.Took[step])
	}
	if r.Why != "" {
		text += "; " + r.Why
	}
	return text
}

func printTable(w io.Writer, results []result) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "FAILURE\tFIRST GOOD\tLAST ERROR\tSLOWEST\tCHANGES LOST\tPAGE SAYS\tVERDICT\tERRORS BY KIND")
	for _, r := range results {
		if r.Verdict == skipped || r.Verdict == untried {
			fmt.Fprintf(t, "%s\t-\t-\t-\t-\t%s\t%s: %s\t-\n", r.Failure, r.Page, r.Verdict, r.Why)
			continue
		}
		verdict := string(r.Verdict)
		if r.Why != "" {
			verdict += ": " + r.Why
		}
		fmt.Fprintf(t, "%s\t%.2f s\t%.2f s\t%.2f s\t%d of %d\t%s\t%s\t%s\n", r.Failure, r.FirstGood, r.Recovered, r.Slowest, r.Lost, r.Acked, r.Page, verdict, r.errors())
	}
	t.Flush()
}

// judge compares what there was with what the page says.
// It began at at, and had happened at done.
func (r *result) judge(f failure, marks []mark, at, done time.Time, clients []load.Report) {
	r.Probes, r.Clients = map[class]map[string]int{}, map[load.Kind]int64{}
	r.FirstGood = -1
	for _, m := range marks {
		if m.begun.After(done) && m.class == newAnswer && m.kind == "" && (r.FirstGood < 0 || m.end.Sub(done).Seconds() < r.FirstGood) {
			r.FirstGood = m.end.Sub(done).Seconds()
		}
		if m.kind == "" {
			if m.end.After(at) {
				r.Slowest = max(r.Slowest, m.end.Sub(m.begun).Seconds())
			}
			continue
		}
		if r.Probes[m.class] == nil {
			r.Probes[m.class] = map[string]int{}
		}
		r.Probes[m.class][m.kind]++
		r.Recovered = max(r.Recovered, m.end.Sub(at).Seconds())
		if !f.mayFail(m.class) && r.Why == "" {
			r.Verdict, r.Why = broken, fmt.Sprintf("%s failed (%s), %s should not", m.class, m.kind, m.class)
		}
	}
	for _, report := range clients {
		r.Asked += report.Requests
		for kind, n := range report.Errors {
			r.Clients[kind] += n
		}
	}
	var lost int64
	for _, n := range r.Clients {
		lost += n
	}
	switch {
	case r.Why != "":
	case lost > 0 && !f.clients:
		r.Verdict, r.Why = broken, fmt.Sprintf("clients had %d errors, and should have none", lost)
	case r.Recovered > f.rto.Seconds():
		r.Verdict, r.Why = broken, fmt.Sprintf("it took longer than %v", f.rto)
	case r.FirstGood < 0:
		r.Verdict, r.Why = broken, "there was no good answer"
	case r.Lost > 0 && !f.loses:
		r.Verdict, r.Why = broken, "changes that were acknowledged are lost"
	default:
		r.Verdict = kept
	}
}

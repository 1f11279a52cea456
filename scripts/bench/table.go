package main

import (
	"cmp"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
)

// figure is one row: a thing that is measured on both sides.
type figure struct {
	Name  string   `json:"name"`
	Unit  string   `json:"unit"`
	Count bool     `json:"-"`               // the values are whole
	Goal  *float64 `json:"goal,omitempty"`  // at most
	Times *float64 `json:"times,omitempty"` // another goal: at least so many times the peer's
	Note  string   `json:"note,omitempty"`  // what the peer runs for it
	Neko  rounds   `json:"neko"`
	Peer  rounds   `json:"peer"`
	// Beside is who the peer is: PM2 if it is empty.
	Beside string `json:"beside,omitempty"`

	wanted bool
}

func (f *figure) peer() string { return cmp.Or(f.Beside, "PM2") }

// rounds are the values of one side, or why there are none.
type rounds struct {
	Values []float64 `json:"values"`
	Median float64   `json:"median"`
	Error  string    `json:"error,omitempty"`
}

func (r *rounds) add(v float64, err error) {
	if err != nil {
		r.Error = err.Error()
		return
	}
	r.Values = append(r.Values, v)
	r.Median = median(r.Values)
}

func median(values []float64) float64 {
	if len(values) == 0 {
		return math.NaN()
	}
	v := slices.Sorted(slices.Values(values))
	if n := len(v); n%2 == 0 {
		return (v[n/2-1] + v[n/2]) / 2
	}
	return v[len(v)/2]
}

// printTable prints a table for each peer.
func printTable(w io.Writer, figures []figure) {
	for rest := figures; len(rest) > 0; {
		n := slices.IndexFunc(rest, func(f figure) bool { return f.Beside != rest[0].Beside })
		if n < 0 {
			n = len(rest)
		}
		printRows(w, rest[0].peer(), rest[:n])
		rest = rest[n:]
	}
	fmt.Fprintln(w, "Medians of rounds in turns, with the smallest and the largest value.")
	if slices.ContainsFunc(figures, func(f figure) bool { return f.Count }) {
		fmt.Fprintln(w, "Counts are of one round of 64 clients, and where none is the goal, none in any round.")
	}
	for _, f := range figures {
		for _, s := range []struct {
			name string
			r    rounds
		}{{"neko", f.Neko}, {f.peer(), f.Peer}} {
			if s.r.Error != "" {
				fmt.Fprintf(w, "%s, %s: %s\n", f.Name, s.name, strings.TrimSpace(s.r.Error))
			}
		}
	}
}

func printRows(w io.Writer, peer string, figures []figure) {
	rows := [][]string{{"", "neko", peer, "ratio", "goal", peer + " runs"}}
	if peer == nobody {
		rows[0] = []string{"", "neko", "", "", "", ""}
	}
	for _, f := range figures {
		row := []string{f.Name, f.cell(f.Neko), f.cell(f.Peer), "–", "", f.Note}
		if f.Neko.ok() && f.Peer.ok() && f.Neko.Median > 0 {
			row[3] = fmt.Sprintf("1 : %.3g", f.Peer.Median/f.Neko.Median)
			if f.Times != nil {
				row[3] = fmt.Sprintf("%.3g : 1", f.Neko.Median/f.Peer.Median)
			}
		}
		if f.Goal != nil || f.Times != nil {
			row[4] = f.goal()
		}
		if peer == nobody {
			row[2], row[3] = "", ""
		}
		rows = append(rows, row)
	}
	widths := make([]int, len(rows[0]))
	for _, row := range rows {
		for i, cell := range row {
			widths[i] = max(widths[i], len([]rune(cell)))
		}
	}
	for _, row := range rows {
		var line strings.Builder
		for i, cell := range row {
			pad := strings.Repeat(" ", widths[i]-len([]rune(cell)))
			switch i {
			case 1, 2, 3: // numbers
				line.WriteString(pad + cell + "   ")
			default:
				line.WriteString(cell + pad + "   ")
			}
		}
		fmt.Fprintln(w, strings.TrimRight(line.String(), " "))
	}
	fmt.Fprintln(w)
}

// goal is what neko's median shall be at most, where none means none in any round, or
// how many times the peer's it shall be at least.
func (f *figure) goal() string {
	if f.Times != nil {
		text := fmt.Sprintf("≥ %s × %g", f.peer(), *f.Times)
		if f.Neko.ok() && f.Peer.ok() && f.Neko.Median < *f.Times*f.Peer.Median {
			text += " MISSED"
		}
		return text
	}
	text, missed := fmt.Sprintf("≤ %g %s", *f.Goal, f.Unit), f.Neko.Median > *f.Goal
	if *f.Goal == 0 {
		text = "0 " + f.Unit
		missed = slices.ContainsFunc(f.Neko.Values, func(v float64) bool { return v > 0 })
	}
	if f.Neko.ok() && missed {
		text += " MISSED"
	}
	return text
}

// of is the rounds of a side.
func (f *figure) of(s *side) *rounds {
	if s.name == "neko" {
		return &f.Neko
	}
	return &f.Peer
}

func (r *rounds) ok() bool { return r.Error == "" && len(r.Values) > 0 }

func (f *figure) cell(r rounds) string {
	switch {
	case r.Error != "":
		return "failed"
	case len(r.Values) == 0:
		return "–"
	case len(r.Values) == 1:
		return f.number(r.Median) + " " + f.Unit
	}
	return fmt.Sprintf("%s %s (%s–%s)", f.number(r.Median), f.Unit, f.number(slices.Min(r.Values)), f.number(slices.Max(r.Values)))
}

func (f *figure) number(v float64) string {
	if f.Count {
		return fmt.Sprintf("%g", v)
	}
	return short(v)
}

// short is v with three digits that mean something.
func short(v float64) string {
	switch a := math.Abs(v); {
	case a >= 100:
		return fmt.Sprintf("%.0f", v)
	case a >= 10:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.2f", v)
}

// failAll notes why none of rows could be measured.
func failAll(rows []*figure, err error) {
	for _, f := range rows {
		f.Neko.add(0, err)
	}
}

package main

import (
	"fmt"
	"io"
	"strings"
)

// firstRows are what a reader asks for first, by the names that they have in a table of a
// few rows.
var firstRows = []struct{ name, short string }{
	{"cold start to first 200", "first start to first answer, a worker for each CPU"},
	{"kill -9 to first 200: Node server", "crash to next answer, a Node server"},
	{"kill -9 to first 200: neko-api", "crash to next answer, neko-api"},
	{"memory of the supervisor, empty", "memory of the supervisor"},
	{"memory of the supervisor, 1,000 sleeping processes", "memory of the supervisor, 1,000 processes"},
	{"list, 100 processes, over /bin/true", "`list`, 100 processes"},
	{"reload ×3, errors: Node server, unmodified", "requests lost in three reloads under load"},
	{"scale 4 → 2 → 4, errors: Node server", "requests lost when scaling 4 → 2 → 4"},
	{"new supervisor, errors: upgrade", "requests lost in an upgrade of the supervisor"},
	{"kill -9 of the daemon, errors: master", "requests lost when the daemon is killed"},
	{"kill -9 under load, refused: Node server, unmodified", "connections refused when the only worker is killed"},
	{"answers of 2 Node workers, keep-alive", "answers of two Node workers"},
	{"CPU of an answer, keep-alive", "CPU of such an answer, workers and supervisor"},
}

func inFirstRows(name string) bool {
	for _, r := range firstRows {
		if r.name == name {
			return true
		}
	}
	return false
}

// printMarkdown prints rows as a table, in the words of firstRows where they are of them.
func printMarkdown(w io.Writer, r report) {
	peer := ""
	for i, f := range r.Figures {
		if f.peer() != peer {
			peer = f.peer()
			if i > 0 {
				fmt.Fprintln(w)
			}
			name := peer
			if peer == "PM2" {
				name += " " + pm2Version
			}
			fmt.Fprintf(w, "| | neko | %s |\n|---|---|---|\n", name)
		}
		name := f.Name
		for _, first := range firstRows {
			if first.name == f.Name {
				name = first.short
			}
		}
		fmt.Fprintf(w, "| %s | %s | %s |\n", strings.ReplaceAll(name, "|", `\|`), f.markdownCell(f.Neko), f.markdownCell(f.Peer))
	}
	fmt.Fprintf(w, "\nMedians, with the smallest and the largest value. %s\n", r.of())
}

// markdownCell is cell, where "0 errors" is plainly 0, as the row says of what.
func (f *figure) markdownCell(r rounds) string {
	text := f.cell(r)
	if f.Count && r.ok() {
		text = strings.Replace(text, " "+f.Unit, "", 1)
	}
	return text
}

package main

import (
	"strings"

	"github.com/charmbracelet/x/ansi"
)

// column is one column of a table.
type column struct {
	title string
	right bool // numbers
	cells []string
	color func(row int) color // nil: none
}

func (col *column) width() int {
	w := ansi.StringWidth(col.title)
	for _, cell := range col.cells {
		w = max(w, ansi.StringWidth(cell))
	}
	return w
}

const gap = 2

func tableWidth(columns []column) int {
	w := -gap
	for i := range columns {
		w += columns[i].width() + gap
	}
	return w
}

// table is columns as text. All have the same number of cells.
func (t terminal) table(columns []column) string {
	var b strings.Builder
	widths := make([]int, len(columns))
	for i := range columns {
		widths[i] = columns[i].width()
	}
	for row := -1; row < len(columns[0].cells); row++ {
		var line strings.Builder
		for i, col := range columns {
			cell := col.title
			if row >= 0 {
				cell = printable(col.cells[row])
			}
			pad := strings.Repeat(" ", widths[i]-ansi.StringWidth(cell))
			switch {
			case row < 0:
				cell = t.paint(dim, cell)
			case col.color != nil:
				cell = t.paint(col.color(row), cell)
			}
			if i > 0 {
				line.WriteString(strings.Repeat(" ", gap))
			}
			if col.right {
				line.WriteString(pad + cell)
			} else {
				line.WriteString(cell + pad)
			}
		}
		b.WriteString(strings.TrimRight(line.String(), " ") + "\n")
	}
	return b.String()
}

// fit is s cut to width columns; escape sequences take no room.
func fit(s string, width int) string { return ansi.Truncate(s, max(width, 1), "…") }

package main

import (
	"strings"
	"unicode"

	"github.com/charmbracelet/x/ansi"
)

// column is one column of a table.
type column struct {
	title string
	right bool // numbers
	cells []string
	color func(row int) color // nil: none
}

// width is how many columns of a terminal it takes: a wide character takes two, and an
// accent that is put over another none.
func (col *column) width() int {
	w := ansi.StringWidth(col.title)
	for _, cell := range col.cells {
		w = max(w, ansi.StringWidth(cell))
	}
	return w
}

// A style is what is between the columns of a table: nothing, where programs read it, or
// the lines of PM2's.
type style struct {
	left, middle, right      string
	top, below, bottom, rule string // "": no such lines
}

var (
	plain = style{middle: "  "}
	boxed = style{left: "│ ", middle: " │ ", right: " │", top: "┌┬┐", below: "├┼┤", bottom: "└┴┘", rule: "─"}
)

func (s style) width(columns []column) int {
	w := ansi.StringWidth(s.left) + ansi.StringWidth(s.right)
	for i := range columns {
		if i > 0 {
			w += ansi.StringWidth(s.middle)
		}
		w += columns[i].width()
	}
	return w
}

// table is columns as text. All have the same number of cells, of printable text.
func (t terminal) table(columns []column, s style) string {
	var b strings.Builder
	widths := make([]int, len(columns))
	for i := range columns {
		widths[i] = columns[i].width()
	}
	rule := func(corners string) {
		if corners == "" {
			return
		}
		ends := []rune(corners)
		var line strings.Builder
		for i, width := range widths {
			line.WriteRune(ends[min(i, 1)])
			line.WriteString(strings.Repeat(s.rule, width+2))
		}
		line.WriteRune(ends[2])
		b.WriteString(t.paint(dim, line.String()) + "\n")
	}
	rule(s.top)
	for row := -1; row < len(columns[0].cells); row++ {
		var line strings.Builder
		line.WriteString(t.paint(dim, s.left))
		for i, col := range columns {
			cell := col.title
			if row >= 0 {
				cell = col.cells[row]
			}
			pad := strings.Repeat(" ", widths[i]-ansi.StringWidth(cell))
			switch {
			case row < 0 && s.rule != "":
				cell = t.paint(cyan, cell)
			case row < 0:
				cell = t.paint(dim, cell)
			case col.color != nil:
				cell = t.paint(col.color(row), cell)
			}
			if i > 0 {
				line.WriteString(t.paint(dim, s.middle))
			}
			if col.right {
				line.WriteString(pad + cell)
			} else {
				line.WriteString(cell + pad)
			}
		}
		line.WriteString(t.paint(dim, s.right))
		b.WriteString(strings.TrimRight(line.String(), " ") + "\n")
		if row < 0 {
			rule(s.below)
		}
	}
	rule(s.bottom)
	return b.String()
}

// fit is s cut to width columns; escape sequences take no room.
func fit(s string, width int) string { return ansi.Truncate(s, max(width, 1), "…") }

// cell is a text of others as a cell of a table has it. One that would run together with
// what is beside it, as an accent at its beginning does, has only its ASCII.
func cell(s string) string {
	s = strings.ReplaceAll(printable(s), "\t", " ")
	if ansi.StringWidth(" "+s+" ") == ansi.StringWidth(s)+2 {
		return s
	}
	return strings.Map(func(r rune) rune {
		if r > unicode.MaxASCII {
			return '\ufffd'
		}
		return r
	}, s)
}

// wrapped is a text as lines of a terminal, of which all but the first are set in; with a
// width of 0 it stays one line.
func wrapped(s string, width int) string {
	if width <= 0 || ansi.StringWidth(s) <= width {
		return s
	}
	const indent = "    "
	if width < 20 {
		return fit(s, width)
	}
	var lines []string
	line := ""
	for _, word := range strings.Fields(s) {
		longer := line + " " + word
		if line == "" || line == indent {
			longer = line + word
		}
		for ansi.StringWidth(longer) > width {
			if line != "" && line != indent {
				lines, longer = append(lines, line), indent+word
				line = indent
				continue
			}
			lines = append(lines, ansi.Truncate(longer, width, ""))
			longer = indent + ansi.TruncateLeft(longer, ansi.StringWidth(lines[len(lines)-1]), "")
		}
		line = longer
	}
	return strings.Join(append(lines, line), "\n")
}

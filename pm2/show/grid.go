package show

import (
	"slices"
	"strings"
)

// grid is a table in a frame.
type grid struct {
	head   []string
	widths []int // of columns, with the spaces beside a text; nil: as wide as is needed
	rows   []row
}

// row is one of a grid. The first cell of one that is titled looks like a head.
type row struct {
	cells  []string
	titled bool
}

func (g *grid) add(title string, cells ...string) {
	g.rows = append(g.rows, row{append([]string{title}, cells...), true})
}

// insert puts a row before the one that is at an index now.
func (g *grid) insert(at int, title, cell string) {
	g.rows = slices.Insert(g.rows, at, row{[]string{title, cell}, true})
}

// text has no newline at its end; of a grid without anything it is empty.
func (g *grid) text(s Style) string {
	if len(g.head) == 0 && len(g.rows) == 0 {
		return ""
	}
	widths := g.widths
	if widths == nil {
		for _, r := range append(slices.Clone(g.rows), row{cells: g.head}) {
			for i, cell := range r.cells {
				if i == len(widths) {
					widths = append(widths, 0)
				}
				for _, line := range strings.Split(cell, "\n") {
					widths[i] = max(widths[i], length(line)+2)
				}
			}
		}
	}
	lines := []string{rule(s, widths, "┌", "┬", "┐")}
	if len(g.head) > 0 {
		lines = append(lines, row{cells: g.head}.text(s, widths, true))
		if len(g.rows) > 0 {
			lines = append(lines, rule(s, widths, "├", "┼", "┤"))
		}
	}
	for _, r := range g.rows {
		lines = append(lines, r.text(s, widths, false))
	}
	return strings.Join(append(lines, rule(s, widths, "└", "┴", "┘")), "\n")
}

func rule(s Style, widths []int, left, middle, right string) string {
	parts := make([]string, len(widths))
	for i, width := range widths {
		parts[i] = strings.Repeat("─", width)
	}
	return s.frame(left+strings.Join(parts, middle)+right, gray)
}

// text is as many lines as the highest cell has.
func (r row) text(s Style, widths []int, head bool) string {
	height := 0
	cells := make([][]string, len(r.cells))
	for i, cell := range r.cells {
		cells[i] = strings.Split(cell, "\n")
		height = max(height, len(cells[i]))
	}
	lines := make([]string, height)
	side := s.frame("│", gray)
	for n := range lines {
		parts := make([]string, len(cells))
		for i, cell := range cells {
			if n >= len(cell) {
				parts[i] = fit("", widths[i])
				continue
			}
			parts[i] = fit(cell[n], widths[i])
			if head || r.titled && i == 0 {
				parts[i] = s.frame(parts[i], cyan, bold)
			}
		}
		lines[n] = side + strings.Join(parts, side) + side
	}
	return strings.Join(lines, "\n")
}

func fit(text string, width int) string {
	width -= 2
	if length(text) > width {
		text = truncate(text, width)
	}
	return " " + text + strings.Repeat(" ", width-length(text)) + " "
}

// truncate cuts text to so many columns. What colours it stays, unlike in PM2, where
// "waiting restart" loses the end of its colour and all that follows is red.
func truncate(text string, width int) string {
	var b strings.Builder
	seen, cut := 0, false
	for text != "" {
		if code := escapes.FindStringIndex(text); code != nil && code[0] == 0 {
			b.WriteString(text[:code[1]])
			text = text[code[1]:]
			continue
		}
		char, rest := first(text)
		text = rest
		if seen += units(char); seen < width {
			b.WriteString(char)
		} else if !cut {
			b.WriteString("…")
			cut = true
		}
	}
	return b.String()
}

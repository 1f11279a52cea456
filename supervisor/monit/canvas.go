package monit

import (
	"strconv"
	"strings"
	"unicode/utf8"
)

// color is one of the terminal's sixteen, counted from 1; 0 is its own.
type color uint8

const (
	red        color = 2
	green      color = 3
	yellow     color = 4
	blue       color = 5
	magenta    color = 6
	cyan       color = 7
	brightBlue color = 13
)

type style struct {
	fg                            color
	bold, dim, reverse, underline bool
}

type cell struct {
	text  string // a letter with its marks; "": the right half of a wide one
	style style
}

// canvas is a screen full of cells. Whatever is drawn stays within it, and what lies
// over the edge of a pane is cut off with an ellipsis.
type canvas struct {
	w, h  int
	cells []cell
}

func newCanvas(w, h int) *canvas {
	c := &canvas{w: w, h: h, cells: make([]cell, w*h)}
	for i := range c.cells {
		c.cells[i].text = " "
	}
	return c
}

// rect is a part of a screen.
type rect struct{ x, y, w, h int }

func (r rect) has(x, y int) bool { return x >= r.x && x < r.x+r.w && y >= r.y && y < r.y+r.h }

// text draws a text at most room columns wide, and returns how wide it was.
func (c *canvas) text(x, y, room int, st style, s string) int {
	if y < 0 || y >= c.h || x < 0 {
		return 0
	}
	room = min(room, c.w-x)
	s = printable(s)
	cut := false
	if len(s) > room && width(s) > room { // a column takes a byte at least
		cut, room = true, room-1
	}
	at := x
	for i := 0; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		w := runeWidth(r)
		if at-x+w > room {
			break
		}
		end := i + n
		for end < len(s) { // with its marks
			mark, m := utf8.DecodeRuneInString(s[end:])
			if mark < 0x300 || runeWidth(mark) != 0 {
				break
			}
			end += m
		}
		c.put(at, y, w, cell{s[i:end], st})
		at += w
		i = end
	}
	if cut && room >= 0 {
		c.put(at, y, 1, cell{"…", st})
		at++
	}
	return at - x
}

func (c *canvas) put(x, y, w int, one cell) {
	row := c.cells[y*c.w : (y+1)*c.w]
	if row[x].text == "" && x > 0 { // half of a wide one is none
		row[x-1].text = " "
	}
	row[x] = one
	if w == 2 {
		if x+2 < c.w && row[x+2].text == "" {
			row[x+2].text = " "
		}
		row[x+1] = cell{"", one.style}
	} else if x+1 < c.w && row[x+1].text == "" {
		row[x+1].text = " "
	}
}

// right draws a text that ends at a column.
func (c *canvas) right(x, y, room int, st style, s string) {
	s = printable(s)
	c.text(x+max(0, room-width(s)), y, room, st, s)
}

// restyle changes the style of a part of a row.
func (c *canvas) restyle(x, y, w int, change func(*style)) {
	if y < 0 || y >= c.h {
		return
	}
	for i := max(0, x); i < min(c.w, x+w); i++ {
		change(&c.cells[y*c.w+i].style)
	}
}

// ansi is the canvas as a terminal takes it.
func (c *canvas) ansi() string {
	var b strings.Builder
	b.Grow(c.w * c.h * 2)
	for y := range c.h {
		if y > 0 {
			b.WriteByte('\n')
		}
		row := c.row(y)
		var st style
		for _, one := range row {
			if one.style != st {
				st = one.style
				b.WriteString(st.sgr())
			}
			b.WriteString(one.text)
		}
		if st != (style{}) {
			b.WriteString("\x1b[m")
		}
	}
	return b.String()
}

// row is a line without the blanks at its end.
func (c *canvas) row(y int) []cell {
	row := c.cells[y*c.w : (y+1)*c.w]
	for len(row) > 0 && row[len(row)-1] == (cell{text: " "}) {
		row = row[:len(row)-1]
	}
	return row
}

// plain is the canvas as text.
func (c *canvas) plain() string {
	var b strings.Builder
	for y := range c.h {
		var line strings.Builder
		for _, one := range c.row(y) {
			line.WriteString(one.text)
		}
		b.WriteString(strings.TrimRight(line.String(), " ") + "\n")
	}
	return b.String()
}

func (s style) sgr() string {
	b := []byte("\x1b[0")
	for _, one := range []struct {
		on   bool
		code string
	}{{s.bold, ";1"}, {s.dim, ";2"}, {s.underline, ";4"}, {s.reverse, ";7"}} {
		if one.on {
			b = append(b, one.code...)
		}
	}
	if s.fg > 8 {
		b = strconv.AppendInt(append(b, ';'), int64(s.fg)+81, 10)
	} else if s.fg > 0 {
		b = strconv.AppendInt(append(b, ';'), int64(s.fg)+29, 10)
	}
	return string(append(b, 'm'))
}

var sparks = []rune("▁▂▃▄▅▆▇█")

// spark is a curve of the last values, w columns wide, of which the highest is as high
// as a column; least is how much that is at least.
func spark(values []float64, w int, least float64) string {
	values = values[max(0, len(values)-w):]
	top := least
	for _, v := range values {
		top = max(top, v)
	}
	b := make([]rune, 0, w)
	for range w - len(values) {
		b = append(b, ' ')
	}
	for _, v := range values {
		i := 0
		if top > 0 {
			i = min(len(sparks)-1, max(0, int(v/top*float64(len(sparks)))))
		}
		b = append(b, sparks[i])
	}
	return string(b)
}

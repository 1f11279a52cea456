package monit

import (
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	tea "charm.land/bubbletea/v2"

	"github.com/nekoctl/neko/supervisor/control"
)

// From 80×24 on there is room for everything, from wide columns on side by side. Below,
// there are the apps alone; and below the least, a word about it.
const (
	wide        = 140
	smallWidth  = 80
	smallHeight = 24
	leastWidth  = 40
	leastHeight = 6
)

// View is the screen.
func (m *model) View() tea.View {
	if m.dirty {
		c := m.draw()
		if m.options.NoColor {
			for y := range c.h {
				c.restyle(0, y, c.w, func(s *style) { s.fg = 0 })
			}
		}
		m.screen, m.dirty = c.ansi(), false
	}
	v := tea.NewView(m.screen)
	v.AltScreen = true
	if !m.noMouse {
		v.MouseMode = tea.MouseModeCellMotion
	}
	return v
}

// draw draws all of the screen, and says what can be clicked on it.
func (m *model) draw() *canvas {
	c := newCanvas(max(0, m.w), max(0, m.h))
	m.zones = m.zones[:0]
	if c.w < leastWidth || c.h < leastHeight {
		c.text(0, 0, c.w, style{}, fmt.Sprintf("%d×%d is too small: %d×%d", c.w, c.h, leastWidth, leastHeight))
		return c
	}
	m.header(c)
	body := rect{0, 1, c.w, c.h - 2}
	rows := len(m.rows) + 1
	switch {
	case m.help:
		m.drawHelp(c, body)
	case c.w < smallWidth || c.h < smallHeight:
		m.drawTree(c, body)
	case c.w < wide:
		detail := 6
		if c.h >= 30 {
			detail = 9
		}
		tree := max(6, min(rows, (body.h-detail)/2))
		m.drawTree(c, rect{0, body.y, c.w, tree})
		m.drawDetail(c, rect{0, body.y + tree, c.w, detail})
		m.drawLog(c, rect{0, body.y + tree + detail, c.w, body.h - tree - detail})
	default:
		top := max(12, min(rows, body.h*11/20))
		left := min(110, max(82, c.w*11/20))
		m.drawTree(c, rect{0, body.y, left, top})
		for y := range top {
			c.text(left, body.y+y, 1, style{dim: true}, "│")
		}
		m.drawDetail(c, rect{left + 1, body.y, c.w - left - 1, top})
		m.drawLog(c, rect{0, body.y + top, c.w, body.h - top})
	}
	m.footer(c)
	return c
}

// header is who is looked at.
func (m *model) header(c *canvas) {
	x := c.text(0, 0, c.w, style{bold: true, fg: cyan}, "neko")
	put := func(st style, text string) {
		if text != "" && x < c.w {
			x += c.text(x, 0, c.w-x, st, text)
		}
	}
	switch {
	case m.state == nil && m.trouble == nil:
		put(style{}, " asking the daemon …")
		return
	case m.state == nil:
		put(style{fg: red}, " "+m.trouble.Error())
		return
	}
	d := m.state.Daemon
	put(style{}, " "+d.Version)
	if d.UptimeSeconds > 0 {
		put(style{dim: true}, " up ")
		put(style{}, span2(d.UptimeSeconds))
	}
	put(style{dim: true}, " · ")
	put(style{}, plural(len(m.state.Apps), "app"))
	for _, s := range states {
		if n := m.state.Count(s); n > 0 {
			put(style{dim: true}, " · ")
			put(stateStyle(s), fmt.Sprintf("%d %s", n, s))
		}
	}
	if n := len(d.Warnings); n > 0 {
		put(style{dim: true}, " · ")
		put(style{fg: yellow, bold: true}, plural(n, "warning"))
		put(style{fg: yellow}, ": "+d.Warnings[0])
	}
	right := ""
	st := style{dim: true}
	switch {
	case m.trouble != nil && !m.retrying():
		right, st = " "+m.trouble.Error()+" ", style{fg: red, bold: true, reverse: true}
	case m.waiting():
		right, st = " reconnecting … ", style{fg: yellow, bold: true, reverse: true}
	case m.filter != "":
		right = " filter: " + m.filter
	case m.state.MetricsError != "" && c.w >= wide:
		right, st = " no metrics: "+m.state.MetricsError, style{fg: yellow}
	}
	if right != "" {
		right = fit(right, c.w/2)
		c.text(c.w-width(right), 0, c.w, st, right)
	}
}

// retrying says that whoever did not answer may have a successor.
func (m *model) retrying() bool { return m.trouble != nil && !isGone(m.trouble) }

// waiting says that what is shown is of a while ago.
func (m *model) waiting() bool {
	return m.retrying() || !m.asked.IsZero() && m.now().Sub(m.asked) > max(m.options.Interval, time.Second)*3/2
}

// column is one of the tree.
type column struct {
	title string
	width int
	right bool
	cell  func(a *App, one *Worker) (string, style)
}

// columns are those of the tree that there is room for, from the least to be missed.
func (m *model) columns(room int) []column {
	figures := func(a *App, one *Worker) *Figures {
		if one != nil {
			return &one.Figures
		}
		return &a.Figures
	}
	of := func(f func(*Figures) string) func(*App, *Worker) (string, style) {
		return func(a *App, one *Worker) (string, style) { return f(figures(a, one)), style{} }
	}
	curve := 9
	if room >= 100 {
		curve = 16
	}
	all := []column{
		{"", 0, false, nil}, // the name
		{"state", 9, false, func(a *App, one *Worker) (string, style) {
			if one != nil {
				text := string(one.State)
				if one.Unready != "" && one.State == control.Online {
					return "not ready", style{fg: yellow}
				}
				return text, stateStyle(one.State)
			}
			return stateOf(a)
		}},
		{"pid", 7, true, func(a *App, one *Worker) (string, style) {
			if one == nil || one.PID == 0 {
				return "", style{}
			}
			return strconv.Itoa(one.PID), style{dim: true}
		}},
		{"up", 5, true, func(a *App, one *Worker) (string, style) {
			if one == nil || one.PID == 0 {
				return "", style{}
			}
			return span1(one.UptimeSeconds), style{}
		}},
		{"↺", 4, true, func(a *App, one *Worker) (string, style) {
			n := a.Restarts
			if one != nil {
				n = one.Restarts
			}
			if n > 0 {
				return short(float64(n)), style{fg: yellow}
			}
			return "0", style{dim: true}
		}},
		{"cpu", 6, true, of(func(f *Figures) string { return percentOf(f.CPUPercent) })},
		{"memory", 8, true, of(func(f *Figures) string { return bytesOf(f.MemoryBytes) })},
		{"req/s", 6, true, of(func(f *Figures) string { return rateOf(f.RequestsPerSecond) })},
		{m.curveTitle(), curve, false, func(a *App, one *Worker) (string, style) {
			f := figures(a, one)
			values, least := f.cpu, 10.0
			if m.requests {
				values, least = f.rate, 1
			}
			return spark(values, curve, least), style{fg: blue}
		}},
	}
	const name = 16
	need := name
	for _, col := range all[1:] {
		need += col.width + 1
	}
	for _, title := range []string{"pid", "req/s", m.curveTitle(), "up", "memory"} {
		if need <= room {
			break
		}
		for i, col := range all {
			if col.title == title && i > 0 {
				need -= col.width + 1
				all = append(all[:i], all[i+1:]...)
				break
			}
		}
	}
	all[0].width = room
	for _, col := range all[1:] {
		all[0].width -= col.width + 1
	}
	return all
}

func (m *model) curveTitle() string {
	if m.requests {
		return "req/s ∿"
	}
	return "cpu ∿"
}

func (m *model) drawTree(c *canvas, r rect) {
	m.zones = append(m.zones, zone{r, treePane, func() tea.Cmd { m.focus = treePane; return nil }})
	columns := m.columns(r.w)
	title := "apps"
	if m.order != byID {
		title += " by " + orderNames[m.order]
	}
	if n := len(m.rows); n > r.h-1 {
		title += fmt.Sprintf(" %d of %d", min(n, m.top+r.h-1), n)
	}
	head := m.titleStyle(treePane)
	x := r.x
	for i, col := range columns {
		switch {
		case i == 0:
			c.text(x+2, r.y, col.width-2, head, title)
		case col.right:
			c.right(x, r.y, col.width, style{dim: true}, col.title)
		default:
			c.text(x, r.y, col.width, style{dim: true}, col.title)
		}
		x += col.width + 1
	}
	seen := r.h - 1
	at := 0
	for i, one := range m.rows {
		if one == m.selected {
			at = i
		}
	}
	m.top = max(0, min(m.top, len(m.rows)-seen))
	if at < m.top {
		m.top = at
	} else if at >= m.top+seen {
		m.top = at - seen + 1
	}
	if len(m.rows) == 0 && m.state != nil {
		text := "no app runs; nekoctl start begins one"
		if m.filter != "" {
			text = "no app is called so; esc shows all"
		}
		c.text(r.x+2, r.y+1, r.w-2, style{dim: true}, text)
	}
	for i := m.top; i < min(len(m.rows), m.top+seen); i++ {
		m.drawRow(c, rect{r.x, r.y + 1 + i - m.top, r.w, 1}, columns, i)
	}
}

func (m *model) drawRow(c *canvas, r rect, columns []column, i int) {
	this := m.rows[i]
	a := appOf(m.state, this.app)
	if a == nil {
		return
	}
	one := workerOf(a, this.slot)
	name, st := a.Shown(), style{bold: true}
	mark := "  "
	switch {
	case this.slot >= 0:
		name, st, mark = ":"+strconv.Itoa(this.slot), style{}, "    "
	case len(a.Workers) != 1 && m.folded[a.Name]:
		mark = "▸ "
	case len(a.Workers) != 1:
		mark = "▾ "
	}
	if this.slot < 0 && len(a.Workers) > 1 {
		name += " ×" + strconv.Itoa(len(a.Workers))
	}
	x := r.x + c.text(r.x, r.y, columns[0].width, style{}, mark)
	c.text(x, r.y, columns[0].width-width(mark), st, name)
	x = r.x + columns[0].width + 1
	for _, col := range columns[1:] {
		text, st := col.cell(a, one)
		if col.right {
			c.right(x, r.y, col.width, st, text)
		} else {
			c.text(x, r.y, col.width, st, text)
		}
		x += col.width + 1
	}
	if m.waiting() || m.trouble != nil {
		c.restyle(r.x, r.y, r.w, func(s *style) { s.dim = true })
	}
	if this == m.selected {
		if mark == "  " || this.slot >= 0 {
			c.text(r.x, r.y, 1, style{bold: true}, "›")
		}
		c.restyle(r.x, r.y, r.w, func(s *style) { *s = style{bold: s.bold, reverse: true} })
	}
	m.zones = append(m.zones, zone{r, treePane, func() tea.Cmd {
		m.focus = treePane
		if i >= len(m.rows) || m.rows[i] != this {
			return nil // it has moved since it was drawn
		}
		if again := m.selected == this; again && this.slot < 0 {
			return m.fold("enter")
		}
		return m.choose(i)
	}})
}

func (m *model) titleStyle(p pane) style {
	if m.focus == p {
		return style{bold: true, fg: cyan}
	}
	return style{bold: true}
}

// rule is the line above a pane, with its title.
func (m *model) rule(c *canvas, r rect, p pane, title, right string) {
	c.text(r.x, r.y, r.w, style{dim: true}, strings.Repeat("─", r.w))
	x := r.x + 1 + c.text(r.x+1, r.y, r.w-2, m.titleStyle(p), " "+title+" ")
	if right != "" && x+width(right)+3 < r.x+r.w {
		c.text(r.x+r.w-width(right)-3, r.y, r.w, style{dim: true}, " "+right+" ")
	}
}

func (m *model) drawLog(c *canvas, r rect) {
	m.zones = append(m.zones, zone{r, logPane, func() tea.Cmd { m.focus = logPane; return nil }})
	v := m.shown()
	v.height = r.h - 1
	title := "log"
	if a := m.app(); m.happens {
		title = "events"
	} else if a != nil {
		title += " of " + a.Shown()
		if m.selected.slot >= 0 {
			title += ":" + strconv.Itoa(m.selected.slot)
		}
	}
	list := v.visible()
	v.back = max(0, min(v.back, len(list)-v.height))
	right := streamNames[v.stream]
	if m.happens {
		right = "all apps"
	}
	if v.back > 0 {
		right = fmt.Sprintf("%s · %d below, end follows", right, v.back)
	}
	if v.pattern != "" {
		right = "/" + v.pattern + " · " + right
	}
	m.rule(c, r, logPane, title, fit(right, r.w/2))
	end := len(list) - v.back
	begin := max(0, end-v.height)
	several := m.selected.slot < 0 && m.app() != nil && len(m.app().Workers) > 1
	if len(list) == 0 {
		text := map[bool]string{false: "nothing was printed", true: "nothing has happened"}[m.happens]
		if v.trouble != "" {
			text = v.trouble
		}
		c.text(r.x+1, r.y+1, r.w-2, style{dim: true}, text)
	}
	for i := begin; i < end; i++ {
		l, y, x := list[i], r.y+1+i-begin, r.x
		base := style{}
		mark := "│"
		if l.err {
			base.fg = red
			mark = "┃"
		}
		if several && l.slot >= 0 {
			x += c.text(x, y, 6, style{fg: slotColors[l.slot%len(slotColors)]}, strconv.Itoa(l.slot))
		}
		x += c.text(x, y, 1, style{fg: base.fg, dim: !l.err}, mark) + 1
		from := x
		var whole strings.Builder
		for _, s := range spans(l.text, base) {
			if x < r.x+r.w {
				x += c.text(x, y, r.x+r.w-x, s.style, s.text)
			}
			whole.WriteString(s.text)
		}
		if v.match != nil && v.pattern != "" {
			text := whole.String()
			for _, at := range v.match.FindAllStringIndex(text, 20) {
				x := from + width(text[:at[0]])
				c.restyle(x, y, min(width(text[at[0]:at[1]]), r.x+r.w-x), func(s *style) { *s = style{fg: yellow, bold: true, reverse: true} })
			}
		}
		if i == v.at {
			c.text(r.x, y, 1, style{fg: yellow, bold: true}, "›")
		}
	}
}

var slotColors = []color{cyan, green, magenta, blue, yellow}

func (m *model) drawHelp(c *canvas, r rect) {
	c.text(2, r.y, r.w-2, style{bold: true}, "keys")
	columns := 1
	if r.w >= wide {
		columns = 2
	}
	per := (len(shortcuts) + columns - 1) / columns
	for i, s := range shortcuts {
		x, y := 2+(i/per)*(r.w/columns), r.y+1+i%per
		if y >= r.y+r.h {
			break
		}
		c.text(x, y, 12, style{fg: cyan}, s.keys)
		c.text(x+13, y, r.w/columns-15, style{}, s.about)
	}
	if y := r.y + per + 2; y < r.y+r.h {
		c.text(2, y, r.w-2, style{dim: true}, "a click selects, a second one folds; the wheel scrolls; any key closes this")
	}
}

// footer is what can be done, or what is being done.
func (m *model) footer(c *canvas) {
	y := c.h - 1
	switch {
	case m.confirm != nil:
		x := c.text(0, y, c.w-7, style{fg: yellow, bold: true, reverse: true}, " "+m.confirm.question+" ") + 1
		for _, k := range []string{"y", "n"} {
			m.button(c, &x, y, k, map[string]string{"y": "yes", "n": "no"}[k])
		}
		return
	case m.input != nil:
		x := c.text(0, y, c.w, style{bold: true}, m.input.title)
		text := m.input.text
		for room := c.w - x - 1; width(printable(text)) > room && text != ""; {
			_, n := utf8.DecodeRuneInString(text)
			text = text[n:]
		}
		x += c.text(x, y, c.w-x, style{}, text)
		c.text(x, y, 1, style{reverse: true}, " ")
		return
	}
	x := 0
	if m.notice != "" {
		c.text(0, y, c.w, style{fg: yellow}, m.notice)
		return
	}
	if j := m.said; j != nil {
		text, st := j.outcome()
		if n := len(m.jobs); n > 1 {
			text = fmt.Sprintf("[%d on their way] %s", n, text)
		}
		c.text(0, y, c.w, st, text)
		return
	}
	for _, s := range shortcuts {
		if s.word != "" && (s.press != "l" || c.w >= 96) {
			m.button(c, &x, y, s.press, s.word)
		}
	}
}

// button is a key that can be clicked.
func (m *model) button(c *canvas, x *int, y int, press, word string) {
	from := *x
	*x += c.text(*x, y, c.w-*x, style{fg: cyan, bold: true}, press)
	*x += c.text(*x, y, c.w-*x, style{}, " "+word)
	*x += 2
	m.zones = append(m.zones, zone{rect{from, y, *x - from - 1, 1}, noPane, func() tea.Cmd {
		if m.confirm != nil {
			return m.answer(press)
		}
		return m.press(press)
	}})
}

func plural(n int, word string) string {
	if n == 1 {
		return "1 " + word
	}
	return strconv.Itoa(n) + " " + word + "s"
}

func stateStyle(s control.State) style {
	switch s {
	case control.Online:
		return style{fg: green}
	case control.Errored:
		return style{fg: red, bold: true}
	case control.Stopped:
		return style{dim: true}
	}
	return style{fg: yellow}
}

// stateOf is the state of an app: what all its workers are, or how many are online.
func stateOf(a *App) (string, style) {
	for _, s := range states {
		if a.States[s] == len(a.Workers) {
			return string(s), stateStyle(s)
		}
	}
	st := style{fg: yellow}
	if a.States[control.Errored] > 0 {
		st = style{fg: red, bold: true}
	}
	return fmt.Sprintf("%d/%d up", a.States[control.Online], len(a.Workers)), st
}

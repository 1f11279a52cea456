package monit

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	tea "charm.land/bubbletea/v2"

	"github.com/nekoctl/neko/supervisor/control"
)

// shortcut is a key as the footer and the help have it.
type shortcut struct {
	keys  string // as people read them
	press string // what a click on it presses
	word  string // in the footer; "": only in the help
	about string
}

var shortcuts = []shortcut{
	{"↑ ↓  j k", "", "", "choose an app or a worker; scroll the log"},
	{"enter space", "", "", "fold and unfold an app; also ← →"},
	{"tab", "tab", "", "on to the next pane: the apps, the log, the figures"},
	{"r", "r", "reload", "reload: new processes, no lost request"},
	{"R", "R", "restart", "restart"},
	{"s", "s", "stop", "stop what runs, start what is stopped"},
	{"+ -", "+", "scale", "one worker more, one less"},
	{"S", "S", "", "scale to a number"},
	{"f", "f", "filter", "show only apps with this in their names; esc shows all"},
	{"o", "o", "sort", "sort by id, name, cpu, memory, restarts, requests"},
	{"c", "c", "", "the small curves: of CPU, or of requests"},
	{"l", "l", "log", "the log: both outputs, standard output, standard error"},
	{"e", "e", "", "events of all apps in place of the log"},
	{"/", "/", "search", "search in the log; in the list of apps: filter"},
	{"n N", "n", "", "the match before, the one after"},
	{"home end", "", "", "to the beginning; to the end, and follow the log"},
	{"m", "m", "", "leave the mouse to the terminal, to mark and copy"},
	{"?", "?", "help", "this help"},
	{"q", "q", "quit", "quit; also ctrl-c"},
}

// key does what a key is for.
func (m *model) key(k tea.KeyPressMsg) tea.Cmd {
	switch name := k.String(); {
	case name == "ctrl+c":
		return tea.Quit
	case name == "ctrl+z":
		return tea.Suspend
	case name == "ctrl+l":
		return tea.ClearScreen
	case m.confirm != nil:
		return m.answer(name)
	case m.input != nil:
		return m.edit(k)
	case m.help:
		m.help = false
		if name == "q" {
			return tea.Quit
		}
		return nil
	default:
		return m.press(name)
	}
}

// press does what a key is for where nothing is being typed.
func (m *model) press(name string) tea.Cmd {
	if moved, ok := m.move(name); ok {
		return moved
	}
	switch name {
	case "q":
		return tea.Quit
	case "?", "h", "f1":
		m.help = true
	case "tab":
		m.focus = (m.focus + 1) % nPanes
	case "shift+tab":
		m.focus = (m.focus + nPanes - 1) % nPanes
	case "enter", "space", " ", "left", "right":
		return m.fold(name)
	case "f":
		m.ask("filter: ", m.filter, m.setFilter, func(text string) tea.Cmd { return m.setNow(text) })
	case "/":
		if m.focus == logPane {
			m.ask("search: ", "", nil, func(text string) tea.Cmd { return m.shown().search(m, text) })
		} else {
			m.ask("filter: ", m.filter, m.setFilter, func(text string) tea.Cmd { return m.setNow(text) })
		}
	case "n":
		m.shown().jump(m, -1)
	case "N", "shift+n":
		m.shown().jump(m, +1)
	case "esc":
		if m.shown().pattern != "" {
			m.shown().pattern = ""
			return nil
		}
		return m.setNow("")
	case "o":
		m.order = (m.order + 1) % nOrders
		return m.arrange()
	case "c":
		m.requests = !m.requests
	case "e":
		m.happens = !m.happens
	case "m":
		m.noMouse = !m.noMouse
	case "l":
		m.log.stream, m.log.back, m.happens = (m.log.stream+1)%nStreams, 0, false
	case "r":
		m.propose("reload", "reload")
	case "R", "shift+r":
		m.propose("restart", "restart")
	case "s":
		m.stopOrStart()
	case "+", "=":
		m.scaleBy(+1)
	case "-", "_":
		m.scaleBy(-1)
	case "S", "shift+s":
		if a := m.app(); a != nil {
			m.ask(fmt.Sprintf("scale %s (%s) to: ", a.Shown(), workers(len(a.Workers))), "", nil, func(text string) tea.Cmd {
				if text = strings.TrimSpace(text); text != "" {
					m.scaleTo(a, text)
				}
				return nil
			})
		}
	}
	return nil
}

// move scrolls or selects in the pane that keys are for.
func (m *model) move(name string) (tea.Cmd, bool) {
	page := max(1, m.h/3)
	by, ok := map[string]int{"up": -1, "k": -1, "down": 1, "j": 1, "pgup": -page, "pgdown": page, "ctrl+u": -page, "ctrl+d": page,
		"home": -1 << 30, "g": -1 << 30, "end": 1 << 30, "G": 1 << 30, "shift+g": 1 << 30}[name]
	if !ok {
		return nil, false
	}
	return m.moveBy(m.focus, by), true
}

func (m *model) moveBy(where pane, by int) tea.Cmd {
	switch where {
	case logPane:
		return m.shown().scrollBy(m, -by)
	case detailPane:
		m.scroll = max(0, min(m.scroll+by, 1<<20)) // what is drawn says how far it goes
		return nil
	}
	return m.choose(max(0, slices.Index(m.rows, m.selected)) + by)
}

func (m *model) fold(name string) tea.Cmd {
	a := m.app()
	if a == nil || m.focus != treePane {
		return nil
	}
	switch name {
	case "left":
		m.folded[a.Name] = true
	case "right":
		m.folded[a.Name] = false
	default:
		m.folded[a.Name] = !m.folded[a.Name]
	}
	return m.arrange()
}

func (m *model) setFilter(text string) { m.filter = text }

func (m *model) setNow(text string) tea.Cmd {
	m.filter = text
	return m.arrange()
}

func (m *model) ask(title, text string, live func(string), done func(string) tea.Cmd) {
	m.input = &input{title: title, text: text, done: done, live: live}
}

// edit is a key of a line that is being typed.
func (m *model) edit(k tea.KeyPressMsg) tea.Cmd {
	in := m.input
	switch k.String() {
	case "enter":
		m.input = nil
		return in.done(in.text)
	case "esc":
		m.input = nil
		if in.live != nil {
			in.live("")
		}
	case "backspace":
		_, n := utf8.DecodeLastRuneInString(in.text)
		in.text = in.text[:len(in.text)-n]
	case "ctrl+u", "ctrl+w":
		in.text = ""
	default:
		m.typed(k.Text)
		return m.arrange()
	}
	if m.input != nil && in.live != nil {
		in.live(in.text)
	}
	return m.arrange()
}

// longestInput is more than any name has.
const longestInput = 200

func (m *model) typed(text string) {
	in := m.input
	if text = strings.ToValidUTF8(text, ""); len(in.text)+len(text) > longestInput {
		return
	}
	in.text += strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return -1
		}
		return r
	}, text)
	if in.live != nil {
		in.live(in.text)
	}
}

// answer is a key where a command waits for a yes.
func (m *model) answer(name string) tea.Cmd {
	c := m.confirm
	switch name {
	case "y", "Y", "shift+y":
		m.confirm = nil
		return m.begin(c.job)
	case "n", "N", "shift+n", "esc", "q":
		m.confirm = nil
	}
	return nil
}

func workers(n int) string {
	if n == 1 {
		return "1 worker"
	}
	return strconv.Itoa(n) + " workers"
}

// subject is what a command is about: the app that is selected, or one worker.
func (m *model) subject() (name, target, size string, ok bool) {
	a := m.app()
	if a == nil {
		return "", "", "", false
	}
	if one := workerOf(a, m.selected.slot); one != nil && m.selected.slot >= 0 {
		return fmt.Sprintf("%s:%d", a.Shown(), one.Slot), strconv.Itoa(one.ID), "1 of " + workers(len(a.Workers)), true
	}
	return a.Shown(), a.Name, workers(len(a.Workers)), true
}

// propose asks whether a command is meant.
func (m *model) propose(command, word string) {
	name, target, size, ok := m.subject()
	if !ok {
		return
	}
	m.confirm = &confirm{fmt.Sprintf("%s %s (%s)?", word, name, size), &job{
		title: word + " " + name,
		run: func(ctx context.Context, step func(control.Progress)) (control.Done, error) {
			return m.daemon.Command(ctx, command, control.TargetRequest{Targets: []string{target}}, step)
		},
	}}
}

func (m *model) stopOrStart() {
	a := m.app()
	if a == nil {
		return
	}
	list := a.Workers
	if one := workerOf(a, m.selected.slot); one != nil {
		list = []*Worker{one}
	}
	runs := slices.ContainsFunc(list, func(one *Worker) bool { return one.State != control.Stopped && one.State != control.Errored })
	if runs {
		m.propose("stop", "stop")
		return
	}
	name, target, size, _ := m.subject()
	m.confirm = &confirm{fmt.Sprintf("start %s (%s)?", name, size), &job{
		title: "start " + name,
		run: func(ctx context.Context, step func(control.Progress)) (control.Done, error) {
			return m.daemon.Start(ctx, control.StartRequest{Targets: []string{target}}, step)
		},
	}}
}

func (m *model) scaleBy(by int) {
	a := m.app()
	if a == nil || len(a.Workers)+by < 1 {
		return
	}
	m.scaleTo(a, strconv.Itoa(len(a.Workers)+by))
}

func (m *model) scaleTo(a *App, instances string) {
	title := fmt.Sprintf("scale %s to %s", a.Shown(), instances)
	m.confirm = &confirm{fmt.Sprintf("scale %s from %d to %s?", a.Shown(), len(a.Workers), instances), &job{
		title: title,
		run: func(ctx context.Context, step func(control.Progress)) (control.Done, error) {
			return m.daemon.Scale(ctx, control.ScaleRequest{Name: a.Name, Instances: instances}, step)
		},
	}}
}

// click does what is under the mouse.
func (m *model) click(x, y int) tea.Cmd {
	for i := len(m.zones) - 1; i >= 0; i-- { // what was drawn last lies on top
		if z := m.zones[i]; z.has(x, y) && z.click != nil {
			return z.click()
		}
	}
	return nil
}

// wheelLines is how far a notch goes, as in most programs.
const wheelLines = 3

func (m *model) wheel(msg tea.MouseWheelMsg) tea.Cmd {
	by := wheelLines
	switch msg.Button {
	case tea.MouseWheelUp:
		by = -wheelLines
	case tea.MouseWheelDown:
	default:
		return nil
	}
	for i := len(m.zones) - 1; i >= 0; i-- {
		if z := m.zones[i]; z.has(msg.X, msg.Y) && z.pane != noPane {
			if z.pane == treePane {
				by /= wheelLines
			}
			return m.moveBy(z.pane, by)
		}
	}
	return nil
}

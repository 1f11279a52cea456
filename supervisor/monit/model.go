package monit

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	tea "charm.land/bubbletea/v2"

	"github.com/nekoctl/neko/supervisor/control"
)

// pane is a part of the screen that keys can be for.
type pane int

const (
	treePane pane = iota
	logPane
	detailPane
	nPanes
	noPane pane = -1
)

// order is by what apps are sorted.
type order int

const (
	byID order = iota
	byName
	byCPU
	byMemory
	byRestarts
	byRequests
	nOrders
)

var orderNames = [nOrders]string{"id", "name", "cpu", "memory", "restarts", "req/s"}

// model is what the screen is at. Only the goroutine of the program touches it.
type model struct {
	ctx     context.Context
	daemon  Daemon
	options Options
	now     func() time.Time
	send    func(tea.Msg) // from goroutines

	w, h   int
	screen string // as it was drawn last
	dirty  bool   // it is to be drawn anew
	zones  []zone // what can be clicked

	watch   watch
	state   *State    // nil: none yet
	asked   time.Time // when the daemon was; zero: it has answered
	trouble error     // the last answer was this

	rows     []row
	selected row // stays the same while rows come and go
	top      int // the first row that is seen
	folded   map[string]bool
	order    order
	filter   string
	focus    pane
	requests bool // small curves are of requests, and not of CPU
	help     bool
	noMouse  bool
	scroll   int // of the detail

	log     logView
	events  logView // looks the same
	happens bool    // they are shown, and not the log
	input   *input
	confirm *confirm
	jobs    []*job
	said    *job // the one whose outcome is shown
	notice  string
	noticed time.Time
}

// row is a line of the tree: an app, or one of its workers.
type row struct {
	app  string
	slot int // -1: the app
}

// zone is a part of the screen that the mouse does something in.
type zone struct {
	rect
	pane  pane           // that the wheel scrolls; noPane: none
	click func() tea.Cmd // nil: nothing
}

// input is a line that is being typed.
type input struct {
	title string
	text  string
	done  func(text string) tea.Cmd
	live  func(text string) // at each key; nil: nothing
}

// confirm is a command that waits for a yes.
type confirm struct {
	question string
	job      *job
}

// job is a command on its way, or its outcome.
type job struct {
	title string // "reload api"
	run   func(ctx context.Context, step func(control.Progress)) (control.Done, error)
	began time.Time
	ended time.Time
	step  string // the last
	done  control.Done
	err   error
}

type (
	tickMsg   struct{}
	sampleMsg struct {
		sample sample
		err    error
	}
	eventMsg control.Event
	stepMsg  struct {
		job  *job
		step control.Progress
	}
	endMsg struct {
		job  *job
		done control.Done
		err  error
	}
)

func newModel(ctx context.Context, d Daemon, o Options) *model {
	return &model{
		ctx: ctx, daemon: d, options: o, now: time.Now, send: func(tea.Msg) {}, dirty: true,
		folded: map[string]bool{}, filter: o.Filter, log: logView{want: firstLines}, events: logView{whole: true, at: -1},
	}
}

// Init begins to look.
func (m *model) Init() tea.Cmd { return tea.Batch(m.look(), m.tick()) }

func (m *model) tick() tea.Cmd {
	return tea.Tick(m.options.Interval, func(time.Time) tea.Msg { return tickMsg{} })
}

// look asks the daemon, unless it still owes an answer.
func (m *model) look() tea.Cmd {
	if !m.asked.IsZero() {
		return nil
	}
	m.asked = m.now()
	metrics := !m.asked.Add(m.options.Interval / 4).Before(m.watch.next) // rather now than a whole interval later
	return func() tea.Msg {
		s, err := takeSome(m.ctx, m.daemon, m.now, metrics)
		return sampleMsg{s, err}
	}
}

// stale says that what is shown is older than it seems.
func (m *model) stale() bool {
	return m.trouble != nil || !m.asked.IsZero() && m.now().Sub(m.asked) > m.options.Interval/2
}

// Update takes what has happened. It draws nothing: a screen is drawn once for each
// answer of the daemon, and after keys.
func (m *model) Update(msg tea.Msg) (tea.Model, tea.Cmd) {
	switch msg := msg.(type) {
	case tea.WindowSizeMsg:
		m.w, m.h, m.dirty = msg.Width, msg.Height, true
	case tickMsg:
		if m.stale() {
			m.dirty = true
		}
		if m.said != nil && !m.said.ended.IsZero() && m.now().Sub(m.said.ended) > shownFor {
			m.said = nil
		}
		if m.notice != "" && m.now().Sub(m.noticed) > shownFor/3 {
			m.notice = ""
		}
		return m, tea.Batch(m.look(), m.log.look(m), m.tick())
	case sampleMsg:
		m.asked, m.trouble, m.dirty = time.Time{}, msg.err, true
		if msg.err == nil {
			m.state = m.watch.state(msg.sample)
		}
		return m, m.arrange()
	case logMsg:
		return m, m.log.take(m, msg)
	case eventMsg:
		m.events.add(lineOf(control.Event(msg), m.now().Location()))
		m.dirty = m.dirty || m.stale()
	case stepMsg:
		msg.job.step = fmt.Sprintf("%s:%d %s", msg.step.Name, msg.step.Slot, msg.step.State)
		if msg.step.Message != "" {
			msg.job.step += ": " + msg.step.Message
		}
		m.dirty = true
	case endMsg:
		msg.job.done, msg.job.err, msg.job.ended, m.dirty = msg.done, msg.err, m.now(), true
		m.jobs = slices.DeleteFunc(m.jobs, func(j *job) bool { return j == msg.job })
		m.said = msg.job
		return m, m.look()
	case tea.ResumeMsg:
		m.dirty = true
	case tea.KeyPressMsg:
		m.dirty = true
		return m, m.key(msg)
	case tea.PasteMsg:
		if m.input != nil {
			m.dirty = true
			m.typed(msg.Content)
		}
	case tea.MouseClickMsg:
		if msg.Button == tea.MouseLeft {
			m.dirty = true
			return m, m.click(msg.X, msg.Y)
		}
	case tea.MouseWheelMsg:
		m.dirty = true
		return m, m.wheel(msg)
	}
	return m, nil
}

// shownFor is how long the outcome of a command is shown.
const shownFor = 12 * time.Second

// arrange makes the rows of the state, and stays at what is selected.
func (m *model) arrange() tea.Cmd {
	if m.state == nil {
		return nil
	}
	was := slices.Index(m.rows, m.selected)
	apps := slices.Clone(m.state.Apps)
	apps = slices.DeleteFunc(apps, func(a *App) bool { return !matches(a, m.filter) })
	slices.SortStableFunc(apps, func(a, b *App) int {
		switch m.order {
		case byName:
			return strings.Compare(a.Shown(), b.Shown())
		case byCPU:
			return cmp.Compare(b.CPUPercent.v, a.CPUPercent.v)
		case byMemory:
			return cmp.Compare(b.MemoryBytes.v, a.MemoryBytes.v)
		case byRestarts:
			return b.Restarts - a.Restarts
		case byRequests:
			return cmp.Compare(b.RequestsPerSecond.v, a.RequestsPerSecond.v)
		}
		return 0
	})
	m.rows = m.rows[:0]
	for _, a := range apps {
		m.rows = append(m.rows, row{a.Name, -1})
		if m.folded[a.Name] || len(a.Workers) == 1 {
			continue
		}
		for _, one := range a.Workers {
			m.rows = append(m.rows, row{a.Name, one.Slot})
		}
	}
	if len(m.rows) == 0 {
		return m.log.follow(m, row{slot: -1})
	}
	at := slices.Index(m.rows, m.selected)
	if at < 0 { // scaled down, folded or gone: the app, or who is at its place now
		if at = slices.Index(m.rows, row{m.selected.app, -1}); at < 0 {
			at = min(max(was, 0), len(m.rows)-1)
		}
	}
	return m.choose(at)
}

// choose selects a row.
func (m *model) choose(at int) tea.Cmd {
	if len(m.rows) == 0 {
		return nil
	}
	chosen := m.rows[max(0, min(at, len(m.rows)-1))]
	if chosen != m.selected {
		m.scroll = 0
	}
	m.selected = chosen
	return m.log.follow(m, m.selected)
}

// app is the one that is selected, or of which a worker is; nil: none.
func (m *model) app() *App {
	if m.state == nil {
		return nil
	}
	return appOf(m.state, m.selected.app)
}

func appOf(st *State, name string) *App {
	for _, a := range st.Apps {
		if a.Name == name {
			return a
		}
	}
	return nil
}

// workerOf is the worker of a row; nil: it is an app with several, or gone.
func workerOf(a *App, slot int) *Worker {
	if a == nil {
		return nil
	}
	if slot < 0 && len(a.Workers) == 1 {
		return a.Workers[0]
	}
	for _, one := range a.Workers {
		if one.Slot == slot {
			return one
		}
	}
	return nil
}

// say shows a word for a moment.
func (m *model) say(notice string) { m.notice, m.noticed = notice, m.now() }

// begin runs a command without keeping the screen waiting.
func (m *model) begin(j *job) tea.Cmd {
	j.began = m.now()
	m.jobs, m.said = append(m.jobs, j), j
	return func() tea.Msg {
		done, err := j.run(m.ctx, func(p control.Progress) { m.send(stepMsg{j, p}) })
		return endMsg{j, done, err}
	}
}

// outcome is what a command has come to, in one line.
func (j *job) outcome() (text string, st style) {
	if j.ended.IsZero() {
		text = j.title + " …"
		if j.step != "" {
			text += " " + j.step
		}
		return text, style{fg: yellow}
	}
	took := j.ended.Sub(j.began).Round(100 * time.Millisecond)
	if j.err != nil {
		text = j.title + " failed: " + j.err.Error()
		if e := (*control.Error)(nil); errors.As(j.err, &e) {
			if len(e.Output) > 0 {
				text += " | " + strings.Join(e.Output[max(0, len(e.Output)-2):], " | ")
			}
			if e.Hint != "" {
				text += " — " + e.Hint
			}
		}
		return text, style{fg: red, bold: true}
	}
	counts := map[control.State]int{}
	for _, p := range j.done.Processes {
		counts[p.State]++
	}
	text = fmt.Sprintf("%s: done in %v", j.title, took)
	if list := countsOf(counts); list != "" {
		text += ": " + list
	}
	if len(j.done.Notes) > 0 {
		text += "; " + strings.Join(j.done.Notes, "; ")
	}
	return text, style{fg: green}
}

// states are all that there are, in the order in which they are counted.
var states = []control.State{control.Online, control.Launching, control.Stopping, control.WaitingRestart, control.Stopped, control.Errored}

func countsOf(counts map[control.State]int) string {
	var parts []string
	for _, s := range states {
		if n := counts[s]; n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, s))
		}
	}
	return strings.Join(parts, ", ")
}

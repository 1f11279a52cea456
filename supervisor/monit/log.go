package monit

import (
	"cmp"
	"context"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	tea "charm.land/bubbletea/v2"

	"github.com/nekoctl/neko/supervisor/control"
	"github.com/nekoctl/neko/supervisor/logs"
)

// stream is which outputs are shown.
type stream int

const (
	both stream = iota
	outOnly
	errOnly
	nStreams
)

var streamNames = [nStreams]string{"out+err", "out", "err"}

const (
	firstLines = 500    // of each log that are read at first
	mostLines  = 20_000 // that are kept
	// mostBytes of what came to a log since the last look are read.
	mostBytes = 1 << 20
)

// logLine is one that was printed, without its end.
type logLine struct {
	slot int
	err  bool
	text string
}

// logView is the log of what is selected.
type logView struct {
	of       row // whose log it is
	follower *logs.Follower
	busy     bool // it is being read
	again    bool // and is to be read anew then
	trouble  string

	lines   []logLine
	want    int  // lines of each log
	whole   bool // there are no more before
	stream  stream
	back    int // lines that are below what is seen; 0: it is followed
	height  int // as it was drawn
	pattern string
	match   *regexp.Regexp
	at      int // the visible line that was found last; -1: none
}

// logMsg is what was read.
type logMsg struct {
	of       row
	follower *logs.Follower // a new one; nil: it goes on with the present one
	lines    []logLine
	want     int
	err      error
}

// follow has the log of a row read from now on.
func (v *logView) follow(m *model, of row) tea.Cmd {
	if v.of == of && (v.follower != nil || v.busy) {
		return nil
	}
	v.of, v.want, v.back, v.at, v.lines, v.whole, v.trouble = of, firstLines, 0, -1, nil, false, ""
	return v.open(m)
}

// open reads the last lines anew. What is being read is waited for, as its files are
// still in use.
func (v *logView) open(m *model) tea.Cmd {
	if v.busy {
		v.again = true
		return nil
	}
	if v.follower != nil {
		v.follower.Close()
		v.follower = nil
	}
	if v.of.app == "" || m.options.Logs == nil {
		return nil
	}
	v.busy = true
	of, want, find := v.of, v.want, m.options.Logs
	return func() tea.Msg {
		msg := logMsg{of: of, want: want}
		known := []logs.Source(nil)
		var looked time.Time
		f := &logs.Follower{
			Most: mostBytes,
			Find: func() ([]logs.Source, error) {
				// Where logs are changes seldom, and whoever says it may be away.
				if time.Since(looked) > 3*time.Second {
					ctx, cancel := context.WithTimeout(m.ctx, time.Second)
					defer cancel()
					if list, err := find(ctx, of.app, of.slot); err == nil {
						known = list
					} else if known == nil {
						return nil, err
					}
					looked = time.Now()
				}
				return known, nil
			},
		}
		keep := &kept{}
		f.Show = keep.show
		if msg.err = f.Begin(logs.Query{Last: want}); msg.err != nil {
			f.Close()
			return msg
		}
		msg.follower, msg.lines = f, keep.take()
		return msg
	}
}

// kept are lines that were read, at most mostLines.
type kept struct{ lines []logLine }

func (k *kept) show(l logs.Name, _ time.Time, text []byte) error {
	if len(k.lines) >= 2*mostLines {
		k.lines = append(k.lines[:0], k.lines[mostLines:]...)
	}
	k.lines = append(k.lines, logLine{l.Slot, l.Err, string(text[:min(len(text), longestLine+1)])})
	return nil
}

func (k *kept) take() []logLine { return k.lines[max(0, len(k.lines)-mostLines):] }

// look reads what is new.
func (v *logView) look(m *model) tea.Cmd {
	if v.busy {
		return nil
	}
	if v.follower == nil {
		return v.open(m)
	}
	v.busy = true
	f, of := v.follower, v.of
	return func() tea.Msg {
		keep := &kept{}
		f.Show = keep.show
		err := f.Look()
		return logMsg{of: of, lines: keep.take(), err: err}
	}
}

// take brings in what was read. It is drawn with the next answer of the daemon.
func (v *logView) take(m *model, msg logMsg) tea.Cmd {
	v.busy = false
	if msg.follower != nil {
		v.follower = msg.follower
	}
	if v.again || msg.of != v.of {
		v.again = false
		return v.open(m)
	}
	v.trouble = ""
	if msg.err != nil {
		v.trouble = msg.err.Error()
		if v.follower != nil && msg.follower == nil {
			v.follower.Close()
			v.follower = nil
		}
	}
	if msg.follower != nil {
		v.whole = len(msg.lines) < msg.want || len(msg.lines) >= mostLines
		v.lines, m.dirty = msg.lines, true
		return nil
	}
	if len(msg.lines) == 0 {
		return nil
	}
	v.add(msg.lines...)
	m.dirty = m.dirty || m.stale() // else nobody draws
	return nil
}

// add has new lines at the end. Who has scrolled back stays there.
func (v *logView) add(lines ...logLine) {
	if v.back > 0 {
		for _, l := range lines {
			if v.shows(l) {
				v.back++
			}
		}
	}
	v.lines = append(v.lines, lines...)
	if excess := len(v.lines) - mostLines; excess > 0 {
		v.lines = append(v.lines[:0], v.lines[excess:]...)
		if v.at >= 0 {
			v.at = -1
		}
	}
}

// pastEvents are shown of what was before.
const pastEvents = 100

// lineOf is an event as a line.
func lineOf(e control.Event, where *time.Location) logLine {
	about := ""
	if name := cmp.Or(e.Title, e.Name); name != "" {
		about = " " + name
		if e.Slot != nil {
			about += ":" + strconv.Itoa(*e.Slot)
		}
	}
	bad := slices.Contains([]control.Kind{control.EventCrash, control.EventHung, control.EventErrored, control.EventUnready, control.EventLogLost}, e.Kind)
	return logLine{slot: -1, err: bad, text: e.Time.In(where).Format("15:04:05 ") + string(e.Kind) + about + ": " + e.Message}
}

// shown is the log, or the events in its place.
func (m *model) shown() *logView {
	if m.happens {
		return &m.events
	}
	return &m.log
}

func (v *logView) shows(l logLine) bool { return v.stream == both || l.err == (v.stream == errOnly) }

// visible are the lines of the outputs that are shown.
func (v *logView) visible() []logLine {
	if v.stream == both {
		return v.lines
	}
	var list []logLine
	for _, l := range v.lines {
		if v.shows(l) {
			list = append(list, l)
		}
	}
	return list
}

// scrollBy goes back (more than 0) or on.
func (v *logView) scrollBy(m *model, by int) tea.Cmd {
	n := len(v.visible())
	most := max(0, n-max(1, v.height))
	v.back = max(0, min(v.back+by, most))
	if by > 0 && v.back == most && !v.whole && v.want < mostLines && !v.busy {
		v.want *= 4
		return v.open(m)
	}
	return nil
}

// search looks for a text, or a regular expression, from the end back.
func (v *logView) search(m *model, text string) tea.Cmd {
	v.pattern, v.match, v.at = text, nil, -1
	if text == "" {
		return nil
	}
	var err error
	if v.match, err = regexp.Compile("(?i)" + text); err != nil {
		v.match = regexp.MustCompile("(?i)" + regexp.QuoteMeta(text))
	}
	m.focus = logPane
	v.jump(m, -1)
	return nil
}

// jump goes to the match before (-1) or after.
func (v *logView) jump(m *model, by int) {
	if v.match == nil || v.pattern == "" {
		return
	}
	list := v.visible()
	from := len(list) - v.back // the line below what is seen
	if v.at >= 0 {
		from = v.at
	} else if by > 0 {
		from--
	}
	for i := from + by; i >= 0 && i < len(list); i += by {
		if v.match.MatchString(clean(list[i].text)) {
			v.at = i
			h := max(1, v.height)
			first := len(list) - v.back - h
			if i < first || i >= first+h {
				v.back = max(0, min(len(list)-i-1-h/2, len(list)-h))
			}
			return
		}
	}
	m.say("no more matches of " + v.pattern)
}

// clean is a line without its colors.
func clean(text string) string {
	if strings.IndexByte(text, '\x1b') < 0 {
		return text
	}
	var b strings.Builder
	for _, s := range spans(text, style{}) {
		b.WriteString(s.text)
	}
	return b.String()
}

func (m *model) closeLogs() {
	if m.log.follower != nil && !m.log.busy {
		m.log.follower.Close()
	}
}

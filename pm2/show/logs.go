package show

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/nekoctl/neko/pm2/object"
	"github.com/nekoctl/neko/pm2/shape"
)

// Kind is the output that a line has come from, in PM2's words.
type Kind string

// The kinds.
const (
	Out    Kind = "out"
	Err    Kind = "err"
	Daemon Kind = "PM2" // the daemon's own log
)

func (s Style) kind(text string, k Kind) string {
	switch k {
	case Out:
		return s.paint(text, green)
	case Err:
		return s.paint(text, red)
	}
	return s.paint(text, blue)
}

// Tailing is what `pm2 logs` begins with, if any lines are asked for. target is what
// was asked for, "all" by default.
func Tailing(w io.Writer, lines int, target string, s Style) {
	plural := ""
	if target == "all" {
		plural = "es"
	}
	s.Print(w, s.paint(fmt.Sprintf("[TAILING] Tailing last %d lines for [%s] process%s (change the value with --lines option)",
		lines, target, plural), bold, gray))
}

// Tail is the end of one file: its last lines, of which n were asked for. id and name
// are of the process. raw lines of [Err] go to errors.
func Tail(w, errors io.Writer, path string, kind Kind, id int, name string, lines []string, n int, raw bool, s Style) {
	fmt.Fprintln(w, s.paint(fmt.Sprintf("%s last %d lines:", path, n), gray))
	title := fmt.Sprintf("%d|%s", id, name)
	if kind == Daemon {
		title = "PM2"
	}
	for _, line := range lines {
		switch {
		case raw && kind == Err:
			fmt.Fprintln(errors, line)
		case raw:
			fmt.Fprintln(w, line)
		default:
			fmt.Fprintln(w, s.kind(padded(title, 10)+" | ", kind)+line)
		}
	}
	if len(lines) > 0 {
		fmt.Fprintln(w)
	}
}

// padded is text in so many columns, cut if it is longer.
func padded(text string, width int) string {
	return cut(text, width) + strings.Repeat(" ", max(width-units(text), 0))
}

// Entry is one line that a process, or the daemon, has printed.
type Entry struct {
	ID   int
	Name string
	Kind Kind
	Time time.Time
	Text string
	// Stamp is its time in the format of --timestamp; "": it was not asked for.
	Stamp string
}

// Stream prints entries as they come. The zero value is ready, but for its Style.
type Stream struct {
	Style Style
	Raw   bool
	// Highlight is marked where it first is in a line.
	Highlight string

	width int // of the titles, which only grows
}

// Line prints an entry as `pm2 logs` does while it follows. Empty lines are left out;
// raw lines of [Err] go to errors.
func (s *Stream) Line(w, errors io.Writer, e Entry) {
	if e.Text == "" {
		return
	}
	if s.Raw {
		if e.Kind == Err {
			w = errors
		}
		fmt.Fprintln(w, e.Text)
		return
	}
	stamp := ""
	if e.Stamp != "" {
		stamp = s.Style.paint(e.Stamp+" ", dim, gray)
	}
	s.width = max(s.width, 3)
	title := fmt.Sprintf("%d|%s", e.ID, e.Name)
	if e.Kind == Daemon {
		title = "PM2|PM2" // id and name
	}
	if n := units(title); n > s.width {
		s.width = n + 1
	}
	if e.Kind == Daemon {
		title = "PM2"
	}
	fmt.Fprintln(w, stamp+s.Style.kind(padded(title, s.width)+" | ", e.Kind)+s.marked(e.Text))
}

func (s *Stream) marked(text string) string {
	if s.Highlight == "" {
		return text
	}
	return strings.Replace(text, s.Highlight, s.Style.paint(s.Highlight, marked), 1)
}

// Format prints an entry as key=value, as `pm2 logs --format` does.
func (s *Stream) Format(w io.Writer, e Entry) {
	if e.Text == "" {
		return
	}
	line := ""
	if e.Stamp != "" {
		line = "timestamp=" + e.Stamp + " "
	}
	switch e.Kind {
	case Daemon:
		line += "app=pm2 "
	case Err:
		line += fmt.Sprintf("app=%s id=%d type=error ", e.Name, e.ID)
	default:
		line += fmt.Sprintf("app=%s id=%d type=out ", e.Name, e.ID)
	}
	fmt.Fprintln(w, line+"message="+s.marked(e.Text))
}

// JSON prints an entry as `pm2 logs --json` does; the daemon's own are left out.
func (s *Stream) JSON(w io.Writer, e Entry) {
	if e.Kind == Daemon {
		return
	}
	text := strings.NewReplacer("\r\n", "", "\n", "", "\r", "").Replace(e.Text)
	printJSON(w, (&object.Object{}).
		Set("message", text).
		Set("timestamp", e.Time.UTC().Format(isoTime)).
		Set("type", string(e.Kind)).
		Set("process_id", e.ID).
		Set("app_name", e.Name))
}

// Event prints what has happened to a process ("online", "exit", "restart"), among the
// lines of [Stream.JSON].
func (s *Stream) Event(w io.Writer, at time.Time, event, name string) {
	printJSON(w, (&object.Object{}).
		Set("timestamp", at.UTC().Format(isoTime)).
		Set("type", "process_event").
		Set("status", event).
		Set("app_name", name))
}

func printJSON(w io.Writer, o *object.Object) { fmt.Fprintln(w, shape.Stringify(o)) }

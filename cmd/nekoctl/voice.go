package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/nekoctl/neko/supervisor/control"
	"github.com/nekoctl/neko/supervisor/spec"
)

// The voice of nekoctl: what was asked for goes to standard output; errors,
// hints and progress go to standard error, in lower case, without a full stop.
// An error says what happened, a hint what to do.

// Exit codes; `nekoctl help exit-codes` tells people.
const (
	exitOK     = 0
	exitFailed = 1
	exitUsage  = 2
)

// usageError is a command line that makes no sense.
type usageError struct {
	message string
	hint    string
}

func (e *usageError) Error() string { return e.message }

// exitCode is the end of a command that has said all there is to say.
type exitCode int

func (exitCode) Error() string { return "" }

func misuse(command, format string, args ...any) *usageError {
	return &usageError{fmt.Sprintf(format, args...), "nekoctl " + strings.TrimSpace(command+" --help") + " shows how"}
}

// failed is an error with a hint.
func failed(hint, format string, args ...any) error {
	return &control.Error{Message: fmt.Sprintf(format, args...), Hint: hint}
}

// terminal is an output that knows whether somebody looks at it.
type terminal struct {
	io.Writer
	width int // 0: not a terminal
	color bool
	live  bool     // lines can be drawn anew
	file  *os.File // nil: not a terminal
}

// size is how large the terminal is now; 0 rows: nobody knows.
func (t terminal) size() (columns, rows int) {
	if t.file != nil {
		if now, err := unix.IoctlGetWinsize(int(t.file.Fd()), unix.TIOCGWINSZ); err == nil && now.Col > 0 {
			return int(now.Col), int(now.Row)
		}
	}
	return t.width, 0
}

// columns is how wide it is now; 0: it is none.
func (t terminal) columns() int {
	columns, _ := t.size()
	return columns
}

func newTerminal(w io.Writer) terminal {
	t := terminal{Writer: &checked{Writer: w}}
	file, ok := w.(*os.File)
	if !ok {
		return t
	}
	size, err := unix.IoctlGetWinsize(int(file.Fd()), unix.TIOCGWINSZ)
	if err != nil {
		return t
	}
	t.width = int(size.Col)
	if t.width == 0 {
		t.width = 80
	}
	t.file = file
	dumb := os.Getenv("TERM") == "dumb"
	t.color = os.Getenv("NO_COLOR") == "" && !dumb
	// Where a job of a CI has a terminal it is a file that people read later.
	ci := os.Getenv("CI")
	t.live = !dumb && (ci == "" || ci == "0" || ci == "false")
	return t
}

// checked remembers that a write failed: a full disk must not look like an empty
// answer.
type checked struct {
	io.Writer
	err error
}

func (c *checked) Write(p []byte) (int, error) {
	n, err := c.Writer.Write(p)
	if err != nil && c.err == nil {
		c.err = err
	}
	return n, err
}

type color string

const (
	red    color = "31"
	green  color = "32"
	yellow color = "33"
	cyan   color = "36"
	dim    color = "2"
	bold   color = "1"
)

func (t terminal) paint(c color, s string) string {
	if !t.color || s == "" {
		return s
	}
	return "\x1b[" + string(c) + "m" + s + "\x1b[0m"
}

// report tells what went wrong and returns the exit code.
func (c *cli) report(err error) int {
	say := func(message, hint string, output []string) {
		fmt.Fprintln(c.err, c.err.paint(red, "error:")+" "+printable(message))
		for _, line := range output {
			fmt.Fprintln(c.err, c.err.paint(dim, "  | ")+printable(line))
		}
		if hint != "" {
			c.hint("%s", hint)
		}
	}
	if code, ok := errors.AsType[exitCode](err); ok {
		return int(code)
	}
	if e, ok := errors.AsType[*usageError](err); ok {
		say(e.message, e.hint, nil)
		return exitUsage
	}
	if list, ok := errors.AsType[spec.Errors](err); ok {
		hints := 0
		for _, e := range list {
			say(e.Error(), e.Hint, nil)
			hints += len(e.Hint)
		}
		if hints == 0 && list[0].Pos.Line > 0 {
			c.hint("docs/configuration.md says what each key means; nothing was started")
		}
		return exitFailed
	}
	if e, ok := errors.AsType[*control.Error](err); ok {
		say(e.Message, e.Hint, e.Output)
		return exitFailed
	}
	if errors.Is(err, control.ErrNoDaemon) {
		say(fmt.Sprintf("no daemon runs on %s", c.home), c.elsewhere(), nil)
		return exitFailed
	}
	say(err.Error(), "", nil)
	return exitFailed
}

func (c *cli) hint(format string, args ...any) {
	fmt.Fprintln(c.err, c.err.paint(cyan, "hint:")+" "+printable(fmt.Sprintf(format, args...)))
}

func (c *cli) warn(format string, args ...any) {
	c.beside(func() {
		fmt.Fprintln(c.err, c.err.paint(yellow, "warning:")+" "+printable(fmt.Sprintf(format, args...)))
	})
}

// beside prints without damage to live lines, if there are any.
func (c *cli) beside(print func()) {
	if c.live != nil {
		c.live.aside(print)
		return
	}
	print()
}

// say is a line about what was done: --quiet leaves it out.
func (c *cli) say(format string, args ...any) {
	if !c.quiet {
		fmt.Fprintf(c.out, format+"\n", args...)
	}
}

// note is a line of progress or of courtesy: --quiet leaves it out.
func (c *cli) note(format string, args ...any) {
	if !c.quiet {
		c.beside(func() { fmt.Fprintln(c.err, printable(fmt.Sprintf(format, args...))) })
	}
}

// printable keeps what others wrote (a worker's output, a file's text) from
// moving the cursor of whoever reads it.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' && r != '\t' || r == 0x7f || 0x80 <= r && r < 0xa0 {
			return '\ufffd'
		}
		// Nor from writing a line the other way round.
		if r == 0x200e || r == 0x200f || 0x202a <= r && r <= 0x202e || 0x2066 <= r && r <= 0x2069 || r == 0x2028 || r == 0x2029 {
			return '\ufffd'
		}
		return r
	}, s)
}

package main

import (
	"bytes"
	"maps"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/charmbracelet/x/ansi"
	"github.com/creack/pty"
)

// screen is what a person sees at a terminal: it knows of the language of terminals what
// nekoctl speaks of it, and fails at anything else.
type screen struct {
	t        *testing.T
	ours     *os.File
	terminal *os.File // what a program is given

	mu     sync.Mutex
	width  int
	rows   [][]string   // of cells; a wide character has an empty one after it
	broken map[int]bool // rows that go on in the next one, as they were too long
	x, y   int
	main   [][]string // what there was before the other screen was switched to
	hidden bool       // the cursor
	all    bytes.Buffer
	ended  chan struct{}
}

func newScreen(t *testing.T, columns, rows int) *screen {
	t.Helper()
	for _, name := range []string{"CI", "NO_COLOR"} {
		t.Setenv(name, "")
	}
	t.Setenv("TERM", "xterm")
	before := patience
	patience = 200 * time.Millisecond
	t.Cleanup(func() { patience = before })
	ours, terminal, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	s := &screen{t: t, ours: ours, terminal: terminal, width: columns, rows: [][]string{nil}, broken: map[int]bool{}, ended: make(chan struct{})}
	s.resize(columns, rows)
	go s.read()
	t.Cleanup(func() {
		terminal.Close()
		<-s.ended
		ours.Close()
	})
	return s
}

func (s *screen) resize(columns, rows int) {
	s.t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reflow(columns)
	if err := pty.Setsize(s.ours, &pty.Winsize{Cols: uint16(columns), Rows: uint16(rows)}); err != nil {
		s.t.Fatal(err)
	}
}

// reflow breaks lines anew, as most terminals do when they are made narrower or wider. The
// cursor is behind them.
func (s *screen) reflow(columns int) {
	var lines [][]string
	for y, row := range s.rows {
		if y > 0 && s.broken[y-1] {
			lines[len(lines)-1] = append(lines[len(lines)-1], row...)
		} else {
			lines = append(lines, slices.Clone(row))
		}
	}
	s.width, s.rows, s.broken = columns, nil, map[int]bool{}
	for _, line := range lines {
		for len(line) > columns {
			cut := columns
			if line[cut] == "" { // in the middle of a wide character
				cut--
			}
			s.broken[len(s.rows)] = true
			s.rows, line = append(s.rows, line[:cut:cut]), line[cut:]
		}
		s.rows = append(s.rows, line)
	}
	s.y = len(s.rows) - 1
}

func (s *screen) read() {
	defer close(s.ended)
	var rest []byte
	buf := make([]byte, 4096)
	for {
		n, err := s.ours.Read(buf)
		if err != nil {
			return // EIO: nobody has the other end any more
		}
		s.mu.Lock()
		s.all.Write(buf[:n])
		rest = s.show(append(rest, buf[:n]...))
		s.mu.Unlock()
	}
}

var sequence = regexp.MustCompile(`^\x1b\[([?0-9;]*)([A-Za-z])`)

// show draws, and returns what is not whole yet.
func (s *screen) show(text []byte) []byte {
	for len(text) > 0 {
		if text[0] == '\x1b' {
			found := sequence.FindSubmatch(text)
			if found == nil {
				if len(text) < 16 {
					return text
				}
				s.t.Errorf("an unknown sequence: %q", text[:16])
				return nil
			}
			s.obey(string(found[1]), string(found[2]))
			text = text[len(found[0]):]
			continue
		}
		seq, width, n, _ := ansi.DecodeSequence(text, 0, nil)
		switch {
		case string(seq) == "\n":
			if s.y++; s.y >= len(s.rows) {
				s.rows = append(s.rows, nil)
			}
		case string(seq) == "\r":
			s.x = 0
		case width > 0:
			s.put(string(seq), width)
		default:
			s.t.Errorf("a control character: %q", seq)
		}
		text = text[n:]
	}
	return nil
}

func (s *screen) put(char string, width int) {
	if s.x+width > s.width { // the terminal breaks the line
		s.x, s.broken[s.y] = 0, true
		if s.y++; s.y >= len(s.rows) {
			s.rows = append(s.rows, nil)
		}
	}
	row := s.rows[s.y]
	for len(row) < s.x+width {
		row = append(row, " ")
	}
	row[s.x] = char
	for i := 1; i < width; i++ {
		row[s.x+i] = ""
	}
	s.rows[s.y], s.x = row, s.x+width
}

func (s *screen) obey(argument, command string) {
	n, _ := strconv.Atoi(argument)
	switch {
	case command == "m":
	case command == "A":
		if s.y -= max(n, 1); s.y < 0 {
			s.t.Errorf("the cursor is moved above the first line")
			s.y = 0
		}
	case command == "J" && argument == "":
		s.rows[s.y] = s.rows[s.y][:min(s.x, len(s.rows[s.y]))]
		s.rows = s.rows[:s.y+1]
		maps.DeleteFunc(s.broken, func(y int, _ bool) bool { return y >= s.y })
	case command == "K" && argument == "":
		s.rows[s.y] = s.rows[s.y][:min(s.x, len(s.rows[s.y]))]
	case command == "H" && argument == "":
		s.x, s.y = 0, 0
	case command == "h" && argument == "?1049":
		s.main, s.rows, s.x, s.y = s.rows, [][]string{nil}, 0, 0
	case command == "l" && argument == "?1049":
		s.rows, s.main, s.x, s.y = s.main, nil, 0, max(len(s.main)-1, 0)
	case argument == "?25":
		s.hidden = command == "l"
	case argument == "?2026": // what follows is shown at once
	default:
		s.t.Errorf("an unknown sequence: ESC [ %s %s", argument, command)
	}
}

// text is what is there now.
func (s *screen) text() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var lines []string
	for _, row := range s.rows {
		lines = append(lines, strings.TrimRight(strings.Join(row, ""), " "))
	}
	return strings.TrimRight(strings.Join(lines, "\n"), "\n")
}

// raw is all that was ever written.
func (s *screen) raw() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.all.String()
}

// until waits for what a regular expression finds on the screen.
func (s *screen) until(pattern string) []string {
	s.t.Helper()
	wanted := regexp.MustCompile(pattern)
	for end := time.Now().Add(time.Minute); ; time.Sleep(5 * time.Millisecond) {
		if found := wanted.FindStringSubmatch(s.text()); found != nil {
			return found
		}
		if time.Now().After(end) {
			s.t.Fatalf("there is no %s on the screen:\n%s", pattern, s.text())
		}
	}
}

func waitUntil(t *testing.T, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !is(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("it does not come to that: %s", what)
		}
	}
}

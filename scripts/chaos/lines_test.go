package chaos

import (
	"bytes"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"sync"
)

// lines is what the clients of an app were told that prints: each answer is a
// line that the program printed before it gave it, "<pid> <number>".
type lines struct {
	mu       sync.Mutex
	answered map[int][]bool // by pid, then by number
	twice    int64
	unread   map[int][]span // what may be missing, as nobody was there to read it
}

type span struct{ from, to int }

func newLines() *lines { return &lines{answered: map[int][]bool{}, unread: map[int][]span{}} }

var lineForm = regexp.MustCompile(`^([0-9]+) ([0-9]+)$`)

func parseLine(text []byte) (pid, n int, ok bool) {
	m := lineForm.FindSubmatch(text)
	if m == nil {
		return 0, 0, false
	}
	pid, errPID := strconv.Atoi(string(m[1]))
	n, errN := strconv.Atoi(string(m[2]))
	return pid, n, errPID == nil && errN == nil && n > 0
}

// hear is a load's check of an answer.
func (l *lines) hear(body []byte) error {
	pid, n, ok := parseLine(bytes.TrimSuffix(body, []byte("\n")))
	if !ok {
		return fmt.Errorf("the answer is %.100q", body)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	have := l.answered[pid]
	if n >= len(have) {
		have = append(have, make([]bool, n+1-len(have))...)
	}
	if have[n] {
		l.twice++
	}
	have[n] = true
	l.answered[pid] = have
	return nil
}

// last is the highest number that each process has answered with.
func (l *lines) last() map[int]int {
	l.mu.Lock()
	defer l.mu.Unlock()
	last := map[int]int{}
	for pid, have := range l.answered {
		last[pid] = len(have) - 1
	}
	return last
}

// nobodyRead says that there was nobody to read what was printed after the given
// numbers, until now. Up to inFlight requests have printed and not been heard
// yet.
func (l *lines) nobodyRead(from map[int]int, inFlight int) {
	now := l.last()
	l.mu.Lock()
	defer l.mu.Unlock()
	for pid, to := range now {
		l.unread[pid] = append(l.unread[pid], span{from[pid] + 1, to + inFlight})
	}
}

func (l *lines) excused(pid, n int) bool {
	return slices.ContainsFunc(l.unread[pid], func(s span) bool { return s.from <= n && n <= s.to })
}

var confession = regexp.MustCompile(`\[neko\] ([0-9]+) bytes of output were lost here: [^\n]*\n`)

// audit reads an app's log files: every process's lines have to be there,
// whole, once, in order and without a gap, as far as clients were answered. A
// line that is not is counted by what is wrong with it.
//
// Where the daemon has confessed a loss, the loss has to be as large as it says,
// to the byte: then its lines count as "confessed".
func (l *lines) audit(pattern string) (cell, error) {
	files, err := filepath.Glob(pattern)
	if err != nil {
		return cell{}, err
	}
	c := cell{errors: map[string]int64{}, excused: map[string]int64{}}
	last := map[int]int{}
	var confessed, found int64
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return cell{}, err
		}
		for _, m := range confession.FindAllSubmatch(text, -1) {
			n, _ := strconv.ParseInt(string(m[1]), 10, 64)
			confessed += n
		}
		for i, part := range confession.Split(string(text), -1) {
			found += int64(len(part))
			l.auditPart([]byte(part), i > 0, last, &c)
		}
	}
	c.errors["answered twice"] = l.twice
	var printed int64
	for pid, to := range l.last() {
		c.errors["missing"] += l.missing(pid, last[pid], to, &c)
		last[pid] = max(last[pid], to)
	}
	for pid, to := range last {
		for n := range to {
			printed += int64(len(fmt.Sprintf("%d %d\n", pid, n+1)))
		}
	}
	if confessed > 0 && found+confessed+c.unread == printed {
		c.excused["confessed"] = c.errors["missing"] + c.errors["torn"]
		delete(c.errors, "missing")
		delete(c.errors, "torn")
	}
	maps.DeleteFunc(c.errors, func(_ string, n int64) bool { return n == 0 })
	return c, nil
}

// auditPart goes on where last says for each process. The first line after a
// confession may be the end of one: then its pid is nobody's.
func (l *lines) auditPart(text []byte, confessed bool, last map[int]int, c *cell) {
	for line := range bytes.Lines(text) {
		c.requests++
		pid, n, ok := parseLine(bytes.TrimSuffix(line, []byte("\n")))
		if confessed && len(l.answered[pid]) == 0 {
			ok = false
		}
		confessed = false
		switch {
		case !ok || !bytes.HasSuffix(line, []byte("\n")):
			c.errors["torn"]++
		case n <= last[pid]:
			c.errors["twice or late"]++
		default:
			c.errors["missing"] += l.missing(pid, last[pid], n-1, c)
			last[pid] = n
		}
	}
}

// missing counts the lines of a process after from, up to to.
func (l *lines) missing(pid, from, to int, c *cell) (n int64) {
	for i := from + 1; i <= to; i++ {
		if l.excused(pid, i) {
			c.excused["unread"]++
			c.unread += int64(len(fmt.Sprintf("%d %d\n", pid, i)))
		} else {
			n++
		}
	}
	return n
}

package pm2diff

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/nekoctl/neko/scripts/npm"
	"github.com/nekoctl/neko/scripts/source"
)

// scenario is a list of lines of shell, one a step, run where the fixtures are. Two
// kinds of lines are not the shell's:
//
//	await PATTERN   waits until the processes match (NAME:ID:STATUS:RESTARTS, blanks between)
//	until LINE      runs a line until its exit code is 0
//
// Of these nothing is compared but that it comes true. Of a line that begins with
// "quietly " only the exit code is compared, and of one that begins with "sorted " not the
// order of what it prints: PM2 acts on two apps at a time.
type scenario struct {
	name string
	core bool // runs without NEKO_PM2DIFF as well
	cold bool // the first line finds no daemon
	text string
}

func (c scenario) steps() (steps []string) {
	for line := range strings.Lines(c.text) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
			steps = append(steps, line)
		}
	}
	return steps
}

func npmNode(t *testing.T) string { return npm.Node(t, "node") }

func TestNekoDoesWhatPM2Does(t *testing.T) {
	source.LookAt(t, "../../cmd", "../../supervisor", "../../pm2", "fixtures")
	bin := pm2Bin(t)
	other := nekoctl
	if mode == itself {
		other = bin
	} else if !answersAsPM2(t) {
		t.Skip("nekoctl does not answer to the name of pm2 yet")
	}
	for _, c := range scenarios() {
		if mode == "" && !c.core {
			continue
		}
		t.Run(strings.ReplaceAll(c.name, " ", "-"), func(t *testing.T) {
			t.Parallel()
			folder, err := os.MkdirTemp("", "pm2diff")
			if err != nil {
				t.Fatal(err)
			}
			defer os.RemoveAll(folder)
			sides := [2]*side{
				newSide(t, "PM2", filepath.Join(folder, "p"), bin),
				newSide(t, "neko", filepath.Join(folder, "n"), other),
			}
			var records [2]record
			var wg sync.WaitGroup
			for i, s := range sides {
				wg.Go(func() {
					defer s.end()
					records[i] = s.run(t.Context(), c)
				})
			}
			wg.Wait()
			compare(t, c, records[0], records[1])
		})
	}
}

// answersAsPM2 says whether the binary knows a command that only PM2 has.
func answersAsPM2(t *testing.T) bool {
	t.Helper()
	link := filepath.Join(t.TempDir(), "pm2")
	if err := os.Symlink(nekoctl, link); err != nil {
		t.Fatal(err)
	}
	out, _ := exec.Command(link, "--help").CombinedOutput()
	return strings.Contains(string(out), "startOrRestart")
}

// record is, for each step, the lines that are compared.
type record [][]string

func (s *side) run(ctx context.Context, c scenario) (r record) {
	if !c.cold {
		s.sh(ctx, "pm2 ping")
	}
	for _, step := range c.steps() {
		var lines []string
		word, rest, _ := strings.Cut(step, " ")
		var err error
		switch word {
		case "await":
			err = s.await(ctx, rest)
		case "until":
			err = until(func() (bool, error) {
				o, err := s.sh(ctx, rest)
				return o.code == 0, err
			}, func() string { return s.name + ": has not come true: " + rest })
		default:
			quiet, sorted := word == "quietly", word == "sorted"
			if quiet || sorted {
				step = rest
			}
			var o outcome
			o, err = s.sh(ctx, step)
			lines = append(lines, fmt.Sprint("exit code ", o.code))
			if !quiet {
				for _, line := range s.normal(o.stdout) {
					lines = append(lines, "out: "+line)
				}
				for _, line := range s.normal(o.stderr) {
					lines = append(lines, "err: "+line)
				}
			}
			if sorted {
				slices.Sort(lines)
			}
		}
		if err != nil {
			return append(r, append(lines, "failed: "+strings.ReplaceAll(err.Error(), s.name+": ", "")))
		}
		r = append(r, lines)
	}
	return r
}

// compare reports the steps of which lines differ that are not meant to.
func compare(t *testing.T, c scenario, theirs, ours record) {
	t.Helper()
	steps := c.steps()
	seen := map[*difference]bool{}
	for i, step := range steps {
		if i >= len(theirs) || i >= len(ours) {
			break
		}
		var report strings.Builder
		for _, d := range differing(theirs[i], ours[i]) {
			if mode != itself {
				if m := meant(c.name, step, d); m != nil {
					seen[m] = true
					continue
				}
			}
			fmt.Fprintln(&report, " ", d)
		}
		if report.Len() > 0 {
			t.Errorf("$ %s\n%s", step, report.String())
		}
	}
	if len(theirs) < len(steps) {
		t.Errorf("PM2 did not get beyond step %d of %d: %s", len(theirs), len(steps), last(theirs))
	}
	if len(ours) < len(steps) {
		t.Errorf("neko did not get beyond step %d of %d: %s", len(ours), len(steps), last(ours))
	}
	for i := range differences {
		if d := &differences[i]; mode != itself && d.at == c.name && !seen[d] {
			t.Errorf("not seen any more: %s\nIf PM2 or neko has changed for good, take it out of the table.", d)
		}
	}
}

func last(r record) string {
	if len(r) == 0 {
		return "nothing was run"
	}
	return strings.Join(r[len(r)-1], "\n")
}

// difference is one that is meant: lines of one side that the other lacks.
type difference struct {
	step string // of which steps: a regular expression; "" are all
	in   string // of which scenarios: one too
	pm2  string // lines that only PM2 has; "" are none
	neko string // lines that only neko has
	why  string
	at   string // the name of a scenario that shows it, which fails if it does not any more
}

func (d *difference) String() string {
	return fmt.Sprintf("%q instead of %q at %q: %s", d.neko, d.pm2, d.step, d.why)
}

// meant is the difference that the table has for a line, if any.
func meant(scenario, step, line string) *difference {
	for i := range differences {
		d := &differences[i]
		pattern := d.pm2
		if strings.HasPrefix(line, "+ ") {
			pattern = d.neko
		}
		if pattern != "" && matches(d.step, step) && matches(d.in, scenario) && matches("^(?:"+pattern+")$", line[2:]) {
			return d
		}
	}
	return nil
}

var patterns sync.Map

func matches(pattern, text string) bool {
	p, ok := patterns.Load(pattern)
	if !ok {
		p, _ = patterns.LoadOrStore(pattern, regexp.MustCompile(pattern))
	}
	return p.(*regexp.Regexp).MatchString(text)
}

// differing are the lines that only one of two texts has, "- " before a line of the first
// and "+ " before one of the second, by the longest sequence that is common to both.
func differing(a, b []string) (lines []string) {
	common := make([][]int, len(a)+1)
	for i := range common {
		common[i] = make([]int, len(b)+1)
	}
	for i := len(a) - 1; i >= 0; i-- {
		for j := len(b) - 1; j >= 0; j-- {
			if a[i] == b[j] {
				common[i][j] = common[i+1][j+1] + 1
			} else {
				common[i][j] = max(common[i+1][j], common[i][j+1])
			}
		}
	}
	i, j := 0, 0
	for i < len(a) || j < len(b) {
		switch {
		case i < len(a) && j < len(b) && a[i] == b[j]:
			i, j = i+1, j+1
		case j == len(b) || i < len(a) && common[i+1][j] >= common[i][j+1]:
			lines = append(lines, "- "+a[i])
			i++
		default:
			lines = append(lines, "+ "+b[j])
			j++
		}
	}
	return lines
}

func TestDifferingLinesAreThoseThatOnlyOneSideHas(t *testing.T) {
	for _, c := range []struct{ a, b, want string }{
		{"a b c", "a b c", ""},
		{"a b c", "a c", "- b"},
		{"a c", "a b c", "+ b"},
		{"a x c", "a y c", "- x|+ y"},
		{"", "a", "+ a"},
	} {
		got := strings.Join(differing(strings.Fields(c.a), strings.Fields(c.b)), "|")
		if got != c.want {
			t.Errorf("%q and %q differ by %q, want %q", c.a, c.b, got, c.want)
		}
	}
}

func TestScenariosHaveNamesOfTheirOwn(t *testing.T) {
	names := map[string]bool{}
	for _, c := range scenarios() {
		if names[c.name] {
			t.Errorf("two scenarios are called %q", c.name)
		}
		names[c.name] = true
	}
	for _, d := range differences {
		if !names[d.at] {
			t.Errorf("%s: there is no scenario %q that could show it", d.why, d.at)
		}
	}
}

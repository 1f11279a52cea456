package main

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

//go:embed measured.json
var measured []byte

// measuredFile is what measured.json is, seen from the root of the repository.
const measuredFile = "scripts/capacity/measured.json"

// figures are what was measured on a machine, of one core unless they say otherwise.
type figures struct {
	Machine string   `json:"machine"`
	Data    string   `json:"data"`
	Command string   `json:"command"` // that measures all of them
	Figures []figure `json:"figures"`
}

// figure is one of them: the median of some rounds, and the smallest and the largest.
type figure struct {
	Name     string  `json:"name"`
	Unit     string  `json:"unit"`
	Median   float64 `json:"median"`
	Smallest float64 `json:"smallest"`
	Largest  float64 `json:"largest"`
	Rounds   int     `json:"rounds"`
	Taken    string  `json:"taken"`          // the day
	Busy     string  `json:"busy,omitempty"` // what else the machine had to do
	Command  string  `json:"command"`
}

// What there has to be, by the names of the rows of scripts/bench behind "capacity: ".
const (
	cpuHit       = "hit from memory, CPU of one"
	cpuHitTwo    = "hit from memory, two workers of a host, CPU of one"
	rateHitTwo   = "hit from memory, two workers of a host, answers"
	cpuHitApart  = "hit from memory, two hosts with a worker each, CPU of one"
	rateHit      = "hit from memory, one worker, answers"
	cpuRedis     = "hit from Redis, CPU of one"
	cpuSQLite    = "made anew from SQLite, CPU of one"
	cpuMongoDB   = "made anew from MongoDB, CPU of one"
	cpuWrite     = "mutation into SQLite, CPU of one"
	rateWrite    = "mutation into SQLite, one file, answers"
	callsMiss    = "calls to the store for an answer made anew"
	callsWrite   = "calls to the store for a mutation"
	memory16     = "memory of a worker, --cache 16MiB, full"
	memory64     = "memory of a worker, --cache 64MiB, full"
	memoryDaemon = "memory of the supervisor"
	callsLeased  = "limits, busy clients: calls of Redis for 1,000"
	callsSlow    = "limits, slow clients: calls of Redis for 1,000"
	redisSlow    = "limits, slow clients: CPU of Redis for 1,000"
	cpuSlow      = "limits, slow clients: CPU of the workers for 1,000"
	redisFound   = "hit from Redis, CPU of Redis"
	redisStored  = "made anew and put into Redis, CPU of Redis"
	callsFound   = "hit from Redis, commands of Redis"
	callsStored  = "made anew and put into Redis, commands of Redis"
	bytesAnswer  = "memory of Redis for an answer"
	bytesBucket  = "memory of Redis for a bucket"
)

// needed are their units, by name.
var needed = map[string]string{
	cpuHit: "µs", cpuHitTwo: "µs", cpuHitApart: "µs", rateHit: "/s", rateHitTwo: "/s", cpuRedis: "µs", cpuSQLite: "µs", cpuMongoDB: "µs", cpuWrite: "µs", rateWrite: "/s",
	callsMiss: "calls", callsWrite: "calls", memory16: "MiB", memory64: "MiB", memoryDaemon: "MiB",
	callsLeased: "calls", callsSlow: "calls", redisSlow: "µs", cpuSlow: "µs",
	redisFound: "µs", redisStored: "µs", callsFound: "commands", callsStored: "commands", bytesAnswer: "B", bytesBucket: "B",
}

func readFigures(file string) (*figures, error) {
	text, name := measured, measuredFile
	if file != "" {
		var err error
		if text, err = os.ReadFile(file); err != nil {
			return nil, err
		}
		name = file
	}
	var f figures
	if err := json.Unmarshal(text, &f); err != nil {
		return nil, fmt.Errorf("%s: %w\nhint: go run ./scripts/capacity --measure writes it anew", name, err)
	}
	if err := f.check(); err != nil {
		return nil, fmt.Errorf("%s: %w\nhint: go run ./scripts/capacity --measure writes it anew", name, err)
	}
	return &f, nil
}

// check says what is missing, or cannot be.
func (f *figures) check() error {
	for _, name := range slices.Sorted(keys(needed)) {
		i := slices.IndexFunc(f.Figures, func(g figure) bool { return g.Name == name })
		if i < 0 {
			return fmt.Errorf("there is no figure %q", name)
		}
		switch g := f.Figures[i]; {
		case g.Taken == "" || g.Command == "" || g.Rounds < 1:
			return fmt.Errorf("nothing says when and how %q was measured", name)
		case g.Unit != needed[name]:
			return fmt.Errorf("%q is in %q, not in %q", name, g.Unit, needed[name])
		case math.IsNaN(g.Median) || math.IsInf(g.Median, 0) || g.Median <= 0:
			return fmt.Errorf("%q is %v, which cannot be", name, g.Median)
		case g.Smallest > g.Median || g.Largest < g.Median:
			return fmt.Errorf("the median of %q is %v, and not between %v and %v", name, g.Median, g.Smallest, g.Largest)
		}
	}
	return nil
}

func keys[V any](m map[string]V) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}

// of is a figure that check has seen.
func (f *figures) of(name string) float64 {
	for _, g := range f.Figures {
		if g.Name == name {
			return g.Median
		}
	}
	panic("no figure " + name) // check has looked
}

// measure has scripts/bench take the figures whose names match, and writes them. Those
// that do not, and those that could not be measured, stay as they are in the file.
func measure(file, only string, rounds int, out io.Writer) error {
	if file == "" {
		file = measuredFile
	}
	if only == "" {
		only = "."
	}
	wanted, err := regexp.Compile(only)
	if err != nil {
		return fmt.Errorf("--only: %w", err)
	}
	var names []string
	for name := range needed {
		if wanted.MatchString(name) {
			names = append(names, regexp.QuoteMeta(name))
		}
	}
	if len(names) == 0 {
		return fmt.Errorf("--only %s: no figure has such a name\nhint: %s has them all", only, measuredFile)
	}
	var old figures
	if text, err := os.ReadFile(file); err == nil {
		if err := json.Unmarshal(text, &old); err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
	}
	cmd := exec.Command("go", "run", "./scripts/bench", "-no-pm2", "-only", "^capacity: ("+strings.Join(names, "|")+")$", "-json", "-rounds", strconv.Itoa(rounds))
	cmd.Stderr = os.Stderr
	text, err := cmd.Output()
	if err != nil {
		return fmt.Errorf("scripts/bench: %w\nhint: it is run in the root of the repository, after make build", err)
	}
	f, failed, err := fromBench(text)
	if err != nil {
		return err
	}
	all, err := f.besides(old)
	if err != nil {
		return err
	}
	if text, err = json.MarshalIndent(all, "", "  "); err != nil {
		return err
	}
	if err := os.WriteFile(file, append(text, '\n'), 0o644); err != nil {
		return err
	}
	fmt.Fprintf(out, "%d figures of this machine are in %s.\n", len(f.Figures), file)
	if len(failed) > 0 {
		return fmt.Errorf("not all could be measured: %s", strings.Join(failed, "; "))
	}
	return all.check()
}

// besides is f, and the figures of old that f has not; in the order in which they are
// measured, which is that of both.
func (f *figures) besides(old figures) (*figures, error) {
	all := *f
	all.Figures = slices.Clone(f.Figures)
	for i, g := range old.Figures {
		if needed[g.Name] == "" || slices.ContainsFunc(f.Figures, func(h figure) bool { return h.Name == g.Name }) {
			continue
		}
		if old.Machine != f.Machine || old.Data != f.Data {
			return nil, fmt.Errorf("the other figures are of %s and %s, and these of %s and %s: measure all of them", old.Machine, old.Data, f.Machine, f.Data)
		}
		// Behind the one that it came after.
		at := 0
		for before := i - 1; before >= 0 && at == 0; before-- {
			at = 1 + slices.IndexFunc(all.Figures, func(h figure) bool { return h.Name == old.Figures[before].Name })
		}
		all.Figures = slices.Insert(all.Figures, at, g)
	}
	return &all, nil
}

// fromBench makes figures of what scripts/bench -json prints, and says what has failed.
func fromBench(text []byte) (f *figures, failed []string, err error) {
	var b struct {
		Taken   time.Time
		Machine string
		Data    string
		Busy    string
		Figures []struct {
			Name, Unit string
			Neko       struct {
				Values []float64
				Median float64
				Error  string
			}
		}
	}
	if err := json.Unmarshal(text, &b); err != nil {
		return nil, nil, fmt.Errorf("scripts/bench: %w", err)
	}
	f = &figures{Machine: b.Machine, Data: b.Data, Command: "go run ./scripts/capacity --measure"}
	for _, r := range b.Figures {
		name, ok := strings.CutPrefix(r.Name, "capacity: ")
		if !ok {
			continue
		}
		if r.Neko.Error != "" || len(r.Neko.Values) == 0 {
			failed = append(failed, fmt.Sprintf("%s: %s", name, r.Neko.Error))
			continue
		}
		f.Figures = append(f.Figures, figure{
			Name: name, Unit: r.Unit, Median: round(r.Neko.Median), Smallest: round(slices.Min(r.Neko.Values)), Largest: round(slices.Max(r.Neko.Values)),
			Rounds: len(r.Neko.Values), Taken: b.Taken.Format(time.DateOnly), Busy: b.Busy,
			Command: "go run ./scripts/bench -no-pm2 -only '^" + r.Name + "$'",
		})
	}
	return f, failed, nil
}

// round is v with four digits that mean something: more are not measured.
func round(v float64) float64 {
	if v == 0 {
		return 0
	}
	scale := math.Pow(10, 3-math.Floor(math.Log10(math.Abs(v))))
	return math.Round(v*scale) / scale
}

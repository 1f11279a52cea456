package metrics

import (
	"fmt"
	"slices"
	"strings"
)

// The bounds of an account.
const (
	// maxFamilies and maxSeries are those that are summed of an app, whatever its
	// processes have counted over the years.
	maxFamilies = 2_000
	maxSeries   = 20_000
)

// Account is what the processes of one app have counted, also those that have ended. What
// it says of that never becomes less.
type Account struct {
	families  map[string]*accounted
	series    int
	processes map[ProcessID]*process
	moves     uint64
}

// ProcessID names one process for its life; a larger one is younger.
type ProcessID int64

// accounted is a family that is summed.
type accounted struct {
	kind   Kind
	help   string
	newest ProcessID // that has said what it is
	totals map[string]*amount
}

// amount is a counter's value, or what a histogram or a summary has counted.
type amount struct {
	value float64
	dist  *Distribution
	n     int // of the series, in the file that is being written
}

// said is what is in a total of what one process has said.
type said struct {
	amount
	of *amount
}

// process is one whose end the account has not been told of.
type process struct {
	page Page
	// told is what is in the totals of it already, by family and labels: a series that is
	// not on the last page may come back.
	told map[string]map[string]said
}

// NewAccount is one in which nothing has been counted.
func NewAccount() *Account {
	return &Account{families: map[string]*accounted{}, processes: map[ProcessID]*process{}}
}

// Empty says that there is nothing to tell, and nobody who may.
func (a *Account) Empty() bool { return len(a.families) == 0 && len(a.processes) == 0 }

// Moves grows whenever something changes that must not be forgotten: who has written the
// account down need not do so again before.
func (a *Account) Moves() uint64 { return a.moves }

// Has says whether the process has been heard of, and has not ended.
func (a *Account) Has(id ProcessID) bool { return a.processes[id] != nil }

// Processes are those, the eldest first.
func (a *Account) Processes() (ids []ProcessID) {
	for id := range a.processes {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return ids
}

// Observe takes down what a process says now. The error is about series that are left out,
// in one line; the others are taken down.
func (a *Account) Observe(id ProcessID, page Page) error {
	p := a.processes[id]
	if p == nil {
		p = &process{told: map[string]map[string]said{}}
		a.processes[id] = p
		a.moves++
	}
	p.page = page
	var left []string
	for i := range page {
		if f := &page[i]; f.Kind.counts() {
			if problem := a.count(id, p, f); problem != "" {
				left = append(left, problem)
			}
		}
	}
	if len(left) > 0 {
		return fmt.Errorf("%.500s", strings.Join(left, "; "))
	}
	return nil
}

// count adds what a process has counted since it was heard last.
func (a *Account) count(id ProcessID, p *process, f *Family) (problem string) {
	total := a.families[f.Name]
	switch {
	case total == nil && len(a.families) >= maxFamilies:
		return fmt.Sprintf("%s is left out: the app has %d families", f.Name, maxFamilies)
	case total == nil:
		total = &accounted{kind: f.Kind, totals: map[string]*amount{}}
		a.families[f.Name] = total
	case total.kind != f.Kind && id < total.newest:
		return "" // it is of an older version of the program, in which it was something else
	case total.kind != f.Kind:
		a.series -= len(total.totals)
		total.kind, total.totals = f.Kind, map[string]*amount{}
		for _, other := range a.processes {
			delete(other.told, f.Name)
		}
	}
	if id >= total.newest && (total.newest != id || total.help != f.Help) {
		total.newest, total.help = id, f.Help
		a.moves++
	}
	told := p.told[f.Name]
	if told == nil {
		told = make(map[string]said, len(f.Series))
		p.told[f.Name] = told
	}
	for i := range f.Series {
		s := &f.Series[i]
		before, known := told[s.Labels]
		if known && before.same(s) {
			continue // most have not moved
		}
		sum := before.of
		if sum == nil {
			sum = total.totals[s.Labels]
		}
		if sum == nil {
			if a.series >= maxSeries {
				problem = fmt.Sprintf("%s{%.100s} is left out: the app has %d series", f.Name, s.Labels, maxSeries)
				continue
			}
			a.series++
			sum = &amount{}
			if s.Distribution != nil {
				sum.dist = &Distribution{}
			}
			total.totals[s.Labels] = sum
		}
		a.moves++
		if s.Distribution != nil {
			told[s.Labels] = said{amount{dist: sum.dist.advance(before.dist, s.Distribution)}, sum}
			continue
		}
		more := s.Value - before.value
		if more < 0 { // it has begun to count anew
			more = s.Value
		}
		sum.value += more
		told[s.Labels] = said{amount{value: s.Value}, sum}
	}
	return problem
}

// Retire forgets a process that has ended, and not what it has counted.
func (a *Account) Retire(id ProcessID) {
	if a.Has(id) {
		delete(a.processes, id)
		a.moves++
	}
}

// same says that a series is as it was when it was taken down.
func (s *said) same(now *Series) bool {
	if now.Distribution == nil {
		return s.value == now.Value
	}
	a, b := s.dist, now.Distribution
	return a.Count == b.Count && a.Sum == b.Sum && slices.Equal(a.Counts, b.Counts) && slices.Equal(a.Bounds, b.Bounds)
}

package metrics

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
)

// saved is an account as it is written. Series are numbered, for each process has most of
// them.
type saved struct {
	Families  []savedFamily         `json:"families,omitempty"`
	Processes map[ProcessID][]entry `json:"processes,omitempty"`
}

type savedFamily struct {
	Name   string    `json:"name"`
	Kind   Kind      `json:"kind"`
	Help   string    `json:"help,omitempty"`
	Newest ProcessID `json:"newest,omitempty"`
	Series []string  `json:"series"`
	Totals []entry   `json:"totals"`
}

// entry is the amount of the series N, counted over all families.
type entry struct {
	N     int           `json:"n"`
	Value float64       `json:"v,omitempty"`
	Dist  *Distribution `json:"d,omitempty"`
}

// MarshalJSON writes what must not be forgotten: what was counted, and what is counted
// already of processes that have not ended. What they said last beside that is not in it.
func (a *Account) MarshalJSON() ([]byte, error) {
	var s saved
	numbers := map[string]map[string]int{}
	n := 0
	for _, name := range slices.Sorted(maps.Keys(a.families)) {
		total := a.families[name]
		f := savedFamily{Name: name, Kind: total.kind, Help: total.help, Newest: total.newest}
		numbers[name] = map[string]int{}
		for _, labels := range slices.Sorted(maps.Keys(total.totals)) {
			sum := total.totals[labels]
			numbers[name][labels] = n
			f.Series = append(f.Series, labels)
			f.Totals = append(f.Totals, entry{N: n, Value: sum.value, Dist: sum.dist})
			n++
		}
		s.Families = append(s.Families, f)
	}
	for id, p := range a.processes {
		told := []entry{}
		for name, series := range p.told {
			for labels, what := range series {
				if n, known := numbers[name][labels]; known {
					told = append(told, entry{N: n, Value: what.value, Dist: what.dist})
				}
			}
		}
		slices.SortFunc(told, func(a, b entry) int { return a.N - b.N })
		if s.Processes == nil {
			s.Processes = map[ProcessID][]entry{}
		}
		s.Processes[id] = told
	}
	return json.Marshal(s)
}

// UnmarshalJSON reads what MarshalJSON has written. What nobody would have written is
// refused.
func (a *Account) UnmarshalJSON(text []byte) error {
	var s saved
	if err := json.Unmarshal(text, &s); err != nil {
		return err
	}
	fresh := NewAccount()
	type place struct{ name, labels string }
	var places []place
	for _, f := range s.Families {
		if fresh.families[f.Name] != nil || !f.Kind.counts() || len(f.Series) != len(f.Totals) {
			return fmt.Errorf("the family %.100q", f.Name)
		}
		total := &accounted{kind: f.Kind, help: f.Help, newest: f.Newest, totals: map[string]*amount{}}
		for i, labels := range f.Series {
			e := f.Totals[i]
			if total.totals[labels] != nil || !e.fits(f.Kind) {
				return fmt.Errorf("the series %.100s{%.100s}", f.Name, labels)
			}
			total.totals[labels] = &amount{e.Value, e.Dist}
			places = append(places, place{f.Name, labels})
		}
		fresh.families[f.Name] = total
		fresh.series += len(total.totals)
	}
	for id, told := range s.Processes {
		p := &process{told: map[string]map[string]amount{}}
		for _, e := range told {
			if e.N < 0 || e.N >= len(places) || !e.fits(fresh.families[places[e.N].name].kind) {
				return fmt.Errorf("the series %d of process %d", e.N, id)
			}
			at := places[e.N]
			if p.told[at.name] == nil {
				p.told[at.name] = map[string]amount{}
			}
			p.told[at.name][at.labels] = amount{e.Value, e.Dist}
		}
		fresh.processes[id] = p
	}
	*a = *fresh
	return nil
}

func (e entry) fits(kind Kind) bool {
	if kind.distributes() {
		return e.Dist != nil && len(e.Dist.Bounds) == len(e.Dist.Counts) && slices.IsSorted(e.Dist.Bounds) && slices.IsSorted(e.Dist.Counts)
	}
	return e.Dist == nil && e.Value >= 0
}

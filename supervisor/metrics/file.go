package metrics

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
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
// It does by hand what package json would do with a [saved]: it is done whenever a counter
// has moved, and 500 processes have tens of thousands of entries.
func (a *Account) MarshalJSON() ([]byte, error) {
	b := make([]byte, 0, 4096+64*len(a.families)*(1+len(a.processes)))
	b = append(b, '{')
	n := 0
	for i, name := range slices.Sorted(maps.Keys(a.families)) {
		total := a.families[name]
		b = append(b, next(i, `"families":[`, ",")...)
		b = appendText(append(b, `{"name":`...), name)
		b = appendText(append(b, `,"kind":`...), string(total.kind))
		b = appendText(append(b, `,"help":`...), total.help)
		b = strconv.AppendInt(append(b, `,"newest":`...), int64(total.newest), 10)
		b = append(b, `,"series":[`...)
		series := slices.Sorted(maps.Keys(total.totals))
		for j, labels := range series {
			b = appendText(append(b, next(j, "", ",")...), labels)
		}
		b = append(b, `],"totals":[`...)
		for j, labels := range series {
			sum := total.totals[labels]
			sum.n = n
			n++
			b = appendEntry(append(b, next(j, "", ",")...), sum.n, sum)
		}
		b = append(b, `]}`...)
	}
	if len(a.families) > 0 {
		b = append(b, next(len(a.processes), "]", "],")...)
	}
	for i, id := range a.Processes() {
		b = append(b, next(i, `"processes":{`, ",")...)
		b = append(strconv.AppendInt(append(b, '"'), int64(id), 10), `":[`...)
		j := 0
		for _, series := range a.processes[id].told {
			for _, what := range series {
				if what.value == 0 && (what.dist == nil || what.dist.Count == 0 && what.dist.Sum == 0) {
					continue // as if it had not been said
				}
				b = appendEntry(append(b, next(j, "", ",")...), what.of.n, &what.amount)
				j++
			}
		}
		b = append(b, ']')
	}
	if len(a.processes) > 0 {
		b = append(b, '}')
	}
	return append(b, '}'), nil
}

// next is what stands before the element i.
func next(i int, first, others string) string {
	if i == 0 {
		return first
	}
	return others
}

func appendEntry(b []byte, n int, what *amount) []byte {
	b = strconv.AppendInt(append(b, `{"n":`...), int64(n), 10)
	if d := what.dist; d != nil {
		b = appendNumber(append(b, `,"d":{"count":`...), d.Count)
		b = appendNumber(append(b, `,"sum":`...), d.Sum)
		b = append(appendNumbers(append(b, `,"bounds":`...), d.Bounds), `,"counts":`...)
		return append(appendNumbers(b, d.Counts), `}}`...)
	}
	return append(appendNumber(append(b, `,"v":`...), what.value), '}')
}

func appendNumbers(b []byte, list []float64) []byte {
	for i, v := range list {
		b = appendNumber(append(b, next(i, "[", ",")...), v)
	}
	if len(list) == 0 {
		b = append(b, '[')
	}
	return append(b, ']')
}

// appendNumber writes one in JSON, which has none without an end: sums of what processes
// make up may come to that, and are not to keep the rest from being written.
func appendNumber(b []byte, v float64) []byte {
	if math.IsNaN(v) {
		v = 0
	}
	return appendValue(b, min(max(v, -math.MaxFloat64), math.MaxFloat64))
}

func appendText(b []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c >= 0x7f || c == '"' || c == '\\' {
			text, _ := json.Marshal(s) // of a string there is always one
			return append(b, text...)
		}
	}
	return append(append(append(b, '"'), s...), '"')
}

// UnmarshalJSON reads what MarshalJSON has written. What nobody would have written is
// refused.
func (a *Account) UnmarshalJSON(text []byte) error {
	var s saved
	if err := json.Unmarshal(text, &s); err != nil {
		return err
	}
	fresh := NewAccount()
	type place struct {
		name, labels string
		of           *amount
	}
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
			total.totals[labels] = &amount{value: e.Value, dist: e.Dist}
			places = append(places, place{f.Name, labels, total.totals[labels]})
		}
		fresh.families[f.Name] = total
		fresh.series += len(total.totals)
	}
	for id, told := range s.Processes {
		p := &process{told: map[string]map[string]said{}}
		for _, e := range told {
			if e.N < 0 || e.N >= len(places) || !e.fits(fresh.families[places[e.N].name].kind) {
				return fmt.Errorf("the series %d of process %d", e.N, id)
			}
			at := places[e.N]
			if p.told[at.name] == nil {
				p.told[at.name] = map[string]said{}
			}
			p.told[at.name][at.labels] = said{amount{value: e.Value, dist: e.Dist}, at.of}
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

package metrics

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
)

// ContentType is that of what [Exposition.Text] writes.
const ContentType = "text/plain; version=0.0.4; charset=utf-8"

// Exposition is an answer to GET /metrics in the making. Whoever adds a family first says
// what it is; for an app that means something else by the same name see [Exposition.Add].
type Exposition struct {
	families map[string]*Exposed
	reserved map[string]bool
	refused  []string
}

// Exposed is a family of an [Exposition].
type Exposed struct {
	name, help string
	kind       Kind
	samples    []sample
}

type sample struct {
	suffix string // _bucket, _sum, _count
	own    string // labels
	labels string // of the series
	bounds string // le or quantile, "" if neither
	bound  float64
	value  float64
}

// NewExposition is an empty one.
func NewExposition() *Exposition { return &Exposition{families: map[string]*Exposed{}} }

// Add adds a family, or finds it. There is one type for a name: single values that are
// said to be something else before become untyped, which every query takes; a histogram or
// summary that cannot be told from others is left out, and nil returned.
func (e *Exposition) Add(name, help string, kind Kind) *Exposed {
	f := e.families[name]
	switch {
	case e.reserved[name], f == nil && e.ambiguous(name, kind), f != nil && f.kind != kind && (f.kind.distributes() || kind.distributes()):
		e.refused = append(e.refused, name)
		return nil
	case f == nil:
		f = &Exposed{name: name, help: help, kind: kind}
		e.families[name] = f
	case f.kind != kind:
		f.kind = Untyped
	}
	return f
}

// Reserve lets no app add to the families that there are: a series that is there twice can
// cost whoever scrapes all of them.
func (e *Exposition) Reserve() {
	e.reserved = map[string]bool{}
	for name := range e.families {
		e.reserved[name] = true
	}
}

// suffixes are those of the samples of a histogram or a summary.
var suffixes = []string{"_bucket", "_sum", "_count"}

// ambiguous says that a sample of a family could be taken for one of another's.
func (e *Exposition) ambiguous(name string, kind Kind) bool {
	for _, suffix := range suffixes {
		if base, cut := strings.CutSuffix(name, suffix); cut && e.families[base] != nil && e.families[base].kind.distributes() {
			return true
		}
		if kind.distributes() && e.families[name+suffix] != nil {
			return true
		}
	}
	return false
}

// Refused are the names of families that were left out, each once.
func (e *Exposition) Refused() []string {
	slices.Sort(e.refused)
	return slices.Compact(e.refused)
}

// Set adds a value, with pairs of a label's name and its value.
func (f *Exposed) Set(value float64, pairs ...string) {
	labels := make([]Label, 0, len(pairs)/2)
	for i := 0; i+1 < len(pairs); i += 2 {
		labels = append(labels, Label{pairs[i], pairs[i+1]})
	}
	f.value("", RenderLabels(labels), value)
}

func (f *Exposed) value(own, labels string, value float64) {
	f.samples = append(f.samples, sample{own: own, labels: labels, value: value})
}

// distribution adds a histogram's samples, or the sum and the count of a summary.
func (f *Exposed) distribution(own, labels string, d *Distribution) {
	s := sample{suffix: "_bucket", own: own, labels: labels, bounds: "le"}
	f.samples = slices.Grow(f.samples, len(d.Bounds)+3)
	if f.kind == Histogram {
		for i, bound := range d.Bounds {
			s.bound, s.value = bound, d.Counts[i]
			f.samples = append(f.samples, s)
		}
		s.bound, s.value = math.Inf(1), d.Count
		f.samples = append(f.samples, s)
	}
	f.samples = append(f.samples, sample{suffix: "_sum", own: own, labels: labels, value: d.Sum},
		sample{suffix: "_count", own: own, labels: labels, value: d.Count})
}

// AddApp adds what an app's account has: what counts summed, and of everything else what
// those say of it who serve, by the label worker.
func (e *Exposition) AddApp(app string, a *Account, serving map[ProcessID]string) {
	own := RenderLabels([]Label{{"app", app}})
	for _, name := range slices.Sorted(maps.Keys(a.families)) {
		total := a.families[name]
		f := e.Add(name, total.help, total.kind)
		if f == nil {
			continue
		}
		for _, labels := range slices.Sorted(maps.Keys(total.totals)) {
			sum := total.totals[labels]
			if sum.dist != nil {
				f.distribution(own, labels, sum.dist)
			} else {
				f.value(own, labels, sum.value)
			}
		}
	}
	e.addWorkers(app, a, serving, func(f *Family) bool { return !f.Kind.counts() && a.families[f.Name] == nil })
}

// AddWorkers adds all that the processes of an app say that serve, by the label worker and
// not summed.
func (e *Exposition) AddWorkers(app string, a *Account, serving map[ProcessID]string) {
	e.addWorkers(app, a, serving, func(*Family) bool { return true })
}

func (e *Exposition) addWorkers(app string, a *Account, serving map[ProcessID]string, which func(*Family) bool) {
	ids := slices.SortedFunc(maps.Keys(serving), func(x, y ProcessID) int {
		return cmp.Or(cmp.Compare(len(serving[x]), len(serving[y])), strings.Compare(serving[x], serving[y]), cmp.Compare(x, y))
	})
	for _, id := range ids {
		p := a.processes[id]
		if p == nil {
			continue
		}
		own := RenderLabels([]Label{{"app", app}, {"worker", serving[id]}})
		for i := range p.page {
			family := &p.page[i]
			if !which(family) {
				continue
			}
			f := e.Add(family.Name, family.Help, family.Kind)
			if f == nil {
				continue
			}
			for _, s := range family.Series {
				for _, q := range s.Quantiles {
					f.samples = append(f.samples, sample{own: own, labels: s.Labels, bounds: "quantile", bound: q.Quantile, value: q.Value})
				}
				if s.Distribution != nil {
					f.distribution(own, s.Labels, s.Distribution)
				} else {
					f.value(own, s.Labels, s.Value)
				}
			}
		}
	}
}

// Text is all that was added, in the text format 0.0.4, families in the order of their
// names.
func (e *Exposition) Text() []byte {
	size := 0
	for _, f := range e.families {
		size += 2*len(f.name) + len(f.help) + 32
		for i := range f.samples {
			s := &f.samples[i]
			size += len(f.name) + len(s.own) + len(s.labels) + 40
		}
	}
	b := make([]byte, 0, size)
	for _, name := range slices.Sorted(maps.Keys(e.families)) {
		f := e.families[name]
		if len(f.samples) == 0 {
			continue
		}
		help := helpEscapes.Replace(f.help)
		b = fmt.Appendf(b, "# HELP %s %s\n# TYPE %s %s\n", f.name, help, f.name, f.kind)
		for i := range f.samples {
			s := &f.samples[i]
			b = append(append(b, f.name...), s.suffix...)
			before := "{"
			for _, labels := range [...]string{s.own, s.labels} {
				if labels != "" {
					b = append(append(b, before...), labels...)
					before = ","
				}
			}
			if s.bounds != "" {
				b = append(append(append(b, before...), s.bounds...), `="`...)
				b = append(appendBound(b, s.bound), '"')
				before = ","
			}
			if before == "," {
				b = append(b, '}')
			}
			b = append(appendValue(append(b, ' '), s.value), '\n')
		}
	}
	return b
}

func appendBound(b []byte, v float64) []byte {
	if math.IsInf(v, 1) {
		return append(b, "+Inf"...)
	}
	return strconv.AppendFloat(b, v, 'g', -1, 64)
}

// helpEscapes: a program may have said none, and promtool insists on one.
var helpEscapes = strings.NewReplacer(`\`, `\\`, "\n", `\n`)

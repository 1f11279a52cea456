package metrics

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"unique"
)

// The bounds of a page. A program with more than that of its own is wrong, for whoever
// keeps what it says, too.
const (
	MaxBytes = 4 << 20
	MaxLines = 20_000
	// maxLabels are those of a series, maxLabel the bytes of a value, maxName those of
	// the name of a label or a family, and maxHelp those of a help text, of which the
	// rest is cut.
	maxLabels = 32
	maxLabel  = 1 << 10
	maxName   = 200
	maxHelp   = 1 << 10
	// maxBuckets are those of a histogram, and the quantiles of a summary.
	maxBuckets = 200
	// largest is what a counter may have come to: up to here a float64 has every integer.
	largest = 1 << 53
)

// Parse reads a page of the text format 0.0.4. Labels that are named as one of exported
// get exported_ before their name, as Prometheus itself does it where it sets labels of
// its own. The error is one line.
func Parse(text []byte, exported ...string) (Page, error) {
	if len(text) > MaxBytes {
		return nil, fmt.Errorf("it is longer than %d MiB", MaxBytes>>20)
	}
	if bytes.Count(text, []byte("\n")) > MaxLines {
		return nil, fmt.Errorf("it has more than %d lines", MaxLines)
	}
	page, err := read(text, &reader{exported: exported, bounded: true})
	if err != nil {
		return nil, err
	}
	if err := page.check(); err != nil {
		return nil, err
	}
	return page, nil
}

// check finds what nobody can have counted.
func (p Page) check() error {
	for i := range p {
		for _, s := range p[i].Series {
			var err error
			if s.Distribution != nil {
				err = s.Distribution.check()
			} else if p[i].Kind == Counter && !countable(s.Value) {
				err = fmt.Errorf("%v is no value of a counter", s.Value)
			}
			if err != nil {
				return fmt.Errorf("%s: %w", p[i].Name, err)
			}
		}
	}
	return nil
}

// countable says that a counter can have come to v.
func countable(v float64) bool { return v >= 0 && v <= largest }

// ParseOurs reads what [Exposition.Text] has written: it may be as long as it likes, for
// the bounds are those of a single process.
func ParseOurs(text []byte) (Page, error) { return read(text, &reader{}) }

// reader makes a page of lines.
type reader struct {
	exported []string
	bounded  bool

	families map[string]*readFamily
	last     *readFamily // that a line was about
	lastName string
	lastPart part
	labels   []ScannedLabel // room
	rendered []byte         // room
}

// readFamily is one that is being read.
type readFamily struct {
	Family
	typed, helped bool
	// distributions are the series of a histogram or a summary by their labels: each is in
	// many lines, most of which follow each other.
	distributions map[string]int
	said          []saidOf // beside the series of a histogram or a summary
}

// saidOf is what there was of a series.
type saidOf struct{ count, sum bool }

// part is what a sample is of a series.
type part int8

const (
	partValue part = iota // or by its label a bucket, or a quantile
	partCount
	partSum
)

func read(text []byte, r *reader) (Page, error) {
	r.families = map[string]*readFamily{}
	s := Scan(text)
	for kind := s.next(); kind != lineEnd; kind = s.next() {
		err := s.err
		if err == nil {
			err = r.take(s, kind)
		}
		if err != nil {
			return nil, fmt.Errorf("line %d: %.300s", s.line, strings.ToValidUTF8(err.Error(), "?"))
		}
	}
	page := make(Page, 0, len(r.families))
	for _, f := range r.families {
		if len(f.Series) == 0 {
			continue
		}
		if err := f.finish(); err != nil {
			return nil, fmt.Errorf("%.200s: %w", f.Name, err)
		}
		page = append(page, f.Family)
	}
	slices.SortFunc(page, func(a, b Family) int { return strings.Compare(a.Name, b.Name) })
	return page, nil
}

// family finds that of a name, or makes it.
func (r *reader) family(name []byte) (*readFamily, part, error) {
	if r.last != nil && string(name) == r.lastName {
		return r.last, r.lastPart, nil
	}
	f, p := r.families[string(name)], partValue
	if f == nil {
		f, p = r.distribution(name)
	}
	if f == nil {
		if r.bounded && len(name) > maxName {
			return nil, 0, fmt.Errorf("its name is longer than %d bytes", maxName)
		}
		f, p = &readFamily{}, partValue
		f.Name = unique.Make(string(name)).Value()
		f.Kind = Untyped
		r.families[f.Name] = f
	}
	r.last, r.lastPart = f, p
	if r.lastName = f.Name; p != partValue || len(name) != len(f.Name) {
		r.lastName = string(name)
	}
	return f, p, nil
}

// distribution finds the histogram or summary that a name with a suffix belongs to.
func (r *reader) distribution(name []byte) (*readFamily, part) {
	for i, suffix := range suffixes {
		base, cut := bytes.CutSuffix(name, []byte(suffix))
		if !cut || len(base) == 0 {
			continue
		}
		f := r.families[string(base)]
		switch {
		case f == nil || !f.Kind.distributes() || i == 0 && f.Kind == Summary:
		case i == 0:
			return f, partValue
		case i == 1:
			return f, partSum
		default:
			return f, partCount
		}
	}
	return nil, partValue
}

func (r *reader) take(s *Scanner, kind lineKind) error {
	f, part, err := r.family(s.Name)
	if err != nil {
		return err
	}
	switch {
	case kind == lineSample:
		if err := s.Sample(); err != nil {
			return err
		}
		f.typed = true // or it comes too late
		return r.sample(f, part, s)
	case len(s.rest) == 0:
		return nil
	case kind == lineHelp:
		if f.helped {
			return fmt.Errorf("there are two texts of help for %.200s", f.Name)
		}
		help, err := s.help()
		if err != nil {
			return err
		}
		if r.bounded {
			help = help[:min(len(help), maxHelp)]
		}
		f.Help, f.helped = unique.Make(strings.ToValidUTF8(help, "")).Value(), true
		return nil
	case f.typed:
		return fmt.Errorf("the type of %.200s is said twice, or after its first sample", f.Name)
	}
	f.Kind, err = kindOf(s.rest)
	f.typed = true
	return err
}

// sample adds one to its family.
func (r *reader) sample(f *readFamily, part part, s *Scanner) error {
	bound, bounds := math.NaN(), ""
	switch f.Kind {
	case Histogram:
		bounds = "le"
	case Summary:
		bounds = "quantile"
	}
	labels := r.labels[:0]
	for _, l := range s.Labels {
		if bounds == "" || string(l.Name) != bounds {
			labels = append(labels, l)
			continue
		}
		var err error
		if bound, err = number(l.Value); err != nil {
			return fmt.Errorf("%s=%.100q is no bound", bounds, l.Value)
		}
	}
	r.labels = labels
	if err := r.render(labels); err != nil {
		return err
	}
	if bounds != "" {
		return r.distribute(f, part, bound, s.Value)
	}
	f.Series = append(f.Series, Series{Labels: r.own(), Value: s.Value})
	return nil
}

// own are the labels that were rendered last.
func (r *reader) own() string { return unique.Make(string(r.rendered)).Value() }

// distribute adds a sample to the series of a histogram or a summary that it is of.
func (r *reader) distribute(f *readFamily, part part, bound, value float64) error {
	i := len(f.Series) - 1
	if i < 0 || f.Series[i].Labels != string(r.rendered) {
		known := false
		if i, known = f.distributions[string(r.rendered)]; !known {
			if f.distributions == nil {
				f.distributions = map[string]int{}
			}
			i = len(f.Series)
			f.Series = append(f.Series, Series{Labels: r.own(), Distribution: &Distribution{}})
			f.said = append(f.said, saidOf{})
			f.distributions[f.Series[i].Labels] = i
		}
	}
	s, said := &f.Series[i], &f.said[i]
	d := s.Distribution
	switch {
	case part == partCount && said.count, part == partSum && said.sum:
		return fmt.Errorf("{%.200s} is there twice", s.Labels)
	case part == partSum:
		d.Sum, said.sum = value, true
	case f.Kind == Histogram && value < 0 && (part == partCount || !math.IsNaN(bound)):
		return fmt.Errorf("%v is nothing that is counted", value)
	case part == partCount:
		d.Count, said.count = max(d.Count, value), true
		if f.Kind == Summary {
			d.Count = math.Trunc(value)
		}
	case math.IsNaN(bound): // it says nothing
	case f.Kind == Summary:
		if r.bounded && len(s.Quantiles) == maxBuckets {
			return fmt.Errorf("it has more than %d quantiles", maxBuckets)
		}
		for _, q := range s.Quantiles {
			if q.Quantile == bound {
				return fmt.Errorf("quantile=%v is there twice", bound)
			}
		}
		s.Quantiles = append(s.Quantiles, Quantile{bound, value})
	case math.IsInf(bound, -1):
		return fmt.Errorf("le=%v is no bound", bound)
	case math.IsInf(bound, 1):
		d.Count = max(d.Count, value)
	default:
		return d.bucket(bound, value, r.bounded)
	}
	return nil
}

// bucket adds one, which is most often the largest.
func (d *Distribution) bucket(bound, count float64, bounded bool) error {
	if bounded && len(d.Bounds) == maxBuckets {
		return fmt.Errorf("it has more than %d buckets", maxBuckets)
	}
	i := len(d.Bounds)
	if i > 0 && bound <= d.Bounds[i-1] {
		var found bool
		if i, found = slices.BinarySearch(d.Bounds, bound); found {
			return fmt.Errorf("le=%v is there twice", bound)
		}
	}
	if d.Bounds == nil {
		d.Bounds, d.Counts = make([]float64, 0, 16), make([]float64, 0, 16)
	}
	d.Bounds, d.Counts = slices.Insert(d.Bounds, i, bound), slices.Insert(d.Counts, i, count)
	return nil
}

// finish brings a family into order when all of it is read.
func (f *readFamily) finish() error {
	compare := func(a, b Series) int { return strings.Compare(a.Labels, b.Labels) }
	if !slices.IsSortedFunc(f.Series, compare) {
		slices.SortFunc(f.Series, compare)
	}
	for i := range f.Series[1:] {
		if f.Series[i].Labels == f.Series[i+1].Labels {
			return fmt.Errorf("{%.200s} is there twice", f.Series[i].Labels)
		}
	}
	if f.Kind == Histogram {
		for i := range f.Series {
			f.Series[i].Distribution.rise()
		}
	}
	return nil
}

// render writes the labels of a series as [RenderLabels] does.
func (r *reader) render(labels []ScannedLabel) error {
	if r.bounded && len(labels) > maxLabels {
		return fmt.Errorf("there are more than %d labels", maxLabels)
	}
	byName := func(a, b ScannedLabel) int { return bytes.Compare(a.Name, b.Name) }
	slices.SortFunc(labels, byName)
	renamed := false
	for i, l := range labels {
		switch {
		case bytes.HasPrefix(l.Name, []byte("__")):
			return fmt.Errorf("the label %.200s is Prometheus's own", l.Name)
		case r.bounded && (len(l.Name) > maxName || len(l.Value) > maxLabel):
			return fmt.Errorf("the label %.200s is longer than %d bytes", l.Name, maxLabel)
		case i > 0 && bytes.Equal(labels[i-1].Name, l.Name):
			return errors.New("a label is there twice")
		}
	}
	for i, l := range labels {
		if len(l.Value) == 0 || !slices.ContainsFunc(r.exported, func(own string) bool { return own == string(l.Name) }) {
			continue
		}
		name := l.Name
		for renamed = true; len(name) == len(l.Name) || slices.ContainsFunc(labels, func(l ScannedLabel) bool { return len(l.Value) > 0 && bytes.Equal(l.Name, name) }); {
			name = append([]byte("exported_"), name...)
		}
		labels[i].Name = name
	}
	if renamed {
		slices.SortFunc(labels, byName)
	}
	r.rendered = r.rendered[:0]
	for _, l := range labels {
		r.rendered = appendLabel(r.rendered, l.Name, l.Value)
	}
	return nil
}

package worker

import (
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/nekoctl/neko/histogram"
)

// MetricType is what a family of metrics is.
type MetricType string

const (
	MetricCounter   MetricType = "counter"   // only grows, from 0 at the start of the process
	MetricGauge     MetricType = "gauge"     // how something is now
	MetricHistogram MetricType = "histogram" // how many values there were, by their size
	metricSummary   MetricType = "summary"
)

// MetricFamily is a family of metrics, as Prometheus calls it: what has one name.
type MetricFamily struct {
	Name string
	Help string // a sentence
	Type MetricType
	// Labels tell the series of a family apart.
	Labels []MetricLabel
	// When says which workers have it, for people; "" is all.
	When string
	// Read tells the values that it has now, each time somebody asks for them. It must not wait
	// for anything, and may be called by several goroutines at once.
	Read func(*Samples)
}

// MetricLabel is a label, with the values that it can have if they are known: a series for each is
// there from the start. Values must never be what a client chooses, as every one that there
// ever was takes memory, here and in Prometheus.
type MetricLabel struct {
	Name   string
	Values []string
}

const (
	mostSeries    = 1000 // of a family
	mostLabelText = 256  // bytes of a value
)

// Samples are the values of one family at a moment.
type Samples struct {
	family *MetricFamily
	b      []byte
	seen   map[string]bool // the labels of its series; nil: there is none yet
	bad    string          // what was wrong with one that was left out
	key    []byte
	start  int // of the family in b
	body   int // of its series
}

// begin is for the next family.
func (s *Samples) begin(f *MetricFamily) {
	s.end()
	s.family, s.bad, s.start = f, "", len(s.b)
	clear(s.seen)
	s.b = append(append(append(s.b, "# HELP "...), f.Name...), ' ')
	s.b = append(appendEscaped(s.b, f.Help, false), '\n')
	s.b = append(append(append(append(append(s.b, "# TYPE "...), f.Name...), ' '), f.Type...), '\n')
	s.body = len(s.b)
}

// end ends the family: one without a series is not told.
func (s *Samples) end() {
	if len(s.b) == s.body {
		s.b = s.b[:s.start]
	}
}

// Value tells the value of the series with these values of the family's labels, in their order. One
// that cannot be, a second of the same labels or a counter below 0, say, is left out, and the
// log says so.
func (s *Samples) Value(v float64, labels ...string) {
	switch f := s.family; {
	case f.Type == MetricHistogram || f.Type == metricSummary:
		s.refuse("a " + string(f.Type) + " has no single value")
		return
	case f.Type == MetricCounter && !(v >= 0 && v <= math.MaxFloat64):
		s.refuse("a counter cannot be " + formatNumber(v))
		return
	case !s.unique(labels):
		return
	}
	s.line("", v, labels, "", "")
}

// Histogram tells what a histogram has counted.
func (s *Samples) Histogram(h histogram.Snapshot, labels ...string) {
	if s.family.Type != MetricHistogram {
		s.refuse("a " + string(s.family.Type) + " is no histogram")
		return
	}
	rising := len(h.Bounds) == len(h.Counts)
	for i := 0; i < len(h.Bounds) && rising; i++ {
		below := i == 0 || h.Bounds[i] > h.Bounds[i-1] && h.Counts[i] >= h.Counts[i-1]
		rising = below && h.Counts[i] <= h.Count && math.Abs(h.Bounds[i]) <= math.MaxFloat64
	}
	if !rising {
		s.refuse("the counts of a histogram do not rise with its bounds")
		return
	}
	if !s.unique(labels) {
		return
	}
	for i, bound := range h.Bounds {
		s.line("_bucket", float64(h.Counts[i]), labels, "le", formatNumber(bound))
	}
	s.line("_bucket", float64(h.Count), labels, "le", "+Inf")
	s.line("_sum", h.Sum, labels, "", "")
	s.line("_count", float64(h.Count), labels, "", "")
}

// count is Value for what is counted in whole numbers.
func (s *Samples) count(n uint64, labels ...string) { s.Value(float64(n), labels...) }

// unique says whether a series can be, and has not been told.
func (s *Samples) unique(labels []string) bool {
	if len(labels) != len(s.family.Labels) {
		s.refuse("it has " + strconv.Itoa(len(s.family.Labels)) + " labels, and one was told with " + strconv.Itoa(len(labels)))
		return false
	}
	s.key = s.key[:0]
	for _, l := range labels {
		if len(l) > mostLabelText {
			s.refuse("a label has more than " + strconv.Itoa(mostLabelText) + " bytes")
			return false
		}
		s.key = append(append(s.key, strings.ToValidUTF8(l, "\ufffd")...), 0xff)
	}
	if s.seen[string(s.key)] {
		s.refuse("a series was told twice")
		return false
	}
	if len(s.seen) >= mostSeries {
		s.refuse("it has more than " + strconv.Itoa(mostSeries) + " series")
		return false
	}
	if s.seen == nil {
		s.seen = map[string]bool{}
	}
	s.seen[string(s.key)] = true
	return true
}

// rest tells 0 for the series of a counter that can be, and have not been told: who looks how much
// there was in the last minutes sees nothing of a series in its first value.
func (s *Samples) rest() {
	f := s.family
	if f.Type != MetricCounter || slices.ContainsFunc(f.Labels, func(l MetricLabel) bool { return len(l.Values) == 0 }) {
		return
	}
	labels := make([]string, len(f.Labels))
	bad := s.bad
	var tell func(i int)
	tell = func(i int) {
		if i == len(labels) {
			s.Value(0, labels...)
			return
		}
		for _, v := range f.Labels[i].Values {
			labels[i] = v
			tell(i + 1)
		}
	}
	tell(0)
	s.bad = bad // that some were told is nothing bad
}

func (s *Samples) refuse(why string) {
	if s.bad == "" {
		s.bad = why
	}
}

// line writes a line, with one label more if that has a name.
func (s *Samples) line(suffix string, v float64, labels []string, name, value string) {
	s.b = append(append(s.b, s.family.Name...), suffix...)
	sep := byte('{')
	for i, l := range labels {
		s.label(sep, s.family.Labels[i].Name, l)
		sep = ','
	}
	if name != "" {
		s.label(sep, name, value)
		sep = ','
	}
	if sep == ',' {
		s.b = append(s.b, '}')
	}
	s.b = append(appendNumber(append(s.b, ' '), v), '\n')
}

func (s *Samples) label(sep byte, name, value string) {
	s.b = append(append(append(s.b, sep), name...), '=', '"')
	s.b = append(appendEscaped(s.b, value, true), '"')
}

// appendEscaped appends a text as the text format 0.0.4 has it: one line of UTF-8.
func appendEscaped(b []byte, text string, quoted bool) []byte {
	for _, r := range strings.ToValidUTF8(text, "\ufffd") {
		switch {
		case r == '\\':
			b = append(b, '\\', '\\')
		case r == '\n':
			b = append(b, '\\', 'n')
		case r == '"' && quoted:
			b = append(b, '\\', '"')
		default:
			b = append(b, string(r)...)
		}
	}
	return b
}

func formatNumber(v float64) string { return string(appendNumber(nil, v)) }

// appendNumber appends a number so that no digit of it is lost.
func appendNumber(b []byte, v float64) []byte {
	switch {
	case math.IsInf(v, 1):
		return append(b, "+Inf"...)
	case v == math.Trunc(v) && math.Abs(v) < 1e15:
		return strconv.AppendInt(b, int64(v), 10)
	}
	return strconv.AppendFloat(b, v, 'g', -1, 64)
}

// Package metrics makes one answer to GET /metrics out of those of many processes, which
// come and go: it reads what they say (Prometheus's text format 0.0.4), keeps account of
// what all of them have ever counted, and writes it. It knows nothing of processes but a
// name that each has for life.
//
// What a process says is not believed: it may be long, wrong or made up. All that is kept
// of it has bounds, and a page that breaks one is refused as a whole.
package metrics

import (
	"math"
	"slices"
	"strconv"
	"strings"
)

// Kind is the type of a family.
type Kind string

// The kinds, in the words of the text format.
const (
	Counter   Kind = "counter"
	Gauge     Kind = "gauge"
	Histogram Kind = "histogram"
	Summary   Kind = "summary"
	Untyped   Kind = "untyped"
)

// counts says that what processes have counted is summed, also of those that have ended.
func (k Kind) counts() bool { return k == Counter || k.distributes() }

// distributes says that a series has a [Distribution] and no value.
func (k Kind) distributes() bool { return k == Histogram || k == Summary }

// Page is what one process has answered: families in the order of their names, each once.
type Page []Family

// Family is a metric with all its series, each once.
type Family struct {
	Name   string
	Help   string
	Kind   Kind
	Series []Series
}

// Series is one combination of labels.
type Series struct {
	// Labels are rendered, in the order of their names: a="1",b="2". Those of a bucket and
	// of a quantile are not among them.
	Labels string
	Value  float64
	// Distribution is that of a histogram or a summary.
	Distribution *Distribution
	// Quantiles are a summary's, as they were said; they cannot be merged.
	Quantiles []Quantile
}

// Quantile is one of a summary.
type Quantile struct{ Quantile, Value float64 }

// Label is a name and its value.
type Label struct{ Name, Value string }

// RenderLabels writes labels as a [Series] has them. They are sorted in place; one without
// a value is as good as none, and left out.
func RenderLabels(labels []Label) string {
	slices.SortFunc(labels, func(a, b Label) int { return strings.Compare(a.Name, b.Name) })
	var b []byte
	for _, l := range labels {
		b = appendLabel(b, l.Name, l.Value)
	}
	return string(b)
}

func appendLabel[T string | []byte](b []byte, name, value T) []byte {
	if len(value) == 0 {
		return b
	}
	if len(b) > 0 {
		b = append(b, ',')
	}
	b = append(append(b, name...), `="`...)
	for i := range len(value) {
		switch c := value[i]; c {
		case '\n':
			b = append(b, `\n`...)
		case '\\', '"':
			b = append(b, '\\', c)
		default:
			b = append(b, c)
		}
	}
	return append(b, '"')
}

// SplitLabels reads what [RenderLabels] has written.
func SplitLabels(rendered string) (labels []Label) {
	var s Scanner
	if _, err := s.labels([]byte(rendered + "}")); err != nil {
		return nil // it has not
	}
	for _, l := range s.Labels {
		labels = append(labels, Label{string(l.Name), string(l.Value)})
	}
	return labels
}

// appendValue writes a number as the text format has it.
func appendValue(b []byte, v float64) []byte {
	switch {
	case math.IsInf(v, 1):
		return append(b, "+Inf"...)
	case math.IsInf(v, -1):
		return append(b, "-Inf"...)
	case v == math.Trunc(v) && math.Abs(v) < 1e15: // not 1e+06
		return strconv.AppendInt(b, int64(v), 10)
	}
	return strconv.AppendFloat(b, v, 'g', -1, 64)
}

package metrics

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"unique"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

// The bounds of a page. A program with more than that of its own is wrong, for whoever
// keeps what it says, too.
const (
	MaxBytes = 4 << 20
	MaxLines = 20_000
	// maxLabels are those of a series, allLabels those of all of them, maxLabel the bytes of a value, maxName those of
	// the name of a label or a family, and maxHelp those of a help text, of which the
	// rest is cut.
	maxLabels = 32
	allLabels = 5 * MaxLines
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
	if err := checkLabels(text); err != nil {
		return nil, err
	}
	page, err := read(text, exported)
	if err != nil {
		return nil, err
	}
	if err := page.check(); err != nil {
		return nil, err
	}
	return page, nil
}

// checkLabels finds too many of them before the parser does, which takes a time that grows
// with the square of the labels of a line: 4 MiB of them keep it busy for hours.
func checkLabels(text []byte) error {
	all := 0
	for line := range bytes.Lines(text) {
		if bytes.HasPrefix(bytes.TrimLeft(line, " \t"), []byte("#")) {
			continue
		}
		labels, quoted := 0, false
		for i := 0; i < len(line); i++ {
			switch c := line[i]; {
			case quoted && c == '\\':
				i++
			case c == '"':
				quoted = !quoted
			case c == '=' && !quoted:
				labels++
			}
		}
		if labels > maxLabels+1 { // le and quantile are none
			return fmt.Errorf("there are more than %d labels", maxLabels)
		}
		if all += labels; all > allLabels {
			return fmt.Errorf("its series have more than %d labels together", allLabels)
		}
	}
	return nil
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

// ParseOurs reads what [Exposition.Text] has written: it may be as long as it likes, for
// the bounds are those of a single process.
func ParseOurs(text []byte) (Page, error) { return read(text, nil) }

func read(text []byte, exported []string) (Page, error) {
	families, err := parse(text)
	if err != nil {
		return nil, err
	}
	page := make(Page, 0, len(families))
	for _, mf := range families {
		f, err := readFamily(mf, exported)
		if err != nil {
			return nil, fmt.Errorf("%.200s: %w", mf.GetName(), err)
		}
		page = append(page, f)
	}
	slices.SortFunc(page, func(a, b Family) int { return strings.Compare(a.Name, b.Name) })
	return page, nil
}

// parse has no fault of the parser end the process: what it is given is anybody's.
func parse(text []byte) (families map[string]*dto.MetricFamily, err error) {
	defer func() {
		if fault := recover(); fault != nil {
			err = fmt.Errorf("it cannot be parsed: %.200v", fault)
		}
	}()
	parser := expfmt.NewTextParser(model.LegacyValidation)
	families, err = parser.TextToMetricFamilies(bytes.NewReader(text))
	if err != nil {
		return nil, fmt.Errorf("%.300s", strings.ToValidUTF8(strings.ReplaceAll(err.Error(), "\n", " "), "?"))
	}
	return families, nil
}

var kinds = map[dto.MetricType]Kind{
	dto.MetricType_COUNTER: Counter, dto.MetricType_GAUGE: Gauge, dto.MetricType_HISTOGRAM: Histogram,
	dto.MetricType_SUMMARY: Summary, dto.MetricType_UNTYPED: Untyped,
}

func readFamily(mf *dto.MetricFamily, exported []string) (f Family, err error) {
	f = Family{Name: unique.Make(mf.GetName()).Value(), Kind: kinds[mf.GetType()]}
	help := mf.GetHelp()
	f.Help = unique.Make(strings.ToValidUTF8(help[:min(len(help), maxHelp)], "")).Value()
	switch {
	case f.Kind == "":
		return f, fmt.Errorf("its type is %v", mf.GetType())
	case len(f.Name) > maxName:
		return f, fmt.Errorf("its name is longer than %d bytes", maxName)
	}
	f.Series = make([]Series, 0, len(mf.Metric))
	for _, metric := range mf.Metric {
		s, err := readSeries(f.Kind, metric, exported)
		if err != nil {
			return f, err
		}
		f.Series = append(f.Series, s)
	}
	slices.SortFunc(f.Series, func(a, b Series) int { return strings.Compare(a.Labels, b.Labels) })
	for i := range f.Series[1:] {
		if f.Series[i].Labels == f.Series[i+1].Labels {
			return f, fmt.Errorf("{%.200s} is there twice", f.Series[i].Labels)
		}
	}
	return f, nil
}

func readSeries(kind Kind, metric *dto.Metric, exported []string) (s Series, err error) {
	if s.Labels, err = readLabels(metric.Label, exported); err != nil {
		return s, err
	}
	switch kind {
	case Counter:
		s.Value = metric.GetCounter().GetValue()
	case Gauge:
		s.Value = metric.GetGauge().GetValue()
	case Untyped:
		s.Value = metric.GetUntyped().GetValue()
	case Histogram:
		s.Distribution, err = readHistogram(metric.GetHistogram())
	case Summary:
		summary := metric.GetSummary()
		s.Distribution = &Distribution{Count: float64(summary.GetSampleCount()), Sum: summary.GetSampleSum()}
		if len(summary.Quantile) > maxBuckets {
			err = fmt.Errorf("it has more than %d quantiles", maxBuckets)
		}
		for _, q := range summary.Quantile {
			s.Quantiles = append(s.Quantiles, Quantile{q.GetQuantile(), q.GetValue()})
		}
	}
	return s, err
}

// countable says that a counter can have come to v.
func countable(v float64) bool { return v >= 0 && v <= largest }

func readHistogram(h *dto.Histogram) (*Distribution, error) {
	if len(h.Bucket) > maxBuckets {
		return nil, fmt.Errorf("it has more than %d buckets", maxBuckets)
	}
	d := &Distribution{Count: float64(h.GetSampleCount()), Sum: h.GetSampleSum()}
	if h.SampleCountFloat != nil {
		d.Count = h.GetSampleCountFloat()
	}
	slices.SortFunc(h.Bucket, func(a, b *dto.Bucket) int {
		switch {
		case a.GetUpperBound() < b.GetUpperBound():
			return -1
		case a.GetUpperBound() > b.GetUpperBound():
			return 1
		}
		return 0
	})
	for _, b := range h.Bucket {
		bound, count := b.GetUpperBound(), float64(b.GetCumulativeCount())
		if b.CumulativeCountFloat != nil {
			count = b.GetCumulativeCountFloat()
		}
		switch last := len(d.Bounds) - 1; {
		case math.IsNaN(bound) || math.IsInf(bound, -1):
			return nil, fmt.Errorf("le=%v is no bound", bound)
		case math.IsInf(bound, 1):
			d.Count = max(d.Count, count)
		case last >= 0 && d.Bounds[last] == bound:
			return nil, fmt.Errorf("le=%v is there twice", bound)
		default:
			d.Bounds, d.Counts = append(d.Bounds, bound), append(d.Counts, count)
		}
	}
	d.rise()
	return d, nil
}

func readLabels(pairs []*dto.LabelPair, exported []string) (string, error) {
	if len(pairs) > maxLabels {
		return "", fmt.Errorf("there are more than %d labels", maxLabels)
	}
	labels := make([]Label, 0, len(pairs))
	for _, pair := range pairs {
		l := Label{pair.GetName(), pair.GetValue()}
		switch {
		case len(l.Name) > maxName || len(l.Value) > maxLabel:
			return "", fmt.Errorf("the label %.200s is longer than %d bytes", l.Name, maxLabel)
		case strings.HasPrefix(l.Name, "__"):
			return "", fmt.Errorf("the label %s is Prometheus's own", l.Name)
		case l.Value != "":
			labels = append(labels, l)
		}
	}
	has := func(name string) bool {
		return slices.ContainsFunc(labels, func(l Label) bool { return l.Name == name })
	}
	for i := range labels {
		if !slices.Contains(exported, labels[i].Name) {
			continue
		}
		name := "exported_" + labels[i].Name
		for has(name) {
			name = "exported_" + name
		}
		labels[i].Name = name
	}
	rendered := RenderLabels(labels)
	for i := range max(len(labels), 1) - 1 {
		if labels[i].Name == labels[i+1].Name {
			return "", errors.New("a label is there twice")
		}
	}
	return unique.Make(rendered).Value(), nil
}

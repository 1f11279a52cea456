package metrics

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unique"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

// In what follows Prometheus's own reader (common/expfmt) is the oracle for ours: what it
// takes and what it reads in it. It was the reader, until it was ten times too slow for a
// master that reads all processes once a second, and half of what the master had in memory.

// where an oracle is not believed: names in quotes, which the format 0.0.4 has not, and
// what it lets pass without a use. Ours refuses all of that.
var stricter = []string{"is no name of", "nothing separates", "there is no = behind", "is there twice", "is no type of"}

// mayDiffer are texts for which it may refuse what we take: series that are one, for an
// empty label is none, and for labels of ours that get other names.
var mayDiffer = regexp.MustCompile(`""|exported_`)

func agree(t *testing.T, text []byte) {
	t.Helper()
	ours, err := Parse(text, "app", "worker")
	theirs, other := oracle(text, []string{"app", "worker"})
	if other == nil {
		other = theirs.check()
	}
	switch {
	case err != nil && other != nil:
	case err != nil:
		if !slices.ContainsFunc(stricter, func(s string) bool { return strings.Contains(err.Error(), s) }) {
			t.Errorf("refused: %v: %q", err, text)
		}
	case other != nil:
		if !mayDiffer.Match(text) {
			t.Errorf("taken, though %v: %q", other, text)
		}
	default:
		one, two := fmt.Sprintf("%+v", shown(ours)), fmt.Sprintf("%+v", shown(theirs))
		if one != two {
			t.Errorf("read %s\nby the oracle %s\nin %q", one, two, text)
		}
	}
}

// shown is a page with what its pointers lead to.
func shown(p Page) (list []string) {
	for _, f := range p {
		list = append(list, fmt.Sprintf("%s %s %q", f.Name, f.Kind, f.Help))
		for _, s := range f.Series {
			d := s.Distribution
			if d == nil {
				d = &Distribution{}
			}
			list = append(list, fmt.Sprintf("{%s} %v %+v %v", s.Labels, s.Value, *d, s.Quantiles))
		}
	}
	return list
}

// pages are such as a program may answer, right and wrong.
var pages = []string{
	"", "\n", "  \n\t\n", "a 1\n", "a 1", "a 1\n  ", "a\t1\n", " a  1\n", "a{}1\n", "a {b=\"c\"} 1\n", "a{b=\"c\",} 1\n", "a{,} 1\n", "a{ b = \"c\" , d=\"e\" } 1\n",
	"a 1 17\n", "a 1 17.5\n", "a 1 -17\n", "a 1 17 \n", "a 1 \n", "a 1 17 18\n", "a 1 # {trace_id=\"x\"} 1\n", "a 1 17 # {trace_id=\"x\"} 1\n", "a\n", "a{b=\"c\"}\n",
	"a NaN\n", "a nan\n", "a +Inf\n", "a -inf\n", "a infinity\n", "a 1e999\n", "a 1e-999\n", "a 0x10\n", "a 0x1p4\n", "a 1_0\n", "a -0\n", "a .5\n", "a 1,5\n", "a +1\n", "a --1\n",
	"# TYPE a counter\na NaN\n", "# TYPE a counter\na -1\n", "# TYPE a counter\na 9007199254740993\n", "# TYPE a COUNTER\na 1\n", "# TYPE a counter \na 1\n",
	"# TYPE a counter\r\na 1\r\n", "a 1\r\n", "\r\n", "# HELP a x\r\na 1\n", "# TYPE a info\na 1\n", "# TYPE a\na 1\n", "# TYPE a \n# TYPE a gauge\na 1\n", "#TYPE a gauge\na 1\n", "#\tTYPE\ta\tgauge\na 1\n",
	"# HELP a x\n# HELP a x\na 1\n", "# HELP a x\n# TYPE a gauge\n", "# HELP a \\\\ \\n \\\"\na 1\n", "# HELP a \\x\na 1\n", "# HELP a \\\na 1\n", "# HELP\n", "# HELP 9\n", "# HELP 9 x\n", "# x", "#", "#\n", "# EOF\n", "# UNIT a s\n",
	"a 1\n# TYPE a gauge\n", "a 1\n# HELP a late\n", "# TYPE a gauge\n# TYPE a gauge\na 1\n", "a 1\nb 2\na{x=\"y\"} 3\n", "a 1\na 1\n", "a{b=\"1\",c=\"2\"} 1\na{c=\"2\",b=\"1\"} 1\n",
	"a{b=\"1\",b=\"1\"} 1\n", "a{b=\"\"} 1\n", "a{b=\"\"} 1\na 1\n", "a{b=\"\\\\\\\"\\n\"} 1\n", "a{b=\"\\x\"} 1\n", "a{b=\"x\\\"} 1\n", "a{b=\"x\n\"} 1\n", "a{b=\"{},= #\"} 1\n", "a{b=\"\xff\"} 1\n", "a{b=\"\u00fc\"} 1\n",
	"a{b} 1\n", "a{b=} 1\n", "a{b=c} 1\n", "a{=\"c\"} 1\n", "a{b=\"c\" d=\"e\"} 1\n", "a{b=\"c\"\n", "a{\n", "a{b:c=\"d\"} 1\n", "a:b 1\n", ":a 1\n", "9a 1\n", "a-b 1\n", "{\"a\"} 1\n", "{} 1\n", "{a=\"b\"} 1\n", "a{__name__=\"b\"} 1\n", "a{__x=\"b\"} 1\n",
	"a{app=\"1\"} 1\n", "a{app=\"1\",worker=\"2\"} 1\n", "a{app=\"1\",exported_app=\"2\"} 1\n", "a{le=\"1\"} 1\n", "a{quantile=\"x\"} 1\n",
	"# TYPE h histogram\nh_bucket{le=\"1\"} 1\nh_bucket{le=\"+Inf\"} 2\nh_sum 3\nh_count 2\n", "# TYPE h histogram\nh_bucket{le=\"4\"} 1\nh_bucket{le=\"1\"} 2\nh_bucket{le=\"2\"} 0\nh_count 1\n",
	"# TYPE h histogram\nh 3\n", "# TYPE h histogram\nh{le=\"1\"} 3\n", "# TYPE h histogram\nh_bucket 3\n", "# TYPE h histogram\nh_bucket{le=\"x\"} 3\n", "# TYPE h histogram\nh_bucket{le=\"NaN\"} 3\n", "# TYPE h histogram\nh_bucket{le=\"-Inf\"} 3\n",
	"# TYPE h histogram\nh_bucket{le=\"1\"} -3\n", "# TYPE h histogram\nh_bucket{le=\"1\"} NaN\n", "# TYPE h histogram\nh_bucket{le=\"1\"} 3.5\nh_count 2.5\n", "# TYPE h histogram\nh_count -1\n", "# TYPE h histogram\nh_sum -1\n", "# TYPE h histogram\nh_sum NaN\n", "# TYPE h histogram\nh_sum{le=\"1\"} 2\n",
	"# TYPE h histogram\nh_bucket{x=\"1\",le=\"1\"} 1\nh_bucket{x=\"2\",le=\"1\"} 1\nh_bucket{le=\"2\",x=\"1\"} 1\n", "# TYPE h histogram\nh_bucket{le=\"1\"} 1\nh_bucket{le=\"1.0\"} 1\n", "# TYPE h histogram\nh_count 1\nh_count 2\n",
	"h_bucket{le=\"1\"} 1\n# TYPE h histogram\nh_bucket{le=\"2\"} 1\nh_count 1\n", "# HELP h_count x\n# TYPE h histogram\nh_count 1\nh_sum 1\n", "# TYPE h histogram\n# TYPE h_count counter\nh_count 1\n", "# TYPE h_count histogram\nh_count_count 1\nh_count 2\n", "# TYPE h gauge_histogram\nh_count 1\n",
	"# TYPE s summary\ns{quantile=\"0.5\"} NaN\ns{quantile=\"0.9\"} 2\ns_sum 1\ns_count 2\n", "# TYPE s summary\ns_bucket{le=\"1\"} 1\ns_count 1\n", "# TYPE s summary\ns 1\n", "# TYPE s summary\ns_count 2.5\ns_sum -1\n", "# TYPE s summary\ns_count -1\n", "# TYPE s summary\ns_count NaN\n", "# TYPE s summary\ns{quantile=\"x\"} 1\n", "# TYPE s summary\ns{quantile=\"1\"} 1\ns{quantile=\"1\"} 1\n",
	"# TYPE _count summary\n_count 1\n_count_sum 1\n", "_sum 1\n# TYPE a untyped\na 1\n",
}

func TestPagesAreReadAsPrometheusReadsThem(t *testing.T) {
	for _, one := range pages {
		agree(t, []byte(one))
		if _, err := Parse([]byte(one)); err != nil || !strings.HasPrefix(one, "#") {
			continue // what follows is not read, or is the same as alone
		}
		for _, other := range pages {
			agree(t, []byte(one+other))
		}
	}
}

func FuzzAgainstPrometheus(f *testing.F) {
	for _, one := range pages {
		f.Add([]byte(one))
	}
	f.Fuzz(agree)
}

func oracle(text []byte, exported []string) (Page, error) {
	families, err := oracleFamilies(text)
	if err != nil {
		return nil, err
	}
	page := make(Page, 0, len(families))
	for _, mf := range families {
		f, err := oracleFamily(mf, exported)
		if err != nil {
			return nil, fmt.Errorf("%.200s: %w", mf.GetName(), err)
		}
		page = append(page, f)
	}
	slices.SortFunc(page, func(a, b Family) int { return strings.Compare(a.Name, b.Name) })
	return page, nil
}

// oracleFamilies has no fault of the parser end the process: what it is given is anybody's.
func oracleFamilies(text []byte) (families map[string]*dto.MetricFamily, err error) {
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

func oracleFamily(mf *dto.MetricFamily, exported []string) (f Family, err error) {
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
		s, err := oracleSeries(f.Kind, metric, exported)
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

func oracleSeries(kind Kind, metric *dto.Metric, exported []string) (s Series, err error) {
	if s.Labels, err = oracleLabels(metric.Label, exported); err != nil {
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
		s.Distribution, err = oracleHistogram(metric.GetHistogram())
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

func oracleHistogram(h *dto.Histogram) (*Distribution, error) {
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

func oracleLabels(pairs []*dto.LabelPair, exported []string) (string, error) {
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

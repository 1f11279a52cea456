package worker

import (
	"context"
	"math"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/nekoctl/neko/histogram"
	"github.com/nekoctl/neko/logtext"
	"github.com/nekoctl/neko/scripts/debian"
)

func readNothing(*Samples) {}

// What Prometheus would not take, or would take for something else, is found when the
// worker is made.
func TestOwnMetricsAreChecked(t *testing.T) {
	good := MetricFamily{Name: "shop_sales_total", Help: "Things sold.", Type: MetricCounter, Read: readNothing}
	for what, change := range map[string]func(*MetricFamily){
		"is no name":            func(f *MetricFamily) { f.Name = "shop sales_total" },
		"in all programs":       func(f *MetricFamily) { f.Name = "process_sales_total" },
		"a family of that name": func(f *MetricFamily) { f.Name = "neko_http_requests_total" },
		"no Help":               func(f *MetricFamily) { f.Help = " " },
		"no Read":               func(f *MetricFamily) { f.Read = nil },
		"is none":               func(f *MetricFamily) { f.Type = "meter" },
		"end with _total":       func(f *MetricFamily) { f.Type = MetricGauge },
		"no name for a label":   func(f *MetricFamily) { f.Labels = []MetricLabel{{Name: "what?"}} },
		`"le" is no name`:       func(f *MetricFamily) { f.Labels = []MetricLabel{{Name: "le"}} },
		`"__name__" is no name`: func(f *MetricFamily) { f.Labels = []MetricLabel{{Name: "__name__"}} },
		"twice":                 func(f *MetricFamily) { f.Labels = []MetricLabel{{Name: "a"}, {Name: "a"}} },
		"more than 8 labels":    func(f *MetricFamily) { f.Labels = make([]MetricLabel, 9) },
		"more than 1000 series": func(f *MetricFamily) { v := make([]string, 32); f.Labels = []MetricLabel{{"a", v}, {"b", v}} },
		"of that name already":  func(f *MetricFamily) { f.Name, f.Type = "neko_http_request_duration_seconds_sum", MetricGauge },
	} {
		f := good
		change(&f)
		_, err := New(Config{Schema: testSchema, Resolver: newTestRoot(), Metrics: []MetricFamily{f}, Log: logtext.Logger(t.Output())})
		if err == nil || !strings.Contains(err.Error(), what) {
			t.Errorf("%s: %v", what, err)
		}
	}
	twice := Config{Schema: testSchema, Resolver: newTestRoot(), Metrics: []MetricFamily{good, good}}
	if _, err := New(twice); err == nil || !strings.Contains(err.Error(), "of that name already") {
		t.Errorf("twice: %v", err)
	}
}

// A program's own metrics are on the page, with what is known of them from the start, and the page
// is as good as before whatever one of them does.
func TestOwnMetrics(t *testing.T) {
	var said printed
	var sizes histogram.Histogram
	sizes.Begin(&histogram.Numbers)
	sizes.Observe(7)
	w := newTestWorker(t, Config{Log: logtext.Logger(&said), Metrics: []MetricFamily{
		{Name: "shop_sales_total", Help: "Things\nsold, \\ or \"given\".", Type: MetricCounter, Labels: []MetricLabel{{"how", []string{"cash", "card"}}}, Read: func(s *Samples) {
			s.Value(3, "card")
		}},
		{Name: "shop_temperature_celsius", Help: "How warm it is.", Type: MetricGauge, Labels: []MetricLabel{{Name: "room"}}, Read: func(s *Samples) {
			s.Value(-1.5, "the \"cold\" one\n\\")
			s.Value(math.Inf(-1), "space")
			s.Value(math.NaN(), "nowhere")
			s.Value(1, "\xff")
			s.Value(2, "\xfe") // the same, as UTF-8
			s.Value(1)
			s.Value(1, strings.Repeat("x", 300))
		}},
		{Name: "shop_sizes", Help: "How large things are.", Type: MetricHistogram, Read: func(s *Samples) {
			s.Histogram(sizes.Snapshot())
		}},
		{Name: "shop_odd", Help: "It is none.", Type: MetricHistogram, Read: func(s *Samples) {
			s.Value(1)
			s.Histogram(histogram.Snapshot{Bounds: []float64{2, 1}, Counts: []uint64{1, 2}, Count: 3})
			s.Histogram(histogram.Snapshot{Bounds: []float64{1, 2}, Counts: []uint64{2, 1}, Count: 3})
			s.Histogram(histogram.Snapshot{Bounds: []float64{1}, Counts: []uint64{2}, Count: 1})
		}},
		{Name: "shop_negative_total", Help: "What cannot be.", Type: MetricCounter, Labels: []MetricLabel{{Name: "a"}}, Read: func(s *Samples) {
			s.Value(-1, "x")
			s.Value(math.NaN(), "y")
			s.Value(1, "z")
			s.Value(1, "z")
		}},
		{Name: "shop_panics", Help: "It panics.", Type: MetricGauge, Read: func(*Samples) { panic("out of stock") }},
		{Name: "shop_last", Help: "The last.", Type: MetricGauge, Read: func(s *Samples) { s.Value(1) }},
	}})
	all := w.counted(t)
	for series, want := range map[string]float64{
		`shop_sales_total{how="card"}`: 3, `shop_sales_total{how="cash"}`: 0,
		`shop_temperature_celsius{room="the \"cold\" one\n\\"}`: -1.5, `shop_temperature_celsius{room="space"}`: math.Inf(-1), `shop_temperature_celsius{room="` + "\ufffd" + `"}`: 1,
		`shop_sizes_bucket{le="10"}`: 1, `shop_sizes_bucket{le="3"}`: 0, "shop_sizes_sum": 7, "shop_sizes_count": 1,
		`shop_negative_total{a="z"}`: 1, "shop_last": 1,
	} {
		if got, ok := all[series]; !ok || got != want {
			t.Errorf("%s is %v (%v), and not %v", series, got, ok, want)
		}
	}
	for series := range all {
		if strings.HasPrefix(series, "shop_odd") || strings.HasPrefix(series, "shop_panics") || strings.Contains(series, "xxx") || strings.HasPrefix(series, `shop_negative_total{a="x"`) {
			t.Errorf("%s is told", series)
		}
	}
	readable(t, w.appendMetrics(nil))
	w.appendMetrics(nil)
	text := said.String()
	for _, want := range []string{"shop_temperature_celsius: a series was told twice", "shop_odd: a histogram has no single value", "shop_negative_total: a counter cannot be -1", "shop_panics: panic: out of stock"} {
		if strings.Count(text, want) != 1 {
			t.Errorf("the log does not say once: %s\n%s", want, text)
		}
	}
	check := exec.Command(debian.Need(t, "promtool", "prometheus"), "check", "metrics")
	check.Stdin = strings.NewReader(string(w.appendMetrics(nil)))
	if said, err := check.CombinedOutput(); err != nil || len(said) > 0 {
		t.Errorf("%v\n%s", err, said)
	}
}

// readable says whether Prometheus could read a page.
func readable(t testing.TB, text []byte) {
	t.Helper()
	parser := expfmt.NewTextParser(model.LegacyValidation)
	if _, err := parser.TextToMetricFamilies(strings.NewReader(string(text))); err != nil || !utf8.Valid(text) {
		t.Fatalf("%v\n%s", err, text)
	}
}

// One that hangs costs the time that there is once, and is told as it was; those behind it are
// there the next time. Nothing waits for it any more, and nothing piles up.
func TestOwnMetricsThatHang(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hang := make(chan struct{})
		hangs := false
		w := newTestWorker(t, Config{Metrics: []MetricFamily{
			{Name: "a_total", Help: "The first.", Type: MetricCounter, Read: func(s *Samples) { s.Value(1) }},
			{Name: "b_total", Help: "It hangs.", Type: MetricCounter, Read: func(s *Samples) {
				if hangs {
					<-hang
				}
				s.Value(2)
			}},
			{Name: "c_total", Help: "The last.", Type: MetricCounter, Read: func(s *Samples) { s.Value(3) }},
		}})
		ask := func(want time.Duration) {
			t.Helper()
			began := time.Now()
			all := w.counted(t)
			if took := time.Since(began); took != want || all["a_total"] != 1 || all["b_total"] != 2 || all["c_total"] != 3 {
				t.Errorf("after %v: %v %v %v", took, all["a_total"], all["b_total"], all["c_total"])
			}
		}
		ask(0)
		hangs = true
		ask(ownMetricsTime)
		time.Sleep(time.Second)
		for range 3 {
			ask(0)
		}
		var all sync.WaitGroup
		for range 10 {
			all.Go(func() { ask(0) })
		}
		all.Wait()
		close(hang)
		synctest.Wait()
		ask(0)
	})
}

// FuzzOwnMetrics looks for values with which a page cannot be read.
func FuzzOwnMetrics(f *testing.F) {
	f.Add("help", "value", 1.5)
	f.Add("\\\n\"", "\xff\x00\"}\n# TYPE x counter\nx 1", math.Inf(1))
	f.Add("x", "{\u2028}", 1e300)
	f.Add("x", "", math.Copysign(0, -1))
	f.Fuzz(func(t *testing.T, help, label string, v float64) {
		family := MetricFamily{Name: "own", Help: help, Type: MetricGauge, Labels: []MetricLabel{{Name: "label"}}}
		var s Samples
		s.begin(&family)
		s.Value(v, label)
		s.Value(v, label+"x")
		s.Value(v, label)
		s.end()
		readable(t, s.b)
		if n := strings.Count(string(s.b), "\n"); n > 4 || len(label) < 200 && n < 3 {
			t.Errorf("%q", s.b)
		}
	})
}

// ExampleConfig_metrics is a program that counts what it sells.
func ExampleConfig_metrics() {
	var sold histogram.Histogram
	sold.Begin(&histogram.Numbers)
	c := Config{
		Metrics: []MetricFamily{{
			Name: "shop_sale_items", Help: "How many things are sold at once.", Type: MetricHistogram,
			Read: func(s *Samples) { s.Histogram(sold.Snapshot()) },
		}},
	}
	_ = Run(context.Background(), c)
}

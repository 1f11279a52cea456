package metrics

import (
	"encoding/json"
	"fmt"
	"testing"
)

// workersPage is one as neko-api's workers answer it, in size and kind, after n requests.
func workersPage(n int) (text []byte) {
	for i := range 20 {
		text = fmt.Appendf(text, "# HELP neko_a%d_total What is counted.\n# TYPE neko_a%d_total counter\n", i, i)
		for j := range 4 {
			text = fmt.Appendf(text, "neko_a%d_total{handler=\"graphql\",code=\"%d\"} %d\n", i, j, i*j*n)
		}
	}
	for i := range 4 {
		text = fmt.Appendf(text, "# HELP neko_h%d_seconds How long it took.\n# TYPE neko_h%d_seconds histogram\n", i, i)
		for j := range 14 {
			text = fmt.Appendf(text, "neko_h%d_seconds_bucket{handler=\"graphql\",le=\"%v\"} %d\n", i, float64(j+1)/100, j*n)
		}
		text = fmt.Appendf(text, "neko_h%d_seconds_bucket{handler=\"graphql\",le=\"+Inf\"} %d\nneko_h%d_seconds_sum{handler=\"graphql\"} %v\nneko_h%d_seconds_count{handler=\"graphql\"} %d\n", i, 20*n, i, float64(n)*1.25, i, 20*n)
	}
	return text
}

// A page is read in a small part of the time and of the memory.
func BenchmarkParse(b *testing.B) {
	text := workersPage(1000)
	for name, parse := range map[string]func() (Page, error){
		"ours":   func() (Page, error) { return Parse(text, "app", "worker") },
		"expfmt": func() (Page, error) { return oracle(text, []string{"app", "worker"}) },
	} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(text)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := parse(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// What it costs to take down what all processes of an app say, to write that, and to tell
// it.
func BenchmarkAccount(b *testing.B) {
	for _, processes := range []int{20, 64, 500} {
		a := NewAccount()
		serving := map[ProcessID]string{}
		still, err := Parse(workersPage(1000), "app", "worker")
		if err != nil {
			b.Fatal(err)
		}
		for i := range processes {
			_ = a.Observe(ProcessID(i), still)
			serving[ProcessID(i)] = fmt.Sprint(i)
		}
		for _, what := range []struct {
			name string
			do   func(i int) int
		}{
			{"still", func(int) int {
				for i := range processes {
					_ = a.Observe(ProcessID(i), still)
				}
				return 0
			}},
			{"moving", func(n int) int {
				page, _ := Parse(workersPage(2000+n), "app", "worker")
				for i := range processes {
					_ = a.Observe(ProcessID(i), page)
				}
				return 0
			}},
			{"write", func(int) int {
				text, _ := json.Marshal(a)
				return len(text)
			}},
			{"tell", func(int) int {
				e := NewExposition()
				e.AddApp("web", a, serving)
				return len(e.Text())
			}},
			{"by worker", func(int) int {
				e := NewExposition()
				e.AddWorkers("web", a, serving)
				return len(e.Text())
			}},
		} {
			b.Run(fmt.Sprint(what.name, " ", processes), func(b *testing.B) {
				b.ReportAllocs()
				size := 0
				for i := 0; b.Loop(); i++ {
					size = what.do(i)
				}
				b.ReportMetric(float64(size), "bytes")
			})
		}
	}
}

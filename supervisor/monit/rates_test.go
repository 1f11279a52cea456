package monit

import (
	"fmt"
	"math"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/nekoctl/neko/supervisor/control"
)

// told is a worker's reading with so many requests counted, all of them between 1 and
// 2 ms.
func told(started, n float64) *reading {
	r := &reading{started: started, told: true, buckets: []bucket{{0.001, 0}, {0.002, n}, {math.Inf(1), 0}}}
	r.counts[requests] = figure{n, true}
	return r
}

func seconds(n float64) time.Time { return time.Unix(0, int64(n*1e9)) }

// Known counters give known rates, whatever happens to the processes that count.
func TestRates(t *testing.T) {
	a0, a1 := worker{"a", 0}, worker{"a", 1}
	type look struct {
		at   float64
		all  map[worker]*reading
		want float64 // requests a second of the app, over the window
	}
	for name, looks := range map[string][]look{
		"a steady load": {
			{100, map[worker]*reading{a0: told(1, 1000), a1: told(1, 5000)}, math.NaN()},
			{101, map[worker]*reading{a0: told(1, 1100), a1: told(1, 5100)}, 200},
			{102, map[worker]*reading{a0: told(1, 1200), a1: told(1, 5200)}, 200},
		},
		"what was before monit is not counted": {
			{100, map[worker]*reading{a0: told(1, 1e9)}, math.NaN()},
			{101, map[worker]*reading{a0: told(1, 1e9)}, 0},
		},
		"looks that are not a second apart": {
			{100, map[worker]*reading{a0: told(1, 1000)}, math.NaN()},
			{100.5, map[worker]*reading{a0: told(1, 1100)}, 200},
			{102.5, map[worker]*reading{a0: told(1, 1500)}, 200},
			{162.5, map[worker]*reading{a0: told(1, 13500)}, 200},
		},
		"a reload: the successor counts from 0": {
			{100, map[worker]*reading{a0: told(1, 1000)}, math.NaN()},
			{101, map[worker]*reading{a0: told(1, 1200)}, 200},
			{102, map[worker]*reading{a0: told(101.5, 100)}, 150}, // what the predecessor did in its last half second nobody tells
			{103, map[worker]*reading{a0: told(101.5, 300)}, 500. / 3},
			{104, map[worker]*reading{a0: told(101.5, 500)}, 500. / 3},
			{105, map[worker]*reading{a0: told(101.5, 700)}, 200},
		},
		"a successor that has counted more than its predecessor": {
			{100, map[worker]*reading{a0: told(1, 10)}, math.NaN()},
			{101, map[worker]*reading{a0: told(1, 210)}, 200},
			{102, map[worker]*reading{a0: told(99, 600)}, 200}, // since 3 seconds
		},
		"a crash: nobody is there for a while": {
			{100, map[worker]*reading{a0: told(1, 1000), a1: told(1, 1000)}, math.NaN()},
			{101, map[worker]*reading{a0: told(1, 1100), a1: told(1, 1100)}, 200},
			{102, map[worker]*reading{a1: told(1, 1200)}, 150},
			{103, map[worker]*reading{a0: told(102.9, 10), a1: told(1, 1300)}, 410. / 3},
		},
		"one that was away is not counted twice": {
			{100, map[worker]*reading{a0: told(1, 1000)}, math.NaN()},
			{101, map[worker]*reading{}, math.NaN()},
			{102, map[worker]*reading{}, math.NaN()},
			{103, map[worker]*reading{a0: told(1, 1600)}, 200}, // spread over the time that it was
			{104, map[worker]*reading{a0: told(1, 1800)}, 200},
		},
		"the daemon was away": {
			{100, map[worker]*reading{a0: told(1, 1000)}, math.NaN()},
			{101, map[worker]*reading{a0: told(1, 1200)}, 200},
			{131, map[worker]*reading{a0: told(1, 7200)}, 200},
		},
		"a worker more, with a life before": {
			{100, map[worker]*reading{a0: told(1, 1000)}, math.NaN()},
			{101, map[worker]*reading{a0: told(1, 1100), a1: told(1, 1e6)}, 100 + 1e4},
		},
		"a worker less": {
			{100, map[worker]*reading{a0: told(1, 1000), a1: told(1, 1e6)}, math.NaN()},
			{101, map[worker]*reading{a0: told(1, 1100)}, 100},
		},
		"a counter that goes back in one process": {
			{100, map[worker]*reading{a0: told(1, 1000)}, math.NaN()},
			{101, map[worker]*reading{a0: told(1, 10)}, 0},
		},
		"nobody knows since when it is there": {
			{100, map[worker]*reading{a0: {}}, math.NaN()},
			{101, map[worker]*reading{a0: told(0, 1e6)}, 0},
			{102, map[worker]*reading{a0: told(0, 1e6+300)}, 150},
		},
	} {
		t.Run(name, func(t *testing.T) {
			var tr tracker
			for i, l := range looks {
				tr.take(seconds(l.at), l.all)
				got := math.NaN()
				if h := tr.apps["a"]; h != nil {
					sum := h.within(rateWindow)
					if v := sum.perSecond(requests); v.is {
						got = v.v
					}
				}
				if math.Abs(got-l.want) > 0.01*max(1, l.want) || math.IsNaN(got) != math.IsNaN(l.want) {
					t.Errorf("look %d: %v requests a second, want %v", i, got, l.want)
				}
			}
		})
	}
}

// No sequence of loads, restarts and absences makes a rate that is negative, or higher
// than the highest that there was.
func TestRatesNeverJump(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const most = 1000.0
		type process struct{ started, count float64 }
		var tr tracker
		now := 1000.0
		var processes [3]process
		for i := range processes {
			processes[i] = process{now - 100, rapid.Float64Range(0, most*100).Draw(t, "count before")}
		}
		for range rapid.IntRange(2, 40).Draw(t, "looks") {
			passed := rapid.Float64Range(0.1, 20).Draw(t, "seconds")
			now += passed
			all := map[worker]*reading{}
			for i := range processes {
				p := &processes[i]
				if rapid.IntRange(0, 5).Draw(t, "restarted") == 0 {
					age := rapid.Float64Range(0, passed).Draw(t, "age")
					*p = process{now - age, rapid.Float64Range(0, most*age).Draw(t, "since")}
				} else {
					p.count += rapid.Float64Range(0, most*passed).Draw(t, "more")
				}
				if rapid.IntRange(0, 5).Draw(t, "away") != 0 {
					all[worker{"a", i}] = told(p.started, p.count)
				}
			}
			tr.take(seconds(now), all)
			check := func(h *history, most float64) {
				if h == nil {
					return
				}
				s := h.within(rateWindow)
				if v := s.perSecond(requests); v.v < 0 || v.v > most*1.001+1e-6 {
					t.Fatalf("%v requests a second, and there were %v at most", v.v, most)
				}
			}
			for _, one := range tr.workers {
				check(&one.history, most)
			}
			check(tr.apps["a"], 3*most)
		}
	})
}

func TestQuantiles(t *testing.T) {
	inf := math.Inf(1)
	for _, c := range []struct {
		buckets []bucket
		q, want float64
	}{
		{nil, 0.5, math.NaN()},
		{[]bucket{{1, 0}, {inf, 0}}, 0.5, math.NaN()},
		{[]bucket{{1, 100}, {inf, 0}}, 0.5, 0.5},
		{[]bucket{{1, 50}, {2, 50}, {inf, 0}}, 0.5, 1},
		{[]bucket{{1, 50}, {2, 50}, {inf, 0}}, 0.99, 1.98},
		{[]bucket{{1, 0}, {2, 100}, {inf, 0}}, 0.5, 1.5},
		{[]bucket{{1, 0}, {2, 0}, {inf, 100}}, 0.5, 2}, // no better is known
		{[]bucket{{1, 98}, {2, 0}, {4, 2}, {inf, 0}}, 0.99, 3},
	} {
		s := step{buckets: c.buckets}
		got := math.NaN()
		if v := s.quantile(c.q); v.is {
			got = v.v
		}
		if math.Abs(got-c.want) > 1e-9 || math.IsNaN(got) != math.IsNaN(c.want) {
			t.Errorf("%v of %v is %v, want %v", c.q, c.buckets, got, c.want)
		}
	}
}

// Of a worker that tells nothing any more no old rate is shown.
func TestARateEnds(t *testing.T) {
	var tr tracker
	a0 := worker{"a", 0}
	for i := range 5 {
		tr.take(seconds(100+float64(i)), map[worker]*reading{a0: told(1, float64(1000*i))})
	}
	for i := range 3 {
		tr.take(seconds(105+float64(i)), nil)
	}
	if sum := tr.workers[a0].within(rateWindow); sum.perSecond(requests).v != 0 {
		t.Errorf("%v a second", sum.perSecond(requests).v)
	}
}

// A worker that comes with a long life counts in the percentiles of its app with what it
// did of late.
func TestALifeBeforeIsNoWeight(t *testing.T) {
	var tr tracker
	fast, slow := told(1, 1000), told(1, 100_000)
	tr.take(seconds(1000), map[worker]*reading{{"a", 0}: fast})
	slow.buckets = []bucket{{0.001, 0}, {0.002, 0}, {5, 100_000}, {math.Inf(1), 0}} // 100 a second
	tr.take(seconds(1001), map[worker]*reading{{"a", 0}: told(1, 1300), {"a", 1}: slow})
	sum := tr.apps["a"].within(ratioWindow)
	if p := sum.quantile(0.5); p.v > 0.002 {
		t.Errorf("half took less than %v s, and 300 of 400 were fast", p.v)
	}
}

// What a worker tells is not trusted.
func TestNonsenseIsLeftOut(t *testing.T) {
	all := readMetrics([]byte(`
neko_http_requests_total{app="a",worker="0",handler="graphql",code="200"} 12
neko_http_requests_total{app="a",worker="0",handler="graphql",code="500"} NaN
neko_http_requests_total{app="a",worker="0",handler="other",code="200"} +Inf
neko_http_requests_total{app="a",worker="x",handler="graphql",code="200"} 1
neko_http_requests_total{app="a",worker="0",handler="probe",code="200"} 99
neko_http_requests_total{app="a",worker="0
neko_http_requests_total{app="a",worker="0"
neko_http_requests_total
neko_http_requests_total{
neko_breaker_state{app="a",worker="0",name="s"} 77
neko_breaker_state{app="a",worker="0",name="r"} 2
neko_http_request_duration_seconds_bucket{app="a",worker="0",le="x"} 1
`))
	if len(all) != 1 {
		t.Fatalf("%v", all)
	}
	r := all[worker{"a", 0}]
	if r.counts[requests].v != 12 || r.counts[failures].v != 0 || len(r.breaker) != 1 || r.breaker[0].State != "OPEN" || r.buckets != nil {
		t.Errorf("%+v", r)
	}
}

// Ten apps with two workers each, and what they tell that nobody reads here.
func BenchmarkText(b *testing.B) {
	s := evening()
	s.list = nil
	for i := range 20 {
		p := control.Process{Name: fmt.Sprint("app", i/2), Slot: i % 2, PID: i + 1, Listeners: []string{"x"}}
		s.list = append(s.list, p)
		s.counters[worker{p.Name, p.Slot}] = &counters{served: map[string]float64{"200": 1e6, "503": 2}, cache: map[string]float64{"fresh": 3}}
	}
	text, err := s.Metrics(b.Context(), nil, true)
	if err != nil {
		b.Fatal(err)
	}
	for i := range 1000 {
		text = fmt.Appendf(text, "neko_other_%d_total{app=\"app1\",worker=\"0\",what=\"something\"} %d\n", i/20, i)
	}
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	for b.Loop() {
		if len(readMetrics(text)) != 20 {
			b.Fatal("there are not 20")
		}
	}
}

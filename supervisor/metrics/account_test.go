package metrics

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// fataler is a test or a property.
type fataler interface {
	Helper()
	Fatal(...any)
	Fatalf(string, ...any)
}

func page(t fataler, text string) Page {
	t.Helper()
	p, err := Parse([]byte(text), "app", "worker")
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// copied is what another master has of an account.
func copied(t fataler, a *Account) *Account {
	t.Helper()
	text, err := json.Marshal(a)
	if err != nil {
		t.Fatal(err)
	}
	b := NewAccount()
	if err := json.Unmarshal(text, b); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	return b
}

// told are the samples of an app by name and labels.
func told(t fataler, a *Account, serving map[ProcessID]string) map[string]float64 {
	t.Helper()
	e := NewExposition()
	e.AddApp("web", a, serving)
	samples := map[string]float64{}
	for line := range strings.Lines(string(e.Text())) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		at := strings.LastIndexByte(line, ' ')
		var v float64
		if _, err := fmt.Sscan(line[at:], &v); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		if _, twice := samples[line[:at]]; twice {
			t.Fatalf("%s is there twice", line[:at])
		}
		samples[line[:at]] = v
	}
	return samples
}

func expect(t *testing.T, samples map[string]float64, want map[string]float64) {
	t.Helper()
	if !maps.Equal(samples, want) {
		t.Errorf("told:\n%v\nexpected:\n%v", samples, want)
	}
}

func TestCountersAreSummedAndGaugesAreOfWhoServes(t *testing.T) {
	a := NewAccount()
	_ = a.Observe(1, page(t, "# TYPE a counter\na{b=\"x\"} 3\n# TYPE g gauge\ng 1\n"))
	_ = a.Observe(2, page(t, "# TYPE a counter\na{b=\"x\"} 4\na{b=\"y\"} 1\n# TYPE g gauge\ng 2\n"))
	a.Retire(1)
	_ = a.Observe(3, page(t, "# TYPE a counter\na{b=\"x\"} 1\n# TYPE g gauge\ng 3\n"))
	expect(t, told(t, a, map[ProcessID]string{2: "1", 3: "0"}), map[string]float64{
		`a{app="web",b="x"}`: 8, `a{app="web",b="y"}`: 1, `g{app="web",worker="0"}`: 3, `g{app="web",worker="1"}`: 2,
	})
}

func TestACounterThatBeginsAnewIsCountedOn(t *testing.T) {
	a := NewAccount()
	for _, v := range []int{5, 7, 2, 3} { // 7, and then 3 more
		_ = a.Observe(1, page(t, fmt.Sprintf("# TYPE a counter\na %d\n", v)))
	}
	expect(t, told(t, a, nil), map[string]float64{`a{app="web"}`: 10})
}

func TestASeriesThatComesBackIsNotCountedAgain(t *testing.T) {
	a := NewAccount()
	for _, text := range []string{"# TYPE a counter\na 5\n", "", "# TYPE a counter\na 6\n"} {
		_ = a.Observe(1, page(t, text))
	}
	expect(t, told(t, a, nil), map[string]float64{`a{app="web"}`: 6})
}

func TestHistogramsWithOtherBucketsAreAdded(t *testing.T) {
	a := NewAccount()
	_ = a.Observe(1, page(t, "# TYPE h histogram\nh_bucket{le=\"1\"} 2\nh_bucket{le=\"4\"} 5\nh_bucket{le=\"+Inf\"} 6\nh_sum 20\nh_count 6\n"))
	_ = a.Observe(2, page(t, "# TYPE h histogram\nh_bucket{le=\"2\"} 10\nh_bucket{le=\"4\"} 10\nh_bucket{le=\"+Inf\"} 11\nh_sum 30\nh_count 11\n"))
	expect(t, told(t, a, nil), map[string]float64{
		`h_bucket{app="web",le="1"}`: 2, `h_bucket{app="web",le="2"}`: 12, `h_bucket{app="web",le="4"}`: 15, `h_bucket{app="web",le="+Inf"}`: 17,
		`h_sum{app="web"}`: 50, `h_count{app="web"}`: 17,
	})
}

func TestAFamilyThatBecomesSomethingElseIsThatOfTheYoungest(t *testing.T) {
	a := NewAccount()
	_ = a.Observe(1, page(t, "# TYPE a counter\na 5\n"))
	_ = a.Observe(2, page(t, "# TYPE a summary\na_sum 7\na_count 3\n"))
	_ = a.Observe(1, page(t, "# TYPE a counter\na 6\n"))
	expect(t, told(t, a, nil), map[string]float64{`a_sum{app="web"}`: 7, `a_count{app="web"}`: 3})
}

// Only what moves calls for the account to be written, and all that does.
func TestWhatMovesIsSeen(t *testing.T) {
	a := NewAccount()
	for i, c := range []struct {
		what  string
		id    ProcessID
		text  string
		moves bool
	}{
		{"a process that says nothing", 1, "", true},
		{"and again", 1, "", false},
		{"a gauge", 1, "# TYPE g gauge\ng 1\n", false},
		{"a counter", 1, "# TYPE c counter\nc 0\n", true},
		{"that stands still", 1, "# TYPE c counter\nc 0\n# TYPE g gauge\ng 2\n", false},
		{"that moves", 1, "# TYPE c counter\nc 1\n", true},
		{"that begins anew", 1, "# TYPE c counter\nc 0\n", true},
		{"another process", 2, "# TYPE c counter\nc 0\n", true},
		{"a histogram", 2, "# TYPE h histogram\nh_bucket{le=\"1\"} 1\nh_sum 1\nh_count 2\n", true},
		{"that stands still", 2, "# TYPE h histogram\nh_bucket{le=\"1\"} 1\nh_sum 1\nh_count 2\n", false},
		{"whose sum moves", 2, "# TYPE h histogram\nh_bucket{le=\"1\"} 1\nh_sum 2\nh_count 2\n", true},
		{"a bucket of which moves", 2, "# TYPE h histogram\nh_bucket{le=\"1\"} 2\nh_sum 2\nh_count 2\n", true},
		{"that has other buckets", 2, "# TYPE h histogram\nh_bucket{le=\"2\"} 2\nh_sum 2\nh_count 2\n", true},
		{"another text of help", 2, "# HELP h x\n# TYPE h histogram\nh_bucket{le=\"2\"} 2\nh_sum 2\nh_count 2\n", true},
		{"the elder has the old one", 1, "# TYPE h histogram\nh_bucket{le=\"2\"} 0\nh_sum 0\nh_count 0\n", true},
		{"and again", 1, "# TYPE h histogram\nh_bucket{le=\"2\"} 0\nh_sum 0\nh_count 0\n", false},
	} {
		before := a.Moves()
		if err := a.Observe(c.id, page(t, c.text)); err != nil {
			t.Fatal(err)
		}
		if moves := a.Moves() != before; moves != c.moves {
			t.Errorf("%d, %s: moves is %v", i, c.what, moves)
		}
	}
	before := a.Moves()
	a.Retire(3)
	if a.Moves() != before {
		t.Error("nobody has ended")
	}
	if a.Retire(1); a.Moves() == before {
		t.Error("the end of a process is not seen")
	}
}

// A sum that nobody can have meant is refused, for with others it could be one without an end,
// which cannot be written down; the largest that is taken can.
func TestSumsHaveBounds(t *testing.T) {
	a := NewAccount()
	for id, sum := range []string{"1e200", "1e200", "-1e200"} {
		if err := a.Observe(ProcessID(id), page(t, "# TYPE s summary\ns_sum "+sum+"\ns_count 1\n# TYPE c counter\nc 1\n")); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := Parse([]byte("# TYPE s summary\ns_sum 8e307\ns_count 1\n"), "app", "worker"); err == nil {
		t.Error("a sum of 8e307 was taken")
	}
	if n := told(t, copied(t, a), nil)[`c{app="web"}`]; n != 3 {
		t.Errorf("%v of 3 were counted", n)
	}
}

func TestAnAccountHasBounds(t *testing.T) {
	a := NewAccount()
	problem := ""
	for id := range 5 {
		var b strings.Builder
		b.WriteString("# TYPE a counter\n")
		for i := range 7_000 {
			fmt.Fprintf(&b, "a{b=\"%d-%d\"} 1\n", id, i)
		}
		if err := a.Observe(ProcessID(id), page(t, b.String())); err != nil {
			problem = err.Error()
		}
		a.Retire(ProcessID(id))
	}
	if n := len(told(t, a, nil)); n != maxSeries || !strings.Contains(problem, "20000 series") {
		t.Errorf("there are %d series, and the problem is %q", n, problem)
	}
}

func TestAppsThatMeanSomethingElseByOneName(t *testing.T) {
	counter, gauge, histogram := NewAccount(), NewAccount(), NewAccount()
	_ = counter.Observe(1, page(t, "# TYPE a counter\na 5\n# TYPE h_count counter\nh_count 1\n"))
	_ = gauge.Observe(2, page(t, "# TYPE a gauge\na 6\n"))
	_ = histogram.Observe(3, page(t, "# TYPE a histogram\na_sum 6\na_count 1\n# TYPE h histogram\nh_sum 1\nh_count 1\n"))
	e := NewExposition()
	for i, a := range []*Account{counter, gauge, histogram} {
		e.AddApp(fmt.Sprint("app", i), a, map[ProcessID]string{2: "0"})
	}
	page, err := ParseOurs(e.Text())
	if err != nil {
		t.Fatalf("%v in\n%s", err, e.Text())
	}
	if len(page) != 2 || page[0].Kind != Untyped || len(page[0].Series) != 2 || page[1].Name != "h_count" || fmt.Sprint(e.Refused()) != "[a h]" {
		t.Errorf("refused %v, written\n%s", e.Refused(), e.Text())
	}
}

func TestAnAppAddsNothingToWhatIsTheDaemons(t *testing.T) {
	forger := NewAccount()
	_ = forger.Observe(1, page(t, "# TYPE up gauge\nup 7\n# TYPE crashes_total counter\ncrashes_total 5\n# TYPE own gauge\nown 1\n"))
	e := NewExposition()
	e.Add("up", "", Gauge).Set(1, "app", "a", "worker", "0")
	e.Add("crashes_total", "", Counter)
	e.Reserve()
	e.AddApp("a", forger, map[ProcessID]string{1: "0"})
	const want = "# HELP own \n# TYPE own gauge\nown{app=\"a\",worker=\"0\"} 1\n# HELP up \n# TYPE up gauge\nup{app=\"a\",worker=\"0\"} 1\n"
	if got := string(e.Text()); got != want || fmt.Sprint(e.Refused()) != "[crashes_total up]" {
		t.Errorf("refused %v, written\n%s", e.Refused(), got)
	}
}

// fleet is an app in a property test: processes with what each has really counted.
type fleet struct {
	living map[ProcessID]*truth
	last   ProcessID
	bounds [][]float64 // of histograms, by versions of the program
}

type truth struct {
	counters map[string]float64 // by label
	seen     []float64          // observations
	bounds   []float64
	hidden   bool // its counters are not on its page at present
}

func (w *truth) page(t fataler) Page {
	var b strings.Builder
	b.WriteString("# TYPE c counter\n")
	for _, label := range slices.Sorted(maps.Keys(w.counters)) {
		if !w.hidden {
			fmt.Fprintf(&b, "c{l=\"%s\"} %v\n", label, w.counters[label])
		}
	}
	b.WriteString("# TYPE h histogram\n")
	sum := 0.0
	for _, x := range w.seen {
		sum += x
	}
	for _, bound := range w.bounds {
		n := 0
		for _, x := range w.seen {
			if x <= bound {
				n++
			}
		}
		fmt.Fprintf(&b, "h_bucket{le=\"%v\"} %d\n", bound, n)
	}
	fmt.Fprintf(&b, "h_bucket{le=\"+Inf\"} %d\nh_sum %v\nh_count %d\n", len(w.seen), sum, len(w.seen))
	return page(t, b.String())
}

// Processes count, are asked, end in order and leave a last page, or are killed; masters
// are killed and go on from what was written down last. Nothing that was told becomes
// less, buckets ascend, and as long as nobody was killed who had counted something that
// nobody had asked for, all is exact.
func TestWhatIsToldNeverGoesBackAndIsExact(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f := &fleet{living: map[ProcessID]*truth{}, bounds: [][]float64{{1, 4}, {2, 4, 8}, nil}}
		a := NewAccount()
		counters := map[string]float64{} // of all, and what a kill has lost taken off
		count, sum := 0.0, 0.0
		asked := map[ProcessID]truth{} // what each had when it was asked last
		written, known := copied(t, a), maps.Clone(asked)
		write := func() { written, known = copied(t, a), maps.Clone(asked) }
		before := map[string]float64{}
		pick := func() (ProcessID, *truth) {
			ids := slices.Sorted(maps.Keys(f.living))
			if len(ids) == 0 {
				t.Skip("nobody lives")
			}
			id := rapid.SampledFrom(ids).Draw(t, "process")
			return id, f.living[id]
		}
		ask := func(id ProcessID, w *truth) {
			if err := a.Observe(id, w.page(t)); err != nil {
				t.Fatal(err)
			}
			now := truth{counters: asked[id].counters, seen: slices.Clone(w.seen)}
			if !w.hidden {
				now.counters = maps.Clone(w.counters)
			}
			asked[id] = now
		}
		t.Repeat(map[string]func(*rapid.T){
			"start": func(t *rapid.T) {
				f.last++
				f.living[f.last] = &truth{counters: map[string]float64{}, bounds: rapid.SampledFrom(f.bounds).Draw(t, "bounds")}
			},
			"work": func(t *rapid.T) {
				_, w := pick()
				n := float64(rapid.IntRange(0, 5).Draw(t, "n"))
				label := rapid.SampledFrom([]string{"x", "y"}).Draw(t, "label")
				w.counters[label] += n
				counters[label] += n
				x := float64(rapid.IntRange(0, 40).Draw(t, "x")) / 4
				w.seen = append(w.seen, x)
				count++
				sum += x
			},
			"hide": func(*rapid.T) { _, w := pick(); w.hidden = !w.hidden },
			"ask":  func(*rapid.T) { ask(pick()) },
			"end in order": func(*rapid.T) {
				id, w := pick()
				w.hidden = false
				ask(id, w)
				a.Retire(id)
				delete(f.living, id)
				write() // as the collector does
			},
			"kill a process": func(*rapid.T) {
				id, w := pick()
				was := asked[id]
				for label, v := range w.counters {
					counters[label] -= v - was.counters[label]
				}
				for _, x := range w.seen[len(was.seen):] {
					count--
					sum -= x
				}
				a.Retire(id)
				delete(f.living, id)
				write()
			},
			"kill the master": func(t *rapid.T) {
				if rapid.Bool().Draw(t, "in order") {
					write()
				}
				a, asked = copied(t, written), maps.Clone(known)
				for id, w := range f.living { // what it does first of all
					ask(id, w)
				}
			},
			"": func(t *rapid.T) {
				if len(f.living) == 0 || rapid.Bool().Draw(t, "told") {
					write() // before anybody is told
					samples := told(t, a, nil)
					for name, v := range before {
						if samples[name] < v {
							t.Fatalf("%s went from %v to %v", name, v, samples[name])
						}
					}
					before = samples
				}
			},
		})
		for id, w := range f.living {
			w.hidden = false
			ask(id, w)
		}
		samples := told(t, a, nil)
		for label, v := range counters {
			if got := samples[`c{app="web",l="`+label+`"}`]; got != v {
				t.Fatalf("c{%s} is %v, and %v was counted", label, got, v)
			}
		}
		if got := samples[`h_count{app="web"}`]; got != count || samples[`h_sum{app="web"}`] != sum || samples[`h_bucket{app="web",le="+Inf"}`] != count {
			t.Fatalf("h is %v, and %v with the sum %v were observed", samples, count, sum)
		}
	})
}

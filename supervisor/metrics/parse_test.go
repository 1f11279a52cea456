package metrics

import (
	"fmt"
	"strings"
	"testing"
)

// rewritten is a page as an exposition of a single worker would have it, without the lines
// of help.
func rewritten(page Page) string {
	a, e := NewAccount(), NewExposition()
	_ = a.Observe(1, page)
	e.AddWorkers("web", a, map[ProcessID]string{1: "0"})
	var lines []string
	for line := range strings.Lines(string(e.Text())) {
		if !strings.HasPrefix(line, "# HELP") {
			lines = append(lines, line)
		}
	}
	return strings.Join(lines, "")
}

func TestWhatIsReadIsWrittenAgain(t *testing.T) {
	for _, c := range []struct{ name, in, out string }{
		{"nothing", "", ""},
		{"a counter", "# TYPE a counter\na 3\n", "# TYPE a counter\na{app=\"web\",worker=\"0\"} 3\n"},
		{"no type", "a 3.5\n", "# TYPE a untyped\na{app=\"web\",worker=\"0\"} 3.5\n"},
		{"a time, which is ours to say", "# TYPE a gauge\na 3 1700000000000\n", "# TYPE a gauge\na{app=\"web\",worker=\"0\"} 3\n"},
		{"labels are in order", "a{z=\"1\",b=\"2\"} 1\n", "# TYPE a untyped\na{app=\"web\",worker=\"0\",b=\"2\",z=\"1\"} 1\n"},
		{"labels that are ours", "a{app=\"x\",worker=\"y\"} 1\n", "# TYPE a untyped\na{app=\"web\",worker=\"0\",exported_app=\"x\",exported_worker=\"y\"} 1\n"},
		{"and the names that they get", "a{app=\"x\",exported_app=\"y\"} 1\n", "# TYPE a untyped\na{app=\"web\",worker=\"0\",exported_app=\"y\",exported_exported_app=\"x\"} 1\n"},
		{"what must be escaped", `a{b="\\ \" \n"} 1` + "\n", "# TYPE a untyped\n" + `a{app="web",worker="0",b="\\ \" \n"} 1` + "\n"},
		{"an empty label is none", `a{b=""} 1` + "\n", "# TYPE a untyped\na{app=\"web\",worker=\"0\"} 1\n"},
		{"no number", "# TYPE a gauge\na NaN\n", "# TYPE a gauge\na{app=\"web\",worker=\"0\"} NaN\n"},
		{"a large one", "# TYPE a gauge\na 1e+20\n", "# TYPE a gauge\na{app=\"web\",worker=\"0\"} 1e+20\n"},
		{"a histogram", "# TYPE h histogram\nh_bucket{le=\"0.1\"} 1\nh_bucket{le=\"1\"} 2\nh_bucket{le=\"+Inf\"} 3\nh_sum 4.5\nh_count 3\n",
			"# TYPE h histogram\nh_bucket{app=\"web\",worker=\"0\",le=\"0.1\"} 1\nh_bucket{app=\"web\",worker=\"0\",le=\"1\"} 2\n" +
				"h_bucket{app=\"web\",worker=\"0\",le=\"+Inf\"} 3\nh_sum{app=\"web\",worker=\"0\"} 4.5\nh_count{app=\"web\",worker=\"0\"} 3\n"},
		{"a histogram that was read while it counted", "# TYPE h histogram\nh_bucket{le=\"1\"} 1\nh_bucket{le=\"0.1\"} 2\nh_sum 1\nh_count 1\n",
			"# TYPE h histogram\nh_bucket{app=\"web\",worker=\"0\",le=\"0.1\"} 2\nh_bucket{app=\"web\",worker=\"0\",le=\"1\"} 2\n" +
				"h_bucket{app=\"web\",worker=\"0\",le=\"+Inf\"} 2\nh_sum{app=\"web\",worker=\"0\"} 1\nh_count{app=\"web\",worker=\"0\"} 2\n"},
		{"a summary", "# TYPE s summary\ns{quantile=\"0.5\"} 0.25\ns_sum 4\ns_count 3\n",
			"# TYPE s summary\ns{app=\"web\",worker=\"0\",quantile=\"0.5\"} 0.25\ns_sum{app=\"web\",worker=\"0\"} 4\ns_count{app=\"web\",worker=\"0\"} 3\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			page, err := Parse([]byte(c.in), "app", "worker")
			if err != nil {
				t.Fatal(err)
			}
			if out := rewritten(page); out != c.out {
				t.Errorf("written: %s\nexpected: %s", out, c.out)
			}
		})
	}
}

func TestAPageThatIsNoneIsRefusedAsAWhole(t *testing.T) {
	many := func(n int, line string) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, line, i)
		}
		return b.String()
	}
	for _, c := range []struct{ name, in, problem string }{
		{"a page of the web", "<html>\n", "line 1"},
		{"half a line", "a 1\nb", "line 2"},
		{"too long", strings.Repeat("#", MaxBytes+1), "longer than 4 MiB"},
		{"too many lines", many(MaxLines+1, "a{b=\"%d\"} 1\n"), "more than 20000 lines"},
		{"a series twice", "a{b=\"1\",c=\"2\"} 1\na{c=\"2\",b=\"1\"} 1\n", "twice"},
		{"a type twice", "# TYPE a counter\na 1\n# TYPE a gauge\n", "line 3"},
		{"a counter that goes back", "# TYPE a counter\na -1\n", "no value of a counter"},
		{"a counter that is no number", "# TYPE a counter\na NaN\n", "no value of a counter"},
		{"a counter that is more than can be counted", "# TYPE a counter\na +Inf\n", "no value of a counter"},
		{"a long label", "a{b=\"" + strings.Repeat("x", maxLabel+1) + "\"} 1\n", "longer than 1024 bytes"},
		{"a long name", strings.Repeat("x", maxName+1) + " 1\n", "longer than 200 bytes"},
		{"many labels", "a{" + many(maxLabels+1, "b%d=\"1\",") + "} 1\n", "more than 32 labels"},
		{"so many labels that it would take hours", "a{" + many(20_000, "b%d=\"\",") + "} 1\n", "more than 32 labels"},
		{"a label of Prometheus's", "a{__address__=\"1\"} 1\n", "Prometheus's own"},
		{"a label that is no text", "a{b=\"\xff\"} 1\n", "line 1"},
		{"many buckets", "# TYPE h histogram\n" + many(maxBuckets+1, "h_bucket{le=\"%d\"} 1\n") + "h_count 1\nh_sum 1\n", "more than 200 buckets"},
		{"a bucket twice", "# TYPE h histogram\nh_bucket{le=\"1\"} 1\nh_bucket{le=\"1.0\"} 1\nh_count 1\nh_sum 1\n", "twice"},
		{"a bucket without a bound", "# TYPE h histogram\nh_bucket{le=\"-Inf\"} 1\nh_count 1\nh_sum 1\n", "no bound"},
		{"a sum that no sum of sums could hold", "# TYPE h histogram\nh_count 1\nh_sum 1e308\n", "nothing that is counted"},
		{"a sum that is none", "# TYPE h histogram\nh_count 1\nh_sum NaN\n", "nothing that is counted"},
	} {
		t.Run(c.name, func(t *testing.T) {
			page, err := Parse([]byte(c.in), "app", "worker")
			if err == nil {
				t.Fatalf("%d families were read", len(page))
			}
			if !strings.Contains(err.Error(), c.problem) || strings.Contains(err.Error(), "\n") || len(err.Error()) > 1000 {
				t.Errorf("the error is %q, without %q", err, c.problem)
			}
		})
	}
}

func TestSignsInLabelsAndHelpAreNoLabels(t *testing.T) {
	signs := strings.Repeat(`="=\\",`, 100)
	text := "# HELP a " + strings.ReplaceAll(signs, `\\`, "") + "\n# TYPE a gauge\na{b=\"" + strings.ReplaceAll(signs, `"`, `\"`) + "\"} 1\n"
	if _, err := Parse([]byte(text)); err != nil {
		t.Errorf("%v in\n%s", err, text)
	}
}

func TestLabelsAreReadAsTheyWereWritten(t *testing.T) {
	labels := []Label{{"a", `\ " , = {}`}, {"b", "x\ny"}, {"c", "ü"}}
	rendered := RenderLabels(labels)
	if got := SplitLabels(rendered); fmt.Sprint(got) != fmt.Sprint(labels) {
		t.Errorf("%s is read as %q", rendered, got)
	}
}

// Whatever a program answers: it is refused, or it can be added, merged, written down, read
// again and written as a page that Prometheus's own parser takes.
func FuzzAPage(f *testing.F) {
	for _, seed := range []string{
		"", "a 1\n", "# TYPE a counter\na{b=\"c\"} 1e3 17\n", "# HELP a \\n\n# TYPE a summary\na{quantile=\"0.5\"} NaN\na_sum 1\na_count 2\n",
		"# TYPE h histogram\nh_bucket{le=\"1\"} 1\nh_bucket{le=\"+Inf\"} 2\nh_sum 3\nh_count 2\n# TYPE h_count counter\nh_count 3\n",
		"# TYPE a counter\na 9007199254740992\n", "{\"a b\"} 1\n", "a{app=\"1\",exported_app=\"2\"} 1\n",
	} {
		f.Add([]byte(seed), []byte("# TYPE h histogram\nh_bucket{le=\"2\"} 1\nh_sum 3\nh_count 2\na 1\n"))
	}
	f.Fuzz(func(t *testing.T, one, other []byte) {
		a := NewAccount()
		for i, text := range [][]byte{one, other, one} {
			if page, err := Parse(text, "app", "worker"); err == nil {
				_ = a.Observe(ProcessID(i+1), page)
			} else if strings.Contains(err.Error(), "\n") || len(err.Error()) > 2000 {
				t.Errorf("the error is %q", err)
			}
		}
		a.Retire(2)
		b := copied(t, a)
		for _, account := range []*Account{a, b} {
			e := NewExposition()
			e.AddApp("web", account, map[ProcessID]string{1: "0", 3: "1"})
			if _, err := ParseOurs(e.Text()); err != nil {
				t.Fatalf("%v in\n%s", err, e.Text())
			}
		}
	})
}

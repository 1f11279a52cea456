package main

import (
	"encoding/json"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// The document's table has each claim, in this order, with a command that shows it and no
// other.
func TestTheDocumentHasTheClaims(t *testing.T) {
	page, err := os.ReadFile("../../" + claimsPage)
	if err != nil {
		t.Fatal(err)
	}
	written, err := readClaims(string(page))
	if err != nil {
		t.Fatal(err)
	}
	last := 0
	for _, one := range allClaims() {
		f, ok := written[one.name]
		if !ok {
			t.Errorf("%s has no line for %q", claimsPage, one.name)
			continue
		}
		if f.figure == "" || !slices.Contains([]string{met, notMet, notShown}, f.verdict) {
			t.Errorf("%q: %q, %q", one.name, f.verdict, f.figure)
		}
		at := strings.Index(string(page), "| "+one.name+" |")
		if at < last {
			t.Errorf("%q is not where it belongs", one.name)
		}
		last = at
		_, only, _ := strings.Cut(claimCommand(one.name), "'")
		wanted := regexp.MustCompile(strings.TrimSuffix(only, "'"))
		for _, other := range allClaims() {
			if wanted.MatchString(other.name) != (other.name == one.name) {
				t.Errorf("%s and %q", claimCommand(one.name), other.name)
			}
		}
	}
	if len(written) != len(allClaims()) {
		t.Errorf("%s has %d claims, the command %d", claimsPage, len(written), len(allClaims()))
	}
}

func TestClaimsAreWrittenAsTheyAreRead(t *testing.T) {
	page := "before\n" + claimsBegin + "\nold\n" + claimsEnd + "after\n"
	want := map[string]finding{}
	for i, one := range allClaims() {
		want[one.name] = finding{"a figure, 1 | 2", []string{met, notMet, notShown}[i%3]}
	}
	r := report{Taken: time.Date(2026, 11, 29, 0, 0, 0, 0, time.UTC), Machine: "one", Data: "some", Busy: "the load average was 3"}
	text, err := writeClaims(page, r, want)
	if err != nil {
		t.Fatal(err)
	}
	got, err := readClaims(text)
	if err != nil {
		t.Fatal(err)
	}
	for name, f := range want {
		f.figure = "a figure, 1 / 2"
		if got[name] != f {
			t.Errorf("%q: %+v", name, got[name])
		}
	}
	if !strings.HasPrefix(text, "before\n") || !strings.HasSuffix(text, "after\n") || strings.Contains(text, "old") || !strings.Contains(text, "2026-11-29: one; data: some. The machine was not quiet") {
		t.Errorf("%s", text)
	}
	if again, err := writeClaims(text, r, got); err != nil || again != text {
		t.Errorf("%v: written again it is another:\n%s", err, again)
	}
	for _, broken := range []string{
		"no table",
		claimsBegin + "| 99.99 % | met | all is well | `true` |\n" + claimsEnd,
	} {
		if got, err := readClaims(broken); err == nil {
			t.Errorf("%q is read as %v", broken, got)
		}
	}
}

// What the calculator reckons with is what is measured here.
func TestCapacityMeasuresWhatTheCalculatorHas(t *testing.T) {
	text, err := os.ReadFile("../capacity/measured.json")
	if err != nil {
		t.Fatal(err)
	}
	var measured struct{ Figures []struct{ Name, Unit string } }
	if err := json.Unmarshal(text, &measured); err != nil {
		t.Fatal(err)
	}
	var has, measures []string
	for _, f := range measured.Figures {
		has = append(has, "capacity: "+f.Name+", "+f.Unit)
	}
	for _, f := range capacity().rows {
		measures = append(measures, f.Name+", "+f.Unit)
	}
	slices.Sort(has)
	slices.Sort(measures)
	if !slices.Equal(has, measures) {
		t.Errorf("measured.json has\n%s\nand measured is\n%s", strings.Join(has, "\n"), strings.Join(measures, "\n"))
	}
}

func TestTheFirstRowsAreMeasured(t *testing.T) {
	var all []string
	for _, m := range (&bench{}).measurements() {
		for _, f := range m.rows {
			if slices.Contains(all, f.Name) {
				t.Errorf("two rows are called %q", f.Name)
			}
			all = append(all, f.Name)
		}
	}
	for _, r := range firstRows {
		if !slices.Contains(all, r.name) {
			t.Errorf("there is no row %q", r.name)
		}
	}
}

func TestMarkdown(t *testing.T) {
	lost := figure{Name: "reload ×3, errors: Node server, unmodified", Unit: "errors", Count: true}
	lost.Neko.add(0, nil)
	lost.Peer.add(240, nil)
	other := figure{Name: "hit", Unit: "/s", Beside: "another"}
	other.Neko.add(3000, nil)
	var out strings.Builder
	printMarkdown(&out, report{Taken: time.Date(2026, 11, 29, 0, 0, 0, 0, time.UTC), Machine: "one", Data: "some", Figures: []figure{lost, other}})
	const want = `| | neko | PM2 7.0.4 |
|---|---|---|
| requests lost in three reloads under load | 0 | 240 |

| | neko | another |
|---|---|---|
| hit | 3000 /s | – |

Medians, with the smallest and the largest value. Measured on 2026-11-29: one; data: some.
`
	if out.String() != want {
		t.Errorf("%s", out.String())
	}
}

// Two workers: one breaker opens after 3 s, the other half a second later; a trial after
// 30 s fails, and another one succeeds.
func TestWhatClientsSeeOfAnOutageIsRead(t *testing.T) {
	f := readFailing([]asked{
		{at: 0.05, took: 3.01}, {at: 0.06, took: 3.02}, {at: 3.1, took: 0.001},
		{at: 3.05, took: 3.0},                          // the other worker does not know yet
		{at: 3.2, took: 0.002}, {at: 3.3, took: 0.003}, //
		{at: 33.1, took: 3.0}, {at: 33.2, took: 0.002}, // a trial
		{at: 66.1, took: 0.02, ok: true}, {at: 66.2, took: 0.002, ok: true},
	})
	if f.longest != 3.02 || f.opened != 3.1 || len(f.trials) != 1 || f.trials[0] != 30 || f.back < 66.119 || f.back > 66.121 || f.quick < 1 || f.quick > 3 {
		t.Errorf("%+v", f)
	}
	if f := readFailing(nil); f.opened != 0 || f.back != 0 || len(f.trials) > 0 {
		t.Errorf("nothing was asked: %+v", f)
	}
}

func TestInfoOfRedis(t *testing.T) {
	const info = "# CPU\r\nused_cpu_sys:1.5\r\nused_cpu_user:0.5\r\ntotal_commands_processed:12\r\nused_memory:1000\r\nused_memory_rss:5\r\ndb0:keys=7,expires=7,avg_ttl=1\r\n"
	got, err := readInfo(info)
	if want := (redisInfo{cpu: 2e6, commands: 12, memory: 1000, keys: 7}); err != nil || got != want {
		t.Errorf("%+v, %v", got, err)
	}
	if _, err := readInfo(strings.Replace(info, "used_memory:", "used:", 1)); err == nil {
		t.Error("it does not tell its memory, and nothing is said")
	}
	if _, err := readInfo(strings.Replace(info, "1.5", "much", 1)); err == nil {
		t.Error("its CPU time is no number, and nothing is said")
	}
}

func TestBusy(t *testing.T) {
	for loadavg, want := range map[string]bool{"0.10 2.0 2.0 1/100 1": false, "0.34 0.0 0.0 1/100 1": true, "12.3 0.0 0.0 1/100 1": true} {
		if got := busy(loadavg) != ""; got != want {
			t.Errorf("%s: %v", loadavg, got)
		}
	}
}

// The CPU time of a process is what it has used, in microseconds: this one has.
func TestCPUTime(t *testing.T) {
	began, err := cpuTime([]int{os.Getpid()})
	if err != nil {
		t.Fatal(err)
	}
	sum, ended := 0, began
	for until := time.Now().Add(20 * time.Second); ended-began < 1e4 && time.Now().Before(until); sum++ {
		if ended, err = cpuTime([]int{os.Getpid()}); err != nil {
			t.Fatal(err)
		}
	}
	if ended-began < 1e4 || ended-began > 60e6 {
		t.Errorf("from %v to %v µs, after %d looks", began, ended, sum)
	}
	if _, err := cpuTime([]int{1 << 25}); err == nil {
		t.Error("there is no such process")
	}
}

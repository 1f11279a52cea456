package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
)

// example are figures that are easy to reckon with.
func example() *figures {
	f := &figures{}
	for name, v := range map[string]float64{
		cpuHit: 50, cpuHitApart: 60, cpuHitTwo: 66, rateHit: 18_000, rateHitTwo: 30_000, cpuRedis: 150, cpuSQLite: 300, cpuMongoDB: 400, cpuWrite: 1000, rateWrite: 500,
		callsMiss: 2, callsWrite: 3, memory16: 68, memory64: 164, memoryDaemon: 12,
		callsLeased: 20, callsSlow: 1000, redisSlow: 8000, cpuSlow: 40_000,
		redisFound: 20, redisStored: 60, callsFound: 2, callsStored: 4, bytesAnswer: 1000, bytesBucket: 200,
	} {
		f.Figures = append(f.Figures, figure{Name: name, Unit: needed[name], Median: v, Smallest: v, Largest: v, Rounds: 1, Taken: "2026-11-29", Command: "none"})
	}
	return f
}

func reasonable() load {
	return load{
		RPS: 10_000, PeakFactor: 3, Hit: 0.9, ClientRate: 1, Clients: 10_000, Answers: 100_000, Regions: 3, Zones: 3, Cores: 2,
		CoreSpeed: 1, Cache: 64 << 20, Target: 0.6, Ceiling: 0.85, CoreHour: 0.04, GiBHour: 0.005,
	}
}

func TestTheFiguresThatAreBuiltInAreWhole(t *testing.T) {
	f, err := readFigures("")
	if err != nil {
		t.Fatal(err)
	}
	if f.Machine == "" || f.Data == "" || f.Command == "" {
		t.Error("nothing says where, of what and by what command they were measured")
	}
	for _, g := range f.Figures {
		if !strings.Contains(g.Command, "capacity: "+g.Name) {
			t.Errorf("%q: by %q", g.Name, g.Command)
		}
	}
}

// By hand: a request costs 0.9×50 + 0.1×400 = 85 µs and 40 µs for what Redis decides,
// and a tenth more beside a second worker: 137.5 µs, so two cores carry 14,545 a second
// and 8,727 at 60 %. At 85 % they carry 12,364, so 100,000 take nine pods when a zone is
// lost: 14 in three zones, of which the fullest has five, and 18 in two.
func TestPlan(t *testing.T) {
	for name, c := range map[string]struct {
		change  func(*load)
		pods    int
		because string
		rps     float64
	}{
		"a small load":          {func(l *load) { l.RPS = 100 }, 3, "the least", 100. / 3},
		"ten thousand":          {func(*load) {}, 3, "the least", 10_000. / 3},
		"in one region":         {func(l *load) { l.Regions = 1 }, 3, "the least", 10_000},
		"by its load":           {func(l *load) { l.RPS = 100_000; l.Regions = 1 }, 14, "a zone lost", 100_000},
		"zones that are not":    {func(l *load) { l.RPS = 100_000; l.Regions = 1; l.Zones = 1 }, 12, "the load", 100_000},
		"two zones":             {func(l *load) { l.RPS = 100_000; l.Regions = 1; l.Zones = 2 }, 18, "a zone lost", 100_000},
		"half at the edge":      {func(l *load) { l.RPS = 200_000; l.Regions = 1; l.Edge = 0.5 }, 14, "a zone lost", 100_000},
		"a region may be away":  {func(l *load) { l.RPS = 200_000; l.SpareRegions = 1 }, 14, "a zone lost", 100_000},
		"a core twice as fast":  {func(l *load) { l.RPS = 200_000; l.Regions = 1; l.CoreSpeed = 2 }, 14, "a zone lost", 200_000},
		"a day":                 {func(l *load) { l.RPS = 0; l.PerDay = 86_400 * 1000; l.PeakFactor = 4 }, 3, "the least", 4000. / 3},
		"no room in the target": {func(l *load) { l.RPS = 100_000; l.Regions = 1; l.Target = 0.3 }, 23, "the load", 100_000},
	} {
		l := reasonable()
		c.change(&l)
		p, err := example().plan(l)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if p.Pods != c.pods || !strings.Contains(p.Because, c.because) || math.Abs(p.RegionRPS-c.rps) > 1e-6 {
			t.Errorf("%s: %d pods because of %s, for %v a second", name, p.Pods, p.Because, p.RegionRPS)
		}
	}
	p, err := example().plan(reasonable())
	if err != nil {
		t.Fatal(err)
	}
	const mib = 1 << 20
	for name, v := range map[string][2]float64{
		"CPU of a request":        {p.PerRequest, 137.5},
		"of a pod":                {p.PerPod, 2e6 / 137.5 * 0.6},
		"memory of a pod":         {p.PodMemory, (2*164 + 12) * mib},
		"its limit":               {p.PodLimit, 1392 * mib},
		"the mean":                {p.Mean, 10_000. / 3},
		"a month":                 {p.PerMonth, 10_000. / 3 * 3600 * 730},
		"commands of Redis":       {p.RedisCommands, 10_000. / 3 * (1 + 0.1*4)},
		"cores of Redis":          {p.RedisCPU, 10_000. / 3 * (8 + 0.1*60) / 1e6},
		"memory of Redis":         {p.RedisMemory, math.Ceil((100_000*1000+10_000*200+25e6)/mib) * mib},
		"calls to the store":      {p.StoreCalls, 10_000 * 0.1 * 2},
		"cores":                   {float64(p.Cores), 18},
		"cost of an hour":         {p.CostHour, 18*0.04 + 9*1392./1024*0.005},
		"of a million requests":   {p.CostPerMillion, (18*0.04 + 9*1392./1024*0.005) / (10_000. / 3 * 3600 / 1e6)},
		"what is left of CPU":     {p.Utilisation, 10_000. / 3 / (3 * 2e6 / 137.5)},
		"what is left, two zones": {p.AfterZone, 10_000. / 3 / (2 * 2e6 / 137.5)},
	} {
		if math.Abs(v[0]-v[1]) > 1e-9*math.Abs(v[1]) {
			t.Errorf("%s: %v, and by hand %v", name, v[0], v[1])
		}
	}
}

// A client that asks a host seldom has Redis asked each time; one at eight a second has two
// leases a second, and the fastest one for each 50 requests.
func TestWhatRedisDecides(t *testing.T) {
	for rate, want := range map[float64]float64{0.01: 1, 4: 1, 8: 0.25, 40: 0.05, 1000: 0.02} {
		l := reasonable()
		l.ClientRate, l.Hit = rate, 1
		p, err := example().plan(l)
		if err != nil {
			t.Fatal(err)
		}
		if got := p.RedisCommands / p.RegionRPS; math.Abs(got-want) > 1e-9 {
			t.Errorf("at %v a second Redis is asked %v times for a request, by hand %v", rate, got, want)
		}
	}
}

func TestOneMachine(t *testing.T) {
	l := reasonable()
	l.RPS, l.Regions, l.VM = 0, 1, true
	p, err := example().plan(l)
	if err != nil {
		t.Fatal(err)
	}
	// No Redis decides, and the store is SQLite: 0.9×50 + 0.1×300 = 75 µs, ×1.1.
	if want := 2e6 / 82.5 * 0.6; math.Abs(p.RPS-want) > 1e-6 || p.Because != "the CPUs" {
		t.Errorf("%v a second because of %s, by hand %v", p.RPS, p.Because, want)
	}
	// One writer: 500 a second, of which 60 % are to be used, a tenth of all requests.
	l.Writes = 0.1
	if p, err = example().plan(l); err != nil {
		t.Fatal(err)
	}
	if math.Abs(p.RPS-3000) > 1e-6 || !strings.Contains(p.Because, "SQLite") {
		t.Errorf("%v a second because of %s", p.RPS, p.Because)
	}
}

// random is a load that makes sense.
func random(r *rand.Rand) load {
	l := reasonable()
	l.RPS = math.Exp(r.Float64() * 14)
	l.Hit = r.Float64()
	l.HitRedis = (1 - l.Hit) * r.Float64()
	l.Writes, l.Edge, l.ClientRate = r.Float64(), r.Float64()*0.99, math.Exp(r.Float64()*8-2)
	l.Regions, l.Zones, l.Cores = 1+r.IntN(5), 1+r.IntN(5), 1+r.IntN(16)
	l.SpareRegions = r.IntN(l.Regions)
	l.Target = 0.2 + r.Float64()*0.6
	l.Ceiling = l.Target + r.Float64()*(1-l.Target)
	l.CoreSpeed = 0.3 + r.Float64()*3
	return l
}

func TestWhateverTheLoad(t *testing.T) {
	seed := rand.Uint64()
	r := rand.New(rand.NewPCG(seed, 1))
	f := example()
	for i := range 1500 {
		l := random(r)
		p, err := f.plan(l)
		if err != nil {
			t.Fatalf("seed %d, %d: %v of %+v", seed, i, err, l)
		}
		fail := func(format string, args ...any) {
			t.Fatalf("seed %d, %d: %s\n%+v\n%+v", seed, i, fmt.Sprintf(format, args...), l, p)
		}
		whole := p.PerPod / l.Target
		switch {
		case p.Pods < 3 || p.MinReplicas < 3:
			fail("fewer than three pods")
		case p.MinReplicas > p.Pods || p.MaxReplicas <= p.Pods:
			fail("the HPA has no room")
		case p.RoomCores < (p.Pods+1)*l.Cores:
			fail("no room for a rolling update")
		case p.Utilisation > l.Target*(1+1e-9):
			fail("more than the target")
		case l.Zones > 1 && p.RegionRPS > float64(p.Pods-inZone(p.Pods, l.Zones))*whole*l.Ceiling*(1+1e-9):
			fail("what is left of a zone's loss does not carry the load")
		case p.Pods > 3 && enough(p.Pods-1, p.RegionRPS, whole, l):
			fail("one pod fewer would do")
		case math.Abs((p.RegionRPS*float64(l.Regions-l.SpareRegions)+p.EdgeRPS)/p.RPS-1) > 1e-9:
			fail("requests are lost between the edge and the regions")
		case !(p.CostPerMillion > 0) || math.IsInf(p.CostPerMillion, 0):
			fail("no cost")
		}
		// More of what costs never takes less.
		for what, more := range map[string]func(*load){
			"load":           func(l *load) { l.RPS *= 1 + r.Float64() },
			"misses":         func(l *load) { l.Hit *= r.Float64() },
			"slower cores":   func(l *load) { l.CoreSpeed *= 0.5 + r.Float64()/2 },
			"a lower target": func(l *load) { l.Target *= 0.5 + r.Float64()/2 },
			"quiet clients":  func(l *load) { l.ClientRate *= r.Float64() },
			"less edge":      func(l *load) { l.Edge *= r.Float64() },
			"spare regions":  func(l *load) { l.SpareRegions = l.Regions - 1 },
		} {
			m := l
			more(&m)
			q, err := f.plan(m)
			if err != nil {
				fail("%s: %v", what, err)
			}
			if q.Pods < p.Pods || q.CostHour < p.CostHour*(1-1e-9) || q.StoreCalls < p.StoreCalls*(1-1e-9) {
				fail("%s: %d pods, %v an hour, %v calls", what, q.Pods, q.CostHour, q.StoreCalls)
			}
		}
	}
}

func enough(pods int, rps, whole float64, l load) bool {
	if rps > float64(pods)*whole*l.Target {
		return false
	}
	return l.Zones < 2 || rps <= float64(pods-inZone(pods, l.Zones))*whole*l.Ceiling
}

// Units: a month has 730 hours, and a million requests that are spread over one at
// 1 request a second cost what 277.8 hours do.
func TestACostIsThatOfAnHourOverItsRequests(t *testing.T) {
	l := reasonable()
	l.RPS, l.PeakFactor, l.Regions, l.CoreHour, l.GiBHour, l.OtherHour = 1, 1, 1, 0, 0, 2
	p, err := example().plan(l)
	if err != nil {
		t.Fatal(err)
	}
	if want := 2 * 1e6 / 3600; math.Abs(p.CostPerMillion-want) > 1e-6 {
		t.Errorf("%v, by hand %v", p.CostPerMillion, want)
	}
	if math.Abs(p.PerMonth-2_628_000) > 1e-3 {
		t.Errorf("%v requests a month", p.PerMonth)
	}
}

func TestWhatMakesNoSenseIsSaid(t *testing.T) {
	for args, want := range map[string]string{
		"":                                         "how many requests?",
		"--rps 10 --per-day 10":                    "give one of them",
		"--rps -1":                                 "not less than 0",
		"--rps NaN":                                "has to be a number",
		"--rps 10 --hit 90":                        "--hit is 90, and a share",
		"--rps 10 --hit 0.9 --hit-redis 0.2":       "1 at the most",
		"--rps 10 --edge 1":                        "nothing reaches us",
		"--rps 10 --regions 0":                     "--regions is 0: from 1",
		"--rps 10 --regions 2 --spare-regions 2":   "at least one has to be left",
		"--rps 10 --cores 0":                       "--cores is 0: from 1",
		"--rps 10 --target 0":                      "--target is 0: it has to be more than 0",
		"--rps 10 --target 0.7 --ceiling 0.6":      "--ceiling 0.6 is less than --target 0.7",
		"--rps 10 --peak-factor 0.5":               "the busiest second cannot have less",
		"--rps 10 --store sqlite":                  "a file of one machine",
		"--rps 10 --store oracle":                  "mongodb or sqlite",
		"--rps 10 --cache 64":                      "as in 64MiB",
		"--rps 10 --cache 0MiB":                    "--cache is 0",
		"--rps ten":                                "hint: go run ./scripts/capacity --help",
		"--vm --rps 10":                            "leave out --rps",
		"--vm --regions 2":                         "--regions does not go with it",
		"--rps 10 surplus":                         `"surplus" is no option`,
		"--rps 10 --figures testdata/nowhere":      "no such file",
		"--rps 10 --price-per-core-hour -1":        "not less than 0",
		"--rps 10 --core-speed 0":                  "--core-speed is 0",
		"--rps 10 --spare-regions 1":               "--spare-regions is 1 of 1",
		"--per-day 1 --other-per-hour -Inf":        "has to be a number",
		"--rps 10 --figures plan_test.go":          "plan_test.go: invalid character",
		"--rps 10 --zones 100000000":               "--zones is 100000000: from 1",
		"--vm --cores 4 --store mongodb --rps 1e3": "leave out --rps",
	} {
		var out bytes.Buffer
		err := run(strings.Fields(args), &out)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, and not %q", args, err, want)
		}
		if out.Len() > 0 {
			t.Errorf("%q prints %q", args, out.String())
		}
	}
}

// Every line below Examples of the usage runs, and its JSON can be read.
func TestTheExamplesRun(t *testing.T) {
	_, examples, ok := strings.Cut(usage, "Examples:\n")
	if !ok {
		t.Fatal("the usage has no examples")
	}
	n := 0
	for line := range strings.Lines(examples) {
		args, ok := strings.CutPrefix(strings.TrimSpace(line), "go run ./scripts/capacity ")
		if !ok {
			t.Errorf("%q is no example", line)
			continue
		}
		n++
		var out bytes.Buffer
		if err := run(strings.Fields(args), &out); err != nil {
			t.Errorf("%s: %v", args, err)
		}
		if strings.Contains(args, "--json") {
			var p plan
			if err := json.Unmarshal(out.Bytes(), &p); err != nil || p.Pods < 3 {
				t.Errorf("%s: %v, %+v", args, err, p)
			}
		} else if !strings.Contains(out.String(), "per million requests") {
			t.Errorf("%s: %s", args, &out)
		}
	}
	if n < 4 {
		t.Errorf("%d examples", n)
	}
}

// Every flag is in the usage, with the value that it has by itself.
func TestTheUsageNamesEveryFlag(t *testing.T) {
	source, err := os.ReadFile("main.go")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, line := range strings.Split(string(source), "\n") {
		for _, kind := range []string{"Float64Var(", "IntVar(", "StringVar(", "BoolVar(", "f.Var(", "f.Bool(", "f.String("} {
			if !strings.Contains(line, kind) {
				continue
			}
			name := strings.Split(line, `"`)[1]
			n++
			if !strings.Contains(usage, "--"+name) {
				t.Errorf("the usage does not have --%s", name)
			}
		}
	}
	if n < 25 {
		t.Errorf("%d flags were found", n)
	}
}

func TestFiguresThatCannotBeAreRefused(t *testing.T) {
	for want, spoil := range map[string]func(*figures){
		"there is no figure": func(f *figures) { f.Figures = f.Figures[1:] },
		"not in":             func(f *figures) { f.Figures[0].Unit = "fortnights" },
		"cannot be":          func(f *figures) { f.Figures[0].Median = 0 },
		"not between":        func(f *figures) { f.Figures[0].Largest /= 2 },
		"when and how":       func(f *figures) { f.Figures[0].Taken = "" },
	} {
		f := example()
		spoil(f)
		if err := f.check(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, and not %q", err, want)
		}
	}
}

func TestFiguresOfTheBench(t *testing.T) {
	row := func(name, unit string) string {
		return fmt.Sprintf(`{"name":"capacity: %s","unit":%q,"neko":{"values":[3,123.4567,200],"median":123.4567}}`, name, unit)
	}
	text := func(rows ...string) []byte {
		return []byte(`{"taken":"2026-11-29T12:00:00Z","machine":"one","data":"some","busy":"very","figures":[` + strings.Join(rows, ",") + `]}`)
	}
	f, failed, err := fromBench(text(row(cpuHit, "µs"), `{"name":"capacity: broken","neko":{"error":"it broke"}}`, `{"name":"something else"}`))
	if err != nil {
		t.Fatal(err)
	}
	want := figure{Name: cpuHit, Unit: "µs", Median: 123.5, Smallest: 3, Largest: 200, Rounds: 3, Taken: "2026-11-29", Busy: "very",
		Command: "go run ./scripts/bench -no-pm2 -only '^capacity: " + cpuHit + "$'"}
	if len(f.Figures) != 1 || f.Figures[0] != want || len(failed) != 1 || failed[0] != "broken: it broke" || f.busy() != 1 {
		t.Errorf("%+v, %q", f, failed)
	}
	if _, _, err := fromBench([]byte("error: none")); err == nil {
		t.Error("that is no JSON, and nothing is said")
	}
}

// Figures that were measured anew take the place of the old ones, and the others stay
// where they were.
func TestFiguresBesidesOldOnes(t *testing.T) {
	old := example()
	old.Machine, old.Data = "one", "some"
	f := &figures{Machine: "one", Data: "some"}
	for _, i := range []int{3, 5} {
		g := old.Figures[i]
		g.Taken = "2027-01-01"
		f.Figures = append(f.Figures, g)
	}
	all, err := f.besides(*old)
	if err != nil {
		t.Fatal(err)
	}
	if len(all.Figures) != len(old.Figures) {
		t.Fatalf("%d figures of %d", len(all.Figures), len(old.Figures))
	}
	for i, g := range all.Figures {
		if g.Name != old.Figures[i].Name || (g.Taken == "2027-01-01") != (i == 3 || i == 5) {
			t.Errorf("%d: %+v in the place of %q", i, g, old.Figures[i].Name)
		}
	}
	f.Machine = "another"
	if _, err := f.besides(*old); err == nil || !strings.Contains(err.Error(), "measure all of them") {
		t.Errorf("those of two machines are mixed: %v", err)
	}
}

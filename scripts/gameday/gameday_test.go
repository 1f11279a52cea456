package main

import (
	"bytes"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/nekoctl/neko/scripts/load"
)

const page = "../../docs/deployment/disaster-recovery.md"

// Each failure has its row on the page, under its name, with what it may take.
func TestEveryFailureIsOnThePage(t *testing.T) {
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range failures {
		row := ""
		for line := range strings.Lines(string(text)) {
			if strings.Contains(line, "`"+f.name+"`") && strings.HasPrefix(line, "|") {
				row = line
			}
		}
		want := "0"
		if f.rto > 0 {
			want = strings.TrimSuffix(f.rto.String(), "s") + " s"
		}
		cells := strings.Split(row, "|")
		if len(cells) < 6 || strings.TrimSpace(cells[3]) != want {
			t.Errorf("%s names no row with `%s` and an RTO of %s: %q", page, f.name, want, row)
		}
	}
}

// What is more than a failure may cost is found: the verdict is no yes-man's.
func TestVerdicts(t *testing.T) {
	at := time.Now()
	after := func(begun, end int, c class, kind string) mark {
		return mark{c, at.Add(time.Duration(begun) * time.Millisecond), at.Add(time.Duration(end) * time.Millisecond), kind}
	}
	good := after(100, 110, newAnswer, "")
	lost := []load.Report{{Requests: 10, Errors: map[load.Kind]int64{load.KindReset: 2}}}
	for _, c := range []struct {
		name    string
		failure failure
		marks   []mark
		clients []load.Report
		lost    int
		want    verdict
	}{
		{"nothing was lost", failure{}, []mark{good}, nil, 0, kept},
		{"a request failed that may not", failure{rto: time.Second}, []mark{good, after(0, 50, keptAnswer, "reset")}, nil, 0, broken},
		{"one that may", failure{rto: time.Second, fails: []class{change}}, []mark{good, after(0, 50, change, "UNAVAILABLE")}, nil, 0, kept},
		{"but not for so long", failure{rto: time.Second, fails: []class{change}}, []mark{good, after(1000, 1200, change, "UNAVAILABLE")}, nil, 0, broken},
		{"clients lost something", failure{}, []mark{good}, lost, 0, broken},
		{"and may", failure{clients: true}, []mark{good}, lost, 0, kept},
		{"a change is lost", failure{}, []mark{good}, nil, 1, broken},
		{"since the backup", failure{loses: true}, []mark{good}, nil, 1, kept},
		{"nothing was answered again", failure{}, nil, nil, 0, broken},
	} {
		r := result{Lost: c.lost}
		if r.judge(c.failure, c.marks, at, at, c.clients); r.Verdict != c.want {
			t.Errorf("%s: %s (%s), want %s", c.name, r.Verdict, r.Why, c.want)
		}
	}
	var r result
	r.judge(failure{}, []mark{good, after(20, 40, newAnswer, ""), after(-50, 10, newAnswer, "")}, at, at, nil)
	if r.FirstGood != 0.04 || r.Slowest != 0.06 {
		t.Errorf("%+v", r)
	}
}

// What is typed, and that nothing is broken that nobody has asked for.
func TestCommandLine(t *testing.T) {
	for _, c := range []struct {
		args string
		code int
		want string
	}{
		{"-list", 0, "kill -9 of a worker"},
		{"-list -only import", 0, "a bad import"},
		{"-dry-run -only import", 0, "neko-api restore --keep-accounts"},
		{"-only nonsense", 2, "no failure has such a name"},
		{"-url http://127.0.0.1:1", 2, "-url and -home belong together"},
		{"-store oracle", 2, "write sqlite or mongodb"},
		{"-bin /none", 2, "make build"},
		{"-kubectl", 0, "Not tried"},
		{"-kubectl -only Redis -namespace test", 0, "kubectl -n test scale statefulset neko-redis --replicas=0"},
		{"-kubectl -run", 2, "-run goes with -kubectl and -url"},
	} {
		var out bytes.Buffer
		if code := gameday(t.Context(), strings.Fields(c.args), strings.NewReader(""), &out, &out); code != c.code || !strings.Contains(out.String(), c.want) {
			t.Errorf("%s: %d, want %d\n%s", c.args, code, c.code, &out)
		}
	}
	asked := &config{url: "http://127.0.0.1:4000", in: strings.NewReader("no\n"), err: &bytes.Buffer{}}
	if asked.agrees("x", "y") {
		t.Error("no is taken for yes")
	}
}

// The whole of it: NEKO_GAMEDAY=1 go test ./scripts/gameday -run GameDay -v, or make gameday.
func TestGameDay(t *testing.T) {
	if os.Getenv("NEKO_GAMEDAY") == "" {
		t.Skip("two minutes: NEKO_GAMEDAY=1 runs it")
	}
	for _, args := range [][]string{{"-bin", "../../bin"}, {"-bin", "../../bin", "-store", "mongodb", "-only", "MongoDB"}} {
		var out bytes.Buffer
		if code := gameday(t.Context(), args, nil, &out, os.Stderr); code != 0 {
			t.Errorf("%v: %d", args, code)
		}
		t.Log("\n" + out.String())
	}
}

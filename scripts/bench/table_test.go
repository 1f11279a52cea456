package main

import (
	"errors"
	"strings"
	"testing"
)

func TestTable(t *testing.T) {
	a := figure{Name: "start", Unit: "ms", Goal: atMost(8), Note: "the same"}
	for _, v := range []float64{9, 12, 8.5, 9.5} {
		a.Neko.add(v, nil)
	}
	a.Peer.add(185, nil)
	b := figure{Name: "memory", Unit: "MiB"}
	b.Neko.add(0, errors.New("it was not there"))
	c := figure{Name: "reload", Unit: "errors", Count: true, Goal: atMost(0)}
	for _, v := range []float64{0, 0, 3} {
		c.Neko.add(v, nil)
		c.Peer.add(v+240, nil)
	}
	d := figure{Name: "scale", Unit: "errors", Count: true, Goal: atMost(0)}
	d.Neko.add(0, nil)
	e := figure{Name: "decisions", Unit: "/s", Times: atLeast(10), Beside: "another", Note: "all"}
	e.Neko.add(3000, nil)
	e.Peer.add(200, nil)
	var out strings.Builder
	printTable(&out, []figure{a, b, c, d, e})
	for _, want := range []string{
		"start    9.25 ms (8.50–12.0)                 185 ms   1 : 20   ≤ 8 ms MISSED     the same\n",
		"memory                failed                      –        –\n",
		"reload        0 errors (0–3)   240 errors (240–243)        –   0 errors MISSED\n",
		"scale               0 errors                      –        –   0 errors\n",
		"neko   another    ratio   goal             another runs\n",
		"decisions   3000 /s    200 /s   15 : 1   ≥ another × 10   all\n",
		"memory, neko: it was not there\n",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, out.String())
		}
	}
}

func TestPSSOfThisProcess(t *testing.T) {
	v, err := pss(1)
	if err == nil && v <= 0 {
		t.Errorf("%v MiB", v)
	}
	if _, err := pss(1 << 30); err == nil {
		t.Error("there is no such process")
	}
}

func TestAGoalCanBeSoManyTimesWhatPM2Does(t *testing.T) {
	f := figure{Name: "answers", Unit: "/s", Times: atLeast(2)}
	for neko, want := range map[float64]string{4000: "≥ PM2 × 2", 3999: "≥ PM2 × 2 MISSED"} {
		f.Neko, f.Peer = rounds{}, rounds{}
		f.Neko.add(neko, nil)
		if got := f.goal(); got != "≥ PM2 × 2" {
			t.Errorf("without PM2: %s", got)
		}
		f.Peer.add(2000, nil)
		if got := f.goal(); got != want {
			t.Errorf("%v of 2000: %s", neko, got)
		}
	}
}

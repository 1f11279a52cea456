package limiter

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/nekoctl/neko/hostmem"
)

func policy(t tester, name string, limit int64, window time.Duration, burst int64) *Policy {
	t.Helper()
	p, err := NewPolicy(name, limit, window, burst, FailLocal)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// tester is a *testing.T, *testing.B or *rapid.T.
type tester interface {
	Helper()
	Fatal(...any)
	Error(...any)
	Cleanup(func())
}

func anonymous(t tester, buckets int) *hostmem.Mapping {
	t.Helper()
	m, err := hostmem.Anonymous(buckets)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	})
	return m
}

func host(t tester, m *hostmem.Mapping) *Host {
	t.Helper()
	h, err := NewHost(m)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func TestAHostAdmitsABurstAndNoMore(t *testing.T) {
	p := policy(t, "p", 10, time.Hour, 0)
	m := anonymous(t, 0)
	limiters := []*Host{host(t, m), host(t, m)}
	for i := range 20 {
		c := []Charge{{Policy: p, Key: []byte("a"), Cost: 1}}
		d := limiters[i%2].Decide(context.Background(), c)
		if d.OK() != (i < 10) {
			t.Fatalf("decision %d: %+v", i, d)
		}
		if want := max(9-int64(i), 0); c[0].Left != want {
			t.Errorf("decision %d: %d left, not %d", i, c[0].Left, want)
		}
	}
}

// While one gives back others charge, just after he has read the clock.
func TestWhatHasFilledMeanwhileIsNotGivenBack(t *testing.T) {
	w := newWorld(t, window, 2)
	h, other := w.hosts[0], w.hosts[1]
	p := policy(t, "p", 1, time.Millisecond, 10)
	c := Charge{Policy: p, Key: []byte("a"), Cost: 5}
	paid := place{hash: p.keyHash(h.table.seed, c.Key)}
	if wait, _ := h.pay(&c, &paid, w.now); wait != 0 {
		t.Fatal(wait)
	}
	at(h, 1, false, func() {
		w.now += 5 * int64(time.Millisecond) // all is there again
		if take(other, p, taken{"a": 1}) == nil {
			t.Error("refused")
		}
	})
	h.giveBack(&c, &paid)
	look := []Charge{{Policy: p, Key: c.Key, Cost: 11}}
	h.Decide(context.Background(), look)
	if look[0].Left != 9 {
		t.Errorf("%d left of 10, after 1 was taken from a full bucket", look[0].Left)
	}
}

func TestWhatWasForgottenIsNotGivenBackToAnother(t *testing.T) {
	w := newWorld(t, window, 2)
	h, other := w.hosts[0], w.hosts[1]
	p := policy(t, "p", 10, time.Hour, 10)
	c := Charge{Policy: p, Key: []byte("a"), Cost: 2}
	paid := place{hash: p.keyHash(h.table.seed, c.Key)}
	if wait, _ := h.pay(&c, &paid, w.now); wait != 0 {
		t.Fatal(wait)
	}
	for i := range window {
		if take(other, p, taken{fmt.Sprint(i): 5}) == nil {
			t.Fatal("refused")
		}
	}
	if s := other.Stats(); s.Forgotten != 1 {
		t.Fatalf("%d forgotten", s.Forgotten)
	}
	h.giveBack(&c, &paid)
	for i := range window {
		look := []Charge{{Policy: p, Key: []byte(fmt.Sprint(i)), Cost: 11}}
		if h.Decide(context.Background(), look); look[0].Left != 5 {
			t.Errorf("key %d has %d, of 10, 5 of which were taken", i, look[0].Left)
		}
	}
}

// What a decision costs on this host. The bar is 100 ns, without an allocation.
func BenchmarkDecide(b *testing.B) {
	wide := policy(b, "wide", MaxRate, time.Second, MaxBurst) // it admits all
	other, third := policy(b, "other", MaxRate, time.Second, MaxBurst), policy(b, "third", MaxRate, time.Second, MaxBurst)
	narrow := policy(b, "narrow", 1, time.Hour, 1)
	run := func(h *Host, sets ...[]Charge) func(b *testing.B) {
		return func(b *testing.B) {
			ctx, i := context.Background(), 0
			b.ReportAllocs()
			for b.Loop() {
				h.Decide(ctx, sets[i])
				if i++; i == len(sets) {
					i = 0
				}
			}
		}
	}
	one := []Charge{{Policy: wide, Key: []byte("192.0.2.1"), Cost: 1}}
	b.Run("one key", run(host(b, anonymous(b, 0)), one))
	b.Run("one key, refused", run(host(b, anonymous(b, 0)), []Charge{{Policy: narrow, Key: []byte("192.0.2.1"), Cost: 1}}))
	var thousand [][]Charge
	for i := range 1000 {
		thousand = append(thousand, []Charge{{Policy: wide, Key: fmt.Appendf(nil, "192.0.2.%d", i), Cost: 1}})
	}
	b.Run("1000 keys", run(host(b, anonymous(b, 0)), thousand...))
	var million [][]Charge
	for i := range 1_000_000 {
		million = append(million, []Charge{{Policy: wide, Key: fmt.Appendf(nil, "%d", i), Cost: 1}})
	}
	b.Run("a million keys in 65536 entries", run(host(b, anonymous(b, 0)), million...))
	b.Run("3 charges", run(host(b, anonymous(b, 0)), []Charge{
		{Policy: wide, Key: []byte("192.0.2.1"), Cost: 1},
		{Policy: other, Key: []byte("user"), Cost: 10},
		{Policy: third, Key: []byte("operation"), Cost: 1},
	}))
	b.Run("one key, two processes", func(b *testing.B) {
		dir := b.TempDir()
		h := openHost(b, dir)
		self, err := os.Executable()
		if err != nil {
			b.Fatal(err)
		}
		cmd := exec.Command(self, "-test.run", "^TestChild$")
		cmd.Env = append(os.Environ(), spinEnv+"="+dir)
		if err := cmd.Start(); err != nil {
			b.Fatal(err)
		}
		defer func() {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		}()
		hash := wide.keyHash(h.table.seed, one[0].Key)
		for e, _ := h.table.find(hash); e == nil; e, _ = h.table.find(hash) { // until it has begun
		}
		run(h, one)(b)
	})
}

// spin decides on one key until it is killed, or who has started it ends.
func spin(h *Host) {
	p := mustPolicy("wide", MaxRate, time.Second, MaxBurst)
	charges := []Charge{{Policy: p, Key: []byte("192.0.2.1"), Cost: 1}}
	for parent := os.Getppid(); os.Getppid() == parent; {
		for range 10_000 {
			h.Decide(context.Background(), charges)
		}
	}
}

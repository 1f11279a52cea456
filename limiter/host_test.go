package limiter

import (
	"context"
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

func BenchmarkDecide(b *testing.B) {
	h := host(b, anonymous(b, 0))
	p := policy(b, "p", 1_000_000, time.Second, 0)
	charges := []Charge{{Policy: p, Key: []byte("192.0.2.1"), Cost: 1}}
	b.ReportAllocs()
	for b.Loop() {
		h.Decide(context.Background(), charges)
	}
}

package breaker

import (
	"testing"

	"github.com/nekoctl/neko/hostmem"
)

func mustNew(t testing.TB, o Options) *Policy {
	t.Helper()
	p, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p
}

// newTestHost is a Host on memory of its own.
func newTestHost(t testing.TB) *Host {
	t.Helper()
	m, err := hostmem.Anonymous(8)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	})
	return hostOn(t, m)
}

// hostOn is another worker on the same memory.
func hostOn(t testing.TB, m *hostmem.Mapping) *Host {
	t.Helper()
	h, err := NewHost(m)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

package limiter

import (
	"context"
	"testing"
	"time"
)

// endless is a source that has always enough, at once.
type endless struct{ *bank }

func (endless) Grant(_ context.Context, _ *Policy, _ ID, _, want int64) (Grant, error) {
	return Grant{Tokens: want, At: 1, Full: 1}, nil
}

func benchShared(b *testing.B, charges ...Charge) *Shared {
	s, err := NewShared(anonymous(b, 0), endless{newBank()}, nil)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := s.Close(context.Background()); err != nil {
			b.Error(err)
		}
	})
	return s
}

// A decision that a lease pays. Refills are in it.
func BenchmarkSharedLease(b *testing.B) {
	s, p := benchShared(b), policy(b, "p", 50_000_000, time.Minute, 200_000_000)
	charges := []Charge{{Policy: p, Key: []byte("0123456789abcdef"), Cost: 1}}
	ctx := context.Background()
	b.ReportAllocs()
	for b.Loop() {
		s.Decide(ctx, charges)
	}
	b.ReportMetric(float64(s.Stats().Calls)/float64(b.N), "calls/op")
}

// The same by all cores at once: of one key, and of a key each.
func BenchmarkSharedLeaseParallel(b *testing.B) {
	for _, one := range []bool{true, false} {
		name := "keys"
		if one {
			name = "key"
		}
		b.Run(name, func(b *testing.B) {
			s, p := benchShared(b), policy(b, "p", 50_000_000, time.Minute, 200_000_000)
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				key := []byte("0123456789abcdef")
				if !one {
					key = []byte(time.Now().String())
				}
				charges := []Charge{{Policy: p, Key: key, Cost: 1}}
				for pb.Next() {
					s.Decide(context.Background(), charges)
				}
			})
		})
	}
}

// Three policies, all paid by leases.
func BenchmarkSharedThreeCharges(b *testing.B) {
	s := benchShared(b)
	var charges []Charge
	for _, name := range []string{"a", "b", "c"} {
		p := policy(b, name, 50_000_000, time.Minute, 200_000_000)
		charges = append(charges, Charge{Policy: p, Key: []byte("0123456789abcdef"), Cost: 1})
	}
	ctx := context.Background()
	b.ReportAllocs()
	for b.Loop() {
		s.Decide(ctx, charges)
	}
}

// A refusal that is remembered.
func BenchmarkSharedRefusal(b *testing.B) {
	bank := newBank()
	s, err := NewShared(anonymous(b, 0), bank, nil)
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close(context.Background())
	charges := []Charge{{Policy: policy(b, "p", 1, MaxWindow, 1), Key: []byte("0123456789abcdef"), Cost: 1}}
	ctx := context.Background()
	b.ReportAllocs()
	for b.Loop() {
		s.Decide(ctx, charges)
	}
}

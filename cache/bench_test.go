package cache_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"runtime"
	"strings"
	"testing"
	"time"

	. "github.com/nekoctl/neko/cache"
	"github.com/nekoctl/neko/cache/cachetest"
)

const benchKeys = 4096

// full is a cache with answers of about 5 kB and 4 tags each.
func full(b *testing.B, o Options) *Cache {
	c := open(b, o)
	for n := range benchKeys {
		get(b, c, tagged(n), func(context.Context) Filled { return Filled{Body: make([]byte, 5000), Keep: true} })
	}
	return c
}

func tagged(n int) Request {
	return Request{Key: key(n), Policy: Policy{MaxAge: time.Hour}, Tags: []string{"ThreatActor", "ThreatActor:list", fmt.Sprint("ThreatActor:G", n), "Technique:list"}}
}

func TestPeekAllocatesNothing(t *testing.T) {
	for _, o := range []Options{{}, {Shared: cachetest.NewStore().Open()}} {
		c := open(t, o)
		get(t, c, tagged(1), says("x"))
		now := time.Now().UnixMilli()
		if n := testing.AllocsPerRun(1000, func() {
			if _, s := c.Peek(key(1), now); s != Fresh {
				t.Error(s)
			}
			if _, s := c.Peek(key(2), now); s != Miss {
				t.Error(s)
			}
		}); n != 0 {
			t.Errorf("%v allocations", n)
		}
	}
}

// named are the options of a cache with a shared store or without one.
func named(name string) (o Options) {
	if name == "shared" {
		o.Shared = cachetest.NewStore().Open()
	}
	return o
}

func BenchmarkPeek(b *testing.B) {
	for _, name := range []string{"host", "shared"} {
		c := full(b, named(name))
		now := time.Now().UnixMilli()
		for _, which := range []struct {
			name string
			n    func(r *rand.Rand) int
			want State
		}{
			{"one", func(*rand.Rand) int { return 1 }, Fresh},
			{"any", func(r *rand.Rand) int { return int(r.Uint32() % benchKeys) }, Fresh},
			{"none", func(r *rand.Rand) int { return benchKeys + int(r.Uint32()%benchKeys) }, Miss},
		} {
			b.Run(name+"/"+which.name, func(b *testing.B) {
				b.ReportAllocs()
				b.RunParallel(func(p *testing.PB) {
					r := rand.New(rand.NewPCG(1, rand.Uint64()))
					for p.Next() {
						if _, s := c.Peek(key(which.n(r)), now); s != which.want {
							b.Error(s)
							return
						}
					}
				})
			})
		}
	}
}

func BenchmarkGet(b *testing.B) {
	for _, name := range []string{"host", "shared"} {
		b.Run(name+"/hit", func(b *testing.B) {
			c := full(b, named(name))
			r := tagged(1)
			b.ReportAllocs()
			for b.Loop() {
				get(b, c, r, nil)
			}
		})
		b.Run(name+"/miss", func(b *testing.B) {
			c := open(b, named(name))
			text := make([]byte, 5000)
			b.ReportAllocs()
			for n := 0; b.Loop(); n++ {
				get(b, c, tagged(n), func(context.Context) Filled { return Filled{Body: text, Keep: true} })
			}
		})
	}
}

func BenchmarkInvalidate(b *testing.B) {
	for _, name := range []string{"host", "shared"} {
		b.Run(name, func(b *testing.B) {
			c := open(b, named(name))
			b.ReportAllocs()
			for b.Loop() {
				invalidate(b, c, "ThreatActor:G0034", "ThreatActor:list")
			}
		})
	}
}

// BenchmarkReserve has what it costs to put an answer in a memory that is full, without a reserve and with
// one, and to be served one that only a reserve has, when it cannot be made.
func BenchmarkReserve(b *testing.B) {
	text := []byte(strings.Repeat(`{"id":"attack-pattern--0","name":"Spearphishing","description":"`, 80))
	for _, name := range []string{"without", "with"} {
		b.Run("put/"+name, func(b *testing.B) {
			o := Options{Bytes: MinBytes}
			if name == "with" {
				o.Reserve = openReserve(b, b.TempDir())
			}
			c := open(b, o)
			b.SetBytes(int64(len(text)))
			b.ReportAllocs()
			for n := 0; b.Loop(); n++ {
				get(b, c, tagged(n), func(context.Context) Filled { return Filled{Body: text, Keep: true} })
			}
			if s := c.Stats(); name == "with" {
				b.ReportMetric(float64(s.ReserveWrites)/float64(b.N), "written/op")
				b.ReportMetric(float64(s.ReserveDropped)/float64(b.N), "dropped/op")
			}
		})
	}
	b.Run("hit", func(b *testing.B) {
		c := open(b, Options{Bytes: MinBytes, Reserve: openReserve(b, b.TempDir())})
		const all = 400
		for n := range all {
			get(b, c, tagged(n), func(context.Context) Filled { return Filled{Body: text, Keep: true} })
			Evict(c)
			for int(c.Stats().ReserveWrites) <= n {
				runtime.Gosched()
			}
		}
		b.SetBytes(int64(len(text)))
		b.ReportAllocs()
		n := 0
		for b.Loop() {
			if s := get(b, c, tagged(n%all), fails); s.State != Fresh {
				b.Fatalf("%d: %+v", n, s)
			}
			n++
		}
		b.ReportMetric(float64(c.Stats().ReserveHits)/float64(b.N), "read/op")
	})
}

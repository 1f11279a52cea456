package cache

import (
	"context"
	"fmt"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// heap is what is in use of it, after all garbage was found.
func heap() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// What is counted must be what it takes: the operator has only so much.
func TestTheBoundIsTrue(t *testing.T) {
	const bound = 8 << 20
	for _, test := range []struct {
		name  string
		size  func() int // of a body
		tags  int
		coded int // codings of each
	}{
		{"tiny", func() int { return rand.IntN(50) }, 0, 0},
		{"small", func() int { return 100 + rand.IntN(400) }, 3, 0},
		{"usual", func() int { return 1000 + rand.IntN(20000) }, 4, 0},
		{"usual, in all codings", func() int { return 1000 + rand.IntN(20000) }, 4, 3},
		{"many tags", func() int { return 1000 }, 100, 0},
		{"large", func() int { return 100_000 + rand.IntN(500_000) }, 2, 1},
		{"all", func() int { return 1 << rand.IntN(20) }, 5, 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			c, err := New(Options{Bytes: bound})
			if err != nil {
				t.Fatal(err)
			}
			fill := func(n int) {
				r := Request{Policy: Policy{MaxAge: time.Hour}}
				for i := range r.Key {
					r.Key[i] = byte(rand.Uint32())
				}
				for i := range test.tags {
					r.Tags = append(r.Tags, fmt.Sprintf("ThreatActor:G%04d", n*100+i))
				}
				size := test.size()
				s, err := c.Get(context.Background(), r, func(context.Context) Filled {
					return Filled{Body: make([]byte, size), Keep: true}
				})
				if err != nil {
					t.Error(err)
				}
				for i := range test.coded {
					s.Answer.Coded(i, func(dst, src []byte) []byte { return append(dst, src[:len(src)/3]...) })
				}
			}
			// It begins with what the first answers bring with them.
			before := heap() - int64(c.Stats().Bytes)
			n := 0
			for ; c.Stats().Evictions < 100; n++ {
				fill(n)
				if s := c.Stats(); s.Bytes > bound {
					t.Fatalf("%d bytes are more than the bound", s.Bytes)
				}
			}
			took, counted := heap()-before, int64(c.Stats().Bytes)
			t.Logf("%d of %d answers are left: %d bytes are counted, %d were taken: %.1f %%", c.Stats().Entries, n, counted, took, 100*float64(took)/float64(counted))
			if took > bound*110/100 || counted > took*110/100 || took > counted*110/100 {
				t.Errorf("%d bytes are counted, %d were taken, and the bound is %d", counted, took, bound)
			}
			if counted < bound/2 {
				t.Errorf("only %d bytes are used", counted)
			}
			if err := c.Close(context.Background()); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestWhatIsServedStays(t *testing.T) {
	c, err := New(Options{Bytes: MinBytes})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close(context.Background())
	fill := func(n int) {
		r := Request{Policy: Policy{MaxAge: time.Hour}, Key: Key{byte(n), byte(n >> 8), byte(n >> 16)}}
		if _, err := c.Get(context.Background(), r, func(context.Context) Filled {
			return Filled{Body: make([]byte, 1000), Keep: true}
		}); err != nil {
			t.Error(err)
		}
	}
	for n := range 3_000 {
		fill(n)
		for hot := range min(n, 100) {
			if a, _ := c.Peek(Key{byte(hot)}, time.Now().UnixMilli()); a == nil {
				t.Fatalf("%d is gone when %d comes", hot, n)
			}
		}
	}
}

// The memory against a map: it has what was put last, or nothing, and counts right.
func TestMemoryIsAMapThatForgets(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := newMemory(1 << 14)
		model := map[Key]*entry{}
		keys := rapid.Custom(func(t *rapid.T) Key { return Key{rapid.Byte().Draw(t, "key") % 40} })
		put := func(t *rapid.T) {
			k := keys.Draw(t, "key")
			e := &entry{key: k, answer: &Answer{key: k, bytes: int64(rapid.IntRange(0, 2_000).Draw(t, "bytes"))}}
			if m.put(e) {
				model[k] = e
			} else if entrySize+e.answer.bytes <= m.max/8 {
				t.Fatal("it was not kept")
			}
		}
		for range rapid.IntRange(0, 30).Draw(t, "before") {
			put(t)
		}
		t.Repeat(map[string]func(*rapid.T){
			"put": put, "put one": put, "put another": put, // most of the time it is full
			"remove": func(t *rapid.T) {
				k := keys.Draw(t, "key")
				if e := model[k]; e != nil {
					m.remove(e)
					m.remove(e)
					delete(model, k)
				}
			},
			"restamp": func(t *rapid.T) {
				k := keys.Draw(t, "key")
				if e := model[k]; e != nil {
					model[k] = m.restamp(e, stamp{marks: make([]mark, rapid.IntRange(0, 5).Draw(t, "marks"))})
				}
			},
			"serve": func(t *rapid.T) {
				k := keys.Draw(t, "key")
				if e := m.find(&k); e != nil {
					e.touch()
				}
			},
			"grow": func(t *rapid.T) {
				k := keys.Draw(t, "key")
				if e := model[k]; e != nil {
					m.grow(e.answer, int64(rapid.IntRange(0, 1_000).Draw(t, "bytes")))
				}
			},
			"": func(t *rapid.T) {
				bytes, n := m.own(), 0
				for e := m.oldest; e != nil; e = e.newer {
					bytes += e.bytes
					n++
					if model[e.key] != e || m.find(&e.key) != e || e.newer == nil && m.newest != e {
						t.Fatal("it has what it must not have")
					}
				}
				if m.hand != nil && m.hand.bytes == 0 {
					t.Fatal("the hand is at what is gone")
				}
				if bytes != m.bytes || n != m.count || bytes > m.max {
					t.Fatalf("%d bytes of %d, %d counted", bytes, n, m.bytes)
				}
				for k, e := range model {
					if got := m.find(&k); got != e {
						if got != nil || e.bytes != 0 {
							t.Fatal("it has something else")
						}
						delete(model, k)
					}
				}
			},
		})
	})
}

// Readers take no lock, so they are tried with all that may happen meanwhile.
func TestReadersFindWhatStays(t *testing.T) {
	m := newMemory(1 << 20)
	m.shift, m.heads = 63, m.heads[:2] // long chains
	stays := &entry{key: Key{255}, answer: &Answer{key: Key{255}}}
	m.put(stays)
	stop := make(chan struct{})
	var readers, writers sync.WaitGroup
	for range 3 {
		readers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if e := m.find(&stays.key); e == nil || e.answer != stays.answer {
					t.Error("it was not found")
					return
				}
			}
		})
	}
	for w := range 2 {
		writers.Go(func() {
			for i := range 5_000 {
				k := Key{byte(w), byte(i % 7)}
				e := &entry{key: k, answer: &Answer{key: k}}
				m.put(e)
				if i%3 == 0 {
					m.remove(e)
				}
				if w == 0 {
					m.restamp(m.find(&stays.key), stamp{})
				}
			}
		})
	}
	writers.Wait()
	close(stop)
	readers.Wait()
}

func TestTagsAreFoldedByASCIIAlone(t *testing.T) {
	g := newGenerations(nil, false)
	long := strings.Repeat("Long", 100)
	for _, pair := range [][2]string{{"ThreatActor:G0034", "threatactor:g0034"}, {"@[`{", "@[`{"}, {long, strings.ToLower(long)}, {"", ""}} {
		if g.word(pair[0]) != g.word(pair[1]) || shared(pair[0]) != shared(pair[1]) || hashTags(pair[:1]) != hashTags(pair[1:]) {
			t.Errorf("%q is not %q", pair[0], pair[1])
		}
	}
	for _, pair := range [][2]string{{"Ä", "ä"}, {"@", "`"}, {"[", "{"}} {
		if g.word(pair[0]) == g.word(pair[1]) && shared(pair[0]) == shared(pair[1]) {
			t.Errorf("%q is %q", pair[0], pair[1])
		}
	}
	if n := testing.AllocsPerRun(100, func() { g.word("ThreatActor:G0034") }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// Whatever ids are asked for, Shared has a number of generations for each type, and no more.
func TestIDsHaveABoundedNumberOfGenerations(t *testing.T) {
	names := map[string]bool{}
	for i := range 200_000 {
		names[shared(fmt.Sprintf("ThreatActor:x%d", i))] = true
	}
	if len(names) > placesOfType || len(names) < placesOfType*9/10 {
		t.Errorf("%d names, of %d", len(names), placesOfType)
	}
	for tag, want := range map[string]string{
		"": "", "*": "*", "ThreatActor": "threatactor", "ThreatActor:LIST": "threatactor:list", "T:": "t:", "T:#12": "t:#12",
		"T:G0034": "t:#" + strings.TrimPrefix(shared("t:g0034"), "t:#"), "T:a:b": "t:#" + strings.TrimPrefix(shared("t:A:B"), "t:#"),
		"T:Lists": shared("t:lists"),
	} {
		got := shared(tag)
		if got != want || shared(got) != got {
			t.Errorf("%q is %q and %q, not %q", tag, got, shared(got), want)
		}
	}
	// Hosts of different makes must agree.
	if got := shared("ThreatActor:G0034"); got != "threatactor:#7b2" {
		t.Errorf("%s", got)
	}
}

package cache

import (
	"bytes"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestRecordsComeBack(t *testing.T) {
	c := newCodec(1 << 20)
	rapid.Check(t, func(t *rapid.T) {
		r := Request{Tags: rapid.SliceOfN(rapid.String(), 0, 5).Draw(t, "tags")}
		copy(r.Key[:], rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "key"))
		p := Policy{
			MaxAge:               time.Duration(rapid.IntRange(1, 1e9).Draw(t, "max age")) * time.Millisecond,
			StaleWhileRevalidate: time.Duration(rapid.IntRange(0, 1e9).Draw(t, "swr")) * time.Millisecond,
			StaleIfError:         time.Duration(rapid.IntRange(0, 1e9).Draw(t, "sie")) * time.Millisecond,
		}.bounded()
		text := bytes.Repeat(rapid.SliceOf(rapid.Byte()).Draw(t, "text"), rapid.IntRange(1, 1000).Draw(t, "times"))
		a := newAnswer(&r, text, rapid.Int64Range(0, 1<<60).Draw(t, "made"), p, rapid.Bool().Draw(t, "negative"))
		var marks []mark
		for range len(r.Tags) + 1 {
			marks = append(marks, mark{gen: Generation(rapid.Uint64Min(1).Draw(t, "gen"))})
		}
		b := c.encode(a, marks)
		got, ok := openRecord(&r.Key, r.Tags, b)
		if !ok || !got.has(marks) || got.made != a.Made || got.policy != p || got.negative != a.Negative {
			t.Fatalf("%+v", got)
		}
		if body, ok := c.body(got); !ok || !bytes.Equal(body, text) {
			t.Fatal("it has another body")
		}
		marks[rapid.IntRange(0, len(marks)-1).Draw(t, "which")].gen++
		if got.has(marks) {
			t.Fatal("it has all generations")
		}
		other := r.Key
		other[rapid.IntRange(0, 15).Draw(t, "at")]++
		if _, ok := openRecord(&other, r.Tags, b); ok {
			t.Fatal("it is of another key, too")
		}
		if _, ok := openRecord(&r.Key, append(slices.Clone(r.Tags), "another"), b); ok {
			t.Fatal("it is of other tags, too")
		}
		if i := rapid.IntRange(0, len(b)*8-1).Draw(t, "bit"); true {
			b[i/8] ^= 1 << (i % 8)
		}
		if _, ok := openRecord(&r.Key, r.Tags, b); ok {
			t.Fatal("it is damaged")
		}
	})
}

// A body that says that it is short, and is not, is not unpacked.
func TestBodiesAreBounded(t *testing.T) {
	big := newCodec(1 << 30)
	r := Request{Tags: []string{"T"}}
	marks := make([]mark, 2)
	b := big.encode(newAnswer(&r, bytes.Repeat([]byte("x"), 10<<20), 1, Policy{MaxAge: 1}.bounded(), false), marks)
	if len(b) > 10_000 {
		t.Fatalf("%d bytes", len(b))
	}
	got, ok := openRecord(&r.Key, r.Tags, b)
	if !ok || got.size != 10<<20 {
		t.Fatal("it is not one")
	}
	small := newCodec(1 << 20)
	if _, ok := small.body(got); ok {
		t.Error("it is too large")
	}
	got.size = 100
	if n := testing.AllocsPerRun(10, func() {
		if _, ok := small.body(got); ok {
			t.Error("it is longer than it says")
		}
	}); n > 20 {
		t.Errorf("%v allocations", n)
	}
	got.size = 11 << 20
	if _, ok := big.body(got); ok {
		t.Error("it is shorter than it says")
	}
}

func FuzzDecode(f *testing.F) {
	c := newCodec(1 << 16)
	r := Request{Key: Key{1}, Tags: []string{"T:1", "T:list"}}
	for _, text := range []string{"", "x", strings.Repeat("text ", 1000)} {
		b := c.encode(newAnswer(&r, []byte(text), 1, Policy{MaxAge: time.Second}, false), make([]mark, 3))
		f.Add(b[:len(b)-4])
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if _, ok := openRecord(&r.Key, r.Tags, b); ok {
			t.Log("it has even the right sum")
		}
		// With a sum that is right all else is looked at.
		sum := sumOf(&r.Key, b)
		got, ok := openRecord(&r.Key, r.Tags, append(slices.Clone(b), byte(sum), byte(sum>>8), byte(sum>>16), byte(sum>>24)))
		if !ok {
			return
		}
		if len(got.gens) != 8*3 || got.policy.life() > MaxLife || got.made < 0 {
			t.Fatalf("%+v", got)
		}
		if body, ok := c.body(got); ok && (len(body) != got.size || cap(body) > len(b)+1<<16) {
			t.Fatalf("%d bytes of %d", len(body), got.size)
		}
	})
}

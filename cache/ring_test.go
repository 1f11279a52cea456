package cache

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nekoctl/neko/logtext"
	"golang.org/x/sys/unix"
	"pgregory.net/rapid"
)

func reserveOf(t testing.TB, dir string, max int64) *Reserve {
	t.Helper()
	r, err := OpenReserve(dir, max)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// noise is a body that cannot be made shorter.
func noise(size int) []byte {
	b := make([]byte, size)
	source := rand.NewChaCha8([32]byte{byte(rand.Uint32()), byte(rand.Uint32())})
	source.Read(b)
	return b
}

// put has one that has gone from memory written.
func (r *Reserve) put(c *Cache, q *Request, body []byte, made int64) {
	r.write(&spilled{answer: newAnswer(q, body, made, q.Policy, false), stamp: c.gens.stamp(q.Tags)})
}

// The ring against a map: it has what was written last under a key, or nothing, and it has all that
// was written last of all, as far as there is room.
func TestTheRingIsAMapThatForgetsTheOldest(t *testing.T) {
	dir := t.TempDir()
	rapid.Check(t, func(t *rapid.T) {
		c, err := New(Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close(context.Background())
		r, err := OpenReserve(dir, MinReserve)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		r.codec, r.gens, r.reads = c.codec, c.gens, make(chan struct{}, 1)
		if rapid.Bool().Draw(t, "few slots") {
			r.slots = r.slots[:1]
		}
		r.next = rapid.Int64Range(0, 3*MinReserve).Draw(t, "where it begins")
		now := time.Now().UnixMilli()
		model := map[Key][]byte{}
		var order []Key // what was written, the newest last
		steps := rapid.IntRange(1, 40).Draw(t, "steps")
		for step := range steps {
			q := Request{Key: Key{byte(rapid.IntRange(0, 30).Draw(t, "key"))}, Tags: []string{"T"}, Policy: Policy{MaxAge: time.Hour}}
			switch rapid.IntRange(0, 9).Draw(t, "what") {
			case 0: // forget
				if s := r.find(&q.Key); s != nil {
					found := *s
					if !r.forget(&found) {
						t.Error("it was there, and is not")
					}
				}
				delete(model, q.Key)
			case 1: // many small ones
				for n := range rapid.IntRange(1, 600).Draw(t, "many") {
					q.Key = Key{1: 1, 2: byte(n), 3: byte(n >> 8)}
					now++
					r.put(c, &q, []byte("small"), now)
					model[q.Key] = []byte("small")
					order = append(order, q.Key)
				}
			default:
				body := noise(rapid.IntRange(0, MinReserve/maxFrame-200).Draw(t, "size"))
				now++
				r.put(c, &q, body, now)
				model[q.Key] = body
				order = append(order, q.Key)
			}
			if step%10 != 9 && step != steps-1 {
				continue
			}
			var bytes int64
			n := 0
			for key, body := range model {
				e := r.read(context.Background(), &Request{Key: key, Tags: q.Tags})
				if e == nil {
					continue
				}
				if string(e.answer.Body) != string(body) {
					t.Fatalf("%v has %d bytes, and not %d", key, len(e.answer.Body), len(body))
				}
				n, bytes = n+1, bytes+int64(r.find(&key).size)
			}
			if n != r.count || bytes != r.bytes || bytes > r.max {
				t.Fatalf("%d of %d bytes are there, it says %d of %d", n, bytes, r.count, r.bytes)
			}
			// From the newest on all is there. At the end of the file less than an eighth is not used.
			room, slots, seen := r.max-2*r.max/maxFrame, int(r.all())-1, map[Key]bool{}
			for i := len(order) - 1; i >= 0; i-- {
				key := order[i]
				room, slots = room-int64(len(model[key]))-200, slots-1
				if room < 0 || slots < 0 {
					break
				}
				if _, ok := model[key]; ok && !seen[key] && r.find(&key) == nil {
					t.Fatalf("%v is gone, which is the %d. newest", key, len(order)-i)
				}
				seen[key] = true
			}
		}
		if r.errors.Load() != 0 || r.dropped.Load() != 0 {
			t.Errorf("%d errors, %d were dropped", r.errors.Load(), r.dropped.Load())
		}
		if info, err := r.file.Stat(); err != nil || info.Size() > r.max {
			t.Errorf("the file has %d bytes, %v", info.Size(), err)
		}
	})
}

// cacheWith is one of which nothing stays in memory, and that logs into out.
func cacheWith(t testing.TB, r *Reserve, out *bytes.Buffer) *Cache {
	c, err := New(Options{Reserve: r, Bytes: MinBytes, Log: logtext.Logger(out)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return c
}

func evict(c *Cache) {
	c.memory.mu.Lock()
	c.memory.makeRoom(c.memory.max)
	c.memory.mu.Unlock()
}

// settle waits until nothing waits to be written.
func settle(t testing.TB, r *Reserve) {
	t.Helper()
	for began := time.Now(); r.queued.Load() != 0; time.Sleep(100 * time.Microsecond) {
		if time.Since(began) > 20*time.Second {
			t.Fatalf("%d bytes wait", r.queued.Load())
		}
	}
}

func ask(t testing.TB, c *Cache, q *Request, f Filled) Served {
	t.Helper()
	s, err := c.Get(context.Background(), *q, func(context.Context) Filled { return f })
	if err != nil {
		t.Fatal(err)
	}
	return s
}

var failed = Filled{Failed: true}

func TestWhatIsDamagedInTheFileIsNotServed(t *testing.T) {
	r := reserveOf(t, t.TempDir(), MinReserve)
	var out bytes.Buffer
	c := cacheWith(t, r, &out)
	q := Request{Key: Key{1}, Tags: []string{"T"}, Policy: Policy{MaxAge: time.Hour}}
	body := strings.Repeat("text ", 300) // which is compressed
	ask(t, c, &q, Filled{Body: []byte(body), Keep: true})
	evict(c)
	settle(t, r)
	lookup := func() (s slot) {
		r.mu.Lock()
		defer r.mu.Unlock()
		if found := r.find(&q.Key); found != nil {
			s = *found
		}
		return s
	}
	s := lookup()
	good := make([]byte, s.size)
	if _, err := r.file.ReadAt(good, s.at); err != nil {
		t.Fatal(err)
	}
	for at := range good {
		bad := bytes.Clone(good)
		bad[at] ^= 1 << rand.IntN(8)
		if _, err := r.file.WriteAt(bad, s.at); err != nil {
			t.Fatal(err)
		}
		if s := ask(t, c, &q, failed); s.Answer != nil {
			t.Fatalf("byte %d was damaged, and %q served", at, s.Answer.Body)
		}
		if lookup().size != 0 || r.errors.Load() != uint64(at+1) {
			t.Fatalf("byte %d: %d errors", at, r.errors.Load())
		}
		r.mu.Lock()
		r.room(int64(s.size))
		r.add(slot{key: s.key, at: s.at, size: s.size, same: s.same})
		r.mu.Unlock()
	}
	if _, err := r.file.WriteAt(good, s.at); err != nil {
		t.Fatal(err)
	}
	if s := ask(t, c, &q, failed); s.Answer == nil || string(s.Answer.Body) != body {
		t.Errorf("%+v", s)
	}
	// A program that has other tags for the same key, and a file that has been cut.
	evict(c)
	settle(t, r)
	other := q
	other.Tags = []string{"U"}
	if s := ask(t, c, &other, failed); s.Answer != nil {
		t.Errorf("%+v", s.Answer)
	}
	ask(t, c, &q, Filled{Body: []byte(body), Keep: true})
	evict(c)
	settle(t, r)
	if err := r.file.Truncate(1); err != nil {
		t.Fatal(err)
	}
	if s := ask(t, c, &q, failed); s.Answer != nil {
		t.Errorf("%+v", s.Answer)
	}
	if !strings.Contains(out.String(), "cannot be read") {
		t.Errorf("the log says %q", out.String())
	}
}

func TestAFullDiskHoldsUpNobody(t *testing.T) {
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=64k"); err != nil {
		t.Skipf("no tmpfs can be mounted here: %v", err) // wants root
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	r := reserveOf(t, dir, MinReserve)
	var out bytes.Buffer
	c := cacheWith(t, r, &out)
	policy := Policy{MaxAge: time.Hour}
	const all = 100
	for n := range all {
		q := Request{Key: Key{byte(n)}, Policy: policy}
		if s := ask(t, c, &q, Filled{Body: noise(5000), Keep: true}); s.State != Made || s.Answer == nil {
			t.Fatalf("%+v", s)
		}
		evict(c)
		settle(t, r)
	}
	there := 0
	for n := range all {
		if s := ask(t, c, &Request{Key: Key{byte(n)}, Policy: policy}, failed); s.Answer != nil {
			there++
		}
	}
	s := c.Stats()
	if there < 10 || there != int(s.ReserveHits) || int(s.ReserveWrites) != there || int(s.ReserveDropped) != all-there || s.ReserveErrors == 0 {
		t.Errorf("%d are there: %+v", there, s)
	}
	if strings.Count(out.String(), "\n") != 1 || !strings.Contains(out.String(), "cannot be written, and is left alone for 10s each time: ") || !strings.Contains(out.String(), "no space left on device") {
		t.Errorf("the log says %q", out.String())
	}
}

// What cannot be written is tried again after a while.
func TestTheReserveComesBack(t *testing.T) {
	r := reserveOf(t, t.TempDir(), MinReserve)
	var out bytes.Buffer
	c := cacheWith(t, r, &out)
	write, broken := r.writeAt, true
	r.writeAt = func(b []byte, at int64) (int, error) {
		if broken {
			n, _ := write(b[:len(b)/2], at)
			return n, unix.EIO
		}
		return write(b, at)
	}
	q := Request{Key: Key{1}, Policy: Policy{MaxAge: time.Hour}}
	made := time.Now().UnixMilli()
	r.put(c, &q, []byte("one"), made)
	broken = false
	r.put(c, &q, []byte("two"), made+1)
	if n := r.dropped.Load(); n != 2 || r.find(&q.Key) != nil {
		t.Errorf("%d were dropped", n)
	}
	r.unwritable.until.Store(time.Now().UnixMilli())
	r.put(c, &q, []byte("three"), made+2)
	if s := ask(t, c, &q, failed); s.Answer == nil || string(s.Answer.Body) != "three" {
		t.Errorf("%+v", s)
	}
}

// Who reads while it is overwritten gets the one or the other, or nothing.
func TestTheRingIsOverwrittenWhileItIsRead(t *testing.T) {
	r := reserveOf(t, t.TempDir(), MinReserve)
	var out bytes.Buffer
	c := cacheWith(t, r, &out)
	const keys = 64
	q := func(n int) *Request { return &Request{Key: Key{byte(n)}, Policy: Policy{MaxAge: time.Hour}} }
	stop, stopped := make(chan struct{}), make(chan int)
	for range 4 {
		go func() {
			found := 0
			for n := 0; ; n++ {
				select {
				case <-stop:
					stopped <- found
					return
				default:
				}
				e := r.read(context.Background(), q(n%keys))
				if e == nil {
					continue
				}
				if b := e.answer.Body; len(b) == 0 || bytes.Count(b, b[:1]) != len(b) || int(b[0]) != n%keys {
					t.Errorf("%d is %d", n%keys, b)
				}
				found++
			}
		}()
	}
	made := time.Now().UnixMilli()
	big := noise(50_000)
	for n := range 200 {
		r.put(c, q(n%keys), bytes.Repeat([]byte{byte(n % keys)}, 1+rand.IntN(1000)), made+int64(n))
		other := q(n % keys)
		other.Key[1] = 1
		r.put(c, other, big, made+int64(n))
	}
	close(stop)
	found := 0
	for range 4 {
		found += <-stopped
	}
	if found == 0 || r.errors.Load() != 0 {
		t.Errorf("%d were found, %d errors", found, r.errors.Load())
	}
}

func TestWhatIsKeptOutOfTheReserve(t *testing.T) {
	for _, test := range []struct {
		name     string
		own      bool
		shareOwn bool
		negative bool
		writes   uint64
	}{
		{"what all may see", false, false, false, 1},
		{"what one may see", true, false, false, 0},
		{"what one may see, if that may be", true, true, false, 1},
		{"that there is nothing", false, false, true, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := reserveOf(t, t.TempDir(), MinReserve)
			c, err := New(Options{Reserve: r, ShareOwn: test.shareOwn})
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close(context.Background())
			secret := noise(500)
			q := Request{Key: Key{1}, Own: test.own, Policy: Policy{MaxAge: time.Hour}}
			last := Request{Key: Key{2}, Policy: Policy{MaxAge: time.Hour}}
			ask(t, c, &q, Filled{Body: secret, Keep: true, Negative: test.negative})
			evict(c)
			ask(t, c, &last, Filled{Body: []byte("x"), Keep: true})
			evict(c)
			settle(t, r)
			file, err := os.ReadFile(fmt.Sprintf("/proc/self/fd/%d", r.file.Fd()))
			if err != nil {
				t.Fatal(err)
			}
			if n := c.Stats().ReserveWrites - 1; n != test.writes || bytes.Contains(file, secret) != (n == 1) {
				t.Errorf("%d were written", n)
			}
			// It is still Own when it has come back.
			if s := ask(t, c, &q, failed); (s.Answer != nil) != (test.writes == 1) {
				t.Errorf("%+v", s)
			}
		})
	}
}

// What comes back from the file, or is made again as it was, is not written again.
func TestNothingIsWrittenTwice(t *testing.T) {
	r := reserveOf(t, t.TempDir(), MinReserve)
	var out bytes.Buffer
	c := cacheWith(t, r, &out)
	q := Request{Key: Key{1}, Tags: []string{"T"}, Policy: Policy{MaxAge: time.Hour}}
	ask(t, c, &q, Filled{Body: []byte("one"), Keep: true})
	evict(c)
	settle(t, r)
	for range 3 {
		if s := ask(t, c, &q, failed); s.State != Fresh {
			t.Fatalf("%+v", s)
		}
		evict(c)
	}
	last := Request{Key: Key{2}, Policy: q.Policy}
	ask(t, c, &last, Filled{Body: []byte("two"), Keep: true})
	evict(c)
	settle(t, r)
	if s := c.Stats(); s.ReserveWrites != 2 || s.ReserveEntries != 2 || s.ReserveHits != 3 {
		t.Errorf("%+v", s)
	}
}

func TestTheFileHasNoName(t *testing.T) {
	dir := t.TempDir()
	r := reserveOf(t, dir, 0)
	if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
		t.Errorf("there is %v, %v", left, err)
	}
	if info, err := r.file.Stat(); err != nil || info.Mode() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
	for _, bad := range []func() (*Reserve, error){
		func() (*Reserve, error) { return OpenReserve(filepath.Join(dir, "none"), 0) },
		func() (*Reserve, error) { return OpenReserve(dir, MinReserve-1) },
		func() (*Reserve, error) { return OpenReserve(dir, -1) },
	} {
		if r, err := bad(); err == nil {
			t.Errorf("opened: %v", r.Close())
		}
	}
	if _, err := OpenReserve(filepath.Join(dir, "none"), 0); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
}

// What is counted of the index is what it takes, and what waits to be written is bounded.
func TestTheBoundIsTrueWithAReserve(t *testing.T) {
	const bound, file = 4 << 20, 16 << 20
	r := reserveOf(t, t.TempDir(), file)
	c, err := New(Options{Bytes: bound, Reserve: r})
	if err != nil {
		t.Fatal(err)
	}
	fill := func(n int) {
		q := Request{Policy: Policy{MaxAge: time.Hour}, Tags: []string{"T", fmt.Sprint("T:", n)}}
		for i := range q.Key {
			q.Key[i] = byte(rand.Uint32())
		}
		ask(t, c, &q, Filled{Body: noise(1000), Keep: true})
	}
	s := c.Stats()
	before := heap() - int64(s.Bytes+s.ReserveIndexBytes)
	n := 0
	for most := uint64(0); ; n++ {
		fill(n)
		s := c.Stats()
		if s.Bytes > bound || s.ReserveBytes > file || s.ReserveIndexBytes > file/40 || r.queued.Load() > maxQueued {
			t.Fatalf("%+v", s)
		}
		if s.ReserveEntries < most { // it has come around
			break
		}
		most = s.ReserveEntries
	}
	settle(t, r)
	s = c.Stats()
	took, counted := heap()-before, int64(s.Bytes+s.ReserveIndexBytes)
	t.Logf("%d of %d answers are in the file, and %d in memory: %d bytes are counted, %d of these for the index, %d were taken", s.ReserveEntries, n, s.Entries, counted, s.ReserveIndexBytes, took)
	if took > counted*110/100 || took < counted*90/100 {
		t.Errorf("%d bytes are counted, %d were taken", counted, took)
	}
	if err := c.Close(context.Background()); err != nil {
		t.Error(err)
	}
}

package mongo

import (
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/nekoctl/neko/api/store"
	"github.com/nekoctl/neko/api/store/mongo/mongotest"
)

// Of many who write the log at once, on whatever hosts, nobody's entry is lost.
func TestChangelogOfMany(t *testing.T) {
	url := mongotest.URL(t)
	const writers, each = 4, 5
	var all sync.WaitGroup
	want := []string{}
	for w := range writers {
		st := open(t, url, Options{})
		for i := range each {
			want = append(want, fmt.Sprintf("T:%d-%d", w, i))
		}
		all.Go(func() {
			for i := range each {
				if err := st.Invalidate(t.Context(), fmt.Sprintf("T:%d-%d", w, i)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	in, err := open(t, url, Options{}).Invalidated(t.Context(), 0)
	if err != nil || !slices.Equal(in.Tags, want) || in.Last != writers*each {
		t.Errorf("%v, %v, want %v", in, err, want)
	}
}

// A database that was restored has a log from before, and its next entries have positions that others had: a purge of all
// has one that nobody has seen, so that who has seen the log of before takes it for no entry that he knows.
func TestPurgeOfAllIsAtAPlaceOfItsOwn(t *testing.T) {
	var last [2]int64
	for i := range last {
		st := open(t, mongotest.URL(t), Options{})
		for _, tag := range []string{"A", store.Everything, "B"} {
			if err := st.Invalidate(t.Context(), tag); err != nil {
				t.Fatal(err)
			}
		}
		in, err := st.Invalidated(t.Context(), 1)
		if err != nil || !slices.Equal(in.Tags, []string{store.Everything}) {
			t.Errorf("%v, %v", in, err)
		}
		last[i] = in.Last
		if in, err := st.Invalidated(t.Context(), in.Last-1); err != nil || !slices.Equal(in.Tags, []string{"B"}) {
			t.Errorf("%v, %v", in, err)
		}
	}
	if last[0] == last[1] {
		t.Errorf("two logs end at %d", last[0])
	}
}

// An import that nobody sees to the end is no import that writes: a worker that lives on
// makes nothing of one that is only slow.
func TestAnImportThatIsUnderWayIsNoDeadOne(t *testing.T) {
	url := mongotest.URL(t)
	follower := open(t, url, Options{})
	mustLoad(t, follower, before...)
	log, err := follower.Invalidated(t.Context(), -1)
	if err != nil {
		t.Fatal(err)
	}
	looked := 0
	writer := open(t, url, Options{batch: 3, before: func(what string) error {
		if in, err := follower.Invalidated(t.Context(), log.Last); err != nil || len(in.Tags) > 0 {
			t.Errorf("before %s: %v, %v", what, in.Tags, err)
		} else {
			looked++
		}
		return nil
	}})
	im, err := writer.BeginImport(t.Context(), store.ImportOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range after {
		if err := im.Add(t.Context(), r); err != nil {
			t.Fatal(err)
		}
	}
	ended := false
	writer.opts.before = func(old func(string) error) func(string) error {
		return func(what string) error {
			// The last thing that it writes is that it is over: the entry is there by then.
			if what == "lease" && looked > 5 {
				ended = true
				return nil
			}
			return old(what)
		}
	}(writer.opts.before)
	if _, err := im.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	if in, err := follower.Invalidated(t.Context(), log.Last); err != nil || len(in.Tags) == 0 || slices.Contains(in.Tags, store.Everything) || !ended {
		t.Errorf("after it: %v, %v", in.Tags, err)
	}
}

// Whoever asks first, all know a database by one name, and no two by the same.
func TestIdentity(t *testing.T) {
	url := mongotest.URL(t)
	names := map[string]int{}
	var mu sync.Mutex
	var all sync.WaitGroup
	for i := range 4 {
		st := open(t, []string{url, mongotest.URL(t)}[i/3], Options{})
		all.Go(func() {
			name, err := st.Identity(t.Context())
			if err != nil || len(name) < 20 {
				t.Errorf("%q, %v", name, err)
			}
			mu.Lock()
			names[name]++
			mu.Unlock()
		})
	}
	all.Wait()
	if len(names) != 2 {
		t.Errorf("the names of two databases: %v", names)
	}
}

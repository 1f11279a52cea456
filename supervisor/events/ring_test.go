package events

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"github.com/nekoctl/neko/supervisor/control"
)

// files are duplicates of what a ring is kept in, as the next master gets them.
func files(t testing.TB, of [2]*os.File) (copies [2]*os.File) {
	t.Helper()
	for i, f := range of {
		fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		copies[i] = os.NewFile(uintptr(fd), "events")
		t.Cleanup(func() { copies[i].Close() })
	}
	return copies
}

func kept(t testing.TB) (*Ring, [2]*os.File) {
	t.Helper()
	memory, err := Files()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range memory {
		t.Cleanup(func() { f.Close() })
	}
	r := New()
	if err := r.Keep(files(t, memory)); err != nil {
		t.Fatal(err)
	}
	return r, memory
}

func next(t testing.TB, memory [2]*os.File) *Ring {
	t.Helper()
	r := New()
	if err := r.Keep(files(t, memory)); err != nil {
		t.Fatal(err)
	}
	return r
}

func texts(list []control.Event) string {
	var all []string
	for _, e := range list {
		all = append(all, e.Message)
	}
	return strings.Join(all, " ")
}

func all(r *Ring, cursor int64) (list []control.Event, next int64, missed int64) {
	for {
		some, after, gone, more := r.Read(cursor)
		if gone != nil {
			missed += gone.Events
		}
		list, cursor = append(list, some...), after
		if more != nil {
			return list, cursor, missed
		}
	}
}

func TestAnEventThatIsHeldHoldsUpThoseAfterIt(t *testing.T) {
	r, _ := kept(t)
	begin := r.Last()
	r.Add(control.Event{Message: "a"}, "", false)
	held := r.Add(control.Event{Message: "b"}, "", true)
	r.Add(control.Event{Message: "c"}, "", false)
	list, cursor, _, more := r.Read(begin)
	if texts(list) != "a" || more != nil {
		t.Fatalf("%v", list)
	}
	list, cursor, _, more = r.Read(cursor)
	if len(list) > 0 || more == nil {
		t.Fatalf("%v", list)
	}
	r.Complete(held, func(e *control.Event) { e.Output = []string{"last words"} })
	<-more
	list, _, _, _ = r.Read(cursor)
	if texts(list) != "b c" || list[0].Output[0] != "last words" || list[0].ID != held {
		t.Fatalf("%+v", list)
	}
}

func TestWhatAMasterKnewTheNextOneKnows(t *testing.T) {
	r, memory := kept(t)
	begin := r.Last()
	r.Update(func(s *State) { s.Version, s.Cursors["hook"] = "v1", begin })
	r.Add(control.Event{Kind: control.EventCrash, Message: "a"}, "pid 1", false)
	held := r.Add(control.Event{Kind: control.EventCrash, Message: "b"}, "pid 2", true)
	r.Add(control.Event{Kind: "app.own", Message: "c"}, "", false)

	r = next(t, memory)
	if s := r.State(); s.Version != "v1" || s.Cursors["hook"] != begin || s.Events["crash"] != 2 || s.Events["app.*"] != 1 {
		t.Errorf("the state is %+v", s)
	}
	if list := r.Held(); len(list) != 1 || list[0].ID != held {
		t.Errorf("held: %+v", list)
	}
	if id := r.Add(control.Event{Message: "again"}, "pid 1", false); id != 0 {
		t.Error("what has been told is told again")
	}
	r.Complete(held, nil)
	if list, _, missed := all(r, begin); texts(list) != "a b c" || missed != 0 {
		t.Errorf("%v, missed %d", list, missed)
	}
	r = next(t, memory)
	if list, _, _ := all(r, begin); texts(list) != "a b c" || len(r.Held()) > 0 {
		t.Errorf("after the second: %v", list)
	}
}

func TestWhatWasBeingWrittenWhenAMasterWasKilledIsNotThere(t *testing.T) {
	r, memory := kept(t)
	begin := r.Last()
	r.Add(control.Event{Message: "a"}, "", false)
	if _, err := memory[0].WriteAt([]byte(`{"event":{"id":12`), r.store.offset); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		r = next(t, memory)
		if list, _, missed := all(r, begin); texts(list) != "a" || missed != 0 {
			t.Errorf("%v", list)
		}
	}
	r.Add(control.Event{Message: "b"}, "", false)
	if list, _, _ := all(next(t, memory), begin); texts(list) != "a b" {
		t.Errorf("%v", list)
	}
}

func TestAReaderOfAnotherDaemonIsToldSo(t *testing.T) {
	r, _ := kept(t)
	r.Add(control.Event{Message: "a"}, "", false)
	for _, cursor := range []int64{0, 17, r.Last() + 100000} {
		list, _, missed, _ := r.Read(cursor)
		if missed == nil || !missed.Restarted || texts(list) != "a" {
			t.Errorf("%d: %v, %+v", cursor, list, missed)
		}
	}
}

func TestTheLastEventsThatAreWanted(t *testing.T) {
	r, _ := kept(t)
	now := time.Now()
	for i, kind := range []control.Kind{"stop", "crash", "stop", "crash", "stop"} {
		r.Add(control.Event{Kind: kind, Message: fmt.Sprint(i), Time: now.Add(time.Duration(i) * time.Minute)}, "", false)
	}
	crashes := func(e *control.Event) bool { return e.Kind == control.EventCrash }
	for _, c := range []struct {
		n     int
		since time.Duration
		want  string
	}{{1, 0, "3 4"}, {2, 0, "1 2 3 4"}, {-1, 0, "1 2 3 4"}, {0, 0, ""}, {-1, 2 * time.Minute, "3 4"}, {-1, time.Hour, ""}} {
		list, _, _ := all(r, r.Before(c.n, now.Add(c.since), crashes))
		if texts(list) != c.want {
			t.Errorf("%+v: %v", c, texts(list))
		}
	}
}

// Whatever happens to readers and masters: a reader gets each event once and in order,
// or is told how many it has missed; and nothing takes more than it may.
func TestReadersGetEverythingOnceOrAreTold(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		small := bounds{40, 8 << 10, 16 << 10}
		memory, err := Files()
		if err != nil {
			rt.Fatal(err)
		}
		defer memory[0].Close()
		defer memory[1].Close()
		var mine [2]*os.File
		begin := func() *Ring {
			r := New()
			r.bounds = small
			for _, f := range mine { // the master before has ended
				f.Close()
			}
			mine = files(t, memory)
			if err := r.Keep(mine); err != nil {
				rt.Fatal(err)
			}
			return r
		}
		r := begin()
		type reader struct{ cursor, read int64 }
		readers := make([]reader, 3)
		for i := range readers {
			readers[i].cursor = r.Last()
		}
		first, added, crashes := r.Last(), int64(0), uint64(0)
		var held []int64
		long := strings.Repeat("x", 1000)
		add := func(n int, hold bool) {
			var output []string
			if rapid.Bool().Draw(rt, "long") {
				output = []string{long}
			}
			for range n {
				e := control.Event{Kind: control.EventCrash, Message: fmt.Sprint(added), Output: output}
				id := r.Add(e, "", hold)
				if added++; id != first+added {
					rt.Fatalf("the id of event %d is %d and not %d", added, id, first+added)
				}
				crashes++
				if hold {
					held = append(held, id)
				}
			}
		}
		rt.Repeat(map[string]func(*rapid.T){
			"add":  func(rt *rapid.T) { add(rapid.IntRange(1, 20).Draw(rt, "n"), false) },
			"hold": func(*rapid.T) { add(1, true) },
			"complete": func(rt *rapid.T) {
				if len(held) > 0 {
					r.Complete(held[0], nil)
					held = held[1:]
				}
			},
			"remember": func(rt *rapid.T) { // as hooks do, again and again
				for range rapid.IntRange(1, 30).Draw(rt, "n") {
					r.Update(func(s *State) { s.Cursors[long]++ })
				}
			},
			"master": func(rt *rapid.T) {
				before := r.list
				if r = begin(); len(r.list) != len(before) {
					rt.Fatalf("of %d events the next master has %d", len(before), len(r.list))
				}
			},
			"read": func(rt *rapid.T) {
				reader := &readers[rapid.IntRange(0, len(readers)-1).Draw(rt, "who")]
				list, cursor, missed, _ := r.Read(reader.cursor)
				if missed != nil {
					if missed.Restarted || missed.Events <= 0 {
						rt.Fatalf("missed %+v", missed)
					}
					reader.read += missed.Events
				}
				for _, e := range list {
					if e.Message != fmt.Sprint(reader.read) {
						rt.Fatalf("event %s came, and %d was to", e.Message, reader.read)
					}
					reader.read++
				}
				if reader.cursor = cursor; cursor != first+reader.read {
					rt.Fatalf("the cursor is %d after %d events", cursor, reader.read)
				}
			},
			"": func(rt *rapid.T) {
				if len(r.list) > small.events || r.bytes > small.bytesOf {
					rt.Fatalf("%d events, %d bytes", len(r.list), r.bytes)
				}
				for _, f := range memory {
					if info, err := f.Stat(); err != nil || info.Size() > int64(small.segment)+8<<10 {
						rt.Fatalf("a file has %d bytes, %v", info.Size(), err)
					}
				}
				if got := r.State().Events["crash"]; got != crashes {
					rt.Fatalf("%d crashes were counted, and %d were", got, crashes)
				}
				if r.Err() != nil {
					rt.Fatal(r.Err())
				}
			},
		})
	})
}

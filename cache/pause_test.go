package cache_test

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	. "github.com/nekoctl/neko/cache"
	"github.com/nekoctl/neko/cache/cachetest"
	"github.com/nekoctl/neko/hostmem"
)

// places are all at which a flight can be stopped: on its own way, in its fill, and before and
// after each of its calls to the shared store is done there.
var places = []string{
	"begin", "before Load", "after Load", "before Lock", "after Lock",
	"fill", "fill has read", "put", "land", "landed",
	"store", "before Store", "after Store", "before Unlock", "after Unlock",
}

// scene is a store with two workers on a host, each with its own mapping of the same file, and
// another host; and data, which fills read.
type scene struct {
	*hosts
	data atomic.Int64
	away atomic.Bool // the data are: fills fail

	place string
	armed atomic.Bool // while the flight begins that is to be held
	hit   bool
	held  chan struct{} // closed to go on
}

const (
	here    = iota // where the flight is that is held
	beside         // another worker of the same host
	another        // another host
)

func newScene(t *testing.T, place string, mappings []*hostmem.Mapping, reserves string) *scene {
	for i := range mappings[0].Generations() {
		mappings[0].Generations()[i].Store(0) // time begins again
	}
	s := &scene{hosts: &hosts{store: cachetest.NewStore()}, place: place, held: make(chan struct{})}
	for i := range 3 {
		o := Options{Shared: s.store.Open(), Bytes: MinBytes}
		if i != another {
			o.Memory = mappings[i]
		}
		if reserves != "" {
			o.Reserve = openReserve(t, reserves)
		}
		s.links = append(s.links, o.Shared.(*cachetest.Host))
		s.all = append(s.all, open(t, o))
	}
	s.data.Store(1)
	return s
}

// twice maps the same file, as two workers do.
func twice(t *testing.T) (all []*hostmem.Mapping) {
	dir := t.TempDir()
	for range 2 {
		m, err := hostmem.Open(dir, hostmem.MinBuckets)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := m.Close(); err != nil {
				t.Error(err)
			}
		})
		all = append(all, m)
	}
	return all
}

// at holds a flight, once, at the place that was chosen.
func (s *scene) at(place string) {
	if place == s.place && s.armed.CompareAndSwap(true, false) {
		s.hit = true
		<-s.held
	}
}

// hold has the next flight of the first worker held.
func (s *scene) hold() {
	SetPause(s.all[here], s.at)
	s.links[here].Hook(func(_ context.Context, c cachetest.Call) error {
		when := "before "
		if c.Done {
			when = "after "
		}
		s.at(when + c.Method)
		return nil
	})
}

// read is a fill which says what the data are.
func (s *scene) read(hooked bool) Fill {
	return func(context.Context) Filled {
		if hooked {
			s.at("fill")
		}
		b := strconv.AppendInt(nil, s.data.Load(), 10)
		if hooked {
			s.at("fill has read")
		}
		return Filled{Body: b, Keep: true, Failed: s.away.Load()}
	}
}

// asks has somebody ask, and says what he was told.
func (s *scene) asks(t *testing.T, who int, hooked bool) <-chan string {
	told := make(chan string, 1)
	if s.away.Load() {
		Evict(s.all[who])
	}
	go func() {
		served, err := s.all[who].Get(context.Background(), request(1, "T:1", "T:list"), s.read(hooked))
		if err != nil {
			t.Error(err)
			told <- ""
			return
		}
		told <- body(served)
	}()
	return told
}

// orders are those in which somebody changes the data and says so, while a flight is held.
var orders = []string{
	"all of it while the flight is held, and nobody asks",
	"all of it while the flight is held, which has lost the connection",
	"all of it while the flight is held",
	"the commit while it is held, the rest after it",
	"the commit while it is held, the rest at the same time",
	"all of it while it is held, without Redis",
}

func TestNoFillIsServedThatAnInvalidationHasOvertaken(t *testing.T) {
	befores := map[string]func(t *testing.T, s *scene){
		"nothing is cached": func(*testing.T, *scene) {},
		"it is in Redis": func(t *testing.T, s *scene) {
			<-s.asks(t, another, false)
			synctest.Wait()
		},
		"it is old here": func(t *testing.T, s *scene) {
			<-s.asks(t, here, false)
			synctest.Wait()
			time.Sleep(minute.MaxAge)
		},
		"it is old everywhere": func(t *testing.T, s *scene) {
			for who := range s.all {
				<-s.asks(t, who, false)
			}
			synctest.Wait()
			time.Sleep(minute.MaxAge + minute.StaleWhileRevalidate)
		},
	}
	places := append([]string{"nowhere"}, places...)
	hits := map[string]int{}
	mappings := twice(t)
	for name, before := range befores {
		for _, place := range places {
			for mutator := range 3 {
				for _, order := range orders {
					t.Run(fmt.Sprint(name, "/", place, "/", mutator, "/", order), func(t *testing.T) {
						synctest.Test(t, func(t *testing.T) {
							s := newScene(t, place, mappings, "")
							before(t, s)
							s.hold()
							s.armed.Store(true)
							first := s.asks(t, here, true)
							synctest.Wait()
							s.armed.Store(false)
							s.mutates(t, mutator, order)
							<-first // may be the one or the other: it was asked before
							synctest.Wait()
							if s.hit {
								hits[place]++
							}
						})
					})
				}
			}
		}
	}
	for _, place := range places[1:] {
		if hits[place] < 10 {
			t.Errorf("only %d flights were held at %q", hits[place], place)
		}
	}
}

// The same while fills fail, and what they have made before is in the reserve of each worker, and
// nowhere else: who asks after the change is told an error, which says what the data are.
func TestNothingIsServedFromReserveThatWasInvalidated(t *testing.T) {
	befores := map[string]func(s *scene){
		"it is fresh":            func(*scene) {},
		"it is old":              func(*scene) { time.Sleep(minute.MaxAge + minute.StaleWhileRevalidate) },
		"it is not confirmed":    func(s *scene) { s.links[here].Cut(); s.links[here].Mend() },
		"it was made for a time": func(*scene) { time.Sleep(DefaultUnconfirmedMaxAge) },
	}
	places := []string{
		"nowhere", "begin", "before Load", "after Load", "before Lock", "after Lock", "fill", "fill has read",
		"reserve", "reserve has read", "land", "landed", "before Unlock", "after Unlock",
	}
	hits, served := map[string]int{}, map[string]int{}
	mappings, dir := twice(t), t.TempDir()
	for name, before := range befores {
		for _, place := range places {
			for mutator := range 3 {
				for _, order := range orders {
					if name == "it is not confirmed" && place == "before Load" && mutator == another && order == "all of it while the flight is held" {
						// Held for so long Load fails. A host that hears nothing, and cannot ask, is one without Redis:
						// it cannot know.
						continue
					}
					t.Run(fmt.Sprint(name, "/", place, "/", mutator, "/", order), func(t *testing.T) {
						synctest.Test(t, func(t *testing.T) {
							s := newScene(t, place, mappings, dir)
							for who, c := range s.all {
								<-s.asks(t, who, false)
								Evict(c)
							}
							synctest.Wait()
							s.store.Damage(key(1), func([]byte) []byte { return nil })
							before(s)
							s.away.Store(true)
							s.hold()
							s.armed.Store(true)
							first := s.asks(t, here, true)
							synctest.Wait()
							s.armed.Store(false)
							s.mutates(t, mutator, order)
							<-first // may be the one or the other: it was asked before
							synctest.Wait()
							if s.hit {
								hits[place]++
							}
							if s.all[here].Stats().ReserveHits > 0 {
								served[place]++
							}
						})
					})
				}
			}
		}
	}
	for _, place := range places {
		if place != "nowhere" && hits[place] < 10 {
			t.Errorf("only %d flights were held at %q", hits[place], place)
		}
		if late := place == "nowhere" || place == "land" || place == "landed"; late && served[place] < 10 {
			t.Errorf("only %d were served from reserve when held at %q", served[place], place)
		}
	}
}

// mutates changes the data, and looks what everybody says who asks after that.
func (s *scene) mutates(t *testing.T, mutator int, order string) {
	invalidates := func() {
		err := s.all[mutator].Invalidate(context.Background(), "t:1", "other")
		if err != nil && !errors.Is(err, ErrLater) {
			t.Error(err)
		}
	}
	s.data.Store(2)
	switch order {
	case "all of it while the flight is held, and nobody asks":
		invalidates()
		s.goOn()
	case "all of it while the flight is held, which has lost the connection":
		s.links[here].Cut()
		s.links[here].Mend()
		invalidates()
		s.goOn()
	case "all of it while the flight is held":
		invalidates()
		// Whoever asks now may have to wait for the flight that is held, and must not be told
		// what it may have read before.
		var told []<-chan string
		for who := range s.all {
			told = append(told, s.asks(t, who, false))
		}
		time.Sleep(2 * LockTime)
		s.goOn()
		for who := range told {
			if text := <-told[who]; text != "2" {
				t.Errorf("who has asked worker %d while it was held was told %s", who, text)
			}
		}
	case "the commit while it is held, the rest after it":
		s.goOn()
		synctest.Wait()
		invalidates()
	case "the commit while it is held, the rest at the same time":
		done := make(chan struct{})
		s.links[mutator].Hook(func(_ context.Context, c cachetest.Call) error {
			if c.Method == "Invalidate" && !c.Done {
				s.goOn()
				synctest.Wait()
			}
			return nil
		})
		go func() {
			invalidates()
			close(done)
		}()
		<-done
	case "all of it while it is held, without Redis":
		s.links[mutator].Cut()
		invalidates()
		host := []int{here, beside}
		if mutator == another {
			host = []int{another}
		} else if s.hit {
			host = []int{beside} // the other one may have to wait for the flight that is held
		}
		s.allKnow(t, "without Redis", host...)
		s.goOn()
		synctest.Wait()
		if mutator != another {
			host = []int{here, beside}
		}
		s.allKnow(t, "without Redis, later", host...)
		s.links[mutator].Mend()
		time.Sleep(2 * MaxTellAgain)
	}
	synctest.Wait()
	s.allKnow(t, "afterwards", here, beside, another)
	time.Sleep(OwedFor)
	s.allKnow(t, "long afterwards", here, beside, another)
}

func (s *scene) goOn() {
	select {
	case <-s.held:
	default:
		close(s.held)
	}
}

func (s *scene) allKnow(t *testing.T, when string, who ...int) {
	t.Helper()
	for _, w := range who {
		if a, _ := s.all[w].Peek(key(1), time.Now().UnixMilli()); a != nil && string(a.Body) != "2" {
			t.Errorf("%s, worker %d has in memory %s", when, w, a.Body)
		}
		if told := <-s.asks(t, w, false); told != "2" {
			t.Errorf("%s, worker %d was told %s", when, w, told)
		}
	}
}

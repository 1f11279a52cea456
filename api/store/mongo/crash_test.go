package mongo

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/nekoctl/neko/api/store"
	"github.com/nekoctl/neko/api/store/mongo/mongotest"
)

var errDied = errors.New("died")

// mortal dies before its nth write: from then on it writes nothing.
type mortal struct {
	mu     sync.Mutex
	n      int
	writes []string
}

func (m *mortal) write(what string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.writes = append(m.writes, what)
	if m.n > 0 && len(m.writes) >= m.n {
		return errDied
	}
	return nil
}

func id(typ string, n int) string { return fmt.Sprintf("%s--00000000-0000-4000-8000-%012d", typ, n) }

func day(n int) time.Time { return time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC).AddDate(0, 0, n) }

func thing(k store.Kind, typ string, n, modified int, change func(*store.Object)) store.Record {
	o := &store.Object{ID: id(typ, n), Kind: k, Type: typ, Name: fmt.Sprintf("%s %d of %d", typ, n, modified), Created: day(0), Modified: day(modified),
		AttackID: fmt.Sprintf("%c%04d", typ[0]-32, n), Domains: []string{"ics-attack"}}
	if change != nil {
		change(o)
	}
	return store.Record{Object: o}
}

func gone(r store.Record, g store.Gone) store.Record {
	r.Gone = g
	return r
}

func link(e store.Edge, n, modified int, from, to string) store.Record {
	return store.Record{Link: &store.Relationship{Edge: e, Source: from, Target: to,
		Link: store.Link{ID: id("relationship", n), Description: fmt.Sprintf("relationship %d of %d", n, modified), Created: day(0), Modified: day(modified)}}}
}

func actor(n, modified int) store.Record {
	return thing(store.KindThreatActor, "intrusion-set", n, modified, nil)
}

func technique(n, modified int, phases ...string) store.Record {
	return thing(store.KindTechnique, "attack-pattern", n, modified, func(o *store.Object) { o.Phases = phases })
}

func campaign(n, modified, first, last int) store.Record {
	return thing(store.KindCampaign, "campaign", n, modified, func(o *store.Object) { o.FirstSeen, o.LastSeen = day(first), day(last) })
}

func tactic(n, modified int, phase string) store.Record {
	return thing(store.KindTactic, "x-mitre-tactic", n, modified, func(o *store.Object) {
		o.Phases = []string{phase}
		o.ShortName = phase[strings.Index(phase, "/")+1:]
	})
}

// Two versions of a bundle. Between them there are new objects, newer ones and some
// that go; relationships that come, go, get other ends and other texts, or find an
// end that was missing; a tactic that takes on another phase; and campaigns that
// change the dates of their actors.
var (
	before = []store.Record{
		tactic(1, 1, "mitre/in"), tactic(2, 1, "mitre/out"),
		technique(1, 1, "mitre/in"), technique(2, 1, "mitre/in", "mitre/out"), technique(3, 1, "mitre/other"), technique(4, 1),
		actor(1, 1), actor(2, 1), actor(3, 1),
		campaign(1, 1, 5, 6), campaign(2, 1, 1, 9),
		link(store.Uses, 1, 1, id("intrusion-set", 1), id("attack-pattern", 1)),
		link(store.Uses, 2, 1, id("intrusion-set", 1), id("attack-pattern", 2)),
		link(store.Uses, 3, 1, id("intrusion-set", 2), id("attack-pattern", 3)),
		link(store.Uses, 4, 1, id("intrusion-set", 2), id("attack-pattern", 9)), // not there yet
		link(store.Uses, 5, 1, id("intrusion-set", 9), id("attack-pattern", 1)), // nor this
		link(store.Uses, 6, 1, id("intrusion-set", 3), id("attack-pattern", 4)),
		link(store.AttributedTo, 7, 1, id("campaign", 1), id("intrusion-set", 1)),
		link(store.AttributedTo, 8, 1, id("campaign", 2), id("intrusion-set", 2)),
	}
	after = []store.Record{
		tactic(1, 2, "mitre/other"), gone(tactic(2, 2, "mitre/out"), store.Deprecated), tactic(3, 1, "mitre/in"),
		technique(1, 2, "mitre/in"), technique(2, 1, "mitre/in", "mitre/out"), gone(technique(4, 2), store.Revoked), technique(9, 1, "mitre/other"),
		actor(1, 2), actor(2, 1), gone(actor(3, 2), store.Revoked), actor(9, 1),
		campaign(1, 2, 3, 12), campaign(2, 1, 1, 9), campaign(3, 1, 2, 4),
		link(store.Uses, 1, 2, id("intrusion-set", 2), id("attack-pattern", 1)), // another source
		gone(link(store.Uses, 2, 2, id("intrusion-set", 1), id("attack-pattern", 2)), store.Revoked),
		link(store.Uses, 3, 2, id("intrusion-set", 2), id("attack-pattern", 2)), // another target
		link(store.Uses, 6, 1, id("intrusion-set", 3), id("attack-pattern", 4)),
		link(store.Uses, 10, 1, id("intrusion-set", 1), id("attack-pattern", 3)),
		link(store.Uses, 11, 3, id("intrusion-set", 1), id("attack-pattern", 3)), // the same two
		link(store.AttributedTo, 7, 1, id("campaign", 1), id("intrusion-set", 1)),
		link(store.AttributedTo, 8, 2, id("campaign", 2), id("intrusion-set", 1)), // of another actor
		link(store.AttributedTo, 9, 1, id("campaign", 3), id("intrusion-set", 2)),
	}
)

func load(ctx context.Context, st store.Store, opts store.ImportOptions, records ...store.Record) (store.Merged, error) {
	im, err := st.BeginImport(ctx, opts)
	if err != nil {
		return store.Merged{}, err
	}
	defer im.Abort()
	for _, r := range records {
		if err := im.Add(ctx, r); err != nil {
			return store.Merged{}, err
		}
	}
	return im.Commit(ctx)
}

func mustLoad(t testing.TB, st store.Store, records ...store.Record) store.Merged {
	t.Helper()
	m, err := load(t.Context(), st, store.ImportOptions{}, records...)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// dump gives all that queries see, as text.
func dump(t testing.TB, s *Store) string {
	t.Helper()
	return dumpOf[object](t, s, objectsName) + dumpOf[relation](t, s, relationsName) + dumpOf[claim](t, s, claimsName)
}

func dumpOf[T any](t testing.TB, s *Store, name string) string {
	t.Helper()
	cur, err := s.db.Collection(name).Find(t.Context(), bson.D{}, options.Find().SetSort(bson.D{{Key: "_id", Value: 1}}))
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	if err := walk(t.Context(), cur, func(d *T) error {
		// Empty and not there is the same.
		again, err := bson.Marshal(d)
		fmt.Fprintln(&b, name, bson.Raw(again))
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// whole sees to what no mix may show: half an object, or a relation to what is not
// served.
func whole(t *testing.T, s *Store, what string) {
	t.Helper()
	served := map[string]bool{}
	var parents []string
	for _, k := range store.Kinds {
		p, err := s.List(t.Context(), k, store.Query{First: 100, WantTotal: true})
		if err != nil {
			t.Fatal(err)
		}
		for _, i := range p.Items {
			o := i.Object
			served[o.ID] = true
			parents = append(parents, o.ID)
			if want := fmt.Sprintf("of %d", int(o.Modified.Sub(day(0))/(24*time.Hour))); !o.Local && !strings.HasSuffix(o.Name, want) {
				t.Errorf("%s: half an object: %s, modified %v", what, o.Name, o.Modified)
			}
		}
	}
	for _, rel := range []store.Relation{{Edge: store.Uses}, {Edge: store.Uses, Inverse: true}, {Edge: store.AttributedTo}, {Edge: store.AttributedTo, Inverse: true}, store.Tactics, store.InThisTactic, store.Indicated, store.Indicators, store.Sightings, store.Sighted} {
		pages, err := s.Related(t.Context(), rel, parents, store.Query{First: 100})
		if err != nil {
			t.Fatal(err)
		}
		for i, p := range pages {
			for _, it := range p.Items {
				if !served[it.Object.ID] {
					t.Errorf("%s: %v of %s leads to %s, which is not served", what, rel, parents[i], it.Object.ID)
				}
				if it.Link == nil {
					t.Errorf("%s: %v of %s to %s has no link", what, rel, parents[i], it.Object.ID)
				}
			}
		}
	}
}

// An import that dies before any of its writes leaves nothing that a rerun does not
// mend, however small its batches are; and what is seen meanwhile is whole.
func TestImportDiesAnywhere(t *testing.T) {
	url := mongotest.URL(t)
	clean := open(t, url, Options{batch: 3})
	mustLoad(t, clean, before...)
	was := dump(t, clean)
	mustLoad(t, clean, after...)
	want := dump(t, clean)
	if want == was {
		t.Fatal("nothing changes")
	}
	for n := 1; ; n++ {
		url := mongotest.URL(t)
		mustLoad(t, open(t, url, Options{}), before...)
		m := &mortal{n: n}
		dying := open(t, url, Options{batch: 3, before: m.write})
		log, err := dying.Invalidated(t.Context(), -1)
		if err != nil {
			t.Fatal(err)
		}
		_, err = load(t.Context(), dying, store.ImportOptions{}, after...)
		if err == nil {
			if in, err := dying.Invalidated(t.Context(), log.Last); err != nil || len(in.Tags) < 10 || slices.Contains(in.Tags, store.Everything) {
				t.Errorf("an import that went well has logged %v, %v", in.Tags, err)
			}
			if n < 20 {
				t.Errorf("only %d writes: %q", n, m.writes)
			}
			if got := dump(t, dying); got != want {
				t.Errorf("in batches of another size the outcome is another:\n%s", diff(got, want))
			}
			break
		}
		if !errors.Is(err, errDied) {
			t.Fatal(err)
		}
		at := fmt.Sprintf("dead before write %d, %s", n, m.writes[n-1])
		var partial *store.PartialError
		some := dump(t, dying) != was
		if some && !errors.As(err, &partial) {
			t.Errorf("%s: something is written, and the error does not say so: %v", at, err)
		}
		whole(t, dying, at)
		if o, err := dying.Get(t.Context(), store.KindTechnique, []string{id("attack-pattern", 9)}); err != nil || len(o) > 0 {
			pages, err := dying.Related(t.Context(), store.Tactics, []string{id("attack-pattern", 9)}, store.Query{First: 9})
			if err != nil || len(pages[0].Items) != 1 {
				t.Errorf("%s: a new technique has come without its tactic: %v, %v", at, pages, err)
			}
		}
		next := open(t, url, Options{lease: 20 * time.Millisecond})
		noted := some && m.writes[n-1] == "lease" // all was done but to say that it is over
		if some && n%2 == 0 && !noted {           // a worker sees that it has died; else the next import does
			toldAll(t, next, log.Last, at)
		}
		mustLoad(t, next, after...)
		if got := dump(t, next); got != want {
			t.Errorf("%s: after a rerun\n%s", at, diff(got, want))
		}
		if in, err := next.Invalidated(t.Context(), log.Last); some && (err != nil || len(in.Tags) < 10 && noted || !slices.Contains(in.Tags, store.Everything) && !noted) {
			t.Errorf("%s: after a rerun there is logged %v, %v", at, in.Tags, err)
		}
	}
}

// toldAll waits until the log says that everything may have changed.
func toldAll(t *testing.T, s *Store, after int64, what string) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		in, err := s.Invalidated(t.Context(), after)
		if err != nil {
			t.Fatal(err)
		}
		if slices.Contains(in.Tags, store.Everything) {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("%s: nobody has seen that it died: %v", what, in.Tags)
		}
	}
}

func diff(got, want string) string {
	g, w := strings.Split(got, "\n"), strings.Split(want, "\n")
	var out []string
	have := map[string]bool{}
	for _, l := range w {
		have[l] = true
	}
	for _, l := range g {
		if !have[l] {
			out = append(out, "+ "+l)
		}
		delete(have, l)
	}
	for _, l := range w {
		if have[l] {
			out = append(out, "- "+l)
		}
	}
	return strings.Join(out, "\n")
}

// The same for an import into an empty store: one that died half-way does not make
// it a store in use, for which the next one of its kind would do nothing.
func TestSeedingDiesAnywhere(t *testing.T) {
	clean := open(t, mongotest.URL(t), Options{})
	mustLoad(t, clean, before...)
	want := dump(t, clean)
	for n := 1; ; n++ {
		url := mongotest.URL(t)
		m := &mortal{n: n}
		_, err := load(t.Context(), open(t, url, Options{batch: 3, before: m.write}), store.ImportOptions{OnlyIfEmpty: true}, before...)
		if err == nil {
			break
		}
		next := open(t, url, Options{lease: 20 * time.Millisecond})
		sum, err := load(t.Context(), next, store.ImportOptions{OnlyIfEmpty: true}, before...)
		if err != nil {
			t.Fatal(err)
		}
		if got := dump(t, next); got != want {
			t.Errorf("dead before write %d, %s; then %+v\n%s", n, m.writes[n-1], sum, diff(got, want))
		}
		again, err := load(t.Context(), next, store.ImportOptions{OnlyIfEmpty: true}, after...)
		if err != nil || !again.Skipped {
			t.Errorf("loaded into a store in use: %+v, %v", again, err)
		}
	}
}

// A mutation that dies before any of its writes shows nothing or all, and the next
// one goes on as if it had ended at once or never begun.
func TestMutationDiesAnywhere(t *testing.T) {
	in := store.NewIndicator{Type: "domain-name", Value: "bad.example", Indicates: []string{id("intrusion-set", 1), id("attack-pattern", 1)}}
	yes := true
	for n := 1; ; n++ {
		url := mongotest.URL(t)
		st := open(t, url, Options{})
		mustLoad(t, st, actor(1, 1), technique(1, 1))
		m := &mortal{n: n}
		dying := open(t, url, Options{before: m.write})
		_, err := dying.CreateIndicator(t.Context(), in)
		at := fmt.Sprintf("dead before write %d, %s", n, m.writes[len(m.writes)-1])
		seen := func(what string, want int) *store.Object {
			p, err := st.List(t.Context(), store.KindIndicator, store.Query{First: 9, Filter: store.Filter{Active: &yes}})
			if err != nil {
				t.Fatal(err)
			}
			if len(p.Items) != want {
				t.Errorf("%s: %d indicators %s, want %d", at, len(p.Items), what, want)
			}
			whole(t, st, at)
			if len(p.Items) == 0 {
				return nil
			}
			o := p.Items[0].Object
			rel, err := st.Related(t.Context(), store.Indicated, []string{o.ID}, store.Query{First: 9})
			if err != nil || len(rel[0].Items) != 2 {
				t.Errorf("%s: indicates %d objects, %v", at, len(rel[0].Items), err)
			}
			return o
		}
		made := m.count("object") > 0 && m.writes[len(m.writes)-1] != "object"
		was := seen("at once", map[bool]int{true: 1}[made])
		if err == nil {
			break
		}
		_, err = st.CreateIndicator(t.Context(), in)
		if err != nil && !errors.Is(err, store.ErrConflict) {
			t.Errorf("%s: again: %v", at, err)
		}
		o := seen("after the next one", 1)
		var conflict *store.ConflictError
		if errors.As(err, &conflict) && (o == nil || o.ID != conflict.ID) {
			t.Errorf("%s: a conflict with %s, and there is %v", at, conflict.ID, o)
		}
		if was != nil && o != nil && was.ID != o.ID {
			t.Errorf("%s: it was %s and is %s", at, was.ID, o.ID)
		}
		if _, err := st.CreateIndicator(t.Context(), in); !errors.Is(err, store.ErrConflict) {
			t.Errorf("%s: a third time: %v", at, err)
		}
		if o == nil {
			continue
		}
		// Retired it makes room.
		if _, err := st.RetireIndicator(t.Context(), o.ID); err != nil {
			t.Error(err)
		}
		if _, err := st.CreateIndicator(t.Context(), in); err != nil {
			t.Errorf("%s: after it retired: %v", at, err)
		}
		if left := dump(t, st); strings.Contains(left, "\n"+claimsName) {
			t.Errorf("%s: a claim is left: %s", at, left)
		}
	}
	for n := 1; ; n++ {
		url := mongotest.URL(t)
		st := open(t, url, Options{})
		mustLoad(t, st, actor(1, 1))
		m := &mortal{n: n}
		_, err := open(t, url, Options{before: m.write}).ReportSighting(t.Context(), store.NewSighting{Of: id("intrusion-set", 1)})
		whole(t, st, fmt.Sprintf("a sighting that died before write %d", n))
		pages, e := st.Related(t.Context(), store.Sightings, []string{id("intrusion-set", 1)}, store.Query{First: 9, WantTotal: true})
		if e != nil || pages[0].Total != map[bool]int{true: 1}[err == nil] {
			t.Errorf("died before write %d: %d sightings, %v", n, pages[0].Total, e)
		}
		if err == nil {
			break
		}
	}
}

// One that is stopped in the midst of making an indicator keeps nobody waiting, and
// what it does when it goes on does no harm: whoever came meanwhile has made it for
// it.
func TestStoppedMaker(t *testing.T) {
	for _, at := range []string{"claim", "relations", "object", "release"} {
		url := mongotest.URL(t)
		mustLoad(t, open(t, url, Options{}), actor(1, 1))
		in := store.NewIndicator{Type: "domain-name", Value: "bad.example", Indicates: []string{id("intrusion-set", 1)}}
		reached, goOn := make(chan struct{}), make(chan struct{})
		slow := open(t, url, Options{before: func(what string) error {
			if what == at {
				close(reached)
				<-goOn
			}
			return nil
		}})
		type result struct {
			o   *store.Object
			err error
		}
		done := make(chan result, 1)
		go func() {
			o, err := slow.CreateIndicator(context.Background(), in)
			done <- result{o, err}
		}()
		<-reached
		st := open(t, url, Options{})
		o, err := st.CreateIndicator(t.Context(), in)
		close(goOn)
		r := <-done
		var conflict *store.ConflictError
		first := ""
		switch {
		case at == "claim" && err == nil && errors.As(r.err, &conflict) && conflict.ID == o.ID: // it had not begun
			first = o.ID
		case at != "claim" && r.err == nil && errors.As(err, &conflict) && conflict.ID == r.o.ID:
			first = r.o.ID
		default:
			t.Errorf("stopped before %s: %v, %v; who came meanwhile %v, %v", at, r.o, r.err, o, err)
		}
		yes := true
		p, err := st.List(t.Context(), store.KindIndicator, store.Query{First: 9, Filter: store.Filter{Active: &yes, Indicates: id("intrusion-set", 1)}})
		if err != nil || len(p.Items) != 1 || p.Items[0].Object.ID != first {
			t.Errorf("stopped before %s: %d indicators, %v", at, len(p.Items), err)
		}
	}
	// Fulfilled twice it is made once, and nobody is told of a conflict with himself.
	st := open(t, mongotest.URL(t), Options{})
	o, err := store.NewIndicator{Type: "domain-name", Value: "bad.example"}.Build(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := st.fulfil(t.Context(), &claim{ID: "x", Object: newObject(o)}); err != nil {
			t.Error(err)
		}
	}
}

func (m *mortal) count(what string) (n int) {
	for _, w := range m.writes {
		if w == what {
			n++
		}
	}
	return n
}

// Of many makers of one pattern, each stopped again and again between its writes,
// one makes it.
func TestOneOfManyMakers(t *testing.T) {
	url := mongotest.URL(t)
	yes := true
	for round := range 5 {
		in := store.NewIndicator{Type: "domain-name", Value: fmt.Sprintf("h%d.example", round)}
		var wg sync.WaitGroup
		var mu sync.Mutex
		made, conflicts := map[string]bool{}, map[string]bool{}
		for range 6 {
			// Each on a host of its own.
			st := open(t, url, Options{})
			wg.Go(func() {
				o, err := st.CreateIndicator(context.Background(), in)
				mu.Lock()
				defer mu.Unlock()
				var conflict *store.ConflictError
				switch {
				case err == nil:
					made[o.ID] = true
				case errors.As(err, &conflict):
					conflicts[conflict.ID] = true
				default:
					t.Error(err)
				}
			})
		}
		wg.Wait()
		p, err := open(t, url, Options{}).List(t.Context(), store.KindIndicator, store.Query{First: 9, Filter: store.Filter{Value: in.Value, Active: &yes}})
		if err != nil || len(p.Items) != 1 || len(made) != 1 || !made[p.Items[0].Object.ID] || len(conflicts) != 1 || !conflicts[p.Items[0].Object.ID] {
			t.Errorf("%d there, made %v, conflicts with %v; %v", len(p.Items), made, conflicts, err)
		}
	}
}

// Imports at once wait for each other, and whoever is first, the outcome is that of
// one after the other; one that is silent is waited for no longer than its lease.
func TestImportsAtOnce(t *testing.T) {
	clean := open(t, mongotest.URL(t), Options{})
	mustLoad(t, clean, before...)
	mustLoad(t, clean, after...)
	want := dump(t, clean)
	url := mongotest.URL(t)
	var wg sync.WaitGroup
	for i := range 4 {
		st := open(t, url, Options{batch: 2})
		wg.Go(func() {
			records := before
			if i%2 == 0 {
				records = after
			}
			if _, err := load(context.Background(), st, store.ImportOptions{}, records...); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	st := open(t, url, Options{})
	if got := dump(t, st); got != want {
		t.Errorf("%s", diff(got, want))
	}
	l, err := st.latest(t.Context())
	if err != nil || l.N != 4 || !l.Done {
		t.Errorf("the last import: %+v, %v", l, err)
	}
}

// An import that was silent for longer than its lease finds out, and stops.
func TestLostLease(t *testing.T) {
	url := mongotest.URL(t)
	st := open(t, url, Options{lease: 40 * time.Millisecond})
	l, err := st.acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := l.beat(t.Context()); err != nil {
		t.Error("it is ours:", err)
	}
	// Others wait as long as it gives signs of life.
	patient := open(t, url, Options{lease: time.Hour})
	soon, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if o, err := patient.acquire(soon); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("did not wait: %+v, %v", o, err)
	}
	other, err := open(t, url, Options{lease: 40 * time.Millisecond}).acquire(t.Context()) // after a while
	if err != nil || other.N != l.N+1 {
		t.Fatalf("%+v, %v", other, err)
	}
	l.last = time.Time{}
	if err := l.beat(t.Context()); !errors.Is(err, errLost) {
		t.Errorf("it is not ours any more: %v", err)
	}
	// One that is on record as done is not waited for.
	if err := other.end(t.Context(), false); err != nil {
		t.Error(err)
	}
	began := time.Now()
	if _, err := open(t, url, Options{lease: time.Hour}).acquire(t.Context()); err != nil || time.Since(began) > time.Minute {
		t.Errorf("%v after %v", err, time.Since(began))
	}
}

package mongo

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/nekoctl/neko/api/store"
	"github.com/nekoctl/neko/api/store/mongo/mongotest"
)

// A server that stands still, dies and comes back: each call ends with its context,
// those after it was found out are told that the store is not available, and when
// it is back they are answered. Nothing is left running.
func TestServerComesAndGoes(t *testing.T) {
	if mongotest.Real() {
		t.Skip("this server is not ours to stop")
	}
	server := mongotest.Start(t)
	// What the test itself runs, and the server's pipes.
	leaked := goleak.IgnoreCurrent()
	st, err := Open(t.Context(), server.URL("neko")+"?serverSelectionTimeoutMS=300&connectTimeoutMS=300&heartbeatFrequencyMS=500", Options{})
	if err != nil {
		t.Fatal(err)
	}
	mustLoad(t, st, before...)

	list := func(ctx context.Context) error {
		_, err := st.List(ctx, store.KindThreatActor, store.Query{First: 5, WantTotal: true})
		return err
	}
	calls := map[string]func(ctx context.Context) error{
		"List": list,
		"Get": func(ctx context.Context) error {
			_, err := st.Get(ctx, store.KindAny, []string{id("intrusion-set", 1)})
			return err
		},
		"Related": func(ctx context.Context) error {
			_, err := st.Related(ctx, store.UsedByActors, []string{id("attack-pattern", 1), id("attack-pattern", 2)}, store.Query{First: 5, WantTotal: true})
			return err
		},
		"Counts": func(ctx context.Context) error { _, err := st.Counts(ctx, store.ActorsByTechnique); return err },
		"Ping":   st.Ping,
		"UserByName": func(ctx context.Context) error {
			_, err := st.UserByName(ctx, "nobody")
			if errors.Is(err, store.ErrNotFound) {
				err = nil
			}
			return err
		},
		"RotateSession": func(ctx context.Context) error {
			_, err := st.RotateSession(ctx, store.Rotation{ID: "none"})
			return err
		},
		"ChangeUser": func(ctx context.Context) error {
			_, err := st.ChangeUser(ctx, "nobody", store.UserChange{})
			if errors.Is(err, store.ErrNotFound) {
				err = nil
			}
			return err
		},
		"CreateIndicator": func(ctx context.Context) error {
			_, err := st.CreateIndicator(ctx, store.NewIndicator{Type: "domain-name", Value: "a.example"})
			if errors.Is(err, store.ErrConflict) {
				err = nil
			}
			return err
		},
		"ReportSighting": func(ctx context.Context) error {
			_, err := st.ReportSighting(ctx, store.NewSighting{Of: id("intrusion-set", 1)})
			return err
		},
		"Import": func(ctx context.Context) error { _, err := load(ctx, st, store.ImportOptions{}, after...); return err },
	}
	const patience = 400 * time.Millisecond
	each := func(when string, check func(name string, err error, took time.Duration)) {
		t.Helper()
		var wg sync.WaitGroup
		for name, call := range calls {
			wg.Go(func() {
				ctx, cancel := context.WithTimeout(context.Background(), patience)
				defer cancel()
				began := time.Now()
				err := call(ctx)
				check(when+": "+name, err, time.Since(began))
			})
		}
		wg.Wait()
	}
	gone := func(name string, err error, took time.Duration) {
		if !errors.Is(err, store.ErrUnavailable) && !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s: %v", name, err)
		}
		if took > patience+4*time.Second { // of a busy machine; the driver by itself takes five
			t.Errorf("%s took %v", name, took)
		}
	}
	back := func(when string) {
		t.Helper()
		for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(20 * time.Millisecond) {
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
			err := list(ctx)
			cancel()
			if err == nil {
				return
			}
			if time.Now().After(deadline) {
				t.Fatal(when, "it does not come back: ", err)
			}
		}
	}

	server.Stop(t)
	each("it stands still", gone)
	each("it still does", gone)
	server.Continue(t)
	back("after it stood still")

	// Killed under calls that are under way.
	var stop atomic.Bool
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for !stop.Load() {
				ctx, cancel := context.WithTimeout(context.Background(), patience)
				if err := list(ctx); err != nil && !errors.Is(err, store.ErrUnavailable) && !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("while it dies: %v", err)
				}
				cancel()
			}
		})
	}
	server.Kill()
	each("it is dead", gone)
	// Without a deadline the driver's own patience counts.
	if err := list(context.Background()); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("dead, and the caller has time: %v", err)
	}
	server.Restart(t)
	back("after it died")
	stop.Store(true)
	wg.Wait()
	if p, err := st.List(t.Context(), store.KindThreatActor, store.Query{First: 9}); err != nil || len(p.Items) == 0 {
		t.Errorf("after all: %d actors, %v", len(p.Items), err)
	}

	if err := st.Close(); err != nil {
		t.Error(err)
	}
	for name, call := range calls {
		if err := call(context.Background()); !errors.Is(err, store.ErrUnavailable) {
			t.Errorf("closed: %s: %v", name, err)
		}
	}
	server.Kill()
	goleak.VerifyNone(t, leaked)
}

// A caller who has gone gets his context's error.
func TestCallerGone(t *testing.T) {
	st := open(t, mongotest.URL(t), Options{})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := st.List(ctx, store.KindTactic, store.Query{First: 1}); !errors.Is(err, context.Canceled) || errors.Is(err, store.ErrUnavailable) {
		t.Error(err)
	}
	if _, err := load(ctx, st, store.ImportOptions{}, before...); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

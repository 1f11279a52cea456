package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	graphql "github.com/graph-gophers/graphql-go"

	"github.com/nekoctl/neko/api/store"
)

// What the store says about its own troubles is for logs only.
func TestStoreErrorsHaveStableCodes(t *testing.T) {
	secret := "SELECT doc FROM objects -- /var/lib/neko/api.db"
	for _, c := range []struct {
		err  error
		want string // the error as clients get it, without its path
	}{
		{errors.New(secret), `{"message":"internal error","extensions":{"code":"INTERNAL"}}`},
		{fmt.Errorf("%s: %w", secret, store.ErrUnavailable), `{"message":"the store does not answer at the moment","extensions":{"code":"UNAVAILABLE"}}`},
		{fmt.Errorf("%s: %w", secret, againIn(1200*time.Millisecond)), `{"message":"the store does not answer at the moment","extensions":{"code":"UNAVAILABLE","retryAfter":2}}`},
		{fmt.Errorf("%s: %w", secret, againIn(0)), `{"message":"the store does not answer at the moment","extensions":{"code":"UNAVAILABLE"}}`},
		{fmt.Errorf("%s: %w", secret, context.DeadlineExceeded), `{"message":"the operation took too long and was given up","extensions":{"code":"UNAVAILABLE"}}`},
		{fmt.Errorf("%s: %w", secret, context.Canceled), `{"message":"the operation took too long and was given up","extensions":{"code":"UNAVAILABLE"}}`},
		{fmt.Errorf("%s: %w", secret, store.ErrCursor), `{"message":"after is no cursor of this list: it must come from a page of the same list in the same order","extensions":{"code":"BAD_USER_INPUT","field":"after"}}`},
		{&store.InvalidError{Field: "filter.tactic", Reason: "makes no sense"}, `{"message":"filter.tactic: makes no sense","extensions":{"code":"BAD_USER_INPUT","field":"filter.tactic"}}`},
	} {
		for _, query := range []string{`{ techniques { nodes { name } } }`, `{ threatActor(id: "G0034") { name } }`} {
			f := &fakeStore{err: c.err}
			res := schemaOn(t, f).Exec(t.Context(), query, "", nil)
			if len(res.Errors) != 1 {
				t.Fatalf("%v: %v", c.err, res.Errors)
			}
			if !errors.Is(res.Errors[0], c.err) {
				t.Errorf("%v: the cause is lost to the logs", c.err)
			}
			res.Errors[0].Path = nil
			got, err := json.Marshal(res.Errors[0])
			if err != nil {
				t.Fatal(err)
			}
			if string(got) != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
		}
	}
}

// againIn is a store that is known to be away.
type againIn time.Duration

func (againIn) Error() string               { return "it is away" }
func (againIn) Is(target error) bool        { return target == store.ErrUnavailable }
func (d againIn) RetryAfter() time.Duration { return time.Duration(d) }

// An error in a relation is told at each place that misses it, and at no other.
func TestErrorsOfSiblings(t *testing.T) {
	f := &fakeStore{}
	f.fault = func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		if strings.HasPrefix(f.calls[len(f.calls)-1], "related") {
			f.err = store.ErrUnavailable
		}
	}
	res := schemaOn(t, f).Exec(t.Context(), `{ threatActors(first: 3) { nodes { name parent: techniques { nodes { name } } } } }`, "", nil)
	if len(res.Errors) != 3 {
		t.Fatalf("%d errors: %v", len(res.Errors), res.Errors)
	}
	for _, e := range res.Errors {
		if e.Extensions["code"] != "UNAVAILABLE" {
			t.Errorf("%v", e)
		}
	}
	if len(f.calls) != 2 {
		t.Errorf("the store was asked again: %q", f.calls)
	}
}

// panicLog is a logger for graph-gophers.
type panicLog struct {
	mu     sync.Mutex
	panics []any
}

func (l *panicLog) LogPanic(_ context.Context, value any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.panics = append(l.panics, value)
}

func TestPanicsAreInternalErrors(t *testing.T) {
	log := &panicLog{}
	f := &fakeStore{fault: func() { panic("secret") }}
	res := schemaOn(t, f, graphql.Logger(log)).Exec(t.Context(), `{ techniques { nodes { name } } }`, "", nil)
	got, err := json.Marshal(res)
	if err != nil {
		t.Fatal(err)
	}
	if want := `{"errors":[{"message":"internal error","path":["techniques"],"extensions":{"code":"INTERNAL"}}],"data":null}`; string(got) != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if len(log.panics) != 1 || log.panics[0] != "secret" {
		t.Errorf("logged: %v", log.panics)
	}
}

// Every sibling of one that panicked gets an error, none hangs.
func TestPanicsReachAllSiblings(t *testing.T) {
	f := &fakeStore{}
	f.fault = func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		if strings.HasPrefix(f.calls[len(f.calls)-1], "related") {
			panic("secret")
		}
	}
	res := schemaOn(t, f, graphql.Logger(&panicLog{})).Exec(t.Context(), `{ threatActors(first: 30) { nodes { techniques { nodes { name } } } } }`, "", nil)
	if len(res.Errors) != 30 {
		t.Fatalf("%d errors", len(res.Errors))
	}
	for _, e := range res.Errors {
		if e.Extensions["code"] != "INTERNAL" || strings.Contains(e.Message, "secret") {
			t.Errorf("%v", e)
		}
	}
}

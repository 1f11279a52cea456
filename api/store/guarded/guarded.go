// Package guarded is a store behind circuit breakers: who asks is told within their timeout, and
// at once while the store is known to be away.
package guarded

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nekoctl/neko/api/store"
	"github.com/nekoctl/neko/breaker"
	"github.com/nekoctl/neko/tracing"
)

// Database is a store with the users and keys beside its content, and the log of what has changed it.
type Database interface {
	store.Store
	store.Accounts
	store.Changelog
}

// Store is a [Database] that is called through two policies, one for what reads and one for
// what changes something: a store that cannot be written may well be read.
//
// Reads are tried again, if there is the time, and changes are not. What the breakers and
// their timeouts refuse is [store.ErrUnavailable], and has a method RetryAfter() time.Duration. A change
// that has timed out may have been made.
//
// An import goes to the store directly. It takes as long as it takes, and nobody
// waits for its answer but who has begun it.
type Store struct {
	db             Database
	reads, changes *breaker.Policy
	system         string // as spans call it
}

var _ Database = (*Store)(nil)

// New puts policies before a database, whose IsFailure should be [IsFailure]. They may be one
// and the same. Close closes only the database.
func New(db Database, reads, changes *breaker.Policy) *Store {
	s := &Store{db, reads, changes, "other_sql"}
	if named, ok := db.(interface{ System() string }); ok {
		s.system = named.System()
	}
	return s
}

// IsFailure says of an error whether the store is not well. What it has not found, or does not
// take, is an answer; and so is a fault of the program, which it may have for one
// question only.
func IsFailure(err error) bool {
	return errors.Is(err, store.ErrUnavailable) || errors.Is(err, context.DeadlineExceeded)
}

// unavailable is a call that was not made, or given up.
type unavailable struct{ err error }

func (e *unavailable) Error() string { return fmt.Sprintf("%v: %v", store.ErrUnavailable, e.err) }

func (e *unavailable) Is(target error) bool {
	return target == store.ErrUnavailable ||
		target == store.ErrNotMade && (errors.Is(e.err, breaker.ErrOpen) || errors.Is(e.err, breaker.ErrBusy))
}

func (e *unavailable) Unwrap() error { return e.err }

// RetryAfter is when the store is asked again, 0 if that is not known.
func (e *unavailable) RetryAfter() time.Duration {
	var open *breaker.OpenError
	if errors.As(e.err, &open) {
		return open.RetryAfter()
	}
	return 0
}

// call is one as spans have it: what is done, and of what.
type call struct{ operation, collection string }

func ask[T any](ctx context.Context, s *Store, p *breaker.Policy, k breaker.Kind, c call, f func(context.Context) (T, error)) (T, error) {
	ctx, span := tracing.Call(ctx, s.system, c.operation, c.collection)
	v, err := breaker.Do(ctx, p, k, f)
	if span.Recording() {
		tracing.Guarded(span, p, err)
		if err != nil && IsFailure(err) {
			span.Fail("UNAVAILABLE")
		}
		span.End()
	}
	if err != nil && (errors.Is(err, breaker.ErrOpen) || errors.Is(err, breaker.ErrBusy) || errors.Is(err, breaker.ErrTimeout)) {
		err = &unavailable{err}
	}
	return v, err
}

func read[T any](ctx context.Context, s *Store, c call, f func(context.Context) (T, error)) (T, error) {
	return ask(ctx, s, s.reads, breaker.Idempotent, c, f)
}

func change[T any](ctx context.Context, s *Store, c call, f func(context.Context) (T, error)) (T, error) {
	return ask(ctx, s, s.changes, breaker.Once, c, f)
}

// do is a change that answers with nothing.
func (s *Store) do(ctx context.Context, c call, f func(context.Context) error) error {
	_, err := change(ctx, s, c, func(ctx context.Context) (struct{}, error) { return struct{}{}, f(ctx) })
	return err
}

// Get implements [store.Store].
func (s *Store) Get(ctx context.Context, kind store.Kind, keys []string) (map[string]*store.Object, error) {
	return read(ctx, s, call{"Get", string(kind)}, func(ctx context.Context) (map[string]*store.Object, error) { return s.db.Get(ctx, kind, keys) })
}

// List implements [store.Store].
func (s *Store) List(ctx context.Context, kind store.Kind, q store.Query) (store.Page, error) {
	return read(ctx, s, call{"List", string(kind)}, func(ctx context.Context) (store.Page, error) { return s.db.List(ctx, kind, q) })
}

// Related implements [store.Store].
func (s *Store) Related(ctx context.Context, rel store.Relation, parents []string, q store.Query) ([]store.Page, error) {
	return read(ctx, s, call{"Related", string(rel.To)}, func(ctx context.Context) ([]store.Page, error) { return s.db.Related(ctx, rel, parents, q) })
}

// Counts implements [store.Store].
func (s *Store) Counts(ctx context.Context, g store.Group) ([]store.Count, error) {
	return read(ctx, s, call{"Counts", string(g)}, func(ctx context.Context) ([]store.Count, error) { return s.db.Counts(ctx, g) })
}

// CreateIndicator implements [store.Store].
func (s *Store) CreateIndicator(ctx context.Context, in store.NewIndicator) (*store.Object, error) {
	return change(ctx, s, call{"CreateIndicator", "indicator"}, func(ctx context.Context) (*store.Object, error) { return s.db.CreateIndicator(ctx, in) })
}

// RetireIndicator implements [store.Store].
func (s *Store) RetireIndicator(ctx context.Context, key string) (*store.Object, error) {
	return change(ctx, s, call{"RetireIndicator", "indicator"}, func(ctx context.Context) (*store.Object, error) { return s.db.RetireIndicator(ctx, key) })
}

// ReportSighting implements [store.Store].
func (s *Store) ReportSighting(ctx context.Context, in store.NewSighting) (*store.Object, error) {
	return change(ctx, s, call{"ReportSighting", "sighting"}, func(ctx context.Context) (*store.Object, error) { return s.db.ReportSighting(ctx, in) })
}

// BeginImport implements [store.Store], without a policy.
func (s *Store) BeginImport(ctx context.Context, opts store.ImportOptions) (store.Import, error) {
	return s.db.BeginImport(ctx, opts)
}

// Ping implements [store.Store]. It is a call like others: while the breaker is open it fails at
// once, and when it is to be tried it is the trial.
func (s *Store) Ping(ctx context.Context) error {
	_, err := read(ctx, s, call{"Ping", ""}, func(ctx context.Context) (struct{}, error) { return struct{}{}, s.db.Ping(ctx) })
	return err
}

// Close implements [store.Store].
func (s *Store) Close() error { return s.db.Close() }

// Invalidate implements [store.Changelog].
func (s *Store) Invalidate(ctx context.Context, tags ...string) error {
	return s.do(ctx, call{"Invalidate", "changelog"}, func(ctx context.Context) error { return s.db.Invalidate(ctx, tags...) })
}

// Invalidated implements [store.Changelog], without a policy: who follows the log goes on asking.
func (s *Store) Invalidated(ctx context.Context, after int64) (store.Invalidated, error) {
	return s.db.Invalidated(ctx, after)
}

package sqlite

import (
	"context"
	"errors"
	"path/filepath"
	"testing"
	"time"

	"github.com/nekoctl/neko/api/store"
)

// What may be over later is ErrUnavailable, and what the caller did not wait for
// the context's error.
func TestErrors(t *testing.T) {
	report := func(ctx context.Context, s *Store) error {
		_, err := s.ReportSighting(ctx, store.NewSighting{Of: thing(1).ID})
		return err
	}
	read := func(ctx context.Context, s *Store) error {
		_, err := s.List(ctx, store.KindTechnique, store.Query{First: 1})
		return err
	}
	for _, c := range []struct {
		what  string
		spoil func(t *testing.T, s *Store) context.Context
		call  func(ctx context.Context, s *Store) error
		want  error
	}{
		{"a lock that somebody keeps", lock, report, store.ErrUnavailable},
		{"a lock for longer than the caller waits", func(t *testing.T, s *Store) context.Context {
			lock(t, s)
			ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
			t.Cleanup(cancel)
			return ctx
		}, report, context.DeadlineExceeded},
		{"a lock does not matter to who reads", lock, read, nil},
		{"a full disk", func(t *testing.T, s *Store) context.Context {
			run(t, s, "PRAGMA max_page_count = 1") // it is what there is, if that is more
			return t.Context()
		}, func(ctx context.Context, s *Store) (err error) {
			for i := 0; i < 1000 && err == nil; i++ {
				err = report(ctx, s)
			}
			return err
		}, store.ErrUnavailable},
		{"a file that may not be written any more", func(t *testing.T, s *Store) context.Context {
			run(t, s, "PRAGMA query_only = 1")
			return t.Context()
		}, report, store.ErrUnavailable},
		{"a closed store, to who writes", closed, report, store.ErrUnavailable},
		{"to who reads", closed, read, store.ErrUnavailable},
		{"to who asks how it is", closed, func(ctx context.Context, s *Store) error { return s.Ping(ctx) }, store.ErrUnavailable},
		{"a caller who has gone", func(t *testing.T, _ *Store) context.Context {
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			return ctx
		}, read, context.Canceled},
	} {
		t.Run(c.what, func(t *testing.T) {
			t.Parallel()
			s, err := Open(t.Context(), filepath.Join(t.TempDir(), "api.db"), Options{})
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			im, err := s.BeginImport(t.Context(), store.ImportOptions{})
			if err != nil {
				t.Fatal(err)
			}
			if err := im.Add(t.Context(), store.Record{Object: thing(1)}); err != nil {
				t.Fatal(err)
			}
			if _, err := im.Commit(t.Context()); err != nil {
				t.Fatal(err)
			}
			if err := c.call(c.spoil(t, s), s); !errors.Is(err, c.want) {
				t.Errorf("%v, want %v", err, c.want)
			}
		})
	}
}

// lock has somebody else write for as long as the test runs.
func lock(t *testing.T, s *Store) context.Context {
	run(t, s, "PRAGMA busy_timeout = 20")
	other, err := Open(t.Context(), s.path, Options{})
	if err != nil {
		t.Fatal(err)
	}
	tx, err := other.wr.Begin()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		tx.Rollback()
		other.Close()
	})
	return t.Context()
}

func closed(t *testing.T, s *Store) context.Context {
	s.Close()
	return t.Context()
}

func run(t *testing.T, s *Store, pragma string) {
	if _, err := s.wr.Exec(pragma); err != nil {
		t.Fatal(err)
	}
}

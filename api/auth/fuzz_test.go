package auth

import (
	"errors"
	"path/filepath"
	"testing"

	"github.com/nekoctl/neko/api/store/sqlite"
	"github.com/nekoctl/neko/worker"
)

// Whatever stands in the headers, or where a refresh token should be, is refused
// and does no harm.
func FuzzCredentials(f *testing.F) {
	st, err := sqlite.Open(f.Context(), filepath.Join(f.TempDir(), "api.db"), sqlite.Options{})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { st.Close() })
	s, err := New(f.Context(), st, Options{Secret: secret})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(s.Close)
	for _, text := range []string{"", "Bearer ", "Bearer a.b.c", "Bearer eyJhbGciOiJub25lIn0.e30.", "bearer neko_0123456789abcdefghijklmn_x", "nekor__", "neko_", "Basic eA=="} {
		f.Add(text, "")
		f.Add("", text)
	}
	f.Fuzz(func(t *testing.T, authorization, key string) {
		if authorization == "" && key == "" {
			return
		}
		id, err := s.Identify(t.Context(), worker.Credentials{Authorization: authorization, APIKey: key})
		var e *worker.Error
		if id.Subject != "" || !errors.As(err, &e) {
			t.Errorf("%+v, %v", id, err)
		}
		for _, text := range []string{authorization, key} {
			if _, err := s.Refresh(t.Context(), text); !errors.Is(err, ErrCredentials) {
				t.Errorf("%q: %v", text, err)
			}
			if _, _, _, err := parse(text); err == nil {
				t.Errorf("%q is a hash", text)
			}
		}
	})
}

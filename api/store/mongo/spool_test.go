package mongo

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// What is added comes out in its order, as often as is asked for, in batches that are
// bounded in number and in bytes; and no file has a name.
func TestSpool(t *testing.T) {
	type doc struct {
		N    int
		Text string
	}
	dir := t.TempDir()
	t.Setenv("TMPDIR", dir)
	for _, c := range []struct {
		name           string
		n, size, batch int
		file           bool
		largest        int // of the batches
	}{
		{"nothing", 0, 0, 10, false, 0},
		{"few", 25, 10, 10, false, 10},
		{"many", 300, 100 << 10, 7, true, 7},
		{"large ones", 12, 5 << 20, 500, true, 4},
	} {
		t.Run(c.name, func(t *testing.T) {
			var s spool
			defer s.close()
			for i := range c.n {
				if err := s.add(&doc{i, strings.Repeat("x", c.size)}); err != nil {
					t.Fatal(err)
				}
			}
			if (s.file != nil) != c.file {
				t.Errorf("in a file: %v", s.file != nil)
			}
			if files, _ := filepath.Glob(filepath.Join(dir, "*")); len(files) > 0 {
				t.Errorf("files: %v", files)
			}
			for range 2 {
				next, largest := 0, 0
				err := batches(&s, c.batch, func(d *doc) bool { return d.N%5 != 3 }, func(some []*doc) error {
					largest = max(largest, len(some))
					for _, d := range some {
						if next%5 == 3 {
							next++
						}
						if d.N != next || len(d.Text) != c.size {
							t.Fatalf("%d of %d bytes, want %d", d.N, len(d.Text), next)
						}
						next++
					}
					return nil
				})
				if err != nil || next < c.n-1 || largest != c.largest {
					t.Errorf("%d of %d, batches of %d, %v", next, c.n, largest, err)
				}
			}
			if c.n > 0 {
				stop := errors.New("stop")
				if err := batches(&s, 1, nil, func([]*doc) error { return stop }); err != stop {
					t.Error(err)
				}
			}
		})
	}
	t.Setenv("TMPDIR", filepath.Join(dir, "none"))
	var s spool
	if err := s.add(&doc{0, strings.Repeat("x", inMemory+1)}); !errors.Is(err, os.ErrNotExist) {
		t.Error("no folder for it:", err)
	}
}

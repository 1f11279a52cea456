package stix

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nekoctl/neko/api/stix/stixtest"
	"github.com/nekoctl/neko/api/store"
	"github.com/nekoctl/neko/api/store/sqlite"
)

// The test binary is also the importing process: NEKO_TEST_IMPORT names store and
// bundle.
func TestMain(m *testing.M) {
	if arg := os.Getenv("NEKO_TEST_IMPORT"); arg != "" {
		if err := importProcess(arg); err != nil {
			fmt.Fprintln(os.Stderr, "error:", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func importProcess(arg string) error {
	path, file, _ := strings.Cut(arg, "|")
	st, err := sqlite.Open(context.Background(), path, sqlite.Options{})
	if err != nil {
		return err
	}
	defer st.Close()
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	sum, err := Import(context.Background(), st, f, Options{})
	if err != nil {
		return err
	}
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return err
	}
	_, hwm, _ := strings.Cut(string(status), "VmHWM:")
	fmt.Println(sum.Took.Milliseconds(), sum.Blocked.Milliseconds(), strings.Fields(hwm)[0], sum.Objects)
	return nil
}

// TestLarge imports a bundle of the size of ATT&CK for Enterprise, in a process of
// its own while this one reads: readers have no error, never wait for long, and
// see nothing or all of it.
func TestLarge(t *testing.T) {
	size := stixtest.Enterprise
	if underRace {
		size /= 25 // SQLite under the race detector: no figure to hold, only the reading
	}
	dir := t.TempDir()
	bundle, path := filepath.Join(dir, "large.json"), filepath.Join(dir, "neko.db")
	f, err := os.Create(bundle)
	if err != nil {
		t.Fatal(err)
	}
	if err := stixtest.Write(f, size); err != nil {
		t.Fatal(err)
	}
	written, _ := f.Seek(0, io.SeekCurrent)
	f.Close()

	st, err := sqlite.Open(t.Context(), path, sqlite.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	var stop atomic.Bool
	type result struct {
		reads   int
		slowest time.Duration
		counts  map[int]bool
		err     error
	}
	done := make(chan result)
	go func() {
		r := result{counts: map[int]bool{}}
		for ; !stop.Load() && r.err == nil; r.reads++ {
			start := time.Now()
			var p store.Page
			p, r.err = st.List(context.Background(), store.KindTechnique, store.Query{First: 20, WantTotal: true})
			r.slowest = max(r.slowest, time.Since(start))
			r.counts[p.Total] = true
			time.Sleep(time.Millisecond)
		}
		done <- r
	}()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "NEKO_TEST_IMPORT="+path+"|"+bundle)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	stop.Store(true)
	r := <-done
	if err != nil {
		t.Fatal(err)
	}
	var took, blocked, rss, objects int
	if _, err := fmt.Sscan(string(out), &took, &blocked, &rss, &objects); err != nil {
		t.Fatal(err, string(out))
	}
	t.Logf("%d objects, %d MB: %d ms, other writers waited for %d ms, VmHWM %d MiB; meanwhile %d reads, the slowest %v",
		objects, written/1e6, took, blocked, rss>>10, r.reads, r.slowest)
	if r.err != nil || len(r.counts) > 2 || !r.counts[0] {
		t.Errorf("while importing: %v, totals seen: %v", r.err, r.counts)
	}
	if underRace {
		return
	}
	if took > 10_000 || rss>>10 > 200 {
		t.Errorf("%d ms and %d MiB, want at most 10 s and 200 MiB", took, rss>>10)
	}
	if written < 34e6 || objects < 24_000 {
		t.Errorf("the bundle is too small: %d bytes, %d objects", written, objects)
	}
}

func BenchmarkRead(b *testing.B) {
	var buf bytes.Buffer
	if err := stixtest.Write(&buf, 2500); err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(buf.Len()))
	for b.Loop() {
		_, err := read(bufio.NewReader(bytes.NewReader(buf.Bytes())), func(store.Record) error { return nil }, func(int) error { return nil })
		if err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkQueries asks what a request asks, of a store with the large bundle.
func BenchmarkQueries(b *testing.B) {
	var buf bytes.Buffer
	if err := stixtest.Write(&buf, stixtest.Enterprise); err != nil {
		b.Fatal(err)
	}
	st, ctx := open(b), context.Background()
	if _, err := Import(ctx, st, bytes.NewReader(buf.Bytes()), Options{}); err != nil {
		b.Fatal(err)
	}
	ids := func(k store.Kind, n int) (out []string) {
		p, err := st.List(ctx, k, store.Query{First: n})
		if err != nil {
			b.Fatal(err)
		}
		for _, i := range p.Items {
			out = append(out, i.Object.ID)
		}
		return out
	}
	actors, techniques := ids(store.KindThreatActor, 50), ids(store.KindTechnique, 200)
	run := func(name string, f func() error) {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if err := f(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	run("Get1", func() error { _, err := st.Get(ctx, store.KindThreatActor, []string{"G0034"}); return err })
	run("List20", func() error { _, err := st.List(ctx, store.KindTechnique, store.Query{First: 20}); return err })
	run("List20Total", func() error {
		_, err := st.List(ctx, store.KindTechnique, store.Query{First: 20, WantTotal: true})
		return err
	})
	run("List20Text", func() error {
		_, err := st.List(ctx, store.KindTechnique, store.Query{First: 20, Filter: store.Filter{Text: "w2 made"}})
		return err
	})
	run("ListUsesTechnique", func() error {
		_, err := st.List(ctx, store.KindThreatActor, store.Query{First: 20, Filter: store.Filter{UsesTechnique: "T1001"}})
		return err
	})
	run("Related1x5", func() error {
		_, err := st.Related(ctx, store.Techniques, actors[:1], store.Query{First: 5, WantTotal: true})
		return err
	})
	run("Related50x20", func() error {
		_, err := st.Related(ctx, store.Techniques, actors, store.Query{First: 20, WantTotal: true})
		return err
	})
	run("Mitigations200x5", func() error {
		_, err := st.Related(ctx, store.Mitigations, techniques, store.Query{First: 5})
		return err
	})
	run("CountsByKind", func() error { _, err := st.Counts(ctx, store.ByKind); return err })
	run("CountsByTactic", func() error { _, err := st.Counts(ctx, store.TechniquesByTactic); return err })
}

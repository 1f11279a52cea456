package cache_test

import (
	"context"
	"os"
	"runtime"
	"testing"
	"time"

	"go.uber.org/goleak"

	. "github.com/nekoctl/neko/cache"
	"github.com/nekoctl/neko/cache/cachetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestNothingIsLeft(t *testing.T) {
	mapping, store, dir := anonymous(t), cachetest.NewStore(), t.TempDir()
	cycle := func(n int) {
		link := store.Open()
		c, err := New(Options{Bytes: MinBytes, Memory: mapping, Shared: link, Reserve: openReserve(t, dir)})
		if err != nil {
			t.Fatal(err)
		}
		get(t, c, request(n, "T"), says("x"))
		Evict(c)
		ctx, cancel := context.WithCancel(context.Background())
		began := make(chan struct{})
		go func() {
			<-began
			cancel()
		}()
		if _, err := c.Get(ctx, request(n+1, "T"), func(ctx context.Context) Filled {
			close(began)
			<-ctx.Done()
			return Filled{}
		}); err == nil {
			t.Error("it was not ended")
		}
		invalidate(t, c, "T")
		shut(t, c)
		store.Remove(link)
	}
	for n := range 10 {
		cycle(n)
	}
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	goroutines, files := runtime.NumGoroutine(), descriptors(t)
	for n := range 1000 {
		cycle(n)
	}
	for began := time.Now(); runtime.NumGoroutine() > goroutines; time.Sleep(time.Millisecond) {
		if time.Since(began) > 10*time.Second {
			t.Fatalf("%d goroutines, there were %d", runtime.NumGoroutine(), goroutines)
		}
	}
	if n := descriptors(t); n != files {
		t.Errorf("%d descriptors, there were %d", n, files)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
		t.Errorf("there is %v, %v", left, err)
	}
	store.Flush()
	runtime.GC()
	runtime.ReadMemStats(&after)
	if more := int64(after.HeapAlloc) - int64(before.HeapAlloc); more > 4<<20 {
		t.Errorf("%d bytes more", more)
	}
}

func descriptors(t *testing.T) int {
	open, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(open)
}

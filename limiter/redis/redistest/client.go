package redistest

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"os"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/nekoctl/neko/scripts/slowproxy"
)

// What packages need who speak to these servers.

// Patience is how long something may take that takes milliseconds, on a machine that does other things, too.
const Patience = 20 * time.Second

// Main runs tests, more of them at once than there are CPUs, as they mostly wait, and looks that
// nothing is left of all connections. rueidis lets those of nodes that have left a Cluster lie for five seconds.
func Main(m *testing.M) {
	flag.Parse()
	if err := flag.Set("test.parallel", "16"); err != nil {
		panic(err)
	}
	code := m.Run()
	var err error
	for began := time.Now(); time.Since(began) < 10*time.Second; {
		if err = goleak.Find(); err == nil {
			os.Exit(code)
		}
	}
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

// Within is a context that ends with the test, or after that time.
func Within(t testing.TB, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

// Eventually returns after what time f has no error any more.
func Eventually(t testing.TB, f func() error) time.Duration {
	t.Helper()
	began := time.Now()
	for {
		err := f()
		if err == nil {
			return time.Since(began)
		}
		if time.Since(began) > Patience {
			t.Fatal(err)
		}
		time.Sleep(time.Millisecond)
	}
}

// Through is a server behind a bad network, and the URL of the network.
func Through(t testing.TB, config ...string) (*Server, *slowproxy.Proxy, string) {
	t.Helper()
	server := Start(t, config...)
	proxy, err := slowproxy.New(server.Addr())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(proxy.Close)
	return server, proxy, "redis://" + proxy.Addr()
}

// Log is what a log was told.
type Log struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *Log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *Log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

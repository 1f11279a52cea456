package redis

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nekoctl/neko/cache"
	"github.com/nekoctl/neko/cache/cachetest"
	"github.com/nekoctl/neko/limiter/redis/redistest"
	"github.com/nekoctl/neko/logtext"
	"github.com/nekoctl/neko/redisconn"
)

func TestMain(m *testing.M) { redistest.Main(m) }

const patience = redistest.Patience

var (
	within     = redistest.Within
	eventually = redistest.Eventually
	through    = redistest.Through
)

type memo = redistest.Log

// open is a store that has answered.
func open(t testing.TB, url string, o Options) *Store { return opened(t, url, o, answer) }

// calm is one that gives no connection up because this machine did something else for a
// second.
func calm(t testing.TB, url string, o Options) *Store { return opened(t, url, o, patience) }

func opened(t testing.TB, url string, o Options, answer time.Duration) *Store {
	t.Helper()
	s, err := newStore(context.Background(), url, o, answer)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	eventually(t, func() error { return s.try(t) })
	return s
}

// try is an error if a store does not answer.
func (s *Store) try(t testing.TB) error {
	_, _, err := s.Load(within(t, time.Second), key(999_999), []string{"try"})
	return err
}

func TestOneServer(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	conform(t, server.URL(), server)
	more(t, func(t *testing.T) *Store { return calm(t, server.URL(), Options{}) })
}

func TestACluster(t *testing.T) {
	t.Parallel()
	cluster := redistest.StartCluster(t)
	conform(t, cluster.URL(), cluster...)
	more(t, func(t *testing.T) *Store { return calm(t, cluster.URL(), Options{}) })
	for i, node := range cluster {
		if n, _ := node.Do(t, "DBSIZE").AsInt64(); n < 100 {
			t.Errorf("node %d has %d keys", i, n)
		}
	}
}

func TestSentinels(t *testing.T) {
	t.Parallel()
	g := redistest.StartGuarded(t)
	conform(t, g.URL(), g.Master)
	more(t, func(t *testing.T) *Store { return calm(t, g.URL(), Options{}) })
}

func TestThingsInRedisAreNamedAndGoByThemselves(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	s := calm(t, server.URL(), Options{Prefix: "p:"})
	server.Do(t, "FLUSHALL")
	load(t, s, 1, "threatactor:{g0034} é")
	if err := s.Store(within(t, patience), key(1), []byte("x"), 365*24*time.Hour); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Lock(within(t, patience), key(1), "token", time.Minute); err != nil {
		t.Fatal(err)
	}
	want := map[string]time.Duration{
		"p:cache:answer:MDAwMDAwMDAwMDAwMDAwMQ":        LongestTTL,
		"p:cache:lock:MDAwMDAwMDAwMDAwMDAwMQ":          time.Minute,
		"p:cache:tag:threatactor%3A%7Bg0034%7D+%C3%A9": tagTTL,
	}
	keys, err := server.Do(t, "KEYS", "*").AsStrSlice()
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range keys {
		ttl, ok := want[k]
		if !ok {
			t.Errorf("the key %q", k)
			continue
		}
		delete(want, k)
		if ms, _ := server.Do(t, "PTTL", k).AsInt64(); ms < 1 || ms > ttl.Milliseconds() {
			t.Errorf("%s stays for %d ms", k, ms)
		}
	}
	if len(want) > 0 {
		t.Errorf("there is no %v", want)
	}
	if text, _ := server.Do(t, "CLIENT", "LIST").ToString(); !strings.Contains(text, "name=neko ") {
		t.Errorf("the connection has no name: %s", text)
	}
}

func TestInstallationsWithOtherPrefixesAreApart(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	a, b := calm(t, server.URL(), Options{Prefix: "a:"}), calm(t, server.URL(), Options{Prefix: "b:"})
	if err := a.Store(within(t, patience), key(1), []byte("x"), time.Minute); err != nil {
		t.Fatal(err)
	}
	value, gens := load(t, b, 1, "t")
	if value != nil {
		t.Error("what one has stored the other has")
	}
	load(t, a, 1, "t")
	if err := a.Invalidate(within(t, patience), []string{"t"}); err != nil {
		t.Fatal(err)
	}
	if err := b.try(t); err != nil {
		t.Fatal(err)
	}
	if _, after := load(t, b, 1, "t"); after[0] != gens[0] {
		t.Error("what one has invalidated is invalidated for the other")
	}
	for _, prefix := range []string{"{a}", strings.Repeat("a", 65)} {
		if _, err := New(t.Context(), server.URL(), Options{Prefix: prefix}); err == nil {
			t.Errorf("the prefix %q is taken", prefix)
		}
	}
	if _, err := New(t.Context(), "http://u:secret@h", Options{}); err == nil || strings.Contains(err.Error(), "secret") {
		t.Error(err)
	}
}

func TestWhatIsTooLargeIsNotStored(t *testing.T) {
	t.Parallel()
	s := calm(t, redistest.Start(t).URL(), Options{})
	for n, stored := range map[int]bool{MaxValue: true, MaxValue + 1: false} {
		if err := s.Store(within(t, patience), key(n), make([]byte, n), time.Minute); err != nil {
			t.Fatal(err)
		}
		if value, _ := load(t, s, n); (value != nil) != stored {
			t.Errorf("%d bytes: %d are there", n, len(value))
		}
	}
}

// Of more tags than can be watched, those that had to go are told of: who has them must ask again.
func TestWhatIsWatchedIsBounded(t *testing.T) {
	t.Parallel()
	s := &Store{}
	e := listen(s)
	many := make([]string, 1000)
	for i := 0; i < maxLoaded+3000; i += len(many) {
		for j := range many {
			many[j] = fmt.Sprint(i + j)
		}
		s.loaded.begin(many)
	}
	if n := len(s.loaded.tags); n != maxLoaded {
		t.Errorf("%d are watched", n)
	}
	if n := len(e.told); n < 3000 || n > 4000 {
		t.Errorf("who has %d tags was told of %d", maxLoaded+3000, n)
	}
	var gone []string
	for name := range e.told {
		gone = append(gone, name)
	}
	e.clear()
	s.loaded.end(gone) // they had to go while they were read
	for _, name := range gone {
		if err := e.heard(name); err != nil {
			t.Error(err)
		}
	}
}

// Who gives a tag a generation is told of nothing by that, unless somebody may have had another: Redis does not
// tell us what was done just before we did something.
func TestWhoeverMayHaveHadAnotherGenerationIsTold(t *testing.T) {
	t.Parallel()
	s := &Store{}
	e := listen(s)
	one := []string{"t"}
	s.loaded.begin(one)
	if s.loaded.given("t"); e.heard("t") == nil {
		t.Error("told, though nobody can have had it")
	}
	s.loaded.begin(one) // a second call, which may have read another
	if s.loaded.given("t"); e.heard("t") != nil {
		t.Error("not told, though somebody reads it")
	}
	s.loaded.end(one)
	s.loaded.end(one)
	e.clear()
	s.loaded.begin(one)
	if s.loaded.given("t"); e.heard("t") != nil {
		t.Error("not told, though somebody has it")
	}
	s.loaded.end(one)
}

func TestKeysThatSomethingElseUsesAreErrors(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	s := calm(t, server.URL(), Options{})
	for _, command := range [][]string{
		{"SET", "neko:cache:tag:a", "somebody's"},
		{"SET", "neko:cache:tag:a", "\x00\x00\x00\x00\x00\x00\x00\x00"},
		{"HSET", "neko:cache:tag:a", "a", "b"},
	} {
		server.Do(t, "DEL", "neko:cache:tag:a")
		server.Do(t, command...)
		if _, gens, err := s.Load(within(t, patience), key(1), []string{"a"}); err == nil {
			t.Errorf("%q: %v", command, gens)
		}
	}
	if err := s.Invalidate(within(t, patience), []string{"a"}); err != nil {
		t.Fatal(err)
	}
	load(t, s, 1, "a")
}

// least is what the user of a store must be allowed to do, besides its keys.
var least = []string{"+client|tracking", "+get", "+set", "+del", "+eval", "+evalsha"}

// all does everything that a store can do.
func all(t *testing.T, s *Store, name string) error {
	ctx := within(t, patience)
	for i := range 2 { // once by the text of a script, and once by its hash
		if _, _, err := s.Load(ctx, key(i), []string{name}); err != nil {
			return err
		}
		if err := s.Store(ctx, key(i), []byte("x"), time.Minute); err != nil {
			return err
		}
		if err := s.Invalidate(ctx, []string{name}); err != nil {
			return err
		}
		if ok, err := s.Lock(ctx, key(i), name, time.Minute); err != nil || !ok {
			return fmt.Errorf("locked: %v, %w", ok, err)
		}
		if err := s.Unlock(ctx, key(i), name); err != nil {
			return err
		}
	}
	return nil
}

func TestTheLeastThatAUserMustBeAllowedToDo(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t, "requirepass admin")
	try := func(keys string, commands []string) error {
		t.Helper()
		server.Do(t, "FLUSHALL")
		server.Do(t, "SCRIPT", "FLUSH")
		server.Do(t, append([]string{"ACL", "SETUSER", "cache", "reset", "on", ">p%ss", keys, "-@all"}, commands...)...)
		var said memo
		s, err := newStore(context.Background(), "redis://cache:p%25ss@"+server.Addr(), Options{Log: logtext.Logger(&said)}, patience)
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		eventually(t, func() error {
			if err := s.conn.Away(); err != nil && said.String() == "" {
				return err
			}
			return nil
		})
		if err := s.conn.Away(); err != nil {
			return fmt.Errorf("%w: %s", err, said.String())
		}
		if err := all(t, s, "name"); err != nil {
			return fmt.Errorf("%w: %s", err, said.String())
		}
		return nil
	}
	line := "~neko:* -@all " + strings.Join(least, " ")
	for _, file := range []string{"doc.go", "../../docs/caching.md"} {
		if doc, err := os.ReadFile(file); err != nil || !strings.Contains(string(doc), line+"\n") {
			t.Errorf("%s does not say: %s (%v)", file, line, err)
		}
	}
	if err := try("~neko:*", least); err != nil {
		t.Fatal(err)
	}
	const hint = "docs/caching.md says what its user must be allowed to do"
	for i, command := range least {
		if command == "+del" { // is for when there is no memory, and in a script
			continue
		}
		without := slices.Delete(slices.Clone(least), i, i+1)
		if err := try("~neko:*", without); err == nil || !strings.Contains(err.Error(), hint) {
			t.Errorf("without %s: %v", command, err)
		}
	}
	if err := try("~other:*", least); err == nil || !strings.Contains(err.Error(), hint) {
		t.Errorf("with the keys of others: %v", err)
	}
}

func TestTheLeastInAClusterAndWithSentinels(t *testing.T) {
	t.Parallel()
	cluster := redistest.StartCluster(t)
	guarded := redistest.StartGuarded(t)
	for _, s := range append(cluster, guarded.Master, guarded.Replica) {
		s.Do(t, append([]string{"ACL", "SETUSER", "cache", "on", ">secret", "~neko:*", "-@all", "+cluster|slots", "+role"}, least...)...)
	}
	for _, s := range guarded.Sentinels {
		s.Do(t, "ACL", "SETUSER", "watcher", "on", ">secret", "-@all", "+sentinel|sentinels", "+sentinel|get-master-addr-by-name",
			"+subscribe", "+unsubscribe", "+ping", "+client|tracking", "allchannels")
	}
	for name, url := range map[string]string{
		"Cluster":   strings.Replace(cluster.URL(), "://", "://cache:secret@", 1),
		"Sentinels": strings.Replace(guarded.URL(), "://", "://cache:secret@", 1) + "&sentinel_user=watcher&sentinel_password=secret",
	} {
		s := calm(t, url, Options{})
		for i := range 20 { // of all nodes
			if err := all(t, s, fmt.Sprint("name", i)); err != nil {
				t.Error(name, err)
			}
		}
		s.Close()
	}
}

func TestTLS(t *testing.T) {
	t.Parallel()
	_, url := redistest.StartTLS(t)
	a, b := calm(t, url, Options{}), calm(t, url, Options{})
	e := listen(a)
	e.settle(t, a, "t")
	if err := b.Invalidate(within(t, patience), []string{"t"}); err != nil {
		t.Fatal(err)
	}
	e.await(t, "t")
}

func TestWithoutRedisItOpensAndFailsAtOnce(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	server.Kill()
	s, err := New(context.Background(), server.URL(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	for range 100 {
		// Not even a context that has no end makes it wait.
		if _, _, err := s.Load(context.Background(), key(1), []string{"a"}); err == nil {
			t.Fatal("it loads without a server")
		}
		if err := s.Invalidate(context.Background(), []string{"a"}); err == nil {
			t.Fatal("it invalidates without a server")
		}
	}
	server.Restart(t)
	t.Log("back after", eventually(t, func() error { return s.try(t) }))
}

func TestItClosesWhateverRedisDoes(t *testing.T) {
	t.Parallel()
	gone, silent, well := redistest.Start(t), redistest.Start(t), redistest.Start(t)
	gone.Kill()
	silent.Stop(t)
	for _, server := range []*redistest.Server{gone, silent, well} {
		s, err := New(t.Context(), server.URL(), Options{})
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(30 * time.Millisecond) // also in the middle of a try
		s.Close()
		if _, _, err := s.Load(t.Context(), key(1), nil); !errors.Is(err, redisconn.ErrClosed) {
			t.Error(err)
		}
	}
}

// conform runs the suite of what every store must keep to, on servers that a URL names.
func conform(t *testing.T, at string, nodes ...*redistest.Server) {
	cachetest.Suite{
		Open: func(t *testing.T, n int) (all []cache.Shared) {
			for range n {
				all = append(all, calm(t, at, Options{}))
			}
			return all
		},
		Forget: func(t *testing.T, tags ...string) {
			for _, key := range tags {
				key = "neko:cache:tag:" + url.QueryEscape(key)
				removed := int64(0)
				for _, node := range nodes {
					n, _ := node.Try("DEL", key).AsInt64() // MOVED by the others
					removed += n
				}
				if removed != 1 {
					t.Fatalf("%s was there %d times", key, removed)
				}
			}
		},
		Cut: func(t *testing.T) {
			for _, node := range nodes {
				node.Do(t, "CLIENT", "KILL", "TYPE", "normal")
			}
		},
	}.Run(t)
}

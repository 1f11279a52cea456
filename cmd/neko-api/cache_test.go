package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nekoctl/neko/api"
	"github.com/nekoctl/neko/api/store"
	"github.com/nekoctl/neko/api/store/mongo"
	"github.com/nekoctl/neko/api/store/mongo/mongotest"
	"github.com/nekoctl/neko/api/store/sqlite"
	"github.com/nekoctl/neko/cache"
	"github.com/nekoctl/neko/hostmem"
	"github.com/nekoctl/neko/limiter/redis/redistest"
	"github.com/nekoctl/neko/logtext"
	"github.com/nekoctl/neko/worker"
)

// What is typed, and all that is seen.
func TestPurgeSession(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "api.db")
	st, err := sqlite.Open(t.Context(), file, sqlite.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	for _, c := range []struct {
		args string
		code int
		want string
		tags []string // in the log, afterwards
	}{
		{"purge ThreatActor:G0034", 0, `purged ThreatActor:G0034: all workers of this store know within 250ms\n`, []string{"ThreatActor:G0034"}},
		{"purge tactic THREATACTOR:g0034 ThreatActor:LIST,Technique:T1059.001 Tactic", 0, `purged Tactic, Technique:T1059.001, ThreatActor:g0034, ThreatActor:list: all .*\n`,
			[]string{"Tactic", "Technique:T1059.001", "ThreatActor:g0034", "ThreatActor:list"}},
		{"purge --all", 0, `purged everything: all .*\n`, []string{"*"}},
		{"purge --json Node:G0034", 0, `\{"tags":\["Node:G0034"\],"redis":false\}\n`, []string{"Node:G0034"}},
		{"purge Software:a/b Software:a%2Fc", 0, `purged Software:a%2Fb, Software:a%2Fc: all .*\n`, []string{"Software:a%2Fb", "Software:a%2Fc"}},
		{"purge", 2, `error: purge wants tags\nhint: neko-api purge ThreatActor:G0034, or --all\n`, nil},
		{"purge --all Tactic", 2, `error: both --all and tags are given\nhint: give one of them\n`, nil},
		{"purge ThreatActr:G0034 Tactic", 2, `error: "ThreatActr:G0034": no answers are kept under the type "ThreatActr"\nhint: did you mean ThreatActor\?\n`, nil},
		{"purge PageInfo", 2, `error: "PageInfo": no answers are kept under the type "PageInfo"\nhint: .*\n`, nil},
		{"purge G0034", 2, `error: "G0034": no answers are kept under the type "G0034"\nhint: the types that have tags: ApiKey, Campaign, Indicator, Mitigation, Node, Sighting, Software, Tactic, Technique, ThreatActor, User\n`, nil},
		{"purge Tactic:", 2, `error: "Tactic:" has no id\nhint: write Tactic for all of that type, or Tactic:ID\n`, nil},
		{"import --all x", 2, `error: --all is not for import\nhint: .*\n`, nil},
		{"purge --help", 0, `(?s)neko-api purge has all workers forget.*`, nil},
		{"--cache 100", 2, `error: --cache: "100" is too little\nhint: write 1MiB or more, or off\n`, nil},
		{"--cache-reserve 1000k", 2, `error: --cache-reserve: "1000k" is .*\nhint: .*\n`, nil},
		{"--cache none", 2, `error: --cache: "none" is no size\nhint: .*\n`, nil},
		{"--cache-negative 0", 2, `error: --cache-negative: "0" is no time span from 1s to 24h\nhint: .*\n`, nil},
	} {
		t.Run(c.args, func(t *testing.T) {
			before, err := st.Invalidated(t.Context(), -1)
			if err != nil {
				t.Fatal(err)
			}
			cmd := command(t, filepath.Join(dir, "home"), append(strings.Fields(c.args), "--store", file)...)
			out, _ := cmd.CombinedOutput()
			if code := cmd.ProcessState.ExitCode(); code != c.code || !regexp.MustCompile("^"+c.want+"$").Match(out) {
				t.Errorf("exit code %d\n%s\nwant %d\n%s", code, out, c.code, c.want)
			}
			in, err := st.Invalidated(t.Context(), before.Last)
			if err != nil || !slices.Equal(in.Tags, c.tags) {
				t.Errorf("the log has %v, %v, want %v", in.Tags, err, c.tags)
			}
		})
	}
	none := filepath.Join(dir, "none.db")
	cmd := command(t, filepath.Join(dir, "home"), "purge", "Tactic", "--store", none)
	out, _ := cmd.CombinedOutput()
	if want := "error: there is no store " + none + "\nhint: name the one that the workers have: --store STORE\n"; string(out) != want || cmd.ProcessState.ExitCode() != 1 {
		t.Errorf("%d %s", cmd.ProcessState.ExitCode(), out)
	}
	if _, err := os.Stat(none); err == nil {
		t.Error("a store was made")
	}
}

// kept is a worker's cache as neko-api opens it, and what asks it.
type kept struct {
	*testing.T
	answerCache
	said *lockedLog
}

type lockedLog struct {
	sync.Mutex
	bytes.Buffer
}

func (l *lockedLog) Write(b []byte) (int, error) {
	l.Lock()
	defer l.Unlock()
	return l.Buffer.Write(b)
}

func (l *lockedLog) String() string {
	l.Lock()
	defer l.Unlock()
	return l.Buffer.String()
}

func newKept(t *testing.T, st database, args ...string) *kept {
	t.Helper()
	o := newOptions()
	if _, err := o.Load(append([]string{"--store", filepath.Join(t.TempDir(), "api.db")}, args...)); err != nil {
		t.Fatal(err)
	}
	m, err := hostmem.Anonymous(0)
	if err != nil {
		t.Fatal(err)
	}
	k := &kept{T: t, said: &lockedLog{}}
	logger := logtext.Logger(k.said)
	guards, err := o.breakers.open(m, st, logger)
	if err != nil {
		t.Fatal(err)
	}
	if k.answerCache, err = o.openAnswers(t.Context(), st, m, &guards, logger); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		guards.close()
		if err := errors.Join(k.close(), m.Close()); err != nil {
			t.Error(err)
		}
	})
	return k
}

// ask is the answer with these tags, made if there is none.
func (k *kept) ask(tags ...string) cache.State {
	k.Helper()
	return k.askFor(strings.Join(tags, " "), tags...)
}

func (k *kept) askFor(name string, tags ...string) cache.State {
	k.Helper()
	key := sha256.Sum256([]byte(name))
	served, err := k.Get(context.Background(), cache.Request{Key: cache.Key(key[:16]), Tags: tags, Policy: cache.Policy{MaxAge: time.Hour}}, func(context.Context) cache.Filled {
		return cache.Filled{Body: []byte("x"), Keep: true}
	})
	if err != nil {
		k.Fatal(err)
	}
	return served.State
}

// holds waits until the answer is kept.
func (k *kept) holds(tags ...string) {
	k.Helper()
	wait(k.T, fmt.Sprint(tags, " is kept"), time.Minute, func() bool { return k.ask(tags...) == cache.Fresh })
}

// gone waits until the answer has to be made, once.
func (k *kept) gone(tags ...string) {
	k.Helper()
	wait(k.T, fmt.Sprint(tags, " is invalidated"), time.Minute, func() bool { return k.ask(tags...) == cache.Made })
}

func importing(t *testing.T, st store.Store, id int, name string) {
	t.Helper()
	im, err := st.BeginImport(t.Context(), store.ImportOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer im.Abort()
	if err := im.Add(t.Context(), store.Record{Object: &store.Object{ID: fmt.Sprintf("tool--00000000-0000-4000-8000-%012d", id), Kind: store.KindSoftware,
		Type: "tool", AttackID: fmt.Sprintf("S%04d", id), Name: name, Modified: time.Now()}}); err != nil {
		t.Fatal(err)
	}
	if _, err := im.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// Whatever another process imports or purges, the caches of a store are told, and keep what
// has nothing to do with it.
func TestCachesFollowTheStore(t *testing.T) {
	file := filepath.Join(t.TempDir(), "api.db")
	url := mongotest.URL(t)
	for name, open := range map[string]func() (database, error){
		"SQLite":  func() (database, error) { return sqlite.Open(t.Context(), file, sqlite.Options{}) },
		"MongoDB": func() (database, error) { return mongo.Open(t.Context(), url, mongo.Options{}) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var stores [3]database
			for i := range stores {
				var err error
				if stores[i], err = open(); err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { stores[i].Close() })
			}
			other := stores[2]
			importing(t, other, 1, "before anybody was there")
			a, b := newKept(t, stores[0]), newKept(t, stores[1])
			for _, k := range []*kept{a, b} {
				k.holds("Software", "Software:S0001")
				k.holds("Software", "Software:list")
				k.holds("Tactic", "Tactic:list")
			}
			importing(t, other, 2, "another")
			for _, k := range []*kept{a, b} {
				k.gone("Software", "Software:list")
				if k.ask("Software", "Software:S0001") != cache.Fresh || k.ask("Tactic", "Tactic:list") != cache.Fresh {
					t.Error("an answer is gone that has not changed")
				}
			}
			if err := other.Invalidate(t.Context(), "tactic"); err != nil {
				t.Fatal(err)
			}
			for _, k := range []*kept{a, b} {
				k.gone("Tactic", "Tactic:list")
			}
			if err := other.Invalidate(t.Context(), store.Everything); err != nil {
				t.Fatal(err)
			}
			for _, k := range []*kept{a, b} {
				k.gone("Software", "Software:S0001")
			}
		})
	}
}

// Hosts that share answers in Redis are told by whoever purges or imports, with Redis's URL or
// without it, also if no worker was there to hear it.
func TestHostsShareAnswersInRedis(t *testing.T) {
	server, url := redistest.Start(t), mongotest.URL(t)
	open := func() database {
		st, err := mongo.Open(t.Context(), url, mongo.Options{})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { st.Close() })
		return st
	}
	with := []string{"--redis", server.URL()}
	a, b := newKept(t, open(), with...), newKept(t, open(), with...)
	// What one has made the other has. If a busy machine's Redis was too late for that, which they count, it
	// is tried with another answer.
	for try := range 10 {
		wait(t, "both have found Redis", time.Minute, func() bool {
			n := b.Stats().SharedHits
			some := fmt.Sprint(time.Now())
			a.askFor(some, "Tactic", "Tactic:list")
			return b.askFor(some, "Tactic", "Tactic:list") == cache.Fresh && b.Stats().SharedHits > n
		})
		name := strings.TrimSpace("Tactic Tactic:list " + strings.Repeat("again ", try))
		late, made := a.Stats().SharedErrors+b.Stats().SharedErrors, a.Stats().Fills+b.Stats().Fills
		for _, k := range []*kept{a, b} {
			wait(t, name+" is kept", time.Minute, func() bool { return k.askFor(name, "Tactic", "Tactic:list") == cache.Fresh })
		}
		n := a.Stats().Fills + b.Stats().Fills - made
		if n == 1 {
			break
		}
		if late == a.Stats().SharedErrors+b.Stats().SharedErrors || try == 9 {
			t.Fatalf("%s was made %d times", name, n)
		}
	}
	run := func(args ...string) {
		t.Helper()
		cmd := command(t, t.TempDir(), append(args, "--store", url)...)
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		t.Logf("neko-api %s: %s", strings.Join(args, " "), out)
	}
	for _, args := range [][]string{{"purge", "Tactic", "--redis", server.URL()}, {"purge", "Tactic"}} {
		run(args...)
		// Either of them makes it anew, and both have that.
		made := a.Stats().Fills + b.Stats().Fills
		wait(t, "it is gone from both hosts", time.Minute, func() bool {
			return a.ask("Tactic", "Tactic:list") == cache.Made || b.ask("Tactic", "Tactic:list") == cache.Made
		})
		a.holds("Tactic", "Tactic:list")
		b.holds("Tactic", "Tactic:list")
		if n := a.Stats().Fills + b.Stats().Fills - made; n == 0 {
			t.Error("nothing was made")
		}
	}
	// Nobody is there, and a purge does not know of Redis. What is in there is not taken by
	// who comes then.
	for _, k := range []*kept{a, b} {
		if err := k.close(); err != nil {
			t.Fatal(err)
		}
		k.answerCache = answerCache{}
	}
	run("purge", "--all")
	c := newKept(t, open(), with...)
	wait(t, "it is known what was missed", time.Minute, func() bool { return c.Stats().Invalidated > 0 && c.Stats().Waiting == 0 })
	if state := c.ask("Tactic", "Tactic:list"); state != cache.Made {
		t.Errorf("an answer from before a purge is served: state %d", state)
	}
	// And once is enough.
	st := open()
	record := recordOf(t, st, server.URL())
	wait(t, "it is on record that all know", time.Minute, func() bool {
		confirmed, ok := record()
		in, err := st.Invalidated(t.Context(), -1)
		if err != nil {
			t.Fatal(err)
		}
		return ok && confirmed == in.Last
	})
	d := newKept(t, open(), with...)
	d.holds("Tactic", "Tactic:list")
	if n := d.Stats().Invalidated; n > 0 {
		t.Errorf("%d tags are invalidated by who comes when all is known", n)
	}
}

// Hosts are told late of what was purged while Redis did not answer. Then that is on record: who starts
// afterwards does not tell them again.
func TestHostsAreToldLate(t *testing.T) {
	server, url := redistest.Start(t), mongotest.URL(t)
	st, err := mongo.Open(t.Context(), url, mongo.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	k := newKept(t, st, "--redis", server.URL())
	k.holds("Tactic", "Tactic:list")
	server.Stop(t)
	if err := st.Invalidate(t.Context(), "Tactic"); err != nil {
		t.Fatal(err)
	}
	in, err := st.Invalidated(t.Context(), -1)
	if err != nil {
		t.Fatal(err)
	}
	wait(t, "this host knows, and others do not", time.Minute, func() bool { return k.Stats().Waiting > 0 })
	time.Sleep(500 * time.Millisecond) // nobody waits longer than 250 ms until all are told
	server.Continue(t)
	record := recordOf(t, st, server.URL())
	wait(t, "it is on record that all know", time.Minute, func() bool {
		confirmed, ok := record()
		return ok && confirmed == in.Last
	})
	if k.Stats().Waiting > 0 {
		t.Error("it is on record that all know, and they do not")
	}
}

// A purge says that Redis does not answer, and is good all the same.
func TestPurgeWithoutRedis(t *testing.T) {
	url := mongotest.URL(t)
	st, err := mongo.Open(t.Context(), url, mongo.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	cmd := command(t, t.TempDir(), "purge", "Tactic", "--store", url, "--redis", "redis://127.0.0.1:1")
	var out, said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &said
	if err := cmd.Run(); err != nil {
		t.Errorf("%v: %s", err, said.String())
	}
	if out.String() != "purged Tactic: all workers of this store know within 1s\n" ||
		!regexp.MustCompile(`(?s)warning: Redis could not be told: .*\nhint: nothing needs to be done: .*\n$`).Match(said.Bytes()) {
		t.Errorf("%s%s", out.String(), said.String())
	}
	if in, err := st.Invalidated(t.Context(), 0); err != nil || !slices.Equal(in.Tags, []string{"Tactic"}) {
		t.Errorf("%v %v", in, err)
	}
}

// recordOf reads up to where the hosts that share a Redis know the log of a store; not ok: it does not
// answer yet.
func recordOf(t *testing.T, st database, url string) func() (position int64, ok bool) {
	t.Helper()
	o := newOptions()
	if _, err := o.Load([]string{"--redis", url}); err != nil {
		t.Fatal(err)
	}
	hosts, err := o.connectAnswers(t.Context(), st.(server), logtext.Logger(&lockedLog{}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(hosts.Close)
	return func() (int64, bool) {
		n, err := hosts.Confirmed(t.Context())
		return n, err == nil
	}
}

// Two regions have a Redis each, and one store. What one region's hosts have been told of the other's have
// not; and what a Redis has kept while no worker was there is not sent by who comes then, also if
// it is all that a backup of the store does not have.
func TestRegionsAreToldEach(t *testing.T) {
	t.Parallel()
	url := mongotest.URL(t)
	open := func() database {
		st, err := mongo.Open(t.Context(), url, mongo.Options{})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { st.Close() })
		return st
	}
	var hosts [2]*kept
	var record [2]func() (int64, bool)
	var redis [2]string
	for i := range hosts {
		redis[i] = redistest.Start(t).URL()
		hosts[i] = newKept(t, open(), "--redis", redis[i])
		hosts[i].holds("Tactic", "Tactic:list")
		record[i] = recordOf(t, open(), redis[i])
		wait(t, "Redis is found", time.Minute, func() bool { _, ok := record[i](); return ok })
	}
	st := open()
	for n := range int64(4) {
		if err := st.Invalidate(t.Context(), "Tactic"); err != nil {
			t.Fatal(err)
		}
		for i, k := range hosts {
			k.gone("Tactic", "Tactic:list")
			wait(t, fmt.Sprintf("region %d is told of change %d", i, n), time.Minute, func() bool {
				at, ok := record[i]()
				return ok && at == n+1
			})
			k.holds("Tactic", "Tactic:list")
		}
	}
	// What has come into a region's Redis a new worker there would find.
	for _, k := range hosts {
		if err := k.close(); err != nil {
			t.Fatal(err)
		}
		k.answerCache = answerCache{}
	}
	if err := st.Invalidate(t.Context(), "Tactic"); err != nil {
		t.Fatal(err)
	}
	for i := range hosts {
		k := newKept(t, open(), "--redis", redis[i])
		wait(t, "it is known what was missed", time.Minute, func() bool { return k.Stats().Invalidated > 0 && k.Stats().Waiting == 0 })
		if state := k.ask("Tactic", "Tactic:list"); state != cache.Made {
			t.Errorf("region %d: an answer from before a purge is served: state %d", i, state)
		}
	}
}

// Where the reserve is, and what is said if it cannot be there.
func TestReserveHasItsPlace(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can mount a file system that is read-only")
	}
	small := t.TempDir()
	if err := unix.Mount("tmpfs", small, "tmpfs", 0, "size=64k,mode=700"); err != nil {
		t.Skipf("no tmpfs can be mounted here: %v", err)
	}
	disk := t.TempDir()
	t.Cleanup(func() {
		if err := unix.Unmount(small, 0); err != nil {
			t.Error(err)
		}
	})
	if err := unix.Mount("", small, "", unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	memory := t.TempDir()
	if err := unix.Mount("tmpfs", memory, "tmpfs", 0, "size=64k,mode=700"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(memory, 0); err != nil {
			t.Error(err)
		}
	})
	for _, c := range []struct {
		name, args, home, temp string
		there                  uint64
		says                   string
	}{
		{"in $NEKO_HOME", "--store mongodb://127.0.0.1/x", disk, memory, 256 << 20, ``},
		{"beside the store", "--cache-reserve 2MiB --store " + disk + "/api.db", small, memory, 2 << 20, ``},
		{"where temporary files are", "--store mongodb://127.0.0.1/x", small, disk, 256 << 20, `warning: answers that memory has no room for are kept in \S+, as they cannot be where they should: .*read-only file system\n`},
		{"not in memory", "--store " + small + "/api.db", small, memory, 0, `warning: answers .* are not kept .*read-only file system; and \S+ is in memory\nhint: .* --cache-reserve off\n`},
		{"nowhere", "--store " + small + "/api.db", small, small + "/none", 0, `warning: answers .* are not kept .*read-only file system; and .*no such file or directory\nhint: .*\n`},
		{"off", "--cache-reserve off --store " + small + "/api.db", small, small, 0, ``},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Setenv("NEKO_HOME", c.home)
			t.Setenv("TMPDIR", c.temp)
			o := newOptions()
			if _, err := o.Load(strings.Fields(c.args)); err != nil {
				t.Fatal(err)
			}
			var said bytes.Buffer
			r := o.openReserve(logtext.Logger(&said))
			if !regexp.MustCompile("^" + c.says + "$").MatchString(said.String()) {
				t.Errorf("the log says %q", said.String())
			}
			k, err := cache.New(cache.Options{Reserve: r})
			if err != nil {
				t.Fatal(err)
			}
			if s := k.Stats(); s.ReserveMaxBytes != c.there {
				t.Errorf("it has %d bytes", s.ReserveMaxBytes)
			}
			if err := k.Close(t.Context()); err != nil {
				t.Error(err)
			}
			for _, dir := range []string{disk, small, memory} {
				if left, _ := os.ReadDir(dir); len(left) != 0 {
					t.Errorf("there is %v", left)
				}
			}
		})
	}
}

// What docs/caching.md says of the settings is what --help does.
func TestCacheIsDocumented(t *testing.T) {
	text, err := os.ReadFile("../../docs/caching.md")
	if err != nil {
		t.Fatal(err)
	}
	help := newOptions().Help()
	for _, m := range regexp.MustCompile("--cache[a-z-]*").FindAllString(string(text), -1) {
		if !strings.Contains(help, m+" ") {
			t.Errorf("docs/caching.md has a setting that there is not: %s", m)
		}
	}
	for _, m := range regexp.MustCompile(`(?m)^ +--(cache[a-z-]*) `).FindAllStringSubmatch(help, -1) {
		if !strings.Contains(string(text), "| `--"+m[1]+" ") {
			t.Errorf("docs/caching.md does not tell of --%s", m[1])
		}
	}
	types, err := taggedTypes(api.Schema)
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range regexp.MustCompile(`(?m)^neko-api purge (.*?)(?: +#.*)?$`).FindAllStringSubmatch(string(text), -1) {
		if line[1] == "--all" {
			continue
		}
		if _, err := purgeTags(newOptions(), strings.Fields(line[1])); err != nil {
			t.Errorf("docs/caching.md: neko-api purge %s: %v (%d types)", line[1], err, len(types))
		}
	}
	for _, row := range []string{
		fmt.Sprintf("| by an import or a purge, SQLite | %g s |", followFile.Seconds()),
		fmt.Sprintf("| by an import or a purge, MongoDB | %g s;", followServer.Seconds()),
	} {
		if !strings.Contains(string(text), row) {
			t.Errorf("docs/caching.md does not have: %s", row)
		}
	}
	metrics := worker.MetricFamilies()
	for _, m := range regexp.MustCompile("`(neko_cache_[a-z_]+[a-z])`").FindAllStringSubmatch(string(text), -1) {
		if !slices.ContainsFunc(metrics, func(f worker.MetricFamily) bool { return f.Name == m[1] }) {
			t.Errorf("docs/caching.md has a metric that there is not: %s", m[1])
		}
	}
}

// changeList is a log in memory.
type changeList [][]string

func (l *changeList) Invalidate(_ context.Context, tags ...string) error {
	*l = append(*l, tags)
	return nil
}

func (l *changeList) Invalidated(_ context.Context, after int64) (store.Invalidated, error) {
	last := int64(len(*l))
	return store.Entries(after, 1, last, (*l)[min(max(after, 0), last):]), nil
}

// recordedAt is a record of how far hosts know a log.
type recordedAt int64

func (r *recordedAt) Confirmed(context.Context) (int64, error) { return int64(*r), nil }

func (r *recordedAt) Confirm(_ context.Context, position int64) error {
	*r = recordedAt(position)
	return nil
}

// What hosts share may know less of the log than a worker thinks. Whatever it is, no entry goes unseen.
func TestHostsAreToldWhatTheyMissed(t *testing.T) {
	ten := &changeList{}
	for i := range 10 {
		*ten = append(*ten, []string{fmt.Sprintf("T%d", i)})
	}
	for _, c := range []struct {
		what     string
		follower *follower
		record   recordedAt
		tags     uint64
	}{
		{"nothing is new", &follower{at: 10, recorded: 10, caught: true}, 10, 0},
		{"two are new", &follower{at: 8, recorded: 8, caught: true}, 8, 2},
		{"it begins, and they know all", &follower{at: 10}, 10, 0},
		{"it begins, and they know of none", &follower{at: 10}, 0, 10},
		{"it begins, and they know what this host does not", &follower{at: 7}, 9, 3},
		{"Redis was loaded with what it had before", &follower{at: 10, recorded: 10, caught: true}, 4, 6},
		{"and something is new", &follower{at: 9, recorded: 9, caught: true}, 4, 6},
		{"Redis was emptied", &follower{at: 10, recorded: 10, caught: true}, 0, 10},
		{"the log is that of a backup", &follower{at: 10}, 12, 1},
	} {
		t.Run(c.what, func(t *testing.T) {
			keep, err := cache.New(cache.Options{Bytes: cache.MinBytes})
			if err != nil {
				t.Fatal(err)
			}
			defer keep.Close(t.Context())
			f, record := c.follower, c.record
			f.log, f.shared, f.cache, f.logger = ten, &record, keep, logtext.Logger(io.Discard)
			if err := f.look(t.Context()); err != nil {
				t.Fatal(err)
			}
			if n := keep.Stats().Invalidated; n != c.tags || record != 10 || f.at != 10 || !f.caught {
				t.Errorf("%d tags, want %d; on record is %d, it is at %d, and has caught up: %v", n, c.tags, record, f.at, f.caught)
			}
		})
	}
	// What could not be invalidated is not taken for known the next time.
	keep, err := cache.New(cache.Options{Bytes: cache.MinBytes})
	if err == nil {
		err = keep.Close(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
	record := recordedAt(0)
	f := follower{at: 10, log: ten, shared: &record, cache: keep, logger: logtext.Logger(io.Discard)}
	if err := f.look(t.Context()); !errors.Is(err, cache.ErrClosed) || f.caught || record != 0 {
		t.Errorf("%v; it has caught up: %v, on record is %d", err, f.caught, record)
	}
}

// secondary is a store that is read from what may lag behind.
type secondary struct{ *mongo.Store }

func (secondary) ReadsSecondaries() bool { return true }

// A change is in the log before a secondary has it, and what is made from that in between is older than the change: so it
// is invalidated once more.
func TestSecondariesLag(t *testing.T) {
	t.Parallel()
	url := mongotest.URL(t)
	st, err := mongo.Open(t.Context(), url, mongo.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { st.Close() })
	near, far := newKept(t, st), newKept(t, secondary{st})
	for _, k := range []*kept{near, far} {
		k.holds("Tactic", "Tactic:list")
	}
	if err := st.Invalidate(t.Context(), "Tactic"); err != nil {
		t.Fatal(err)
	}
	for _, k := range []*kept{near, far} {
		k.gone("Tactic", "Tactic:list")
		k.holds("Tactic", "Tactic:list")
	}
	wait(t, "it is made anew", 2*lagging, func() bool { return far.ask("Tactic", "Tactic:list") == cache.Made })
	far.holds("Tactic", "Tactic:list")
	if near.ask("Tactic", "Tactic:list") != cache.Fresh {
		t.Error("who reads from the primary makes it anew, too")
	}
	for url, want := range map[string]bool{url: false, url + "?readPreference=nearest": true} {
		st, err := mongo.Open(t.Context(), url, mongo.Options{})
		if err != nil {
			t.Fatal(err)
		}
		if st.ReadsSecondaries() != want {
			t.Errorf("%s: %v", url, st.ReadsSecondaries())
		}
		st.Close()
	}
}

package main

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nekoctl/neko/api/store"
	"github.com/nekoctl/neko/api/store/mongo"
	"github.com/nekoctl/neko/api/store/mongo/mongotest"
	"github.com/nekoctl/neko/api/store/sqlite"
	"github.com/nekoctl/neko/edge/edgetest"
	"github.com/nekoctl/neko/limiter/redis/redistest"
	"github.com/nekoctl/neko/logtext"
)

// edgeArgs are the settings of who purges cdn.
func edgeArgs(t *testing.T, cdn *edgetest.CDN, token string) []string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "cloudflare")
	if err := os.WriteFile(file, []byte(token+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return []string{"--cloudflare-zone", edgetest.Zone, "--cloudflare-token-file", file, "--cloudflare-api", cdn.API.URL + "/client/v4"}
}

// What is typed, and all that is seen: a purge waits for the CDN, and says so; and no token is ever told.
func TestPurgeWaitsForTheCDN(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "api.db")
	st, err := sqlite.Open(t.Context(), file, sqlite.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	cdn := edgetest.New(t)
	good, bad := edgeArgs(t, cdn, edgetest.Token), edgeArgs(t, cdn, "wrong-token")
	for _, c := range []struct {
		args string
		edge []string
		code int
		want string
	}{
		{"purge Tactic", good, 0, `purged Tactic: all workers of this store know within 250ms, and the CDN knows\n`},
		{"purge --json Tactic:TA0001", good, 0, `\{"tags":\["Tactic:TA0001"\],"redis":false,"edge":"purged"\}\n`},
		{"purge --json Software", bad, 1, `(?s)warning: the CDN cannot be purged: status 403: Authentication error \(10000\)\nhint: .*Zone.Cache Purge.*\{"tags":\["Software"\],"redis":false,"edge":"waiting"\}\nerror: the CDN was not purged yet\nhint: .*\n`},
		{"purge Campaign", good, 0, `purged Campaign: .*, and the CDN knows\n`},
		{"purge Tactic", []string{"--cloudflare-zone", "x"}, 2, `error: --cloudflare-zone needs a token\nhint: .*\n`},
		{"purge Tactic", []string{"--cloudflare-token-file", "x"}, 2, `error: --cloudflare-token-file is given, and no zone\nhint: .*\n`},
		{"purge Tactic", []string{"--cloudflare-zone", "x", "--cloudflare-token-file", file}, 2, `error: Cloudflare: the id of a zone has 32 hexadecimal digits\nhint: .*\n`},
		{"purge Tactic", []string{"--cloudflare-zone", edgetest.Zone, "--cloudflare-token-file", dir + "/none"}, 1, `error: cannot read the API token from \S+/none: no such file or directory\nhint: .*\n`},
		{"purge Tactic", append(slices.Clone(good), "--cloudflare-rate", "1000"), 2, `error: --cloudflare-rate: .*\nhint: write 240 or less\n`},
		{"serve --cache off", good, 2, `error: --cloudflare-zone needs a cache, and --cache is off\nhint: .*\n`},
	} {
		t.Run(c.args, func(t *testing.T) {
			cmd := command(t, filepath.Join(dir, "home"), append(append(strings.Fields(c.args), "--store", file), c.edge...)...)
			out, _ := cmd.CombinedOutput()
			if code := cmd.ProcessState.ExitCode(); code != c.code || !regexp.MustCompile("^"+c.want+"$").Match(out) {
				t.Errorf("exit code %d\n%s\nwant %d\n%s", code, out, c.code, c.want)
			}
			if strings.Contains(string(out), "wrong-token") || strings.Contains(string(out), edgetest.Token) {
				t.Error("the token is told")
			}
		})
	}
	var got []string
	for _, c := range cdn.Calls() {
		if c.Status == 200 {
			got = append(got, strings.Join(c.Tags, " "))
		}
	}
	// Nobody knows what the CDN has from before who purges first, and no worker is there to do so a second time.
	if len(got) != 3 || slices.ContainsFunc(got, func(tags string) bool { return tags != "" }) {
		t.Errorf("%q", got)
	}
}

// region is one of three: a worker with a Redis of its own, and a place of the CDN in front.
type region struct {
	url, metrics string
	place        *httptest.Server
	redis        string
	cmd          *exec.Cmd
	ended        <-chan error
}

// versions is when what is shown was changed. A judge asks it how old an answer is.
type versions struct {
	mu sync.Mutex
	at []time.Time // of each version, when its change was over; the first is 0
}

func (v *versions) changed() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.at = append(v.at, time.Now())
}

func (v *versions) latest() int {
	v.mu.Lock()
	defer v.mu.Unlock()
	return len(v.at)
}

// since is for how long there had been something newer when somebody began to ask and got this version.
func (v *versions) since(version int, asked time.Time) time.Duration {
	v.mu.Lock()
	defer v.mu.Unlock()
	if version >= len(v.at) {
		return 0
	}
	return max(asked.Sub(v.at[version]), 0)
}

const (
	softwareQuery  = `query S($id: ID!) {software(id: $id) {name}}`
	sightingsQuery = `{sightings(first: 1) {totalCount}}`
)

// persisted is the path of a persisted query by GET, as Apollo's clients ask.
func persisted(query, variables string) string {
	v := url.Values{"extensions": {fmt.Sprintf(`{"persistedQuery":{"version":1,"sha256Hash":"%x"}}`, sha256.Sum256([]byte(query)))}}
	if variables != "" {
		v.Set("variables", variables)
	}
	return "/graphql?" + v.Encode()
}

func askEdge(t *testing.T, method, address, body string) (int, http.Header, string) {
	req, err := http.NewRequestWithContext(t.Context(), method, address, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Accept", "application/graphql-response+json")
	req.Header.Set("Apollo-Require-Preflight", "true")
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	res, err := outageClient.Do(req)
	if err != nil {
		return 0, nil, err.Error()
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		return 0, nil, err.Error()
	}
	return res.StatusCode, res.Header, string(text)
}

// Three regions, each with a Redis, have one MongoDB, and one CDN in front. Whatever is changed, by an import, by a
// mutation in any region, is seen at the CDN in all of them, which could keep it for an hour; what is
// no answer for everybody, or none at all, is not kept there.
//
// With NEKO_TEST_EDGE=10m it goes on for so long, under load, with answers that are long on their way to the CDN, an
// API that fails now and then and workers that are killed, and a judge looks at the age of each answer.
func TestThreeRegions(t *testing.T) {
	t.Parallel()
	long, _ := time.ParseDuration(os.Getenv("NEKO_TEST_EDGE"))
	cdn := edgetest.New(t)
	if long > 0 {
		cdn.Bucket, cdn.Fill = 25, 5 // Pro's
		cdn.Flight = func() { time.Sleep(time.Duration(rand.N(2000)) * time.Millisecond) }
	}
	address := mongotest.URL(t)
	st, err := mongo.Open(t.Context(), address, mongo.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	common := append(append(edgeArgs(t, cdn, edgetest.Token), sharedSecret(t)...), "--store", address, "--load-sample=false", "--cloudflare-rate", "120", "--rate-limit", "1000000/1m")
	names := []string{"us-east-1", "eu-west-1", "ap-northeast-1"}
	regions := map[string]*region{}
	var mu sync.Mutex
	start := func(name, redis string) {
		r := &region{metrics: filepath.Join(t.TempDir(), "metrics"), redis: redis}
		cmd := command(t, t.TempDir(), append([]string{"--redis", redis}, common...)...)
		cmd.Env = append(cmd.Env, "NEKO_RUN_DIR="+t.TempDir(), "NEKO_METRICS_SOCKET="+r.metrics)
		if err := os.Chmod(strings.TrimPrefix(cmd.Env[len(cmd.Env)-2], "NEKO_RUN_DIR="), 0o700); err != nil {
			t.Fatal(err)
		}
		r.cmd = cmd
		r.url, r.ended = serving(t, cmd)
		r.place = httptest.NewServer(cdn.Place(name, r.url))
		t.Cleanup(r.place.Close)
		for _, q := range []string{softwareQuery, sightingsQuery} { // as clients do when they are told that it is not known
			body, _ := json.Marshal(map[string]any{"query": q, "variables": map[string]string{"id": "S0001"},
				"extensions": map[string]any{"persistedQuery": map[string]any{"version": 1, "sha256Hash": fmt.Sprintf("%x", sha256.Sum256([]byte(q)))}}})
			if status, _, text := askEdge(t, "POST", r.url+"/graphql", string(body)); status != 200 {
				t.Fatal(status, text)
			}
		}
		mu.Lock()
		regions[name] = r
		mu.Unlock()
	}
	key := regexp.MustCompile(`neko_\S+`)
	cmd := command(t, t.TempDir(), append([]string{"key", "add", "sensor", "--role", "analyst"}, common...)...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	token := key.FindString(string(out))

	var software, sightings versions
	change := func() { // the software's name is its version
		importing(t, st, 1, strconv.Itoa(software.latest()+1))
		software.changed()
	}
	importing(t, st, 1, "0")
	for _, name := range names {
		start(name, redistest.Start(t).URL())
	}
	at := func(name string) *region {
		mu.Lock()
		defer mu.Unlock()
		return regions[name]
	}
	mutate := func(name string) {
		status, body := post(t, at(name).url, token, `mutation {reportSighting(input: {of: "S0001"}) {sighting {id}}}`)
		if status != 200 || !strings.Contains(body, `"id"`) {
			t.Errorf("%d %s", status, body)
			return
		}
		sightings.changed()
	}
	paths := map[string]string{"import": persisted(softwareQuery, `{"id":"S0001"}`), "mutation": persisted(sightingsQuery, "")}
	version := regexp.MustCompile(`"(?:name":"|totalCount":)(\d+)`)
	look := func(name, kind string) (int, http.Header, bool) {
		status, h, text := askEdge(t, "GET", at(name).place.URL+paths[kind], "")
		m := version.FindStringSubmatch(text)
		if status != 200 || m == nil {
			return 0, h, false
		}
		n, err := strconv.Atoi(m[1])
		return n, h, err == nil
	}
	kinds := map[string]*versions{"import": &software, "mutation": &sightings}
	allSee := func() {
		t.Helper()
		for kind, v := range kinds {
			for _, name := range names {
				wait(t, fmt.Sprintf("the CDN has what was changed by %s in %s", kind, name), 45*time.Second, func() bool {
					n, _, ok := look(name, kind)
					return ok && n == v.latest()
				})
			}
		}
	}

	// purges is how many calls the worker of each region has made.
	purges := func() map[string]float64 {
		t.Helper()
		all := map[string]float64{}
		for _, name := range names {
			text, err := scrape(at(name).metrics)
			m := purgesOK.FindStringSubmatch(text)
			if m == nil || !strings.Contains(text, "neko_edge_oldest_waiting_seconds") {
				t.Fatalf("no metrics of the CDN: %v", err)
			}
			all[name], _ = strconv.ParseFloat(m[1], 64)
		}
		return all
	}

	// What the CDN keeps, and what not.
	allSee()
	for _, name := range names {
		wait(t, "the CDN has it", time.Minute, func() bool {
			_, h, ok := look(name, "import")
			return ok && h.Get("Cf-Cache-Status") == "HIT"
		})
		if _, h, _ := look(name, "import"); !strings.HasPrefix(h.Get("Cache-Control"), "max-age=60, public") || !strings.HasPrefix(h.Get("CDN-Cache-Control"), "max-age=3600, public, stale-while-revalidate=360") {
			t.Errorf("%v", h)
		}
	}
	for why, c := range map[string]struct {
		path   string
		status int
	}{
		"a document that nobody has sent yet": {persisted("{none}", ""), 404},
		"what cannot be asked":                {"/graphql?query=" + url.QueryEscape("{nothing}"), 422},
		"who asks":                            {"/graphql?query=" + url.QueryEscape("{me {name}}"), 0},
		"health":                              {"/health", 200},
	} {
		for range 2 {
			status, h, text := askEdge(t, "GET", at(names[0]).place.URL+c.path, "")
			if h.Get("Cf-Cache-Status") != "MISS" || c.status != 0 && status != c.status {
				t.Errorf("%s: %d, %s %s", why, status, h.Get("Cf-Cache-Status"), text)
			}
		}
	}

	if long > 0 {
		judge(t, long, names, kinds, look, func(i int) {
			if i%2 == 0 {
				change()
			} else {
				mutate(names[i/2%3])
			}
			switch i % 40 {
			case 10:
				cdn.Set("500")
				time.AfterFunc(3*time.Second, func() { cdn.Set("") })
			case 20:
				cdn.Set("hang up")
				time.AfterFunc(3*time.Second, func() { cdn.Set("") })
			case 30: // kill -9, whoever purges
				for _, name := range names {
					text, _ := scrape(at(name).metrics)
					if m := purgesOK.FindStringSubmatch(text); m != nil && m[1] != "0" {
						r := at(name)
						_ = r.cmd.Process.Kill()
						<-r.ended
						start(name, r.redis)
						t.Logf("the worker of %s was killed, after %s purges", name, m[1])
						break
					}
				}
			}
		})
	}
	before, entries, purged := len(cdn.Calls()), latest(t, st), purges()
	for range 3 {
		change()
	}
	allSee() // or what an import invalidates might be what a mutation does
	for range 3 {
		mutate(names[1]) // in one region: each sees its own in any case
	}
	allSee()
	ok := 0
	for _, c := range cdn.Calls()[before:] {
		if c.Status == 200 {
			ok++
		}
	}
	// What is in the log is purged thrice, and so may be what was before; on a slow machine a change has several entries.
	if n := int(latest(t, st) - entries); ok > 3*n+2 {
		t.Errorf("%d entries of six changes made %d calls", n, ok)
	}
	who, counted := 0, 0.0
	for name, n := range purges() {
		if counted += n; n > purged[name] {
			who++
		}
	}
	if who > 1 || counted == 0 {
		t.Errorf("%d workers purge, and count %v calls", who, counted)
	}
	// Many objects at once: their type is purged, or all of it.
	if err := st.Invalidate(t.Context(), tags("Software:S%d", 400)...); err != nil {
		t.Fatal(err)
	}
	wait(t, "an import of many is purged by types", 45*time.Second, func() bool {
		return slices.ContainsFunc(cdn.Calls(), func(c edgetest.Call) bool { return slices.Contains(c.Tags, "software") })
	})
}

// latest is the position of the last entry in the log of a store.
func latest(t *testing.T, st database) int64 {
	t.Helper()
	in, err := st.Invalidated(t.Context(), -1)
	if err != nil {
		t.Fatal(err)
	}
	return in.Last
}

var purgesOK = regexp.MustCompile(`(?m)^neko_edge_purges_total\{[^}]*result="ok"[^}]*\} (\d+)`)

func tags(form string, n int) (list []string) {
	for i := range n {
		list = append(list, fmt.Sprintf(form, i))
	}
	return list
}

// faultyLog is a log that may not be written to.
type faultyLog struct {
	mu      sync.Mutex
	entries []string // the number of tags of each, and the first
	err     error
}

func (l *faultyLog) Invalidate(_ context.Context, tags ...string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err == nil {
		l.entries = append(l.entries, fmt.Sprint(len(tags), " ", slices.Min(tags)))
	}
	return l.err
}

func (l *faultyLog) Invalidated(context.Context, int64) (store.Invalidated, error) {
	return store.Invalidated{}, nil
}

func (l *faultyLog) set(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.err = err
}

// What mutations change is in the log at once, and then twice a second at most; it waits for a log that cannot be written
// to, and takes no more room than a word when it is much.
func TestMutationsAreTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := &faultyLog{}
		var said lockedLog
		tell := newTeller(log, logtext.Logger(&said))
		after := func(d time.Duration, want ...string) {
			t.Helper()
			time.Sleep(d)
			synctest.Wait()
			log.mu.Lock()
			defer log.mu.Unlock()
			if !slices.Equal(log.entries, want) {
				t.Fatalf("%q, want %q", log.entries, want)
			}
			log.entries = nil
		}
		tell.add([]string{"A"})
		after(0, "1 A")
		tell.add([]string{"B"})
		tell.add([]string{"C", "B"})
		after(gather - 1)
		after(1, "2 B")
		after(gather)
		log.set(errors.New("away"))
		tell.add([]string{"D"})
		after(time.Minute)
		tell.add([]string{"E"})
		log.set(nil)
		after(gather, "2 D")
		if n := strings.Count(said.String(), "it cannot be written"); n != 1 {
			t.Errorf("it is said %d times", n)
		}
		after(gather)
		tell.add([]string{"F"})
		after(0, "1 F")
		tell.add(tags("G%d", mostGathered+1))
		after(gather, "1 *")
		// What is there at the end is told, and if it cannot be, that is said, soon.
		tell.add([]string{"H"})
		if err := tell.close(); err != nil {
			t.Error(err)
		}
		after(0, "1 H")
		log.set(errors.New("away"))
		tell = newTeller(log, logtext.Logger(&said))
		tell.add([]string{"I"})
		began := time.Now()
		if err := tell.close(); err == nil || time.Since(began) > goodbye {
			t.Errorf("%v, after %v", err, time.Since(began))
		}
	})
}

// judge has many ask everywhere while changes are made, and says which answers were older than they may be.
func judge(t *testing.T, long time.Duration, names []string, kinds map[string]*versions, look func(name, kind string) (int, http.Header, bool), change func(i int)) {
	// The last purge comes 15 s after the first, which is some seconds late where the API fails, and ten where who purges
	// was killed; and what is on its way takes 2 s.
	const bound = 15*time.Second + 2*time.Second + 8*time.Second
	ctx, cancel := context.WithTimeout(t.Context(), long)
	defer cancel()
	var readers sync.WaitGroup
	var asked, failed, old atomic.Int64
	var mu sync.Mutex
	ages := map[string][]time.Duration{}
	for kind, v := range kinds {
		for _, name := range names {
			readers.Go(func() {
				for ctx.Err() == nil {
					began := time.Now()
					n, h, ok := look(name, kind)
					asked.Add(1)
					if !ok {
						failed.Add(1)
						continue
					}
					if age := v.since(n, began); age > 0 {
						mu.Lock()
						ages[kind] = append(ages[kind], age)
						mu.Unlock()
						if age > bound && old.Add(1) < 10 {
							t.Errorf("%s: in %s version %d is sent, %v after it was changed: %v", kind, name, n, age, h)
						}
					}
					time.Sleep(20 * time.Millisecond)
				}
			})
		}
	}
	for i := 0; ctx.Err() == nil; i++ {
		change(i)
		time.Sleep(time.Duration(500+rand.N(2500)) * time.Millisecond)
	}
	readers.Wait()
	for kind, list := range ages {
		slices.Sort(list)
		at := func(part float64) time.Duration { return list[int(part*float64(len(list)-1))].Round(time.Millisecond) }
		t.Logf("%s: %d of %d answers had been changed meanwhile; half of these for %v or less, 99 %% for %v, all for %v", kind, len(list), asked.Load(), at(0.5), at(0.99), at(1))
	}
	t.Logf("%d answers, %d failed, %d older than %v", asked.Load(), failed.Load(), old.Load(), bound)
}

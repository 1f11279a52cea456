package edge_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nekoctl/neko/edge"
	"github.com/nekoctl/neko/edge/edgetest"
	"github.com/nekoctl/neko/edge/ledgertest"
	"github.com/nekoctl/neko/logtext"
)

const patience = 20 * time.Second

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for began := time.Now(); !ok(); time.Sleep(time.Millisecond) {
		if time.Since(began) > patience {
			t.Fatalf("%s: not within %v", what, patience)
		}
	}
}

func numbered(form string, n int) (tags []string) {
	for i := range n {
		tags = append(tags, fmt.Sprintf(form, i))
	}
	return tags
}

// However much has changed, few calls say so: by the tags, by their types, or that it is everything.
func TestFewCalls(t *testing.T) {
	for _, c := range []struct {
		tags []string
		want string // the number of tags of each call, and the first tag; 0 is everything
	}{
		{nil, ""},
		{[]string{"Tactic"}, "1 tactic"},
		{[]string{"Tactic:TA1", "tactic:ta1", "TACTIC:list"}, "2 tactic:list"},
		{[]string{"Tactic", "*"}, "0"},
		{[]string{"Tactic:" + strings.Repeat("x", 2000)}, "0"},
		{[]string{"Tactic:a b"}, "0"},
		{numbered("Indicator:%03d", 100), "100 indicator:000"},
		{numbered("Indicator:%03d", 101), "100 indicator:000, 1 indicator:100"},
		{numbered("Indicator:%03d", 300), "100 indicator:000, 100 indicator:100, 100 indicator:200"},
		{append(numbered("Indicator:%03d", 300), "Tactic:list"), "2 indicator"},
		{numbered("Type%d:x", 301), "0"},
	} {
		var got []string
		for _, call := range edge.Calls(c.tags) {
			text := fmt.Sprint(len(call))
			if len(call) > 0 {
				text += " " + call[0]
			}
			got = append(got, text)
		}
		if strings.Join(got, ", ") != c.want {
			t.Errorf("%d tags: %v, want %s", len(c.tags), got, c.want)
		}
	}
}

func cloudflare(cdn *edgetest.CDN, token string) *edge.Cloudflare {
	return &edge.Cloudflare{API: cdn.API.URL + "/client/v4/", Zone: edgetest.Zone, Token: func() (string, error) { return token, nil }}
}

// What Cloudflare says no to, and how that is told: in its words, never with the token, and with what to do.
func TestCloudflareSaysNo(t *testing.T) {
	cdn := edgetest.New(t)
	cdn.Bucket, cdn.Fill = 1, 0.1
	good := cloudflare(cdn, edgetest.Token)
	if err := good.Purge(t.Context(), []string{"tactic:TA0001", "tactic:a%2Fb"}); err != nil {
		t.Fatal(err)
	}
	var refusal *edge.Refusal
	err := good.Purge(t.Context(), []string{"tactic"})
	if !errors.As(err, &refusal) || refusal.Status != 429 || refusal.After < 8*time.Second || refusal.After > 11*time.Second || refusal.Hint() == "" {
		t.Errorf("%v %+v", err, refusal)
	}
	const secret = "other-token-0815"
	err = cloudflare(cdn, secret).Purge(t.Context(), []string{"tactic"})
	if err == nil || err.Error() != "status 403: Authentication error (10000)" || !strings.Contains(err.(*edge.Refusal).Hint(), "Zone.Cache Purge") {
		t.Error(err)
	}
	for fault, want := range map[string]string{"500": "status 500: Internal server error (10001)", "nonsense": "status 200", "hang up": "EOF"} {
		cdn.Set(fault)
		if err := cloudflare(cdn, secret).Purge(t.Context(), []string{"tactic"}); err == nil || err.Error() != want {
			t.Errorf("%s: %v, want %s", fault, err, want)
		}
	}
	// Nor does a log have it if what is asked sends it back.
	echo := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, `{"success": false, "errors": [{"code": 1, "message": "no: %s"}]}`, r.Header.Get("Authorization"))
	}))
	defer echo.Close()
	if err := (&edge.Cloudflare{API: echo.URL, Zone: edgetest.Zone, Token: func() (string, error) { return secret, nil }}).Purge(t.Context(), nil); err == nil || err.Error() != "status 200: no: Bearer (token) (1)" {
		t.Error(err)
	}
	// The token is sent to nobody else.
	var seen atomic.Bool
	other := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { seen.Store(true) }))
	defer other.Close()
	elsewhere := httptest.NewServer(http.RedirectHandler(other.URL, http.StatusTemporaryRedirect))
	defer elsewhere.Close()
	c := cloudflare(cdn, secret)
	c.API = elsewhere.URL
	if err := c.Purge(t.Context(), nil); err == nil || seen.Load() {
		t.Errorf("%v, and the token was sent elsewhere: %v", err, seen.Load())
	}
}

func TestCloudflareIsChecked(t *testing.T) {
	ok := func() (string, error) { return "x", nil }
	for _, c := range []struct{ zone, api, want string }{
		{edgetest.Zone, "", "<nil>"},
		{edgetest.Zone, "http://127.0.0.1:8080/x", "<nil>"},
		{"example.com", "", "the id of a zone has 32 hexadecimal digits"},
		{edgetest.Zone, "http://api.example.com", "the API's address is not https://: the token would be seen on its way"},
		{edgetest.Zone, "https://u:p@api.example.com", "the API's address is no URL of the form https://host/path"},
	} {
		if err := (&edge.Cloudflare{Zone: c.zone, API: c.api, Token: ok}).Check(); fmt.Sprint(err) != c.want {
			t.Errorf("%s %s: %v", c.zone, c.api, err)
		}
	}
}

// changes is a log in memory.
type changes struct {
	mu      sync.Mutex
	entries [][]string
	follow  []*edge.Purger
}

func (c *changes) Since(_ context.Context, position int64) (tags []string, last int64, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if position >= 0 {
		tags = slices.Concat(c.entries[position:]...)
	}
	return tags, int64(len(c.entries)), nil
}

func (c *changes) add(tags ...string) int64 {
	c.mu.Lock()
	c.entries = append(c.entries, tags)
	last := int64(len(c.entries))
	c.mu.Unlock()
	for _, p := range c.follow {
		p.Changed(last)
	}
	return last
}

// work runs one worker's purger until the returned function is called.
func work(t *testing.T, log *changes, ledger edge.Ledger, cdn edge.CDN, settle time.Duration, said io.Writer) (*edge.Purger, func()) {
	p := edge.New(edge.Options{Changes: log, Ledger: ledger, CDN: cdn, Known: settle, Settle: settle, PerMinute: 6000, Log: logtext.Logger(said)})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); p.Run(ctx) }()
	log.mu.Lock()
	log.follow = append(log.follow, p)
	last := int64(len(log.entries))
	log.mu.Unlock()
	p.Changed(last)
	stop := sync.OnceFunc(func() { cancel(); <-ended })
	t.Cleanup(stop)
	return p, stop
}

func openFile(t *testing.T, path string) *edge.File {
	f, err := edge.OpenFile(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func purged(cdn *edgetest.CDN) (tags []string) {
	for _, c := range cdn.Calls() {
		if c.Status == 200 {
			if c.Everything {
				tags = append(tags, "*")
			}
			tags = append(tags, c.Tags...)
		}
	}
	return tags
}

// Of several workers one purges, what has changed is purged twice, and who starts purges what the one before
// has not.
func TestOneWorkerPurges(t *testing.T) {
	t.Parallel()
	cdn, log, path := edgetest.New(t), &changes{}, filepath.Join(t.TempDir(), "edge")
	var workers [3]*edge.Purger
	var stops [3]func()
	var files [3]*edge.File
	for i := range workers {
		files[i] = openFile(t, path)
		workers[i], stops[i] = work(t, log, files[i], cloudflare(cdn, edgetest.Token), time.Millisecond, io.Discard)
	}
	settled := func(n int64) func() bool {
		return func() bool {
			p, err := files[0].Progress(t.Context())
			return err == nil && p.Settled == n
		}
	}
	eventually(t, "nobody knows what there was, so all is purged, twice", settled(0))
	if got := purged(cdn); !slices.Equal(got, []string{"*", "*"}) {
		t.Fatal(got)
	}
	last := log.add("Tactic:TA1", "Tactic:list")
	for i, w := range workers {
		if err := w.Wait(t.Context(), last); err != nil {
			t.Fatal(i, err)
		}
	}
	eventually(t, "it is purged again", settled(1))
	if got := purged(cdn)[2:]; !slices.Equal(got, []string{"tactic:list", "tactic:ta1", "tactic:list", "tactic:ta1"}) {
		t.Fatal(got)
	}
	for i, w := range workers {
		eventually(t, "nothing waits", func() bool { return w.OldestWaiting() == 0 })
		stops[i]()
	}
	// Nobody is there.
	log.add("Software:S1")
	log.add("Software:S2")
	work(t, log, openFile(t, path), cloudflare(cdn, edgetest.Token), time.Millisecond, io.Discard)
	eventually(t, "what was missed is purged", settled(3))
	if got := purged(cdn)[6:]; !slices.Equal(got, []string{"software:s1", "software:s2", "software:s1", "software:s2"}) {
		t.Fatal(got)
	}
}

// note has what was purged, in the place of a CDN.
type note struct {
	mu    sync.Mutex
	calls []string
	err   error
}

func (n *note) Purge(_ context.Context, tags []string) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.err == nil {
		n.calls = append(n.calls, strings.Join(tags, " "))
	}
	return n.err
}

func (n *note) took() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Clone(n.calls)
}

func (n *note) fails(err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.err = err
}

// alone is a ledger for one worker, which may find something there.
type alone struct {
	mu sync.Mutex
	p  edge.Progress
}

func (a *alone) Progress(context.Context) (edge.Progress, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.p, nil
}

func (a *alone) Hold(ctx context.Context) (edge.Progress, bool, error) {
	p, err := a.Progress(ctx)
	return p, true, err
}

func (a *alone) Record(_ context.Context, p edge.Progress) (bool, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.p = p
	return true, nil
}

func (a *alone) Release(context.Context) error { return nil }

// A change is purged three times: at once, when all hosts know of it, and when nothing of before is on its way; and
// only then it is settled. Who takes over begins with what was not, though it was purged.
func TestPurgedThreeTimes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, cdn, ledger := &changes{}, &note{}, &alone{p: edge.Progress{Purged: 2, Settled: 1}}
		log.add("a")
		log.add("b")
		p := edge.New(edge.Options{Changes: log, Ledger: ledger, CDN: cdn, Known: 5 * time.Second, Settle: 15 * time.Second, PerMinute: 60})
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() { defer close(ended); p.Run(ctx) }()
		defer func() { cancel(); <-ended }()
		p.Changed(2)
		for _, c := range []struct {
			after time.Duration
			calls int
			want  edge.Progress
		}{
			{500 * time.Millisecond, 1, edge.Progress{Purged: 2, Settled: 1}},
			{4 * time.Second, 1, edge.Progress{Purged: 2, Settled: 1}},
			{2 * time.Second, 2, edge.Progress{Purged: 2, Settled: 1}},
			{8 * time.Second, 2, edge.Progress{Purged: 2, Settled: 1}},
			{2 * time.Second, 3, edge.Progress{Purged: 2, Settled: 2}},
			{time.Hour, 3, edge.Progress{Purged: 2, Settled: 2}},
			// One comes while another is not settled: that is no further for it.
			{14 * time.Second, 5, edge.Progress{Purged: 3, Settled: 2}},
			{3 * time.Second, 7, edge.Progress{Purged: 4, Settled: 3}},
			{time.Hour, 9, edge.Progress{Purged: 4, Settled: 4}},
		} {
			switch c.after {
			case 14 * time.Second, 3 * time.Second:
				p.Changed(log.add("c"))
			}
			time.Sleep(c.after)
			synctest.Wait()
			got, _ := ledger.Progress(ctx)
			if calls := cdn.took(); len(calls) != c.calls || calls[0] != "b" || got != c.want {
				t.Errorf("after %v more: %q, %+v, want %d and %+v", c.after, calls, got, c.calls, c.want)
			}
		}
	})
}

// How long the oldest change waits is told, also while others come all the time and some are purged, by whomever.
func TestTheOldestWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, ledger := &changes{}, &alone{p: edge.Progress{}}
		p := edge.New(edge.Options{Changes: log, Ledger: ledger, CDN: &note{err: io.ErrUnexpectedEOF}, Known: time.Second, Settle: time.Second, PerMinute: 60})
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() { defer close(ended); p.Run(ctx) }()
		defer func() { cancel(); <-ended }()
		began := time.Now()
		for range 200 {
			p.Changed(log.add("a"))
			time.Sleep(time.Second)
		}
		for _, c := range []struct{ purged, oldest int64 }{{0, 1}, {40, 41}, {98, 99}, {150, 100}} { // of more than 100 the age of the last is told
			if _, err := ledger.Record(ctx, edge.Progress{Purged: c.purged}); err != nil {
				t.Fatal(err)
			}
			time.Sleep(2 * time.Second)
			synctest.Wait()
			if got, want := p.OldestWaiting(), time.Since(began.Add(time.Duration(c.oldest-1)*time.Second)); got != want {
				t.Errorf("purged up to %d: %v, want %v", c.purged, got, want)
			}
		}
		// What others have purged before this one knows of it does not wait.
		if _, err := ledger.Record(ctx, edge.Progress{Purged: 300}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Second)
		p.Changed(250)
		time.Sleep(time.Second)
		if d := p.OldestWaiting(); d != 0 {
			t.Errorf("%v", d)
		}
	})
}

// A CDN that says when it may be asked again is not asked before; and one that is at fault ever more seldom.
func TestAskedAgain(t *testing.T) {
	for _, c := range []struct {
		what        string
		err         error
		least, most uint64 // calls in a minute
	}{
		{"too many, for 50 s", &edge.Refusal{Status: 429, After: 50 * time.Second}, 1, 2},
		{"too many", &edge.Refusal{Status: 429}, 5, 7},
		{"no answer", io.ErrUnexpectedEOF, 5, 7},
	} {
		t.Run(c.what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				log, cdn := &changes{}, &note{err: c.err}
				log.add("a")
				p := edge.New(edge.Options{Changes: log, Ledger: &alone{}, CDN: cdn, Known: time.Second, Settle: time.Second, PerMinute: 6000})
				ctx, cancel := context.WithCancel(t.Context())
				ended := make(chan struct{})
				go func() { defer close(ended); p.Run(ctx) }()
				defer func() { cancel(); <-ended }()
				p.Changed(1)
				time.Sleep(time.Minute)
				synctest.Wait()
				if n := p.Counts(); n.Limited+n.Failed < c.least || n.Limited+n.Failed > c.most || n.OK > 0 {
					t.Errorf("%+v", n)
				}
				if d := p.OldestWaiting(); d != time.Minute {
					t.Errorf("it waits for %v", d)
				}
				cdn.fails(nil)
				if err := p.Wait(ctx, 1); err != nil || p.OldestWaiting() != 0 {
					t.Error(err, p.OldestWaiting())
				}
			})
		})
	}
}

// While the CDN does not answer, or says no, nothing is lost; the log says so once, and once when it is
// over; and what has come meanwhile is one call.
func TestCDNIsAway(t *testing.T) {
	t.Parallel()
	cdn, log := edgetest.New(t), &changes{}
	ledger := openFile(t, filepath.Join(t.TempDir(), "edge"))
	var said lockedText
	p, _ := work(t, log, ledger, cloudflare(cdn, edgetest.Token), time.Hour, &said)
	if err := p.Wait(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	before := len(cdn.Calls())
	cdn.Set("500")
	log.add("Tactic:list")
	eventually(t, "a call has failed", func() bool { return p.Counts().Failed >= 2 })
	for i := range 10 {
		log.add(fmt.Sprintf("Tactic:%d", i))
	}
	if p.OldestWaiting() == 0 {
		t.Error("nothing waits")
	}
	cdn.Set("")
	if err := p.Wait(t.Context(), 11); err != nil {
		t.Fatal(err)
	}
	good := 0
	for _, c := range cdn.Calls()[before:] {
		if c.Status == 200 {
			if good++; len(c.Tags) != 11 {
				t.Errorf("%d tags", len(c.Tags))
			}
		}
	}
	if good != 1 {
		t.Errorf("%d calls", good)
	}
	lines := strings.Split(strings.TrimSpace(said.String()), "\n")
	if len(lines) != 3 || !strings.Contains(lines[0], "the CDN cannot be purged: status 500") || !strings.HasPrefix(lines[1], "hint:") || !strings.Contains(lines[2], "is purged again, after") {
		t.Errorf("%q", lines)
	}
}

type lockedText struct {
	sync.Mutex
	text []byte
}

func (l *lockedText) Write(b []byte) (int, error) {
	l.Lock()
	defer l.Unlock()
	l.text = append(l.text, b...)
	return len(b), nil
}

func (l *lockedText) String() string {
	l.Lock()
	defer l.Unlock()
	return string(l.text)
}

// Changes come faster than the account's plan has calls: it says no, is asked again when it has
// said, and all is purged in the end, in few calls.
func TestMoreChangesThanCalls(t *testing.T) {
	t.Parallel()
	cdn, log := edgetest.New(t), &changes{}
	cdn.Bucket, cdn.Fill = 2, 2
	p, _ := work(t, log, openFile(t, filepath.Join(t.TempDir(), "edge")), cloudflare(cdn, edgetest.Token), time.Hour, io.Discard)
	if err := p.Wait(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	var last int64
	want := map[string]bool{}
	for i := range 250 {
		tag := fmt.Sprintf("indicator:%d", i)
		want[tag] = true
		last = log.add(tag)
	}
	if err := p.Wait(t.Context(), last); err != nil {
		t.Fatal(err)
	}
	for _, tag := range purged(cdn) {
		delete(want, tag)
	}
	if len(want) > 0 {
		t.Errorf("%d tags were not purged", len(want))
	}
	if c := p.Counts(); c.OK+c.Limited > 20 {
		t.Errorf("%+v", c)
	}
}

// held counts how often it is said that who purges is alive.
type held struct {
	edge.Ledger
	times atomic.Int32
}

func (h *held) Hold(ctx context.Context) (edge.Progress, bool, error) {
	h.times.Add(1)
	return h.Ledger.Hold(ctx)
}

// seen is a CDN that notes how often that was said before each call.
type seen struct {
	*held
	before []int32
}

func (s *seen) Purge(context.Context, []string) error {
	s.before = append(s.before, s.times.Load())
	return nil
}

// Calls that take long must not look as if who makes them had died: another one would begin anew, and so would the
// next, for ever.
func TestWhoPurgesSlowlyIsAlive(t *testing.T) {
	t.Parallel()
	log, ledger := &changes{}, &held{Ledger: openFile(t, filepath.Join(t.TempDir(), "edge"))}
	cdn := &seen{held: ledger}
	log.add(numbered("Indicator:%03d", 300)...)
	if _, _, err := ledger.Hold(t.Context()); err != nil { // nothing was purged yet, but all is in the log
		t.Fatal(err)
	}
	if held, err := ledger.Record(t.Context(), edge.Progress{}); !held || err != nil {
		t.Fatal(held, err)
	}
	p, stop := work(t, log, ledger, cdn, time.Hour, io.Discard)
	if err := p.Wait(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	stop()
	if len(cdn.before) != 3 || cdn.before[0] == cdn.before[1] || cdn.before[1] == cdn.before[2] {
		t.Errorf("%v", cdn.before)
	}
}

// What is to be purged again after long is kept in few words, however much changes until then.
func TestFewTagsAreKept(t *testing.T) {
	for _, c := range []struct {
		tags []string
		want int
	}{{numbered("Indicator:%d", 300), 300}, {numbered("Indicator:%d", 10_000), 1}, {numbered("Type%d:x", 301), 1}} {
		if got := edge.Few(c.tags); len(got) != c.want {
			t.Errorf("%d of %d", len(got), len(c.tags))
		}
	}
}

// A call is made no oftener than the setting says, whatever happens.
func TestCallsPerMinute(t *testing.T) {
	t.Parallel()
	cdn, log := edgetest.New(t), &changes{}
	p := edge.New(edge.Options{Changes: log, Ledger: openFile(t, filepath.Join(t.TempDir(), "edge")), CDN: cloudflare(cdn, edgetest.Token), Known: time.Hour, Settle: time.Hour, PerMinute: 12})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); p.Run(ctx) }()
	defer func() { cancel(); <-ended }()
	began := time.Now()       // one more comes in five seconds
	for i := range int64(5) { // the bucket
		p.Changed(log.add("Tactic:list"))
		if err := p.Wait(ctx, i+1); err != nil {
			t.Fatal(err)
		}
	}
	p.Changed(log.add("Tactic:list"))
	if err := p.Wait(ctx, 6); err != nil {
		t.Fatal(err)
	}
	if d := time.Since(began); d < 5*time.Second {
		t.Errorf("the sixth call came after %v, and not 5 s", d)
	}
}

// An answer that was made before a change, and reaches the CDN when that has been purged, is kept there: until the
// second purge.
func TestAnswersOnTheirWay(t *testing.T) {
	t.Parallel()
	cdn, log := edgetest.New(t), &changes{}
	var version atomic.Int64
	made := make(chan struct{}, 10)
	origin := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Cache-Control", "max-age=60, public")
		w.Header().Set("CDN-Cache-Control", "max-age=3600, public, stale-while-revalidate=360")
		w.Header().Set("Cache-Tag", "Tactic,Tactic:list")
		fmt.Fprint(w, version.Load())
		made <- struct{}{}
	}))
	defer origin.Close()
	land := make(chan struct{})
	cdn.Flight = func() { <-land }
	place := httptest.NewServer(cdn.Place("fra", origin.URL))
	defer place.Close()
	ask := func() string {
		res, err := http.Get(place.URL + "/graphql?x")
		if err != nil {
			t.Error(err)
			return ""
		}
		defer res.Body.Close()
		b, _ := io.ReadAll(res.Body)
		return string(b)
	}
	p, _ := work(t, log, openFile(t, filepath.Join(t.TempDir(), "edge")), cloudflare(cdn, edgetest.Token), 3*time.Second, io.Discard)
	if err := p.Wait(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	answered := make(chan string)
	go func() { answered <- ask() }()
	<-made // and is on its way
	version.Add(1)
	if err := p.Wait(t.Context(), log.add("Tactic:list")); err != nil {
		t.Fatal(err)
	}
	close(land)
	if got := <-answered; got != "0" {
		t.Fatalf("%q", got)
	}
	if got := ask(); got != "0" {
		t.Fatalf("the CDN has %q: nothing of before is kept there, so this test shows nothing", got)
	}
	eventually(t, "the CDN has what is true", func() bool { return ask() == "1" })
}

func TestFileIsALedger(t *testing.T) {
	path := filepath.Join(t.TempDir(), "edge")
	ledgertest.Run(t, func() edge.Ledger { return openFile(t, path) }, func(l edge.Ledger) { l.(*edge.File).Close() }, time.Second)
	// What was written in part says nothing.
	f := openFile(t, path)
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for name, damage := range map[string]func() error{
		"short": func() error { return os.Truncate(path, 20) },
		"mixed": func() error { text[3]++; return os.WriteFile(path, text, 0o600) },
	} {
		if err := damage(); err != nil {
			t.Fatal(err)
		}
		if p, err := f.Progress(t.Context()); p != edge.Unknown || err != nil {
			t.Error(name, p, err)
		}
	}
}

// Root may open it in another user's folder, who must not get hold of root's files by that.
func TestFileIsNoLink(t *testing.T) {
	dir := t.TempDir()
	precious := filepath.Join(dir, "precious")
	if err := os.WriteFile(precious, []byte("of root"), 0o600); err != nil {
		t.Fatal(err)
	}
	link, second, pipe := filepath.Join(dir, "link"), filepath.Join(dir, "second"), filepath.Join(dir, "pipe")
	if err := errors.Join(os.Symlink(precious, link), os.Link(precious, second), syscall.Mkfifo(pipe, 0o600)); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{link, pipe} {
		if f, err := edge.OpenFile(path); err == nil {
			f.Close()
			t.Errorf("%s is taken", path)
		}
	}
	f := openFile(t, second)
	if err := f.Chown(os.Getuid(), os.Getgid()); err == nil || !strings.Contains(err.Error(), "another name") {
		t.Error(err)
	}
}

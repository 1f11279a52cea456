// Package edgetest is a CDN for tests: a cache that keeps what answers allow, at several places,
// and an API like Cloudflare's, by which it is purged by tags and which says no as that does.
//
// Where a CDN may be kind or unkind, this one is unkind: it counts an answer's age from when it
// came, whatever Age says; it keeps what was asked for before a purge and comes after it; and it
// keeps whatever it may, for as long as it may.
package edgetest

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

const (
	// Zone and Token are those of the API.
	Zone  = "0123456789abcdef0123456789abcdef"
	Token = "token-of-the-edge"
)

// CDN is one. Its fields are set before it is used, and those of Fault at any time by Set.
type CDN struct {
	API    *httptest.Server
	Bucket float64 // calls that may be made at once; 0: any number
	Fill   float64 // a second
	Flight func()  // each answer's way from an origin to here; nil: takes no time

	mu      sync.Mutex
	fault   string
	tokens  float64
	filled  time.Time
	entries map[string]*entry // by place and what was asked for
	calls   []Call
	stored  int
}

// Call is one that was made to the API.
type Call struct {
	At         time.Time
	Status     int
	Tags       []string
	Hosts      []string
	Everything bool
}

type entry struct {
	status     int
	header     http.Header
	body       []byte
	tags       []string
	came       time.Time
	fresh      time.Duration
	stale      time.Duration // after that, while it is asked for again
	refreshing bool
}

// New makes one, which ends with the test.
func New(t testing.TB) *CDN {
	c := &CDN{entries: map[string]*entry{}}
	c.API = httptest.NewServer(http.HandlerFunc(c.serveAPI))
	t.Cleanup(c.API.Close)
	return c
}

// Set has the API fail from now on: "500", "hang up", "nonsense", or "" for not.
func (c *CDN) Set(fault string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.fault = fault
}

// Calls are those that were made.
func (c *CDN) Calls() []Call {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]Call(nil), c.calls...)
}

// Stored is how many answers were put into the cache.
func (c *CDN) Stored() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.stored
}

var (
	purgePath = regexp.MustCompile(`^/client/v4/zones/` + Zone + `/purge_cache$`)
	isTag     = regexp.MustCompile(`^[!-+\--~]+$`) // what is printable in ASCII, but for the comma
)

func (c *CDN) serveAPI(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	c.mu.Lock()
	defer c.mu.Unlock()
	call := Call{At: time.Now()}
	no := func(status, code int, text string) {
		call.Status = status
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		fmt.Fprintf(w, `{"success":false,"errors":[{"code":%d,"message":%q}],"messages":[],"result":null}`, code, text)
	}
	defer func() { c.calls = append(c.calls, call) }()
	switch c.fault {
	case "500":
		no(500, 10001, "Internal server error")
		return
	case "hang up":
		panic(http.ErrAbortHandler)
	case "nonsense":
		fmt.Fprint(w, "<html>this is fine</html>")
		return
	}
	switch {
	case !purgePath.MatchString(r.URL.Path):
		no(404, 7003, "Could not route to "+r.URL.Path+", perhaps your object identifier is invalid?")
		return
	case r.Method != http.MethodPost:
		no(405, 10405, "Method not allowed for this authentication scheme")
		return
	case r.Header.Get("Authorization") != "Bearer "+Token:
		no(403, 10000, "Authentication error")
		return
	}
	if c.Bucket > 0 {
		if !c.filled.IsZero() {
			c.tokens = min(c.tokens+call.At.Sub(c.filled).Seconds()*c.Fill, c.Bucket)
		} else {
			c.tokens = c.Bucket
		}
		if c.filled = call.At; c.tokens < 1 {
			w.Header().Set("Retry-After", strconv.Itoa(int((1-c.tokens)/c.Fill)+1))
			no(429, 971, "Please wait and consider throttling your request speed")
			return
		}
		c.tokens--
	}
	var what map[string]json.RawMessage
	if json.Unmarshal(body, &what) != nil || len(what) != 1 {
		no(400, 1012, "Request must contain one of \"purge_everything\", \"files\", \"tags\", \"hosts\" or \"prefixes\"")
		return
	}
	bad := false
	for key, v := range what {
		switch key {
		case "tags":
			bad = json.Unmarshal(v, &call.Tags) != nil || len(call.Tags) == 0 || len(call.Tags) > 100
			for _, t := range call.Tags {
				bad = bad || len(t) > 1024 || !isTag.MatchString(t)
			}
		case "hosts":
			bad = json.Unmarshal(v, &call.Hosts) != nil || len(call.Hosts) == 0 || len(call.Hosts) > 100
		case "purge_everything":
			call.Everything = string(v) == "true"
			bad = !call.Everything
		default:
			bad = true
		}
	}
	if bad {
		no(400, 1094, "Unable to purge, the request is not valid")
		return
	}
	for key, e := range c.entries {
		if call.Everything || len(call.Hosts) > 0 || tagged(e.tags, call.Tags) {
			delete(c.entries, key)
		}
	}
	call.Status = 200
	w.Header().Set("Content-Type", "application/json")
	fmt.Fprintf(w, `{"success":true,"errors":[],"messages":[],"result":{"id":%q}}`, Zone)
}

func tagged(have, purged []string) bool {
	for _, h := range have {
		for _, p := range purged {
			if strings.EqualFold(h, p) {
				return true
			}
		}
	}
	return false
}

// Place is the CDN at a place, in front of an origin: a handler of requests.
func (c *CDN) Place(name, origin string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		key := name + " " + r.URL.RequestURI()
		if r.Method != http.MethodGet || r.Header.Get("Authorization") != "" || r.Header.Get("X-Api-Key") != "" {
			e, err := c.fetch(origin, r)
			answer(w, e, err, "BYPASS", 0)
			return
		}
		c.mu.Lock()
		e := c.entries[key]
		age := time.Duration(0)
		state := "MISS"
		if e != nil {
			switch age = time.Since(e.came); {
			case age < e.fresh:
				state = "HIT"
			case age < e.fresh+e.stale:
				state = "UPDATING"
				if !e.refreshing {
					e.refreshing = true
					again := r.Clone(r.Context())
					go func() {
						if e, err := c.fetch(origin, again); err == nil {
							c.store(key, e)
						}
					}()
				}
			}
		}
		c.mu.Unlock()
		if state != "MISS" {
			answer(w, e, nil, state, age)
			return
		}
		e, err := c.fetch(origin, r)
		if err == nil {
			c.store(key, e)
		}
		answer(w, e, err, state, 0)
	})
}

func answer(w http.ResponseWriter, e *entry, err error, state string, age time.Duration) {
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	for k, v := range e.header {
		if k != "Cache-Tag" && k != "Content-Length" {
			w.Header()[k] = v
		}
	}
	if age > 0 {
		w.Header().Set("Age", strconv.Itoa(int(age/time.Second)))
	}
	w.Header().Set("Cf-Cache-Status", state)
	w.WriteHeader(e.status)
	_, _ = w.Write(e.body)
}

// fetch asks the origin. The answer is as it was made, and comes after Flight.
func (c *CDN) fetch(origin string, r *http.Request) (*entry, error) {
	req, err := http.NewRequest(r.Method, origin+r.URL.RequestURI(), r.Body)
	if err != nil {
		return nil, err
	}
	req.Header, req.ContentLength = r.Header.Clone(), r.ContentLength
	req.Header.Del("Accept-Encoding")
	res, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		return nil, err
	}
	if c.Flight != nil {
		c.Flight()
	}
	e := &entry{status: res.StatusCode, header: res.Header, body: body, came: time.Now()}
	for t := range strings.SplitSeq(strings.Join(res.Header.Values("Cache-Tag"), ","), ",") {
		if t = strings.TrimSpace(t); t != "" {
			e.tags = append(e.tags, t)
		}
	}
	return e, nil
}

// store keeps an answer if it may.
func (c *CDN) store(key string, e *entry) {
	said := e.header.Get("Cdn-Cache-Control")
	if said == "" {
		said = e.header.Get("Cache-Control")
	}
	d := directives(said)
	c.mu.Lock()
	defer c.mu.Unlock()
	if old := c.entries[key]; old != nil {
		old.refreshing = false
	}
	_, no := d["no-store"]
	_, private := d["private"]
	_, public := d["public"]
	if no || private || !public || e.status != 200 || e.header.Get("Set-Cookie") != "" {
		return
	}
	age := d["max-age"]
	if s, ok := d["s-maxage"]; ok {
		age = s
	}
	if e.fresh, e.stale = seconds(age), seconds(d["stale-while-revalidate"]); e.fresh > 0 {
		c.entries[key] = e
		c.stored++
	}
}

func directives(s string) map[string]string {
	d := map[string]string{}
	for one := range strings.SplitSeq(s, ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(one), "=")
		d[strings.ToLower(name)] = value
	}
	return d
}

func seconds(s string) time.Duration {
	n, _ := strconv.Atoi(s)
	return time.Duration(n) * time.Second
}

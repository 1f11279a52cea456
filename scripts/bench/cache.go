package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nekoctl/neko/scripts/npm"
)

// A hit of the response cache is measured beside a server that answers the same requests
// from memory, with the same headers, by the same HTTP library, and beside Mercurius and
// Apollo Server with their response caches in Redis.
//
// The raw server has one answer, whatever it is asked: one of the median length of neko's.
// To look the right one up by the request would be a part of what is measured.
const (
	besideRaw       = "fasthttp from memory"
	besideMercurius = "Mercurius, its cache in Redis, pm2 -i 2"
	besideApollo    = "Apollo Server, its cache in Redis, pm2 -i 2"
)

// The peers, pinned as PM2 is.
var (
	mercuriusPackages = []string{"fastify@5.12.8", "mercurius@16.10.1", "mercurius-cache@8.0.0", "graphql@16.11.0", "ioredis@5.8.2"}
	apolloPackages    = []string{"@apollo/server@5.5.1", "@apollo/server-plugin-response-cache@5.0.0", "@apollo/utils.keyvadapter@4.0.1", "keyv@5.6.0", "@keyv/redis@5.1.6", "graphql@16.11.0"}
)

// cacheDocuments are what is asked: one most of all, by variables.
var cacheDocuments = []string{
	`query Technique($id: ID!, $n: Int) { technique(id: $id) { id attackId name description mitigations(first: $n) { totalCount nodes { id name } } } }`,
	`query Card($id: ID!, $n: Int) { technique(id: $id) { attackId name platforms mitigations(first: $n) { nodes { attackId name } } } }`,
	`query Names($id: ID!, $n: Int) { technique(id: $id) { name isSubtechnique mitigations(first: $n) { totalCount nodes { name } } } }`,
	`query Text($id: ID!, $n: Int) { technique(id: $id) { id name description platforms mitigations(first: $n) { totalCount } } }`,
	`query All($id: ID!, $n: Int) { technique(id: $id) { id attackId name description platforms isSubtechnique mitigations(first: $n) { totalCount nodes { id attackId name } } } }`,
}

// cacheQueries is how many different ones the Zipf load has.
const cacheQueries = 10_000

// hits is what all figures of the cache have.
type hits struct {
	b      *bench
	dir    string
	redis  *redisServer
	data   string   // file of what peers have in memory
	ids    []string // of techniques
	bodies [][]byte // of the Zipf load
	neko   *cacheServer
	token  string
}

// cacheServer is a server under load.
type cacheServer struct {
	side    *side
	address string
	pids    []int
}

func cached() measurement {
	raw := func(name string, share float64) []*figure {
		note := "the same headers and length, one CPU"
		return []*figure{
			{Name: "cache: hit, " + name, Unit: "/s", Times: atLeast(share), Beside: besideRaw, Note: note},
			{Name: "cache: hit, " + name + ": CPU of one", Unit: "µs", Beside: besideRaw, Note: note},
		}
	}
	var rows []*figure
	rows = append(rows, raw("anonymous, limits on", 0.85)...)
	rows = append(rows, raw("with a JWT, limits on", 0.80)...)
	rows = append(rows, raw("Zipf over 10,000 queries, limits on", 0.75)...)
	rows = append(rows,
		&figure{Name: "cache: p99 at 10,000/s, Zipf over 10,000 queries", Unit: "ms", Goal: atMost(5), Beside: besideRaw, Note: "the same"},
		&figure{Name: "cache: hit, two workers, and Mercurius", Unit: "/s", Times: atLeast(5), Beside: besideMercurius},
		&figure{Name: "cache: Zipf, two workers, and Mercurius", Unit: "/s", Times: atLeast(5), Beside: besideMercurius},
		&figure{Name: "cache: hit, two workers, and Apollo", Unit: "/s", Times: atLeast(8), Beside: besideApollo},
		&figure{Name: "cache: Zipf, two workers, and Apollo", Unit: "/s", Times: atLeast(8), Beside: besideApollo})
	return measurement{"cache", rows, func(b *bench) {
		h := &hits{b: b}
		defer h.end()
		if wanted(rows[:7]) {
			if err := h.prepare("1"); err != nil {
				failAll(rows[:7], err)
			} else {
				h.besideRaw(rows[:7])
			}
			h.end()
		}
		for i, of := range []struct {
			rows     []*figure
			script   []byte
			packages []string
		}{{rows[7:9], mercuriusJS, mercuriusPackages}, {rows[9:11], apolloJS, apolloPackages}} {
			if !wanted(of.rows) || b.ctx.Err() != nil {
				continue
			}
			p := &hits{b: b}
			err := p.prepare("2")
			if err == nil {
				err = p.besidePeer(of.rows, fmt.Sprintf("peer%d.js", i), of.script, of.packages)
			}
			p.end()
			if err != nil {
				failAll(of.rows, err)
			}
		}
	}}
}

// prepare starts neko-api with so many workers, and finds out what to ask it.
func (h *hits) prepare(workers string) (err error) {
	if h.dir, err = os.MkdirTemp(h.b.tmp, "c"); err != nil {
		return err
	}
	if h.redis, err = startRedis(h.b); err != nil {
		return err
	}
	s, err := h.b.neko()
	if err != nil {
		return err
	}
	h.neko = &cacheServer{side: s}
	s.keys = `, env: {GOMAXPROCS: "1"}`
	if h.b.bundle != "" {
		if err := h.api("import", h.b.bundle); err != nil {
			return err
		}
	}
	t, err := startWorker(s, workers, h.b.api(), "--rate-limit", generous, "--max-cost", "1000000")
	if err == nil {
		err = h.neko.started(t.url, workers)
	}
	if err != nil {
		return err
	}
	if workers == "1" {
		if err := h.login(); err != nil {
			return err
		}
	}
	return h.askData()
}

// api runs a command of neko-api on the side's store.
func (h *hits) api(args ...string) error {
	cmd := exec.CommandContext(h.b.ctx, h.b.api(), args...)
	cmd.Env = append(os.Environ(), h.neko.side.env...)
	cmd.Stdin = strings.NewReader(benchPassword + "\n")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("neko-api %s: %w: %s", args[0], err, out)
	}
	return nil
}

const benchPassword = "the password of the bench"

func (h *hits) login() error {
	if err := h.api("user", "add", "bench", "--role", "viewer", "--password-stdin"); err != nil {
		return err
	}
	var a struct {
		Data struct{ Login struct{ AccessToken string } }
	}
	err := h.ask(`mutation { login(input: {name: "bench", password: "`+benchPassword+`"}) { accessToken } }`, nil, &a)
	if h.token = a.Data.Login.AccessToken; err == nil && h.token == "" {
		err = errors.New("neko-api: the login has brought no token")
	}
	return err
}

func requestBody(query string, variables map[string]any) []byte {
	return []byte(jsonOf(map[string]any{"query": query, "variables": variables}))
}

// ask asks neko-api.
func (h *hits) ask(query string, variables map[string]any, answer any) error {
	resp, err := http.Post("http://"+h.neko.address+"/graphql", "application/json", bytes.NewReader(requestBody(query, variables)))
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err == nil && (resp.StatusCode != 200 || bytes.Contains(text, []byte(`"errors"`))) {
		err = fmt.Errorf("neko-api: %s: %.400s", resp.Status, text)
	}
	if err == nil {
		err = json.Unmarshal(text, answer)
	}
	return err
}

// askData asks for what the peers answer from memory, and makes the requests of it.
func (h *hits) askData() error {
	var a struct {
		Data struct {
			Techniques struct{ Nodes []map[string]any }
		}
	}
	err := h.ask(`{ techniques(first: 100) { nodes { id attackId name description platforms isSubtechnique
		mitigations(first: 100) { totalCount nodes { id attackId name } } } } }`, nil, &a)
	if err != nil {
		return err
	}
	for _, t := range a.Data.Techniques.Nodes {
		h.ids = append(h.ids, fmt.Sprint(t["id"]))
	}
	h.data = filepath.Join(h.dir, "data.json")
	if err := os.WriteFile(h.data, []byte(jsonOf(map[string]any{"techniques": a.Data.Techniques.Nodes})), 0o600); err != nil {
		return err
	}
	// The same ids, lists of different lengths, in documents by turns.
	for n := 1; len(h.bodies) < cacheQueries; n++ {
		if n > 100 {
			return fmt.Errorf("%d techniques do not make %d different queries", len(h.ids), cacheQueries)
		}
		for _, id := range h.ids {
			for _, document := range cacheDocuments {
				h.bodies = append(h.bodies, requestBody(document, map[string]any{"id": id, "n": n}))
			}
		}
	}
	h.bodies = h.bodies[:cacheQueries]
	return nil
}

func (s *cacheServer) started(base, workers string) error {
	u, err := url.Parse(base)
	if err != nil {
		return err
	}
	s.address = u.Host
	n, err := strconv.Atoi(workers)
	if err == nil {
		s.pids, err = s.side.online("app", n)
	}
	return err
}

func (s *cacheServer) end() {
	if s != nil && s.side != nil {
		s.side.end()
	}
}

func (h *hits) end() {
	h.neko.end()
	if h.redis != nil {
		h.redis.end()
	}
	h.neko, h.redis = nil, nil
}

// requests is a file of requests with these bodies.
func (h *hits) requests(name, token string, bodies ...[]byte) (string, error) {
	var list [][]byte
	for _, body := range bodies {
		var b bytes.Buffer
		fmt.Fprintf(&b, "POST /graphql HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nAccept: */*\r\n")
		if token != "" {
			fmt.Fprintf(&b, "Authorization: Bearer %s\r\n", token)
		}
		fmt.Fprintf(&b, "Content-Length: %d\r\n\r\n%s", len(body), body)
		list = append(list, b.Bytes())
	}
	path := filepath.Join(h.dir, name)
	return path, writeRequests(path, list)
}

// drive sends a load to a server, and says what CPU time an answer took there.
func (h *hits) drive(s *cacheServer, d driving) (got driven, cpu float64, err error) {
	d.Address = s.address
	before, err := ticks(s.pids)
	if err != nil {
		return got, 0, err
	}
	cmd := exec.CommandContext(h.b.ctx, "/proc/self/exe", driveCommand, jsonOf(d))
	cmd.Env = append(os.Environ(), "GOMAXPROCS=1")
	var diag strings.Builder
	cmd.Stderr = &diag
	out, err := cmd.Output()
	if err != nil {
		return got, 0, fmt.Errorf("load: %w: %s", err, &diag)
	}
	if err := json.Unmarshal(out, &got); err != nil {
		return got, 0, err
	}
	after, err := ticks(s.pids)
	if err == nil && got.Answers == 0 {
		err = errors.New("no answer")
	}
	return got, float64(after-before) * 10_000 / float64(max(got.Answers, 1)), err
}

// startRaw starts the raw server with neko's headers for a request, and a body so long.
func (h *hits) startRaw(name string, body []byte, token string, length int) (*cacheServer, error) {
	req, err := http.NewRequest("POST", "http://"+h.neko.address+"/graphql", bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "*/*")
	req.Header.Set("Accept-Encoding", "identity")
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	var a rawAnswer
	if a.Body, err = io.ReadAll(resp.Body); err != nil {
		return nil, err
	}
	for name, values := range resp.Header {
		if name != "Date" && name != "Content-Length" {
			a.Headers = append(a.Headers, [2]string{name, strings.Join(values, ", ")})
		}
	}
	slices.SortFunc(a.Headers, func(x, y [2]string) int { return strings.Compare(x[0], y[0]) })
	if resp.Header.Get("Age") == "" {
		return nil, fmt.Errorf("neko-api does not keep the answer: %.200s %v", a.Body, resp.Header)
	}
	if length > 0 { // the bytes do not matter
		a.Body = append(bytes.Repeat([]byte("x"), length), a.Body...)[:length]
	}
	file := filepath.Join(h.dir, name+".json")
	if err := os.WriteFile(file, []byte(jsonOf(a)), 0o600); err != nil {
		return nil, err
	}
	own, err := os.Executable()
	if err != nil {
		return nil, err
	}
	side, err := h.b.neko()
	if err != nil {
		return nil, err
	}
	s := &cacheServer{side: side}
	side.keys = `, env: {GOMAXPROCS: "1"}`
	t, err := startFile(side, fmt.Sprintf("command: %s, instances: 1", jsonOf([]string{own, rawCommand, file})))
	if err == nil {
		err = s.started(t.url, "1")
	}
	if err == nil {
		_, err = h.b.untilOK(target{t.url + "graphql", body}, time.Now())
	}
	if err != nil {
		s.end()
		return nil, err
	}
	return s, nil
}

// warm asks neko each of the requests thrice: they are made, known, and answered.
func (h *hits) warm(s *cacheServer, requests string, clients int) error {
	for range 3 {
		if _, _, err := h.drive(s, driving{Requests: requests, Clients: clients, Each: true}); err != nil {
			return err
		}
	}
	return nil
}

const (
	cacheClients = 16
	cacheMeasure = 2.0 // seconds
)

// besideRaw measures neko and the raw server by turns.
func (h *hits) besideRaw(rows []*figure) {
	one := h.bodies[0]
	loads := []struct {
		rows   []*figure
		name   string
		token  string
		bodies [][]byte
		zipf   float64
		rate   float64
	}{
		{rows[0:2], "anonymous", "", [][]byte{one}, 0, 0},
		{rows[2:4], "token", h.token, [][]byte{one}, 0, 0},
		{rows[4:6], "zipf", "", h.bodies, 1, 0},
		{rows[6:7], "paced", "", h.bodies, 1, 10_000},
	}
	for _, l := range loads {
		if !wanted(l.rows) {
			continue
		}
		measure := func() error {
			file, err := h.requests(l.name, l.token, l.bodies...)
			if err != nil {
				return err
			}
			if err := h.warm(h.neko, file, cacheClients); err != nil {
				return err
			}
			d := driving{Requests: file, Zipf: l.zipf, Clients: cacheClients, Rate: l.rate, Seconds: cacheMeasure}
			got, _, err := h.drive(h.neko, d)
			if err != nil {
				return err
			}
			raw, err := h.startRaw(l.name, one, l.token, got.Bytes)
			if err != nil {
				return err
			}
			defer raw.end()
			for round := range h.b.rounds {
				d.Seed = uint64(round)
				sides := []struct {
					s  *cacheServer
					of func(*figure) *rounds
				}{{h.neko, func(f *figure) *rounds { return &f.Neko }}, {raw, func(f *figure) *rounds { return &f.Peer }}}
				if round%2 == 1 { // each comes first as often
					slices.Reverse(sides)
				}
				for _, side := range sides {
					got, cpu, err := h.drive(side.s, d)
					if h.b.ctx.Err() != nil {
						return nil
					}
					if l.rate > 0 {
						side.of(l.rows[0]).add(got.P99, err)
						continue
					}
					side.of(l.rows[0]).add(got.PerSecond, err)
					side.of(l.rows[1]).add(cpu, err)
				}
			}
			return nil
		}
		if err := measure(); err != nil {
			failAll(l.rows, err)
		}
	}
}

// besidePeer measures neko and a peer under PM2 by turns, with two processes each.
func (h *hits) besidePeer(rows []*figure, name string, script []byte, packages []string) error {
	loads := []struct {
		name   string
		bodies [][]byte
		zipf   float64
	}{{"hit", h.bodies[:1], 0}, {"zipf", h.bodies, 1}}
	files := make([]string, len(loads))
	for i, l := range loads {
		var err error
		if files[i], err = h.requests(l.name, "", l.bodies...); err != nil {
			return err
		}
		if err := h.warm(h.neko, files[i], cacheClients); err != nil {
			return err
		}
	}
	var peer *cacheServer
	if h.b.pm2 != "" {
		var err error
		if peer, err = h.startPeer(name, script, packages); err != nil {
			for _, f := range rows {
				f.Peer.add(0, err)
			}
		} else {
			defer peer.end()
			for _, file := range files {
				if err := h.warm(peer, file, cacheClients); err != nil {
					return err
				}
			}
		}
	}
	for round := range min(h.b.rounds, 5) {
		for i, l := range loads {
			d := driving{Requests: files[i], Zipf: l.zipf, Clients: 64, Seconds: cacheMeasure, Seed: uint64(round)}
			got, _, err := h.drive(h.neko, d)
			rows[i].Neko.add(got.PerSecond, err)
			if peer != nil {
				got, _, err := h.drive(peer, d)
				rows[i].Peer.add(got.PerSecond, err)
			}
		}
	}
	return nil
}

func (h *hits) startPeer(name string, script []byte, packages []string) (*cacheServer, error) {
	if _, installed, err := npm.Find(packages...); err == nil && !installed {
		fmt.Fprintln(os.Stderr, "installing", strings.Join(packages, ", "), "…")
	}
	modules, err := npm.Install(h.b.ctx, packages...)
	if err != nil {
		return nil, err
	}
	file, schema := filepath.Join(h.dir, name), filepath.Join(h.dir, "peers.graphql")
	if err := errors.Join(os.WriteFile(file, script, 0o644), os.WriteFile(schema, peersSchema, 0o644)); err != nil {
		return nil, err
	}
	side, err := h.b.pm2Side()
	if err != nil {
		return nil, err
	}
	s := &cacheServer{side: side}
	side.env = append(side.env, "NODE_ENV=production", "BENCH_JOB="+jsonOf(map[string]string{"modules": modules, "data": h.data, "schema": schema, "redis": h.redis.url}))
	t, err := start(side, func(string) []string { return []string{file, "--name", "app", "-i", "2"} })
	if err == nil {
		err = s.started(t.url, "2")
	}
	if err == nil {
		t.url, t.body = t.url+"graphql", h.bodies[0]
		_, err = h.b.untilOK(t, time.Now())
	}
	if err != nil {
		s.end()
		return nil, err
	}
	return s, nil
}

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
	"runtime"
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
// The raw server has neko's own answers. For the rows with one query it has one, whatever it
// is asked, and nothing to look for. For those with 10,000 it has all of them in one map by
// the bytes of the request: who gives each request its answer has to find that, and to read
// what lies all over the memory, while one answer for all would stay in the processor's cache.
const (
	besideRaw       = "fasthttp from memory"
	besideNoCache   = "--cache off"
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
	// settings are those of the store, for commands of neko-api.
	settings []string
}

func cached() measurement {
	raw := func(name, note string, share float64) []*figure {
		note += ", one CPU"
		return []*figure{
			{Name: "cache: hit, " + name, Unit: "/s", Times: atLeast(share), Beside: besideRaw, Note: note},
			{Name: "cache: hit, " + name + ": CPU of one", Unit: "µs", Beside: besideRaw, Note: note},
		}
	}
	var rows []*figure
	rows = append(rows, raw("anonymous, limits on", "the same answer to everything", 0.85)...)
	rows = append(rows, raw("with a JWT, limits on", "the same answer to everything", 0.80)...)
	rows = append(rows, raw("Zipf over 10,000 queries, limits on", "the same answers, from a map by the bytes of the request", 0.75)...)
	rows = append(rows,
		&figure{Name: "cache: p99 at 10,000/s, Zipf over 10,000 queries", Unit: "ms", Goal: atMost(5), Beside: besideRaw, Note: "the same"},
		&figure{Name: "cache: calls to the store for 1,000 answers, Zipf over 10,000 queries, from an empty cache", Unit: "", Beside: besideNoCache, Note: "the same requests; the goal is a fifth"})
	// The client takes one of two CPUs, so how many answers there are says less than what one costs.
	peer := func(name, beside string, times float64) {
		for _, load := range []string{"hit", "Zipf"} {
			row := "cache: " + load + ", two workers, and " + name
			rows = append(rows,
				&figure{Name: row, Unit: "/s", Times: atLeast(times), Beside: beside},
				&figure{Name: row + ": CPU of one", Unit: "µs", Beside: beside})
		}
	}
	peer("Mercurius", besideMercurius, 5)
	peer("Apollo", besideApollo, 8)
	return measurement{"cache", rows, func(b *bench) {
		h := &hits{b: b}
		defer h.end()
		if wanted(rows[:8]) {
			if err := h.prepare(1); err != nil {
				failAll(rows[:8], err)
			} else {
				h.besideRaw(rows[:7])
				if wanted(rows[7:8]) {
					h.besideNoCache(rows[7])
				}
			}
			h.end()
		}
		for i, of := range []struct {
			rows     []*figure
			script   []byte
			packages []string
		}{{rows[8:12], mercuriusJS, mercuriusPackages}, {rows[12:16], apolloJS, apolloPackages}} {
			if !wanted(of.rows) || b.ctx.Err() != nil {
				continue
			}
			p := &hits{b: b}
			err := p.prepare(2)
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
func (h *hits) prepare(workers int) (err error) {
	if h.dir, err = os.MkdirTemp(h.b.tmp, "c"); err != nil {
		return err
	}
	if h.redis, err = startRedis(h.b); err != nil {
		return err
	}
	v := serving{workers: workers, args: open()}
	if workers > 1 { // it has what the peers have
		v.args = open("--redis", h.redis.url)
	}
	if h.neko, err = h.b.serve(v); err != nil {
		return err
	}
	if workers == 1 {
		if h.token, err = h.neko.login("viewer"); err != nil {
			return err
		}
	}
	return h.askData()
}

const benchPassword = "the password of the bench"

func requestBody(query string, variables map[string]any) []byte {
	return []byte(jsonOf(map[string]any{"query": query, "variables": variables}))
}

// askData asks for what the peers answer from memory, and makes the requests of it.
func (h *hits) askData() error {
	var a struct {
		Data struct {
			Techniques struct{ Nodes []map[string]any }
		}
	}
	err := h.neko.ask(`{ techniques(first: 100) { nodes { id attackId name description platforms isSubtechnique
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
	before, err := cpuTime(s.pids)
	if err != nil {
		return got, 0, err
	}
	own, err := os.Executable()
	if err != nil {
		return got, 0, err
	}
	argv := []string{own, driveCommand, jsonOf(d)}
	if last := runtime.NumCPU() - 1; d.Aside && last > 0 {
		argv = append([]string{"taskset", "-c", fmt.Sprintf("0-%d", last-1)}, argv...)
	}
	cmd := exec.CommandContext(h.b.ctx, argv[0], argv[1:]...)
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
	after, err := cpuTime(s.pids)
	if err == nil && got.Answers == 0 {
		err = errors.New("no answer")
	}
	return got, (after - before) / float64(max(got.Answers, 1)), err
}

// startRaw starts the raw server with neko's answers to requests, and its headers for the
// first of them.
func (h *hits) startRaw(name string, bodies [][]byte, token string) (*cacheServer, error) {
	a := rawAnswer{Bodies: map[string][]byte{}}
	for i, body := range bodies {
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
		text, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil {
			return nil, err
		}
		a.Bodies[string(body)] = text
		if resp.Header.Get("Age") == "" {
			return nil, fmt.Errorf("neko-api does not keep the answer: %.200s %v", text, resp.Header)
		}
		if i > 0 {
			continue
		}
		for name, values := range resp.Header {
			if name != "Date" && name != "Content-Length" {
				a.Headers = append(a.Headers, [2]string{name, strings.Join(values, ", ")})
			}
		}
		slices.SortFunc(a.Headers, func(x, y [2]string) int { return strings.Compare(x[0], y[0]) })
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
		_, err = h.b.untilOK(target{t.url + "graphql", bodies[0]}, time.Now())
	}
	if err != nil {
		s.end()
		return nil, err
	}
	return s, nil
}

// warm asks a server each of the requests so often that it has the answers, and neko knows
// the requests, which it does when one comes to a worker for the second time.
func (h *hits) warm(s *cacheServer, requests string) error {
	times := 4
	if len(s.pids) > 1 { // any of them may come to any worker
		times = 12
	}
	for range times {
		if _, _, err := h.drive(s, driving{Requests: requests, Clients: cacheClients * len(s.pids), Each: true}); err != nil {
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
			if err := h.warm(h.neko, file); err != nil {
				return err
			}
			d := driving{Requests: file, Zipf: l.zipf, Clients: cacheClients, Rate: l.rate, Seconds: cacheMeasure}
			raw, err := h.startRaw(l.name, l.bodies, l.token)
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
		if err := h.warm(h.neko, files[i]); err != nil {
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
				if err := h.warm(peer, file); err != nil {
					return err
				}
			}
		}
	}
	for round := range min(h.b.rounds, 5) {
		for i, l := range loads {
			d := driving{Requests: files[i], Zipf: l.zipf, Clients: 64, Seconds: cacheMeasure, Seed: uint64(round)}
			row, ofCPU := rows[2*i], rows[2*i+1]
			got, cpu, err := h.drive(h.neko, d)
			row.Neko.add(got.PerSecond, err)
			ofCPU.Neko.add(cpu, err)
			if peer != nil {
				before, err := h.redis.reads(h.b.ctx)
				if err == nil {
					got, cpu, err = h.drive(peer, d)
				}
				row.Peer.add(got.PerSecond, err)
				ofCPU.Peer.add(cpu, err)
				after, err := h.redis.reads(h.b.ctx)
				if err != nil {
					return err
				}
				if after.misses > before.misses {
					return fmt.Errorf("the peer has not found %.0f of its answers in Redis", after.misses-before.misses)
				}
				row.Note = fmt.Sprintf("the same requests; it has found %.2f values in Redis for an answer", (after.hits-before.hits)/float64(max(got.Answers, 1)))
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

// besideNoCache counts how often the store is asked, with an empty cache and without one.
func (h *hits) besideNoCache(row *figure) {
	file, err := h.requests("counted", "", h.bodies...)
	calls := func(settings ...string) (float64, error) {
		c, err := h.b.serve(serving{workers: 1, args: open(settings...)})
		if err != nil {
			return 0, err
		}
		defer c.end()
		before, err := c.storeCalls()
		if err != nil {
			return 0, err
		}
		got, _, err := h.drive(c, driving{Requests: file, Zipf: 1, Clients: cacheClients, Limit: 60_000, Seconds: 600})
		if err != nil {
			return 0, err
		}
		after, err := c.storeCalls()
		return (after - before) * 1000 / float64(max(got.Answers, 1)), err
	}
	if err == nil {
		var v float64
		v, err = calls()
		row.Neko.add(v, err)
	}
	if err == nil {
		var v float64
		v, err = calls("--cache", "off")
		row.Peer.add(v, err)
		row.Goal = atMost(v / 5)
	}
	if err != nil {
		failAll([]*figure{row}, err)
	}
}

package main

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"time"
)

// The figures that scripts/capacity reckons with are of one core: what CPU time an answer
// takes a worker. It does not depend on the client, which has the same CPUs. What it has
// them for is docs/deployment/capacity.md.

// nobody is the peer of what is measured alone.
const nobody = "nobody"

// Of the server in MongoDB's place fewer ask for less.
const (
	someQueries = 200
	fewClients  = 4
)

// capacityRun is what the figures share.
type capacityRun struct {
	*hits
	files map[string]string // of requests
}

func capacity() measurement {
	var all []*figure
	row := func(name, unit string) *figure {
		f := &figure{Name: "capacity: " + name, Unit: unit, Beside: nobody}
		all = append(all, f)
		return f
	}
	hit := []*figure{row("hit from memory, CPU of one", "µs"), row("hit from memory, one worker, answers", "/s"),
		row("hit from memory, two workers of a host, CPU of one", "µs"), row("hit from memory, two workers of a host, answers", "/s"),
		row("hit from memory, two hosts with a worker each, CPU of one", "µs")}
	shared := []*figure{row("hit from Redis, CPU of one", "µs"), row("hit from Redis, CPU of Redis", "µs"), row("hit from Redis, commands of Redis", "commands"),
		row("made anew and put into Redis, CPU of Redis", "µs"), row("made anew and put into Redis, commands of Redis", "commands"),
		row("memory of Redis for an answer", "B")}
	sqlite := []*figure{row("made anew from SQLite, CPU of one", "µs"), row("calls to the store for an answer made anew", "calls")}
	mongodb := []*figure{row("made anew from MongoDB, CPU of one", "µs")}
	writes := []*figure{row("mutation into SQLite, CPU of one", "µs"), row("mutation into SQLite, one file, answers", "/s"), row("calls to the store for a mutation", "calls")}
	memory := []*figure{row("memory of a worker, --cache 16MiB, full", "MiB"), row("memory of a worker, --cache 64MiB, full", "MiB"), row("memory of the supervisor", "MiB")}
	leased := []*figure{row("limits, busy clients: calls of Redis for 1,000", "calls")}
	slow := []*figure{row("limits, slow clients: calls of Redis for 1,000", "calls"), row("limits, slow clients: CPU of Redis for 1,000", "µs"),
		row("limits, slow clients: CPU of the workers for 1,000", "µs"), row("memory of Redis for a bucket", "B")}
	return measurement{"capacity", all, func(b *bench) {
		c := &capacityRun{hits: &hits{b: b}, files: map[string]string{}}
		defer c.end()
		if err := c.begin(); err != nil {
			failAll(all, err)
			return
		}
		for _, of := range []struct {
			rows []*figure
			run  func([]*figure) error
		}{{hit, c.hit}, {shared, c.shared}, {sqlite, c.sqlite}, {mongodb, c.mongodb}, {writes, c.writes}, {memory, c.memory}, {leased, c.leased}, {slow, c.slow}} {
			if !wanted(of.rows) || b.ctx.Err() != nil {
				continue
			}
			fmt.Fprintf(os.Stderr, "  %s …\n", strings.TrimPrefix(of.rows[0].Name, "capacity: "))
			if err := of.run(of.rows); err != nil {
				failAll(of.rows, err)
			}
		}
	}}
}

// begin finds out what to ask, and starts a worker with a CPU of its own, as far as there
// are two.
func (c *capacityRun) begin() (err error) {
	if c.dir, err = os.MkdirTemp(c.b.tmp, "c"); err != nil {
		return err
	}
	if c.redis, err = startRedis(c.b); err != nil {
		return err
	}
	if c.neko, err = c.b.serve(serving{workers: 1, alone: true, args: open()}); err != nil {
		return err
	}
	if err := c.askData(); err != nil {
		return err
	}
	for name, bodies := range map[string][][]byte{"all": c.bodies, "some": c.bodies[:someQueries]} {
		if c.files[name], err = c.requests(name, "", bodies...); err != nil {
			return err
		}
	}
	return nil
}

// add adds values to rows, in their order.
func add(rows []*figure, values ...float64) {
	for i, v := range values {
		rows[i].Neko.add(v, nil)
	}
}

// hit is one worker; and two of a host, beside two that share nothing but the machine: what
// more an answer costs them is what workers of a host share. Two clients have the same CPUs
// both times.
func (c *capacityRun) hit(rows []*figure) error {
	two, err := c.b.serve(serving{workers: 2, args: open()})
	if err != nil {
		return err
	}
	defer two.end()
	var apart []*cacheServer
	for range 2 {
		s, err := c.b.serve(serving{workers: 1, args: open()})
		if err != nil {
			return err
		}
		defer s.end()
		apart = append(apart, s)
	}
	for _, s := range append(apart, c.neko, two) {
		if err := c.warm(s, c.files["all"]); err != nil {
			return err
		}
	}
	for round := range c.b.rounds {
		d := driving{Requests: c.files["all"], Zipf: 1, Clients: cacheClients, Seconds: cacheMeasure, Seed: uint64(round), Aside: true, From: 2}
		got, cpu, err := c.drive(c.neko, d)
		if err != nil {
			return err
		}
		add(rows[:2], cpu, got.PerSecond)
		d.Aside = false
		var of [2]float64
		var perSecond float64
		for turn := range 2 { // each comes first as often
			i := (round + turn) % 2
			servers := [][]*cacheServer{{two, two}, apart}[i]
			var rate float64
			if of[i], rate, err = c.driveBoth(servers, d); err != nil {
				return err
			}
			if i == 0 {
				perSecond = rate
			}
		}
		add(rows[2:], of[0], perSecond, of[1])
	}
	return nil
}

// driveBoth has a client for each of two servers, or two for one.
func (c *capacityRun) driveBoth(servers []*cacheServer, d driving) (cpu, perSecond float64, err error) {
	pids := slices.Clone(servers[0].pids)
	if servers[1] != servers[0] {
		pids = append(pids, servers[1].pids...)
	}
	before, err := cpuTime(pids)
	if err != nil {
		return 0, 0, err
	}
	var got [2]driven
	var errs [2]error
	var wg sync.WaitGroup
	for i, s := range servers {
		own := d
		own.From += i * d.Clients
		wg.Go(func() { got[i], _, errs[i] = c.drive(s, own) })
	}
	wg.Wait()
	if err := errors.Join(errs[:]...); err != nil {
		return 0, 0, err
	}
	after, err := cpuTime(pids)
	return (after - before) / float64(got[0].Answers+got[1].Answers), got[0].PerSecond + got[1].PerSecond, err
}

// onMongo starts a worker on a server in MongoDB's place, which is slow, so that its patience
// has to be long.
func (c *capacityRun) onMongo(args ...string) (m *mongoServer, s *cacheServer, err error) {
	if m, err = startMongo(c.b); err != nil {
		return nil, nil, err
	}
	s, err = c.b.serve(serving{workers: 1, alone: true, store: "mongodb://" + m.address + "/neko",
		args: open(append(args, "--store-timeout", "60s", "--execution-timeout", "60s")...)})
	if err != nil {
		m.end()
	}
	return m, s, err
}

// idle is the CPU time that a worker and Redis take in a second in which nobody asks, in µs:
// where a server in MongoDB's place takes long, it adds up to more than an answer's.
func (c *capacityRun) idle(s *cacheServer) (worker, redis float64, err error) {
	const calm = 2 * time.Second
	time.Sleep(time.Second) // what came before is over
	before, err := cpuTime(s.pids)
	if err != nil {
		return 0, 0, err
	}
	redisBefore, err := c.redis.info(c.b.ctx)
	if err != nil {
		return 0, 0, err
	}
	time.Sleep(calm)
	after, err := cpuTime(s.pids)
	if err != nil {
		return 0, 0, err
	}
	redisAfter, err := c.redis.info(c.b.ctx)
	return (after - before) / calm.Seconds(), (redisAfter.cpu - redisBefore.cpu) / calm.Seconds(), err
}

// shared is what answers take that a worker has not in its memory: the first time nobody
// has them, the second time Redis. (Answers from a SQLite file are nobody else's.)
func (c *capacityRun) shared(rows []*figure) error {
	m, s, err := c.onMongo("--redis", c.redis.url)
	if err != nil {
		return err
	}
	defer m.end()
	defer s.end()
	each := driving{Requests: c.files["some"], Clients: fewClients, Each: true, Aside: true}
	idle, idleRedis, err := c.idle(s)
	if err != nil {
		return err
	}
	pass := func(found bool) (cpu, redisCPU, commands float64, err error) {
		if err := s.reload(); err != nil { // an empty memory
			return 0, 0, 0, err
		}
		before, err := c.redis.info(c.b.ctx)
		if err != nil {
			return 0, 0, 0, err
		}
		hits, err := s.counted("neko_cache_shared_hits_total")
		if err != nil {
			return 0, 0, 0, err
		}
		got, cpu, err := c.drive(s, each)
		if err != nil {
			return 0, 0, 0, err
		}
		now, err := s.counted("neko_cache_shared_hits_total")
		if err != nil {
			return 0, 0, 0, err
		}
		n := float64(got.Answers)
		if share := (now - hits) / n; found && share < 0.9 || !found && share > 0.1 {
			return 0, 0, 0, fmt.Errorf("%w: %.0f %% of the answers were found there", errDisturbed, 100*share)
		}
		after, err := c.redis.info(c.b.ctx)
		return cpu - idle*got.Seconds/n, (after.cpu - before.cpu - idleRedis*got.Seconds) / n, (after.commands - before.commands) / n, err
	}
	round := func() error {
		if err := c.redis.empty(c.b.ctx); err != nil {
			return err
		}
		empty, err := c.redis.info(c.b.ctx)
		if err != nil {
			return err
		}
		_, storedCPU, storedCommands, err := pass(false)
		if err != nil {
			return err
		}
		full, err := c.redis.info(c.b.ctx)
		if err != nil {
			return err
		}
		cpu, foundCPU, foundCommands, err := pass(true)
		if err == nil {
			add(rows, cpu, foundCPU, foundCommands, storedCPU, storedCommands, (full.memory-empty.memory)/someQueries)
		}
		return err
	}
	for range min(c.b.rounds, 3) {
		err := round()
		for tries := 1; errors.Is(err, errDisturbed) && tries < 5 && c.b.ctx.Err() == nil; tries++ {
			fmt.Fprintln(os.Stderr, "once more:", err)
			err = round()
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// anew has a server make all answers anew, by a purge of everything: the worker is warm,
// and has the answers to keep.
func (c *capacityRun) anew(s *cacheServer, file string, clients int) (got driven, cpu, calls float64, err error) {
	if err := s.api("purge", "--all"); err != nil {
		return got, 0, 0, err
	}
	time.Sleep(2500 * time.Millisecond) // workers look once a second in MongoDB, more often into a file
	made, err := s.counted("neko_cache_served_total", `state="made"`)
	if err != nil {
		return got, 0, 0, err
	}
	before, err := s.storeCalls()
	if err != nil {
		return got, 0, 0, err
	}
	got, cpu, err = c.drive(s, driving{Requests: file, Clients: clients, Each: true, Aside: true})
	if err != nil {
		return got, 0, 0, err
	}
	after, err := s.storeCalls()
	if err != nil {
		return got, 0, 0, err
	}
	now, err := s.counted("neko_cache_served_total", `state="made"`)
	n := float64(got.Answers)
	if err == nil && now-made < n*0.98 {
		err = fmt.Errorf("%.0f of %.0f answers were made anew", now-made, n)
	}
	return got, cpu, (after - before) / n, err
}

func (c *capacityRun) sqlite(rows []*figure) error {
	if err := c.warm(c.neko, c.files["all"]); err != nil {
		return err
	}
	for range min(c.b.rounds, 5) {
		_, cpu, calls, err := c.anew(c.neko, c.files["all"], cacheClients)
		if err != nil {
			return err
		}
		add(rows, cpu, calls)
	}
	return nil
}

// mongodb measures the worker alone: the server in MongoDB's place is slow, and has the
// other CPU.
func (c *capacityRun) mongodb(rows []*figure) error {
	m, s, err := c.onMongo()
	if err != nil {
		return err
	}
	defer m.end()
	defer s.end()
	if _, _, err := c.drive(s, driving{Requests: c.files["some"], Clients: fewClients, Each: true}); err != nil {
		return err
	}
	idle, _, err := c.idle(s)
	if err != nil {
		return err
	}
	for range min(c.b.rounds, 3) {
		got, cpu, _, err := c.anew(s, c.files["some"], fewClients)
		if err != nil {
			return err
		}
		add(rows, cpu-idle*got.Seconds/float64(got.Answers))
	}
	return nil
}

// writes reports sightings, sixteen at a time.
func (c *capacityRun) writes(rows []*figure) error {
	s, err := c.b.serve(serving{workers: 1, alone: true, args: open()})
	if err != nil {
		return err
	}
	defer s.end()
	token, err := s.login("analyst")
	if err != nil {
		return err
	}
	var bodies [][]byte
	for i := range 1000 {
		bodies = append(bodies, requestBody(`mutation Seen($in: ReportSightingInput!) { reportSighting(input: $in) { sighting { id } } }`,
			map[string]any{"in": map[string]any{"of": c.ids[i%len(c.ids)], "count": 1 + i, "reporter": "the bench"}}))
	}
	file, err := c.requests("writes", token, bodies...)
	if err != nil {
		return err
	}
	each := driving{Requests: file, Clients: cacheClients, Each: true, Aside: true}
	if _, _, err := c.drive(s, each); err != nil { // it is warm
		return err
	}
	for range min(c.b.rounds, 5) {
		before, err := s.storeCalls()
		if err != nil {
			return err
		}
		got, cpu, err := c.drive(s, each)
		if err != nil {
			return err
		}
		after, err := s.storeCalls()
		if err != nil {
			return err
		}
		add(rows, cpu, got.PerSecond, (after-before)/float64(got.Answers))
	}
	return nil
}

// memory weighs a worker that has had to let answers go, and goes on.
func (c *capacityRun) memory(rows []*figure) error {
	var a struct {
		Data struct {
			Techniques struct {
				Nodes []struct{ Description string }
			}
		}
	}
	if err := c.neko.ask(`{ techniques(first: 100) { nodes { description } } }`, nil, &a); err != nil {
		return err
	}
	letters := 0
	for _, t := range a.Data.Techniques.Nodes {
		letters += len(t.Description)
	}
	// Some 20 KiB each, the same text again and again: thrice the larger cache.
	const document = `query Large%d($id: ID!, $n: Int) { technique(id: $id) { id %s mitigations(first: $n) { nodes { id name a: description } } } }`
	var texts strings.Builder
	for i := range 1 + 20<<10*len(a.Data.Techniques.Nodes)/max(letters, 1) {
		fmt.Fprintf(&texts, "d%d: description ", i)
	}
	var large [][]byte
	for i := 0; len(large) < cacheQueries; i++ {
		for _, id := range c.ids {
			large = append(large, requestBody(fmt.Sprintf(document, i/100, &texts), map[string]any{"id": id, "n": 1 + i%100}))
		}
	}
	file, err := c.requests("large", "", large...)
	if err != nil {
		return err
	}
	weigh := func(size string) (worker, daemon float64, err error) {
		s, err := c.b.serve(serving{workers: 1, alone: true, args: open("--cache", size, "--max-aliases", "1000")})
		if err != nil {
			return 0, 0, err
		}
		defer s.end()
		for _, d := range []driving{
			{Requests: file, Clients: cacheClients, Each: true, Aside: true},
			{Requests: file, Clients: cacheClients, Zipf: 1, Seconds: cacheMeasure, Aside: true},
			{Requests: c.files["all"], Clients: cacheClients, Zipf: 1, Seconds: cacheMeasure, Aside: true},
		} {
			if _, _, err := c.drive(s, d); err != nil {
				return 0, 0, err
			}
		}
		evicted, err := s.counted("neko_cache_evictions_total")
		if err == nil && evicted == 0 {
			err = fmt.Errorf("the cache of %s has not become full", size)
		}
		if err != nil {
			return 0, 0, err
		}
		if worker, err = pss(s.pids...); err != nil {
			return 0, 0, err
		}
		pids, err := s.side.daemon(s.side)
		if err == nil {
			daemon, err = pss(pids...)
		}
		return worker, daemon, err
	}
	for range min(c.b.rounds, 3) {
		small, _, err := weigh("16MiB")
		if err != nil {
			return err
		}
		usual, daemon, err := weigh("64MiB")
		if err != nil {
			return err
		}
		add(rows, small, usual, daemon)
	}
	return nil
}

// undisturbed decides, and once more where Redis was too slow to be waited for.
func (c *capacityRun) undisturbed(d deciding) (got decided, err error) {
	for range 5 {
		if got, err = c.b.decideTwice(c.redis, c.b.ourDecider, d); !errors.Is(err, errDisturbed) || c.b.ctx.Err() != nil {
			return got, err
		}
		fmt.Fprintln(os.Stderr, "once more:", err)
	}
	return got, err
}

func (c *capacityRun) leased(rows []*figure) error {
	for range min(c.b.rounds, 5) {
		got, err := c.undisturbed(nobodyRefused(c.redis.url))
		if err != nil {
			return err
		}
		add(rows, got.calls)
	}
	return nil
}

// slow is of clients that ask seldom, so that Redis decides about each request, and whose
// bucket stays in Redis as it does not fill while this is measured.
func (c *capacityRun) slow(rows []*figure) error {
	d := deciding{Redis: c.redis.url, Keys: 200_000, Limit: 100, Seconds: 100_000, Warm: 0.7, Measured: 1.5}
	for range min(c.b.rounds, 5) {
		if err := c.redis.empty(c.b.ctx); err != nil {
			return err
		}
		empty, err := c.redis.info(c.b.ctx)
		if err != nil {
			return err
		}
		got, err := c.undisturbed(d)
		if err != nil {
			return err
		}
		full, err := c.redis.info(c.b.ctx)
		if err != nil {
			return err
		}
		if full.keys < 1000 {
			return fmt.Errorf("%.0f buckets are too few to weigh them", full.keys)
		}
		add(rows, got.calls, got.cpu, got.own, (full.memory-empty.memory)/full.keys)
	}
	return nil
}

package limits

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/signal"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/nekoctl/neko/limiter"
)

// A worker process is this test's binary with these in its environment.
const (
	workerTerms   = "NEKO_LIMITS_TERMS" // path of the terms
	workerJournal = "NEKO_LIMITS_JOURNAL"
	workerHost    = "NEKO_LIMITS_HOST"  // its number
	workerHosts   = "NEKO_LIMITS_HOSTS" // of how many
	workersOfHost = "NEKO_LIMITS_SLOTS" // how many like it there are on its host
	workerRunDir  = "NEKO_RUN_DIR"      //
	workerRedis   = "NEKO_LIMITS_REDIS" // a URL
	workerSeed    = "NEKO_LIMITS_SEED"  //
	startSuffix   = ".start"            // of the terms: when the load begins
	statsSuffix   = ".stats"            // of the journal: the limiter's own, at its end
	drainPatience = 5 * time.Second     // to give back what was leased
)

// work is a worker's life: load until SIGTERM, then Close, which gives tokens back.
func work() error {
	var t terms
	text, err := os.ReadFile(os.Getenv(workerTerms))
	if err == nil {
		err = json.Unmarshal(text, &t)
	}
	if err != nil {
		return err
	}
	number := func(name string) int {
		n, e := strconv.Atoi(os.Getenv(name))
		if e != nil {
			err = fmt.Errorf("%s: %w", name, e)
		}
		return n
	}
	host, hosts, slots, seed := number(workerHost), number(workerHosts), number(workersOfHost), number(workerSeed)
	if err != nil {
		return err
	}
	term := make(chan os.Signal, 1)
	signal.Notify(term, syscall.SIGTERM)

	j, err := newJournal(os.Getenv(workerJournal), t.Room)
	if err != nil {
		return err
	}
	policies := make([]*limiter.Policy, len(t.Policies))
	for i, p := range t.Policies {
		if policies[i], err = p.make(); err != nil {
			return err
		}
	}
	l, memory, err := open(os.Getenv(workerRedis), os.Getenv(workerRunDir), t.Buckets)
	if err != nil {
		return err
	}

	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	var load sync.WaitGroup
	failed := make(chan error, len(t.Streams)+1)
	launch := func(f func(context.Context) error) {
		load.Go(func() {
			if err := f(ctx); err != nil {
				failed <- err
			}
		})
	}
	fmt.Println("ready")
	began, err := awaitStart(term)
	if err != nil || began.IsZero() {
		return errors.Join(err, l.Close(ctx), memory.Close())
	}
	for i, s := range t.Streams {
		having, here := s.on(host, hosts)
		if !here {
			continue
		}
		source := rand.New(rand.NewPCG(uint64(seed), uint64(i)))
		c := client{stream: s, index: i, limiter: l, journal: j, rand: source,
			arrivals: s.arrivals(began, 1/float64(having*slots), source)}
		for _, x := range s.Charges {
			c.charges = append(c.charges, limiter.Charge{Policy: policies[x.Policy], Key: []byte(x.Key)})
		}
		if s.Until > 0 {
			c.until = began.Add(s.Until)
		}
		launch(c.run)
	}
	launch(func(ctx context.Context) error { return watch(ctx, j) })

	select {
	case err = <-failed:
	case <-term:
	}
	stop()
	load.Wait()
	ctx, cancel := context.WithTimeout(context.Background(), drainPatience)
	defer cancel()
	if e := l.Close(ctx); err == nil && e != nil {
		err = fmt.Errorf("give back: %w", e)
	}
	stats, e := json.Marshal(l.Stats())
	if e == nil {
		e = os.WriteFile(os.Getenv(workerJournal)+statsSuffix, stats, 0o600)
	}
	return errors.Join(err, e, memory.Close())
}

// awaitStart is when the load of all workers has begun, or will: the time when a file was written
// says it. It is zero if the worker is to end before.
func awaitStart(end <-chan os.Signal) (time.Time, error) {
	for {
		text, err := os.ReadFile(os.Getenv(workerTerms) + startSuffix)
		if err == nil {
			at, err := strconv.ParseInt(string(text), 10, 64)
			return time.Now().Add(time.Duration(at - monotonic())), err
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return time.Time{}, err
		}
		select {
		case <-time.After(2 * time.Millisecond):
		case <-end:
			return time.Time{}, nil
		}
	}
}

func (p policy) make() (*limiter.Policy, error) {
	fail := map[string]limiter.Fail{"": limiter.FailLocal, "local": limiter.FailLocal, "open": limiter.FailOpen, "closed": limiter.FailClosed}[p.Fail]
	return limiter.NewPolicy(p.Name, p.Limit, p.Window, p.Burst, fail)
}

// client makes the requests of one stream.
type client struct {
	stream
	*arrivals
	index   int
	limiter limiter.Limiter
	journal *journal
	rand    *rand.Rand
	charges []limiter.Charge
	until   time.Time // zero: for ever
}

func (c *client) run(ctx context.Context) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		at := c.next()
		if !c.until.IsZero() && at.After(c.until) {
			<-ctx.Done()
			return nil
		}
		if d := time.Until(at); d > 0 {
			timer.Reset(d)
			select {
			case <-timer.C:
			case <-ctx.Done():
				return nil
			}
		} else if ctx.Err() != nil {
			return nil
		}
		cost := c.cost(c.rand)
		for i := range c.charges {
			c.charges[i].Cost = 1
			if c.Charges[i].Costs {
				c.charges[i].Cost = cost
			}
		}
		r, err := c.journal.begin()
		if err != nil {
			return err
		}
		d := c.limiter.Decide(context.Background(), c.charges)
		after := monotonic()
		r.Wait, r.Stream, r.Refused, r.Cost = int64(d.RetryAfter), uint16(c.index), int8(d.Refused), uint32(cost)
		if d.OK() {
			r.Flags |= admitted
		}
		if d.Alone {
			r.Flags |= alone
		}
		r.finish(after)
	}
}

// watch is late by as much as this machine makes this process: it waits for the budget of
// a decision, again and again, as a decision does whose source is silent.
func watch(ctx context.Context, j *journal) error {
	silent := make(chan struct{})
	for ctx.Err() == nil {
		r, err := j.begin()
		if err != nil {
			return err
		}
		budget, cancel := context.WithTimeout(context.Background(), limiter.Budget)
		select {
		case <-silent:
		case <-budget.Done():
		}
		cancel()
		r.Flags = canary
		r.finish(monotonic())
	}
	return nil
}

package main

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nekoctl/neko/api/store"
	"github.com/nekoctl/neko/edge"
	"github.com/nekoctl/neko/logtext"
	"github.com/nekoctl/neko/worker"
	"github.com/nekoctl/neko/worker/settings"
)

// cdn are the settings of a CDN in front.
type cdn struct {
	zone, tokenFile, api *string
	hosts                *[]string
	rate                 *int
	browserMaxAge        **time.Duration
	regions              *bool
}

func newCDN(s *settings.Set) cdn {
	return cdn{
		zone:          s.String("cloudflare-zone", "", "ID", "the zone of Cloudflare's in front, whose cache is purged of what is not true any more, see docs/caching.md; if not given, nothing is"),
		tokenFile:     s.String("cloudflare-token-file", "", "FILE", "a file with the API token for that, which needs the permission Zone.Cache Purge and no other"),
		hosts:         s.List("cloudflare-hosts", "NAME,...", "the host names under which this API is in the zone, of which everything is purged if need be; if not given, everything in the zone is"),
		rate:          s.Int("cloudflare-rate", 60, "how many calls to Cloudflare's API are made in a minute, by all workers together; no plan allows more than 240 for long, and Free no more than 5"),
		api:           s.String("cloudflare-api", edge.DefaultAPI, "URL", "where Cloudflare's API is"),
		browserMaxAge: span(s, "browser-max-age", "1m with --cloudflare-zone, else the same as a CDN", "for how long browsers may use an answer without asking again, where a CDN is purged and may keep it for longer", false),
		regions:       s.Bool("regions", false, "tell hosts that have this MongoDB and another Redis, or none, within two seconds what mutations change, by way of the MongoDB; always so with --cloudflare-zone"),
	}
}

// defaultBrowserMaxAge is that with a CDN that is purged.
const defaultBrowserMaxAge = time.Minute

// apply puts the settings into c.
func (s cdn) apply(c *worker.Config) {
	switch {
	case *s.browserMaxAge != nil:
		c.BrowserMaxAge = **s.browserMaxAge
	case *s.zone != "":
		c.BrowserMaxAge = defaultBrowserMaxAge
	}
}

// open makes what calls Cloudflare, nil if the settings name none.
func (s cdn) open() (*edge.Cloudflare, error) {
	if *s.zone == "" {
		if *s.tokenFile != "" {
			return nil, usageError{"--cloudflare-token-file is given, and no zone", "name the zone: --cloudflare-zone ID"}
		}
		return nil, nil
	}
	if *s.tokenFile == "" {
		return nil, usageError{"--cloudflare-zone needs a token", "name the file that has it: --cloudflare-token-file FILE"}
	}
	if *s.rate > 240 {
		return nil, usageError{"--cloudflare-rate: Cloudflare's API takes 1,200 calls in five minutes, and then none for five", "write 240 or less"}
	}
	c := &edge.Cloudflare{API: *s.api, Zone: *s.zone, Hosts: *s.hosts, Token: func() (string, error) {
		token, err := readSmall(*s.tokenFile)
		if err != nil {
			return "", hinted{"cannot read the API token from " + *s.tokenFile + ": " + err.Error(), "it is to have one line, the token"}
		}
		return token, nil
	}}
	if err := c.Check(); err != nil {
		var h hinted
		if errors.As(err, &h) {
			return nil, h
		}
		return nil, usageError{"Cloudflare: " + err.Error(), "see --cloudflare-zone and --cloudflare-api"}
	}
	return c, nil
}

// settle is how long after a change no answer from before it is sent any more: the longest that one may take,
// or the time for which a host goes on with what it has that cannot hear of changes. And some
// seconds for the way.
func (o *options) settle() time.Duration {
	const deaf = 11 * time.Second // docs/caching.md, "How old an answer can be"
	return max(*o.executionTimeout, deaf) + 4*time.Second
}

// known is how long it takes until all workers have read the log of the store, and some time for it.
const known = followServer + time.Second

// edgeLedger is a store of several hosts, which has who of them purges.
type edgeLedger interface{ EdgeLedger() edge.Ledger }

// front is what keeps a CDN in front true.
type front struct {
	*edge.Purger
	file    *edge.File
	stop    context.CancelFunc
	running sync.WaitGroup
}

// openFront makes it, and has it begin. Without the setting there is none, which costs nothing.
func (o *options) openFront(st database, logger *slog.Logger) (*front, error) {
	c, err := o.cdn.open()
	if c == nil || err != nil {
		return nil, err
	}
	f := &front{}
	var ledger edge.Ledger
	if server, ok := st.(edgeLedger); ok {
		ledger = server.EdgeLedger()
	} else {
		// What is changed in a SQLite file is in its log, whoever has changed it.
		path, err := companion(o, "", "edge")
		if err == nil {
			f.file, err = edge.OpenFile(path)
		}
		if err == nil {
			err = give(f.file, o)
		}
		if err != nil {
			return nil, hinted{"cannot keep how far the CDN was purged: " + err.Error(), "see whether the folder of the store can be written to"}
		}
		ledger = f.file
	}
	f.Purger = edge.New(edge.Options{
		Changes: changes{st}, Ledger: ledger, CDN: c, Known: known, Settle: o.settle(), PerMinute: *o.cdn.rate, Log: logger,
	})
	ctx, stop := context.WithCancel(context.Background())
	f.stop = stop
	f.running.Go(func() { f.Run(ctx) })
	return f, nil
}

// give gives a file that root has made to whose the store is, or is to be: what root does by hand must not keep
// workers from starting. It is an open file: its name may be a link by now, as the folder is that user's.
func give(f interface{ Chown(uid, gid int) error }, o *options) error {
	if os.Geteuid() != 0 {
		return nil
	}
	name, err := storeName(o)
	if err != nil {
		return err
	}
	var owner unix.Stat_t
	if err = unix.Stat(name, &owner); errors.Is(err, fs.ErrNotExist) {
		name = filepath.Dir(name)
		err = unix.Stat(name, &owner)
	}
	if err != nil {
		return &os.PathError{Op: "look at", Path: name, Err: err}
	}
	return f.Chown(int(owner.Uid), int(owner.Gid))
}

// close ends it. What is not purged yet others see to, or who starts next.
func (f *front) close() error {
	if f == nil {
		return nil
	}
	f.stop()
	f.running.Wait()
	if f.file != nil {
		return f.file.Close()
	}
	return nil
}

// changed is told where the log ends.
func (f *front) changed(last int64) {
	if f != nil {
		f.Changed(last)
	}
}

// changes is the log of a store as a CDN's purger reads it.
type changes struct{ log store.Changelog }

func (c changes) Since(ctx context.Context, position int64) ([]string, int64, error) {
	in, err := c.log.Invalidated(ctx, position)
	return in.Tags, in.Last, err
}

// teller puts into the log of the store what mutations have invalidated, for hosts that hear of it in
// no other way, and for who purges the CDN, which may be any worker of any host. The first is told at once, and what comes meanwhile and shortly after
// together: the log is one document, and its length is bounded.
type teller struct {
	log    store.Changelog
	logger *slog.Logger
	poke   chan struct{}
	ctx    context.Context
	cancel context.CancelFunc
	ended  chan struct{}

	mu      sync.Mutex
	tags    map[string]struct{}
	closing bool
}

const (
	// gather is how long what comes is gathered.
	gather = 500 * time.Millisecond
	// mostGathered is how many tags are. More are everything.
	mostGathered = 1000
)

func newTeller(log store.Changelog, logger *slog.Logger) *teller {
	t := &teller{log: log, logger: logger, poke: make(chan struct{}, 1), ended: make(chan struct{}), tags: map[string]struct{}{}}
	t.ctx, t.cancel = context.WithCancel(context.Background())
	go t.run()
	return t
}

// openTeller makes one, nil if nobody needs it: what is changed in a SQLite file is in its log anyway.
func (o *options) openTeller(st database, logger *slog.Logger) *teller {
	if _, isServer := st.(server); !isServer || !*o.cdn.regions && *o.cdn.zone == "" {
		return nil
	}
	return newTeller(st, logger)
}

// told is what the worker tells of mutations.
func (t *teller) told() func([]string) {
	if t == nil {
		return nil
	}
	return t.add
}

func (t *teller) add(tags []string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, tag := range tags {
		t.tags[tag] = struct{}{}
	}
	if len(t.tags) > mostGathered {
		t.tags = map[string]struct{}{store.Everything: {}}
	}
	select {
	case t.poke <- struct{}{}:
	default:
	}
}

func (t *teller) run() {
	defer close(t.ended)
	said := false
	for {
		t.mu.Lock()
		var tags []string
		for tag := range t.tags {
			tags = append(tags, tag)
		}
		clear(t.tags)
		closing := t.closing
		t.mu.Unlock()
		if len(tags) == 0 {
			if closing {
				return
			}
			select {
			case <-t.poke:
			case <-t.ctx.Done():
				return
			}
			continue
		}
		ctx, cancel := context.WithTimeout(t.ctx, followWithin)
		err := t.log.Invalidate(ctx, tags...)
		cancel()
		if err != nil {
			t.add(tags)
			if !said && t.ctx.Err() == nil {
				said = true
				t.logger.Warn("it cannot be written into the store what mutations change, for other hosts and a CDN, and is tried again", logtext.Reason, err)
			}
		} else {
			said = false
		}
		if closing && err == nil {
			continue
		}
		select {
		case <-time.After(gather):
		case <-t.ctx.Done():
			return
		}
	}
}

// close waits until all is in the log, for as long as there is time.
func (t *teller) close() error {
	if t == nil {
		return nil
	}
	t.mu.Lock()
	t.closing = true
	t.mu.Unlock()
	t.add(nil)
	timer := time.AfterFunc(goodbye, t.cancel)
	<-t.ended
	timer.Stop()
	t.cancel()
	t.mu.Lock()
	defer t.mu.Unlock()
	if n := len(t.tags); n > 0 {
		return errors.New("other regions and the CDN do not know of the last changes, as they could not be written into the store: neko-api purge --all once it is back")
	}
	return nil
}

// metrics are what a worker tells of the CDN.
func (f *front) metrics() []worker.MetricFamily {
	if f == nil {
		return nil
	}
	const when = "of neko-api, with --cloudflare-zone"
	return []worker.MetricFamily{
		{
			Name: "neko_edge_purges_total", Type: worker.MetricCounter, When: when,
			Help:   "Calls by which this worker has had a CDN purge what is not true any more; limited: it was asked too often; refused: zone or token are not right; failed: it did not answer.",
			Labels: []worker.MetricLabel{{Name: "result", Values: []string{"ok", "limited", "refused", "failed"}}},
			Read: func(s *worker.Samples) {
				c := f.Counts()
				s.Value(float64(c.OK), "ok")
				s.Value(float64(c.Limited), "limited")
				s.Value(float64(c.Refused), "refused")
				s.Value(float64(c.Failed), "failed")
			},
		},
		{
			Name: "neko_edge_oldest_waiting_seconds", Type: worker.MetricGauge, When: when,
			Help: "For how long this worker has known of a change that no worker has had a CDN purge yet; 0 if there is none.",
			Read: func(s *worker.Samples) { s.Value(f.OldestWaiting().Seconds()) },
		},
	}
}

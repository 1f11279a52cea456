package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nekoctl/neko/api"
	"github.com/nekoctl/neko/api/store"
	"github.com/nekoctl/neko/cache"
	"github.com/nekoctl/neko/cache/redis"
	"github.com/nekoctl/neko/hostmem"
	"github.com/nekoctl/neko/logtext"
	"github.com/nekoctl/neko/worker"
	"github.com/nekoctl/neko/worker/settings"
)

// answers are the settings of the response cache.
type answers struct {
	size         **int
	reserve      **int
	maxAge       **time.Duration
	staleIfError **time.Duration
	negative     **time.Duration
}

func newAnswers(s *settings.Set) answers {
	return answers{
		size:         sizeOrOff(s, "cache", "64MiB", "how much memory each worker has for answers that are sent again, see docs/caching.md; off for none", cache.MinBytes),
		reserve:      sizeOrOff(s, "cache-reserve", "256MiB", "how much disk each worker has for answers that its memory has no room for, which are sent if the store is away: a file without a name, beside the SQLite file, or in $NEKO_HOME; off for none", cache.MinReserve),
		maxAge:       span(s, "cache-max-age", "24h", "the longest time for which an answer is as good as a new one, whatever the schema says: a bound for changes that nobody tells of", false),
		staleIfError: span(s, "cache-stale-if-error", "24h", "how long an answer that is out of date is still sent, with a warning, if the store is away", true),
		negative:     span(s, "cache-negative", "10s", "how long it is remembered that there is no object with an id", true),
	}
}

// sizeOrOff is a setting that is a number of bytes, not less than least, or off, which is 0.
func sizeOrOff(s *settings.Set, name, shown, help string, least int) **int {
	return settings.Parsed(s, name, shown, "SIZE|off", help, func(text string) (*int, error) {
		if text == off {
			return new(int), nil
		}
		n, err := settings.ParseSize(text)
		if err == nil && n < least {
			err = settings.BadValue(fmt.Sprintf("%q is too little", text), fmt.Sprintf("write %dMiB or more, or off", least>>20))
		}
		return &n, err
	})
}

// span is a setting that is a time span or, if that may be, off, which is 0.
func span(s *settings.Set, name, shown, help string, mayBeOff bool) **time.Duration {
	placeholder, hint := "TIME", "write it like 10s or 1h30m"
	if mayBeOff {
		placeholder, hint, help = "TIME|off", hint+", or off", help+"; off for not at all"
	}
	return settings.Parsed(s, name, shown, placeholder, help, func(text string) (*time.Duration, error) {
		if text == off && mayBeOff {
			return new(time.Duration), nil
		}
		d, err := time.ParseDuration(text)
		if err != nil || d < time.Second || d > cache.MaxLife {
			return nil, settings.BadValue(fmt.Sprintf("%q is no time span from 1s to 24h", text), hint)
		}
		return &d, nil
	})
}

// orNever is what a setting says, where less than 0 is not at all, and 0 what is usual.
func orNever(d *time.Duration) time.Duration {
	switch {
	case d == nil:
		return 0
	case *d == 0:
		return -1
	}
	return *d
}

func (a answers) off() bool { return *a.size != nil && **a.size == 0 }

// apply puts the settings into c.
func (a answers) apply(c *worker.Config) {
	c.CacheStaleIfError = orNever(*a.staleIfError)
	if *a.maxAge != nil {
		c.CacheMaxAge = **a.maxAge
	}
}

// answerCache is the response cache with what tells it of changes from outside.
type answerCache struct {
	*cache.Cache // nil: there is none
	metrics      []worker.MetricFamily
	front        *front
	tell         *teller
	stop         context.CancelFunc
	stopped      chan struct{}
}

// openAnswers opens it. Hosts share answers if they have one store, which is a server, and a Redis.
func (o *options) openAnswers(ctx context.Context, st database, memory *hostmem.Mapping, guards *guards, logger *slog.Logger) (c answerCache, err error) {
	options := cache.Options{Memory: memory, NegativeMaxAge: orNever(*o.answers.negative), Log: logger}
	if *o.answers.size != nil {
		options.Bytes = int64(**o.answers.size)
	}
	f := &follower{log: st, every: followFile, logger: logger}
	if server, ok := st.(server); ok {
		f.every = followServer
		var hosts *redis.Store
		if hosts, err = o.connectAnswers(ctx, server, logger); hosts != nil {
			f.shared = hosts
			options.Shared, err = guards.before(hosts, logger)
		}
	}
	if from, ok := st.(interface{ ReadsSecondaries() bool }); ok {
		f.lags = from.ReadsSecondaries()
	}
	if err == nil {
		err = f.begin(ctx)
	}
	if err == nil {
		f.front, err = o.openFront(st, logger)
	}
	if err == nil {
		options.Reserve = o.openReserve(logger)
		if c.Cache, err = cache.New(options); err != nil && options.Reserve != nil {
			err = errors.Join(err, options.Reserve.Close())
		}
	}
	if err != nil {
		if options.Shared != nil {
			options.Shared.Close()
		}
		return answerCache{}, errors.Join(fmt.Errorf("cannot keep answers: %w", err), f.front.close())
	}
	f.cache, c.front, c.tell = c.Cache, f.front, o.openTeller(st, logger)
	c.metrics = append(f.counts.Metrics(), f.front.metrics()...)
	ctx, c.stop = context.WithCancel(context.WithoutCancel(ctx))
	c.stopped = make(chan struct{})
	go func() {
		defer close(c.stopped)
		f.run(ctx)
	}()
	return c, nil
}

// openReserve makes the file for what memory has no room for: beside the SQLite file, or in $NEKO_HOME, or where
// temporary files are, if that is a disk. A worker does without if that cannot be: it is for when something else is away.
func (o *options) openReserve(logger *slog.Logger) *cache.Reserve {
	var size int64
	if n := *o.answers.reserve; n != nil {
		if *n == 0 {
			return nil
		}
		size = int64(*n)
	}
	path, err := companion(o, "", "reserve")
	if err == nil {
		var r *cache.Reserve
		if r, err = cache.OpenReserve(filepath.Dir(path), size); err == nil {
			return r
		}
	}
	temp := os.TempDir()
	var system unix.Statfs_t
	tempErr := unix.Statfs(temp, &system)
	switch {
	case tempErr != nil:
		tempErr = &os.PathError{Op: "look at", Path: temp, Err: tempErr}
	case system.Type == unix.TMPFS_MAGIC || system.Type == unix.RAMFS_MAGIC:
		tempErr = fmt.Errorf("%s is in memory", temp)
	default:
		var r *cache.Reserve
		if r, tempErr = cache.OpenReserve(temp, size); tempErr == nil {
			logger.Warn(fmt.Sprintf("answers that memory has no room for are kept in %s, as they cannot be where they should", temp), logtext.Reason, err)
			return r
		}
	}
	logger.Warn("answers that memory has no room for are not kept for when the store is away",
		logtext.Reason, fmt.Sprintf("%v; and %v", err, tempErr),
		logtext.Hint, "give neko-api a folder on a disk that it may write to, in NEKO_HOME or TMPDIR, or say --cache-reserve off")
	return nil
}

// close ends it. What other hosts do not know of yet they are told in the time that there is.
func (c *answerCache) close() error {
	if c.Cache == nil {
		return nil
	}
	c.stop()
	<-c.stopped
	ctx, cancel := context.WithTimeout(context.Background(), goodbye)
	defer cancel()
	return errors.Join(c.Close(ctx), c.tell.close(), c.front.close())
}

// follower tells a cache what imports and purges change, which other processes do. It reads
// the log of the store, again and again.
type follower struct {
	log    store.Changelog
	shared confirmer // nil: there is nothing that hosts share
	cache  *cache.Cache
	front  *front // nil: there is no CDN that is purged
	every  time.Duration
	at     int64 // position in the log
	caught bool  // what hosts share has no answers from before at
	owed   bool  // hosts are told of what is there up to at, but it is not on record
	// up to where it was on record that they know, when it was last put there, or seen
	recorded int64
	record   time.Time
	lags     bool // what the store is read from may lag behind its log
	again    []repeated
	logger   *slog.Logger
	counts   api.ChangelogCounts
}

// repeated is what is invalidated once more.
type repeated struct {
	due  time.Time
	tags []string
}

// lagging is after what time that is done, and so how far what is read may lag behind without an answer
// being kept that was made from what was before a change, after that was known.
const lagging = 10 * time.Second

// repeat invalidates once more what is due.
func (f *follower) repeat(ctx context.Context, now time.Time) error {
	for len(f.again) > 0 && !f.again[0].due.After(now) {
		if err := f.cache.Invalidate(ctx, f.again[0].tags...); err != nil && !errors.Is(err, cache.ErrLater) {
			return err
		}
		f.again = f.again[1:]
	}
	return nil
}

// server is a store whose hosts may share answers.
type server interface {
	Identity(ctx context.Context) (string, error)
}

// confirmer is what hosts share: it remembers which entries of the log it was told of.
type confirmer interface {
	Confirmed(ctx context.Context) (int64, error)
	Confirm(ctx context.Context, position int64) error
}

const (
	// followFile is how often it is looked whether a SQLite file has changed: that takes some
	// microseconds.
	followFile = 250 * time.Millisecond
	// followServer is the same for a server.
	followServer = time.Second
	// followEarly is the same in the first second of a worker, until it has found what hosts share:
	// that may have answers from before something that nobody was there to tell of.
	followEarly = 50 * time.Millisecond
	// confirmWithin is how long it is waited for what hosts share: who cannot be asked is told again.
	confirmWithin = 100 * time.Millisecond
	// followWithin is how long it is waited for the store.
	followWithin = 3 * time.Second
)

// recordAgain is how often it is looked, and put on record, how far hosts know the log, also if nothing has
// changed: what is asked for seldom may be forgotten, and what they share may be back with what it had an hour ago.
const recordAgain = time.Minute

// begin begins where the log ends, as a cache does that has nothing.
func (f *follower) begin(ctx context.Context) error {
	in, err := f.log.Invalidated(ctx, -1)
	f.at = in.Last
	return err
}

func (f *follower) run(ctx context.Context) {
	tick := time.NewTicker(f.every)
	defer tick.Stop()
	said := false
	early := int(followServer / followEarly)
	for {
		err := f.look(ctx)
		switch {
		case ctx.Err() != nil:
			return
		case err == nil:
			said = false
		case !said && !errors.Is(err, store.ErrUnavailable) && !errors.Is(err, context.DeadlineExceeded):
			// That the store is away others say; nothing is missed then.
			said = true
			f.logger.Warn("imports and purges are not seen, and answers from before them may be sent", logtext.Reason, err)
		}
		var soon <-chan time.Time
		if early--; f.shared != nil && !f.caught && early > 0 {
			soon = time.After(followEarly)
		}
		select {
		case <-tick.C:
		case <-soon:
		case <-ctx.Done():
			return
		}
	}
}

// look reads what is new in the log, and invalidates it.
func (f *follower) look(ctx context.Context) (err error) {
	taken := false
	defer func() {
		if err != nil && !taken {
			f.counts.Failed()
		}
	}()
	ctx, cancel := context.WithTimeout(ctx, followWithin)
	defer cancel()
	in, err := f.log.Invalidated(ctx, f.at)
	if err != nil {
		return err
	}
	tags, away, caught := in.Tags, false, f.caught
	due := time.Since(f.record) > recordAgain
	if f.shared != nil && (len(tags) > 0 || !caught || due) {
		// Whoever has made the entries may have told all hosts. And what they share may have answers
		// from before an entry of which nobody has told it, as nobody was there.
		short, cancel := context.WithTimeout(ctx, confirmWithin)
		confirmed, err := f.shared.Confirmed(short)
		cancel()
		switch {
		case err != nil:
			away = true
		case confirmed == in.Last:
			f.cache.InvalidateHere(tags...)
			tags, caught, f.recorded = nil, true, confirmed
		case !caught, confirmed < f.recorded:
			// What others have told already this host may not have heard: so not from confirmed, if that is later.
			if in, err = f.log.Invalidated(ctx, min(confirmed, f.at)); err != nil {
				return err
			}
			if confirmed > in.Last { // the store is a backup, and the log another
				in.Tags = []string{store.Everything}
			}
			tags, caught = in.Tags, true
		}
	}
	if f.lags && len(in.Tags) > 0 {
		f.again = append(f.again, repeated{time.Now().Add(lagging), in.Tags})
	}
	if err := f.repeat(ctx, time.Now()); err != nil {
		return err
	}
	if len(tags) > 0 {
		err := f.cache.Invalidate(ctx, tags...)
		if err != nil && !errors.Is(err, cache.ErrLater) {
			return err
		}
		f.owed = true
	}
	// Only now: what fails before is done again from where it was.
	f.at, f.caught, taken = in.Last, caught, true
	f.counts.Looked(len(in.Tags))
	f.front.changed(in.Last)
	// Until it is on record that all know, whoever starts tells them again.
	if f.shared != nil && f.caught && !away && f.cache.Stats().Waiting == 0 && (f.owed || due) {
		short, cancel := context.WithTimeout(ctx, confirmWithin)
		defer cancel()
		if f.shared.Confirm(short, f.at) == nil {
			f.owed, f.recorded, f.record = false, f.at, time.Now()
		}
	}
	return nil
}

// hostMemory is what the workers of the app share. If that cannot be had each of them is alone, and the
// log says what comes of that.
func hostMemory(logger *slog.Logger) (*hostmem.Mapping, error) {
	dir := os.Getenv("NEKO_RUN_DIR")
	if !filepath.IsAbs(dir) {
		return hostmem.Anonymous(0)
	}
	m, err := hostmem.Open(dir, 0)
	if err == nil {
		return m, nil
	}
	hint := ""
	var advice interface{ Hint() string }
	if errors.As(err, &advice) {
		hint = advice.Hint()
	}
	logger.Warn("this worker shares nothing with the others of this host: it counts requests for itself alone, and lets its part of what the rate limits say pass again; and what they change it sees later", logtext.Reason, err, logtext.Hint, hint)
	return hostmem.Anonymous(0)
}

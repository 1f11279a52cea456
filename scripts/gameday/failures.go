package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// failure is something that happens, how it is repaired, and what it may cost: the rows of
// docs/deployment/disaster-recovery.md, which a test compares with these.
type failure struct {
	name, what string
	repair     string // how it ends: by itself, or by what commands
	rto        time.Duration
	fails      []class // requests that may fail meanwhile
	clients    bool    // clients may lose what was under way
	loses      bool    // acknowledged changes may be lost
	anywhere   bool    // it can happen to a deployment that we have not started, by way of nekoctl
	costs      string  // in words, if cost says it badly
	root       bool
	store      string // with which it is tried; "": each
	fromRepair bool

	prepare, happens, mend, after func(ctx context.Context, s *stage) error
	lasts                         time.Duration
}

func (f failure) mayFail(c class) bool { return slices.Contains(f.fails, c) }

// cost is what may be lost, in words.
func (f failure) cost() string {
	text := "nothing"
	switch {
	case f.costs != "":
		text = f.costs
	case len(f.fails) == 3:
		text = "all requests meanwhile"
	case len(f.fails) == 2:
		text = "meanwhile what is not kept, and changes"
	case len(f.fails) == 1:
		text = "meanwhile " + map[class]string{change: "changes", newAnswer: "what is not kept", keptAnswer: "what is kept"}[f.fails[0]]
	case f.clients:
		text = "what was under way"
	}
	if f.loses {
		text += ", and changes since the backup"
	}
	return text
}

var everything = []class{keptAnswer, newAnswer, change}

const byItself = "by itself"

var failures = []failure{
	{
		name: "kill -9 of a worker", what: "one of the workers is killed", repair: byItself, rto: time.Second, anywhere: true,
		fails: everything, clients: true, happens: func(ctx context.Context, s *stage) error { return s.killWorkers(ctx, 1, syscall.SIGKILL) },
		costs: "what it had accepted",
	},
	{
		name: "kill -9 of all workers", what: "all workers are killed at once", repair: byItself, rto: 5 * time.Second, anywhere: true,
		fails: everything, clients: true, happens: func(ctx context.Context, s *stage) error { return s.killWorkers(ctx, 1000, syscall.SIGKILL) },
		costs: "what they had accepted",
	},
	{
		name: "a worker hangs", what: "one of the workers stands still (SIGSTOP)", repair: "by itself: watchdog", rto: watchdog + 5*time.Second, anywhere: true,
		fails: everything, clients: true, happens: func(ctx context.Context, s *stage) error { return s.killWorkers(ctx, 1, syscall.SIGSTOP) },
		costs: "what it had accepted; what is on its way to it waits",
	},
	{
		name: "kill -9 of the master", what: "nekoctl's master is killed", repair: byItself, anywhere: true,
		happens: func(ctx context.Context, s *stage) error { return s.killDaemon(ctx, syscall.SIGKILL, false, true) }, after: commandsWork,
	},
	{
		name: "the master hangs", what: "nekoctl's master stands still (SIGSTOP)", repair: byItself, anywhere: true, lasts: 11 * time.Second,
		happens: func(ctx context.Context, s *stage) error { return s.killDaemon(ctx, syscall.SIGSTOP, false, true) }, after: commandsWork,
	},
	{
		name: "kill -9 of the keeper", what: "nekoctl's keeper is killed", repair: byItself, anywhere: true,
		happens: func(ctx context.Context, s *stage) error { return s.killDaemon(ctx, syscall.SIGKILL, true, false) }, after: commandsWork,
	},
	{
		name: "kill -9 of keeper and master", what: "all of nekoctl is killed at once", repair: "the next nekoctl command", anywhere: true,
		happens: func(ctx context.Context, s *stage) error { return s.killDaemon(ctx, syscall.SIGKILL, true, true) }, after: commandsWork,
	},
	{
		name: "a bad deploy", what: "the new neko-api ends as soon as it is started, and is reloaded", repair: "the one before, and reload: until then the old workers serve",
		happens: badDeploy, mend: func(ctx context.Context, s *stage) error {
			return errors.Join(s.deploy(filepath.Join(filepath.Dir(s.nekoctl), "neko-api")), s.reload(ctx))
		},
	},
	{
		name: "a bad certificate", what: "the key does not belong to the certificate, as when one file of two was renewed", repair: "a new pair: no restart", lasts: 6 * time.Second,
		prepare: serveTLS, happens: mixCertificate, mend: renewCertificate, after: endTLS,
	},
	{
		name: "Redis is killed", what: "redis-server is killed", repair: "it is started again, empty", lasts: 3 * time.Second,
		happens: func(_ context.Context, s *stage) error { return s.redis.kill() },
		mend:    func(_ context.Context, s *stage) error { return s.redis.start() },
	},
	{
		name: "Redis hangs", what: "redis-server stands still (SIGSTOP)", repair: "it goes on", lasts: 3 * time.Second,
		happens: func(_ context.Context, s *stage) error { return s.redis.signal(syscall.SIGSTOP) },
		mend:    func(_ context.Context, s *stage) error { return s.redis.signal(syscall.SIGCONT) },
	},
	{
		name: "Redis is slow", what: "each packet to and from Redis takes 300 ms", repair: "the network is as it was", lasts: 3 * time.Second,
		happens: func(_ context.Context, s *stage) error { s.redisWay.Delay(300 * time.Millisecond); return nil },
		mend:    func(_ context.Context, s *stage) error { return s.redisWay.Resume() },
	},
	{
		name: "Redis forgets", what: "FLUSHALL", repair: byItself,
		happens: func(_ context.Context, s *stage) error { return s.redisCommand("FLUSHALL") },
	},
	{
		name: "MongoDB is killed", what: "the only server of the store is killed", repair: "it is started again", store: "mongodb", rto: openFor + 10*time.Second, lasts: 5 * time.Second,
		fails: []class{newAnswer, change}, fromRepair: true,
		happens: func(_ context.Context, s *stage) error { return s.mongo.kill() },
		mend:    func(_ context.Context, s *stage) error { return s.startedMongo() },
	},
	{
		name: "MongoDB hangs", what: "the server of the store stands still (SIGSTOP)", repair: "it goes on", store: "mongodb", rto: openFor + 10*time.Second, lasts: 5 * time.Second,
		fails: []class{newAnswer, change}, fromRepair: true,
		happens: func(_ context.Context, s *stage) error { return s.mongo.signal(syscall.SIGSTOP) },
		mend:    func(_ context.Context, s *stage) error { return s.mongo.signal(syscall.SIGCONT) },
	},
	{
		name: "MongoDB is slow", what: "each packet to and from the store takes 5 s", repair: "the network is as it was", store: "mongodb", rto: openFor + 15*time.Second, lasts: 8 * time.Second,
		fails: []class{newAnswer, change}, fromRepair: true,
		happens: func(_ context.Context, s *stage) error { s.mongoWay.Delay(5 * time.Second); return nil },
		mend:    func(_ context.Context, s *stage) error { return s.mongoWay.Resume() },
	},
	{
		name: "the disk is full", what: "no room is left where the store is", repair: "room is made", store: "sqlite", root: true, rto: openFor + 5*time.Second, lasts: 3 * time.Second,
		fails: []class{change}, fromRepair: true,
		happens: fillDisk, mend: func(_ context.Context, s *stage) error { return os.Remove(filler(s)) },
	},
	{
		name: "a bad import", what: "a bundle has overwritten what was right", repair: "neko-api restore --keep-accounts, while workers serve", store: "sqlite", rto: 5 * time.Second, loses: true, fromRepair: true,
		prepare: takeBackup, happens: badImport,
		mend: func(ctx context.Context, s *stage) error {
			return s.step("neko-api restore --keep-accounts", func() error { return s.restore(ctx, "--keep-accounts") })
		},
		after: rightAgain,
	},
	{
		name: "the store is removed", what: "rm of the SQLite file and its log, under running workers", repair: "neko-api restore, and reload", store: "sqlite", rto: 30 * time.Second, loses: true, fromRepair: true,
		fails: []class{change}, clients: true,
		prepare: takeBackup, happens: removeStore,
		mend: func(ctx context.Context, s *stage) error {
			return errors.Join(s.step("neko-api restore", func() error { return s.restore(ctx) }), s.step("nekoctl reload", func() error { return s.reload(ctx) }))
		},
		after: rightAgain,
	},
	{
		name: "the store is damaged", what: "the SQLite file is overwritten with nonsense", repair: "nekoctl stop, neko-api restore, nekoctl start", store: "sqlite", rto: 30 * time.Second, loses: true, fromRepair: true,
		fails: everything, clients: true,
		prepare: takeBackup, happens: damageStore,
		mend: func(ctx context.Context, s *stage) error {
			return errors.Join(
				s.step("nekoctl stop", func() error { _, err := s.ctl(ctx, "stop", s.app); return err }),
				s.step("neko-api restore", func() error { return s.restore(ctx) }),
				s.step("nekoctl start", func() error { _, err := s.ctl(ctx, "start", s.app); return err }))
		},
		after: rightAgain,
	},
}

// killWorkers sends a signal to some of the workers.
func (s *stage) killWorkers(ctx context.Context, n int, sig syscall.Signal) error {
	list, err := s.workers(ctx)
	if err != nil {
		return err
	}
	for _, w := range list[:min(n, len(list))] {
		s.say("  kill -%s %d", unix.SignalName(sig), w.PID)
		if err := syscall.Kill(w.PID, sig); err != nil {
			return err
		}
	}
	return nil
}

func (s *stage) killDaemon(ctx context.Context, sig syscall.Signal, keeper, master bool) error {
	p, err := s.ping(ctx)
	if err != nil {
		return err
	}
	var pids []int
	if keeper {
		pids = append(pids, p.Keeper)
	}
	if master {
		pids = append(pids, p.Master)
	}
	if keeper && master { // stopped first: neither sees the other die
		for _, pid := range pids {
			if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
				return err
			}
		}
	}
	for _, pid := range pids {
		s.say("  kill -%s %d", unix.SignalName(sig), pid)
		if err := syscall.Kill(pid, sig); err != nil {
			return err
		}
	}
	return nil
}

// commandsWork looks whether there is a daemon that knows its workers.
func commandsWork(ctx context.Context, s *stage) error {
	return s.waitFor(ctx, "nekoctl knows all workers", 20*time.Second, func() error { _, err := s.workers(ctx); return err })
}

// deploy puts a program in the place of neko-api, as a package does: a new file under the old name.
func (s *stage) deploy(program string) error {
	if err := os.Symlink(program, s.api+".new"); err != nil {
		return err
	}
	return os.Rename(s.api+".new", s.api)
}

func (s *stage) reload(ctx context.Context) error {
	_, err := s.ctl(ctx, "reload", s.app)
	return err
}

func badDeploy(ctx context.Context, s *stage) error {
	bad := filepath.Join(s.dir, "bad")
	if err := os.WriteFile(bad, []byte("#!/bin/sh\necho 'this version cannot start' >&2\nexit 3\n"), 0o755); err != nil {
		return err
	}
	if err := s.deploy(bad); err != nil {
		return err
	}
	if err := s.reload(ctx); err == nil {
		return errors.New("nekoctl reload has not failed")
	}
	return nil
}

func filler(s *stage) string { return filepath.Join(filepath.Dir(s.db), "filler") }

func fillDisk(_ context.Context, s *stage) error {
	f, err := os.Create(filler(s))
	if err != nil {
		return err
	}
	defer f.Close()
	for block := make([]byte, 1<<20); len(block) > 0; {
		if _, err = f.Write(block); errors.Is(err, syscall.ENOSPC) {
			block, err = block[:len(block)/2], nil
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func takeBackup(ctx context.Context, s *stage) error {
	return s.step("neko-api backup", func() error { _, err := s.neko(ctx, "backup", s.backup); return err })
}

func (s *stage) restore(ctx context.Context, args ...string) error {
	_, err := s.neko(ctx, append([]string{"restore", s.backup, "--no-copy"}, args...)...)
	return err
}

// badImport overwrites the first three actors by name.
func badImport(ctx context.Context, s *stage) error {
	text, err := s.probes.ask(ctx, `{threatActors(first: 3) {nodes {id}}}`)
	if err != nil {
		return err
	}
	bundle, err := wrongBundle(text)
	if err != nil {
		return err
	}
	file := filepath.Join(s.dir, "wrong.json")
	if err := os.WriteFile(file, bundle, 0o600); err != nil {
		return err
	}
	if _, err := s.neko(ctx, "import", file); err != nil {
		return err
	}
	return s.waitFor(ctx, "the wrong names are seen", 10*time.Second, func() error {
		if name, err := s.anyActor(ctx, wrongID(text)); err != nil || name != "Overwritten" {
			return fmt.Errorf("it is %q: %w", name, errors.Join(err, errors.New("not yet")))
		}
		return nil
	})
}

// rightAgain looks whether a restore has brought back what was there.
func rightAgain(ctx context.Context, s *stage) error {
	text, err := s.probes.ask(ctx, fmt.Sprintf(`{right%d: threatActors(first: 100) {nodes {name}}}`, time.Now().UnixNano()))
	if err != nil {
		return err
	}
	if wrong := countOf(text, "Overwritten"); wrong > 0 || countOf(text, `"name"`) < 3 {
		return fmt.Errorf("after the restore there are %d wrong names", wrong)
	}
	return nil
}

func removeStore(_ context.Context, s *stage) error {
	for _, suffix := range []string{"", "-wal", "-shm"} {
		if err := os.Remove(s.db + suffix); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	return nil
}

func damageStore(_ context.Context, s *stage) error {
	f, err := os.OpenFile(s.db, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	nonsense := make([]byte, info.Size())
	for i := range nonsense {
		nonsense[i] = byte(i * 7)
	}
	_, err = f.WriteAt(nonsense, 0)
	return err
}

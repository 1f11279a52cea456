package worker

import (
	"context"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"
)

// stopping knows whether the supervisor is about to stop this process: the file
// "stopping" in NEKO_RUN_DIR of the worker contract. Until it does, everything is
// served as ever, but balancers and clients are told to go elsewhere.
type stopping struct {
	file string // "": nobody tells
	seen atomic.Bool
}

// lookEvery is how often is looked for the file, besides at each /readyz.
const lookEvery = time.Second

func stoppingFromEnv() *stopping {
	if dir := os.Getenv("NEKO_RUN_DIR"); filepath.IsAbs(dir) {
		return &stopping{file: filepath.Join(dir, "stopping")}
	}
	return &stopping{}
}

func (s *stopping) look() bool {
	if s.file == "" {
		return false
	}
	_, err := os.Lstat(s.file)
	s.seen.Store(err == nil)
	return err == nil
}

// watch looks every now and then until ctx ends.
func (s *stopping) watch(ctx context.Context) {
	if s.file == "" {
		return
	}
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			s.look()
		case <-ctx.Done():
			return
		}
	}
}

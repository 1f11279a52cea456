package main

import (
	"fmt"
	"log"
	"time"

	"github.com/nekoctl/neko/api/store/guarded"
	"github.com/nekoctl/neko/breaker"
	"github.com/nekoctl/neko/hostmem"
	"github.com/nekoctl/neko/worker/settings"
)

// breakers are the settings of what stands before the store.
type breakers struct {
	timeout    *time.Duration
	openFor    *time.Duration
	readyAlone *bool
}

func newBreakers(s *settings.Set) breakers {
	return breakers{
		timeout:    s.Duration("store-timeout", 3*time.Second, "how long one call to the store may take, however often it is tried"),
		openFor:    s.Duration("breaker-open", 30*time.Second, "how long a store that fails is left alone before it is tried again, a fifth more or less; clients get errors at once meanwhile, or what is kept"),
		readyAlone: s.Bool("ready-without-store", true, "a worker whose store is away is not ready, so that clients are sent elsewhere; it must have answered once in any case"),
	}
}

// guard puts breakers before a store, which the workers of the host share by memory.
func (b breakers) guard(st database, memory *hostmem.Mapping, logger *log.Logger) (*guarded.Store, []*breaker.Policy, error) {
	host, err := breaker.NewHost(memory)
	if err != nil {
		return nil, nil, fmt.Errorf("cannot watch the store: %w", err)
	}
	reads, changes := 0, 0
	if p, ok := st.(interface{ Parallel() (reads, changes int) }); ok {
		reads, changes = p.Parallel()
	}
	var policies []*breaker.Policy
	for _, one := range []struct {
		name   string
		places int
	}{{"store", reads}, {"store-changes", changes}} {
		p, err := breaker.New(breaker.Options{
			Name: one.name, Host: host, Timeout: *b.timeout, OpenFor: *b.openFor, Places: one.places, IsFailure: guarded.IsFailure, Log: logger,
		})
		if err != nil {
			return nil, nil, err
		}
		policies = append(policies, p)
	}
	return guarded.New(st, policies[0], policies[1]), policies, nil
}

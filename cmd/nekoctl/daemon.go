package main

import (
	"context"
	"strings"
	"time"

	"github.com/nekoctl/neko/supervisor/control"
	"github.com/nekoctl/neko/supervisor/keeper"
)

// spawn starts a daemon in the background and returns when it serves. It is
// false if somebody else started one in the same moment; then that one serves.
func (c *cli) spawn(ctx context.Context) (bool, error) {
	_, err := keeper.Spawn(c.home)
	if err == nil {
		return true, nil
	}
	if strings.Contains(err.Error(), "already runs") {
		client, pingErr := c.client()
		for end := time.Now().Add(5 * time.Second); pingErr == nil && time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
			if _, err := client.Ping(ctx); err == nil {
				return false, nil
			}
		}
	}
	return false, failed(c.home.Log()+" may say more", "cannot start the daemon: %v", err)
}

// spawnShown is spawn for people who wait.
func (c *cli) spawnShown(ctx context.Context) (bool, error) {
	p := c.progress()
	defer p.end()
	p.waitsFor("starts the daemon")
	return c.spawn(ctx)
}

func (c *cli) noteBegun() { c.note("started the daemon on %s", c.home) }

// runsAlready refuses a second daemon on a home.
func (c *cli) runsAlready(command string, ping control.Ping) error {
	return failed("nekoctl "+command+" without --no-daemon adds apps to it; nekoctl kill ends it",
		"a daemon runs on %s already (pid %d)", c.home, ping.Keeper)
}

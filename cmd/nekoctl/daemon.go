package main

import (
	"github.com/nekoctl/neko/supervisor/home"
	"github.com/nekoctl/neko/supervisor/keeper"
)

// spawn starts a daemon in the background and returns when it serves.
func spawn(h home.Dir) error {
	if _, err := keeper.Spawn(h); err != nil {
		return failed(h.Log()+" may say more", "cannot start the daemon: %v", err)
	}
	return nil
}

package main

import (
	"encoding/json"
	"fmt"
	"os"

	"github.com/nekoctl/neko/supervisor/home"
	"github.com/nekoctl/neko/supervisor/keeper"
	"github.com/nekoctl/neko/supervisor/spec"
)

// spawn starts a daemon in the background and returns when it serves.
func spawn(h home.Dir) error {
	if _, err := keeper.Spawn(h); err != nil {
		return failed(h.Log()+" may say more", "cannot start the daemon: %v", err)
	}
	return nil
}

// runKeeper makes this process a keeper whose master starts apps.
func runKeeper(h home.Dir, apps []spec.App) int {
	if err := h.Create(); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		return exitFailed
	}
	boot, err := json.Marshal(apps)
	if err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		return exitFailed
	}
	return keeper.Run(h, keeper.Options{Boot: string(boot)})
}

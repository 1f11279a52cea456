package main

import (
	_ "embed"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// pm2Version is the newest PM2 when these figures were first written down. It
// is pinned so that a figure that changes is a change of neko's.
const pm2Version = "7.0.4"

//go:embed server.js
var serverJS []byte

//go:embed worker.js
var workerJS []byte

func (b *bench) prepare(withoutPM2 bool) (err error) {
	if b.bin, err = filepath.Abs(b.bin); err != nil {
		return err
	}
	if _, err := os.Stat(b.nekoctl()); err != nil {
		return fmt.Errorf("%w (run make build first)", err)
	}
	// Short, because both supervisors bind unix sockets below it.
	if b.tmp, err = os.MkdirTemp("", "nb"); err != nil {
		return err
	}
	b.node = filepath.Join(b.tmp, "server.js")
	if err := os.WriteFile(b.node, serverJS, 0o644); err != nil {
		return err
	}
	b.drains = filepath.Join(b.tmp, "worker.js")
	if err := os.WriteFile(b.drains, workerJS, 0o644); err != nil {
		return err
	}
	b.bare = filepath.Join(b.tmp, "bare")
	build := exec.CommandContext(b.ctx, "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", b.bare, "./examples/bare")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("building the bare worker: %w\n%s", err, out)
	}
	if withoutPM2 {
		return nil
	}
	if b.pm2, err = b.installPM2(); err != nil {
		fmt.Fprintln(os.Stderr, "no comparison with PM2:", err)
	}
	return nil
}

func (b *bench) nekoctl() string { return filepath.Join(b.bin, "nekoctl") }
func (b *bench) api() string     { return filepath.Join(b.bin, "neko-api") }

// installPM2 is the path of PM2's script, installed once for each version.
func (b *bench) installPM2() (string, error) {
	for _, tool := range []string{"node", "npm"} {
		if _, err := exec.LookPath(tool); err != nil {
			return "", errors.New(tool + " is not there")
		}
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	dir := filepath.Join(cache, "neko-bench", "pm2-"+pm2Version)
	script := filepath.Join(dir, "node_modules", "pm2", "bin", "pm2")
	if _, err := os.Stat(script); err == nil {
		return script, nil
	}
	fmt.Fprintln(os.Stderr, "installing PM2", pm2Version, "…")
	npm := exec.CommandContext(b.ctx, "npm", "install", "--prefix", dir, "--no-audit", "--no-fund", "pm2@"+pm2Version)
	if out, err := npm.CombinedOutput(); err != nil {
		os.RemoveAll(dir) // nothing half installed
		return "", fmt.Errorf("npm install: %w\n%s", err, out)
	}
	return script, nil
}

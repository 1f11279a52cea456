package main

import (
	_ "embed"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/nekoctl/neko/scripts/npm"
	"github.com/nekoctl/neko/scripts/source"
)

// pm2Version is the newest PM2 when these figures were first written down. It
// is pinned so that a figure that changes is a change of neko's.
const pm2Version = "7.0.4"

//go:embed server.js
var serverJS []byte

//go:embed worker.js
var workerJS []byte

//go:embed limits.js
var limitsJS []byte

//go:embed cache_mercurius.js
var mercuriusJS []byte

//go:embed cache_apollo.js
var apolloJS []byte

//go:embed cache_peers.graphql
var peersSchema []byte

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
	b.peer = filepath.Join(b.tmp, "limits.js")
	if err := os.WriteFile(b.peer, limitsJS, 0o644); err != nil {
		return err
	}
	b.bare = filepath.Join(b.tmp, "bare")
	if err := source.Build(b.bare, "-trimpath", "-ldflags", "-s -w", "./examples/bare"); err != nil {
		return err
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
	pm2 := "pm2@" + pm2Version
	if _, installed, err := npm.Find(pm2); err == nil && !installed {
		fmt.Fprintln(os.Stderr, "installing PM2", pm2Version, "…")
	}
	dir, err := npm.Install(b.ctx, pm2)
	if err != nil {
		return "", err
	}
	return filepath.Join(dir, "node_modules", "pm2", "bin", "pm2"), nil
}

package nodeipc_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// wsVersion is pinned, so that a test that fails is a change of neko's.
const wsVersion = "8.18.3"

// modules is the folder of what npm has installed for the tests, once for each version.
func modules(t *testing.T) string {
	t.Helper()
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(cache, "neko-test", "ws-"+wsVersion)
	installed := filepath.Join(dir, "node_modules")
	if _, err := os.Stat(filepath.Join(installed, "ws", "package.json")); err == nil {
		return installed
	}
	if _, err := exec.LookPath("npm"); err != nil && os.Getenv("CI") != "true" {
		t.Skip(err)
	}
	// Aside first: nothing half installed is ever found.
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		t.Fatal(err)
	}
	aside, err := os.MkdirTemp(filepath.Dir(dir), "new")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(aside)
	if out, err := exec.Command("npm", "install", "--prefix", aside, "--no-audit", "--no-fund", "ws@"+wsVersion).CombinedOutput(); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatalf("npm install: %v\n%s", err, out)
		}
		t.Skipf("npm cannot install ws: %v", err)
	}
	if err := os.Rename(aside, dir); err != nil {
		if _, err := os.Stat(installed); err != nil {
			t.Fatal(err)
		}
	}
	return installed
}

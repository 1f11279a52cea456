// Package npm finds Node, and installs packages of npm, for tests and benchmarks, each list of them once,
// into the user's cache folder. Versions belong in the names ("ws@8.18.3"): a test that
// fails is to be a change of neko's.
package npm

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// patience is how long an installation may take.
const patience = 4 * time.Minute

// Find is the folder in which node_modules has these packages, whether they are
// installed or not.
func Find(packages ...string) (folder string, installed bool, err error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", false, err
	}
	name := strings.ReplaceAll(strings.Join(slices.Sorted(slices.Values(packages)), ","), "/", "+")
	folder = filepath.Join(cache, "neko-test", name)
	return folder, has(folder), nil
}

// Install is Find, and installs what is not there.
func Install(ctx context.Context, packages ...string) (folder string, err error) {
	folder, there, err := Find(packages...)
	if there || err != nil {
		return folder, err
	}
	return folder, install(ctx, folder, append([]string{"install"}, packages...), nil)
}

// installLocked installs what the package-lock.json in dir says, each version of that file once.
func installLocked(ctx context.Context, dir string) (folder string, err error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	files := map[string][]byte{"package.json": nil, "package-lock.json": nil}
	sum := sha256.New()
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if files[name], err = os.ReadFile(filepath.Join(dir, name)); err != nil {
			return "", err
		}
		sum.Write(files[name])
	}
	folder = filepath.Join(cache, "neko-test", fmt.Sprintf("locked-%x", sum.Sum(nil)[:8]))
	if has(folder) {
		return folder, nil
	}
	return folder, install(ctx, folder, []string{"ci", "--ignore-scripts"}, files)
}

// install runs npm in a folder with these files, which becomes folder. One process does it, and others that need the
// same wait for it.
func install(ctx context.Context, folder string, args []string, files map[string][]byte) error {
	if err := os.MkdirAll(filepath.Dir(folder), 0o755); err != nil {
		return err
	}
	lock, err := os.OpenFile(folder+".lock", os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return err
	}
	defer lock.Close()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return err
	}
	if has(folder) {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if err = installAside(ctx, folder, args, files); err != nil && !errors.Is(err, exec.ErrNotFound) && ctx.Err() == nil {
		err = installAside(ctx, folder, args, files) // what packages fetch by themselves npm does not try again
	}
	return err
}

// installAside installs in another folder first: nothing half installed is ever found.
func installAside(ctx context.Context, folder string, args []string, files map[string][]byte) error {
	aside, err := os.MkdirTemp(filepath.Dir(folder), "new")
	if err != nil {
		return err
	}
	defer os.RemoveAll(aside)
	for name, data := range files {
		if err := os.WriteFile(filepath.Join(aside, name), data, 0o644); err != nil {
			return err
		}
	}
	args = append(slices.Clone(args), "--prefix", aside, "--no-audit", "--no-fund", "--prefer-offline", "--fetch-retries", "5")
	out, err := exec.CommandContext(ctx, "npm", args...).CombinedOutput()
	if errors.Is(err, exec.ErrNotFound) {
		return err
	}
	if err != nil {
		return fmt.Errorf("npm %s: %w\n%s", strings.Join(args, " "), err, out)
	}
	return os.Rename(aside, folder)
}

func has(folder string) bool {
	_, err := os.Stat(filepath.Join(folder, "node_modules"))
	return err == nil
}

// Need is Install for a test, which is skipped if that cannot be, and in CI fails.
func Need(t *testing.T, packages ...string) (folder string) {
	t.Helper()
	folder, err := Install(t.Context(), packages...)
	lacks(t, err)
	return folder
}

// NeedLocked is a folder with the packages that the package-lock.json in dir names, for a test, which is skipped if
// that cannot be, and in CI fails.
func NeedLocked(t *testing.T, dir string) (folder string) {
	t.Helper()
	folder, err := installLocked(t.Context(), dir)
	lacks(t, err)
	return folder
}

// Node is the path of a program node for a test, which is skipped if there is none, and
// in CI fails.
func Node(t *testing.T, name string) (path string) {
	t.Helper()
	path, err := exec.LookPath(name)
	lacks(t, err)
	return path
}

func lacks(t *testing.T, err error) {
	t.Helper()
	switch {
	case err == nil:
	case os.Getenv("CI") == "true":
		t.Fatal(err)
	default:
		t.Skip(err)
	}
}

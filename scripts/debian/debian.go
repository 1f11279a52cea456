// Package debian finds the programs of Debian's packages that tests need, and in CI, as root, installs them.
package debian

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// patience is how long an installation may take, with others in front of it.
const patience = 6 * time.Minute

// Need is the path of a program for a test. If there is none the test is skipped; in CI (CI=true) the package is
// installed, and where that cannot be, the test fails.
func Need(t testing.TB, program, pkg string) (path string) {
	t.Helper()
	path, err := exec.LookPath(program)
	if err == nil {
		return path
	}
	if os.Getenv("CI") != "true" {
		t.Skipf("%v: apt-get install %s", err, pkg)
	}
	if err := install(t.Context(), pkg); err != nil {
		t.Fatalf("%s is not there: %v", program, err)
	}
	if path, err = exec.LookPath(program); err != nil {
		t.Fatalf("the package %s has been installed: %v", pkg, err)
	}
	return path
}

// install is apt-get's, one after the other: tests of several packages run at once, and apt-get does not wait for
// its lists.
func install(ctx context.Context, pkg string) error {
	if os.Getuid() != 0 {
		return errors.New("only root can install " + pkg)
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	lock, err := os.OpenFile(filepath.Join(os.TempDir(), "neko-test-apt.lock"), os.O_CREATE|os.O_RDWR|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return err
	}
	defer lock.Close()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return err
	}
	quiet, err := startsNothing()
	if err != nil {
		return err
	}
	defer os.RemoveAll(quiet)
	path := "DPkg::Path=" + quiet + ":/usr/sbin:/usr/bin:/sbin:/bin"
	for _, args := range [][]string{{"update", "-q"}, {"install", "-q", "-y", "--no-install-recommends", "-o", path, pkg}} {
		cmd := exec.CommandContext(ctx, "apt-get", args...)
		cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("apt-get %s: %w\n%s", args[0], err, out)
		}
	}
	return nil
}

// startsNothing is a folder with what packages start their services by, now and at boot, before dpkg's others, so that they start
// none: we want the programs of prometheus and redis-server, and no server of either on this machine.
func startsNothing() (dir string, err error) {
	if dir, err = os.MkdirTemp("", "neko-test-debian"); err != nil {
		return "", err
	}
	for _, program := range []string{"invoke-rc.d", "deb-systemd-invoke", "update-rc.d", "deb-systemd-helper"} {
		if err := os.WriteFile(filepath.Join(dir, program), []byte("#!/bin/sh\nexit 0\n"), 0o755); err != nil {
			os.RemoveAll(dir)
			return "", err
		}
	}
	return dir, nil
}

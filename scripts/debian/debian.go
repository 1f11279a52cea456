// Package debian finds the programs of Debian's packages that tests need, and in CI, as root, installs them.
package debian

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// patience is how long an installation may take when it is its turn.
const patience = 5 * time.Minute

// Need is the path of a program for a test. If there is none the test is skipped; in CI (CI=true) the package is
// installed, and where that cannot be, the test fails.
func Need(t testing.TB, program, pkg string) (path string) {
	t.Helper()
	if path, known := found.Load(program); known {
		return path.(string)
	}
	path, err := exec.LookPath(program)
	switch {
	case os.Getenv("CI") != "true":
		if err != nil {
			t.Skipf("%v: apt-get install %s", err, pkg)
		}
	case err != nil || underWay(pkg):
		if err := Install(t.Context(), func() bool { return here(program, pkg) }, pkg); err != nil {
			t.Fatalf("%s is not there: %v", program, err)
		}
		if path, err = exec.LookPath(program); err != nil {
			t.Fatalf("the package %s has been installed: %v", pkg, err)
		}
	}
	found.Store(program, path)
	return path
}

// found are paths of programs.
var found sync.Map

func here(program, pkg string) bool {
	_, err := exec.LookPath(program)
	return err == nil && !underWay(pkg)
}

// underWay says whether a package is being installed, by another test: its programs are there before what they need.
func underWay(pkg string) bool {
	state, err := exec.Command("dpkg-query", "-W", "-f", "${db:Status-Status}", pkg).Output()
	return err == nil && slices.Contains([]string{"half-installed", "unpacked", "half-configured"}, string(state))
}

// Install has apt-get install packages, unless somebody else has done it until it is this one's turn. One installs after
// the other: tests of several packages run at once, and apt-get does not wait for its lists.
func Install(ctx context.Context, there func() bool, pkgs ...string) error {
	if os.Getuid() != 0 {
		return errors.New("only root can install " + strings.Join(pkgs, " "))
	}
	lock, err := os.OpenFile(filepath.Join(os.TempDir(), "neko-test-apt.lock"), os.O_CREATE|os.O_RDWR|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return err
	}
	defer lock.Close()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return err
	}
	if there() {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	quiet, err := startsNothing()
	if err != nil {
		return err
	}
	defer os.RemoveAll(quiet)
	path := "DPkg::Path=" + quiet + ":/usr/sbin:/usr/bin:/sbin:/bin"
	install := append([]string{"install", "-q", "-y", "--no-install-recommends", "-o", path}, pkgs...)
	for _, args := range [][]string{{"update", "-q"}, install} {
		// Mirrors fail at times, and who else installs on this machine does not know of our lock.
		args = append([]string{"-o", "Acquire::Retries=3", "-o", "DPkg::Lock::Timeout=120"}, args...)
		cmd := exec.CommandContext(ctx, "apt-get", args...)
		cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("apt-get %s: %w\n%s", strings.Join(args, " "), err, out)
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

package chaos

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// mustMount skips what cannot be done by who may not mount; in CI that is a
// failure.
func mustMount(t *testing.T, d *daemon) {
	t.Helper()
	if err := mayMount(d); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
}

func mayMount(d *daemon) error {
	trial := filepath.Join(d.dir, "trial")
	if err := os.MkdirAll(trial, 0o700); err != nil {
		return err
	}
	if err := mount(trial, "1m"); err != nil {
		return err
	}
	return unix.Unmount(trial, 0)
}

// mount puts an empty file system on a folder.
func mount(folder, size string) error {
	if err := unix.Mount("chaos", folder, "tmpfs", 0, "mode=0700,size="+size); err != nil {
		return fmt.Errorf("mount a tmpfs on %s: %w", folder, err)
	}
	return nil
}

// smallHome makes the home a file system of its own, large enough for the logs of
// a run.
func smallHome(t *testing.T, d *daemon) {
	mustMount(t, d)
	if err := mount(d.home, "16m"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(d.home, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
}

// fillHome leaves no room for anything. What the workers print is lost, and the
// log says how much.
func fillHome(s *stage, i int) {
	filler := filepath.Join(s.home, "filler")
	s.spoilt(i, func() {
		file, err := os.Create(filler)
		if err != nil {
			s.Fatal(err)
		}
		defer file.Close()
		for block := make([]byte, 64<<10); len(block) > 0; {
			if _, err = file.Write(block); err != nil {
				block = block[:len(block)/2]
			}
		}
		if !errors.Is(err, syscall.ENOSPC) {
			s.Fatal(err)
		}
	}, func() {
		if err := os.Remove(filler); err != nil {
			s.Fatal(err)
		}
	})
}

// protectHome makes the home read-only for whoever opens anything in it: the same
// folder is mounted over itself.
func protectHome(s *stage, i int) {
	s.spoilt(i, func() {
		err := unix.Mount(s.home, s.home, "", unix.MS_BIND, "")
		if err == nil {
			s.Cleanup(func() { _ = unix.Unmount(s.home, unix.MNT_DETACH) }) // if the test ends before it is mended
			err = unix.Mount("", s.home, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY, "")
		}
		if err != nil {
			s.Fatal(err)
		}
	}, func() {
		if err := unix.Unmount(s.home, unix.MNT_DETACH); err != nil {
			s.Fatal(err)
		}
	})
}

// cannotRemember is what a daemon says whose state is not on the disk.
var cannotRemember = regexp.MustCompile(`cannot be saved: .*(no space left|read-only)`)

// spoilt does what a daemon that cannot write has to do: it serves, it says what
// it cannot remember, and when all is well again it knows everything, even after
// its end.
func (s *stage) spoilt(i int, spoil, mend func()) {
	s.Helper()
	if len(s.apps[0].of(s.list())) > 3 {
		scaleTo(s, 2)
	}
	spoil()
	mended := false
	defer func() {
		if !mended {
			mend()
		}
	}()
	s.pass()
	n := len(s.apps[0].of(s.list())) + 1
	for _, a := range s.apps {
		out, _ := s.try("scale", a.name, fmt.Sprint(n))
		if !cannotRemember.MatchString(out) {
			s.Fatalf("scale while nothing can be written says nothing of it: %q", out)
		}
	}
	if len(s.ping().Warnings) == 0 {
		s.Fatal("ping warns of nothing")
	}
	s.nekoctl("reload", "all")
	s.pass()
	mend()
	mended = true
	s.waitFor("the daemon has nothing to warn of any more", func() bool { return len(s.ping().Warnings) == 0 })
	s.pass() // so that each log says what it has lost, which only this master knows
	killBoth(s, i)
}

// spoilState has the state file damaged when it is needed: keeper and master have
// died. The next command says so and touches nothing; when the file is back, so
// is everything.
func spoilState(s *stage, i int) {
	file := filepath.Join(s.home, "state.json")
	before := s.online()
	printed := s.printed()
	s.killDaemon()
	text, err := os.ReadFile(file)
	if err != nil {
		s.Fatal(err)
	}
	spoilt := text[:len(text)/2]
	if i%2 == 1 {
		spoilt = []byte(`{"version": 999, "apps": {}}`)
	}
	if err := os.WriteFile(file, spoilt, 0o600); err != nil {
		s.Fatal(err)
	}
	if err := s.refused([]string{"state.json"}, "list"); err != nil {
		s.Fatal(err)
	}
	s.pass()
	if now, err := os.ReadFile(file); err != nil || string(now) != string(spoilt) {
		s.Fatalf("what could not be read was changed (%v): %q", err, now)
	}
	if err := os.WriteFile(file, text, 0o600); err != nil {
		s.Fatal(err)
	}
	s.untouched(before)
	s.nobodyRead(printed)
	s.pass()
}

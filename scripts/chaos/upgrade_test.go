package chaos

import (
	"os"
	"path/filepath"
	"syscall"

	"github.com/nekoctl/neko/supervisor/control"
)

// upgrade puts the other version in the place of the daemon's binary and has it
// taken up, by turns by the command and by the signal.
func upgrade(s *stage, i int) {
	before, was := s.online(), s.ping()
	next, version := nekoctlB, "b"
	if was.Version == "b" {
		next, version = nekoctlA, "a"
	}
	s.install(next)
	if i%2 == 0 {
		s.nekoctl("upgrade", s.program())
	} else if err := syscall.Kill(was.Keeper, syscall.SIGUSR2); err != nil {
		s.Fatal(err)
	}
	s.waitFor("the daemon is version "+version, func() bool { return s.ping().Version == version })
	s.sameDaemon(was.Keeper, before)
}

// sameDaemon demands the main process and the workers of before, and a master
// that obeys.
func (s *stage) sameDaemon(keeper int, before []control.Process) {
	s.Helper()
	if now := s.ping(); now.Keeper != keeper || len(now.Warnings) > 0 {
		s.Fatalf("the main pid was %d, and now: %+v", keeper, now)
	}
	s.untouched(before)
}

// badBinaries are files that are no next version of nekoctl.
var badBinaries = []struct {
	name    string
	content func() ([]byte, error)
}{
	{"true", func() ([]byte, error) { return os.ReadFile("/bin/true") }},
	{"script", func() ([]byte, error) { return []byte("#!/bin/sh\nexit 0\n"), nil }},
	{"text", func() ([]byte, error) { return []byte("no program at all\n"), nil }},
	{"truncated", func() ([]byte, error) { text, err := os.ReadFile(nekoctlB); return text[:len(text)/2], err }},
}

// upgradeToEachBadBinary is refused, and nothing changes.
func upgradeToEachBadBinary(s *stage, _ int) {
	before, was := s.online(), s.ping()
	for _, b := range badBinaries {
		text, err := b.content()
		path := filepath.Join(s.dir, b.name)
		if err == nil {
			err = os.WriteFile(path, text, 0o700)
		}
		if err == nil {
			err = s.refused([]string{b.name}, "upgrade", path)
		}
		if err != nil {
			s.Fatal(err)
		}
		if now := s.ping(); now.Master != was.Master || now.Version != was.Version {
			s.Fatalf("after a refused upgrade to %s: %+v was %+v", b.name, now, was)
		}
		s.sameDaemon(was.Keeper, before)
	}
}

// upgradeToDying is an upgrade to a binary that is fine until it is a master. The
// command does not claim a success, and the keeper brings back a master.
func upgradeToDying(s *stage, _ int) {
	before, was := s.online(), s.ping()
	if err := s.refused(nil, "upgrade", nekoctlDying); err != nil {
		s.Fatal(err)
	}
	s.sameDaemon(was.Keeper, before)
	if now := s.ping(); now.Version != was.Version {
		s.Fatalf("a master that cannot live: %+v", now)
	}
	reload(s, 0)
}

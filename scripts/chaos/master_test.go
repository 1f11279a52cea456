package chaos

import (
	"bytes"
	"fmt"
	"net/http"
	"os"

	"github.com/nekoctl/neko/supervisor/control"
)

// killMaster: the next command waits for the next master, which knows all that
// the last one knew.
func killMaster(s *stage, _ int) {
	before, was := s.online(), s.ping()
	s.kill(was.Master)
	s.sameDaemon(was.Keeper, before)
	if s.ping().Master == was.Master {
		s.Fatalf("pid %d is dead", was.Master)
	}
}

// exitStatusesAreRight looks whether the last master, which has started none of
// the workers, knows how they end. Nobody is connected to them any more.
func exitStatusesAreRight(s *stage) {
	for _, a := range s.apps {
		victim := s.victim(a)
		s.kill(victim.PID)
		s.exitOf(a, victim, "signal: killed")
	}
	a := s.apps[1]
	victim := s.victim(a)
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	for heard := true; heard; { // until the victim is who hears it
		answer, err := client.Get(fmt.Sprintf("%sexit?pid=%d&code=3", a.url, victim.PID))
		if heard = err == nil; heard {
			answer.Body.Close()
		}
	}
	s.exitOf(a, victim, "exit code 3")
}

// exitOf waits for the victim's successor and looks how the victim has ended.
func (s *stage) exitOf(a *app, victim control.Process, want string) {
	s.Helper()
	s.replaced(a, victim)
	for _, p := range s.describe(a.name).Processes {
		if p.Slot == victim.Slot && p.LastExit != want {
			s.Errorf("%s, slot %d: it ended with %q, not %q", a.name, p.Slot, p.LastExit, want)
		}
	}
}

// killKeeper: the master puts another keeper in its place, and is as safe with it
// as before.
func killKeeper(s *stage, _ int) {
	before, was := s.online(), s.ping()
	s.kill(was.Keeper)
	var now control.Ping
	s.waitFor("there is a keeper again, and nothing to warn of", func() bool {
		now = s.ping()
		return now.Keeper != was.Keeper && now.Keeper != 0 && len(now.Warnings) == 0
	})
	s.untouched(before)
	s.pass()
	killMaster(s, 0)
}

// killBoth: the workers serve on, and the next command finds them again. Only
// what they print meanwhile is read by nobody.
func killBoth(s *stage, _ int) {
	before := s.online()
	printed := s.printed()
	s.killDaemon()
	s.pass()
	s.untouched(before)
	s.nobodyRead(printed)
	s.pass()
	reload(s, 0)
}

// killDaemon ends keeper and master at once: neither sees the other's end. The
// master goes first, for the kernel continues what is stopped when its session's
// leader ends, and the keeper is that.
func (s *stage) killDaemon() {
	s.Helper()
	p := s.ping()
	s.stop(p.Master)
	s.stop(p.Keeper)
	s.kill(p.Master, p.Keeper)
	s.waitFor("keeper and master have ended", func() bool { return ended(p.Keeper) && ended(p.Master) })
}

// ended tells whether a process has, and at most waits for its parent.
func ended(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err != nil || bytes.Contains(stat, []byte(") Z "))
}

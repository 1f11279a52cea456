package chaos

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// shortListenTimeout is for successors that never become ready.
const shortListenTimeout = "listen_timeout: 3s\n"

func reload(s *stage, _ int) {
	before := s.online()
	s.nekoctl("reload", "all")
	for i, p := range s.online() {
		if p.PID == before[i].PID {
			s.Fatalf("not reloaded: %+v", p)
		}
	}
}

// faults are what can be wrong with a successor, and what its last words are.
var faults = []struct{ fault, words string }{
	{"never-ready", "waiting for a database"},
	{"die", "the settings make no sense"},
	{"ready-then-die", "the first look at the data was the last"},
}

func reloadIntoEachFault(s *stage, _ int) {
	for i := range faults {
		reloadIntoFault(s, i)
		s.pass()
	}
}

// reloadIntoFault has to fail, to say why, and to leave everything as it is.
func reloadIntoFault(s *stage, i int) {
	before := s.online()
	s.setFault(faults[i].fault)
	defer s.setFault("")
	s.eachApp(func(a *app) error { return s.refused([]string{a.name, faults[i].words}, "reload", a.name) })
	s.untouched(before)
}

// reloadFast gives five commands for each app at once. A slot has a process that
// serves and one that starts, or one that serves and one that drains: the next
// reload of a slot waits for its drain. So there are never more than two.
func reloadFast(s *stage, _ int) {
	const commands = 5
	most := map[string]int{}
	for _, a := range s.apps {
		most[a.name] = 2 * len(a.of(s.online()))
	}
	done := make(chan struct{})
	var look sync.WaitGroup
	look.Go(func() {
		tick := time.NewTicker(10 * time.Millisecond)
		defer tick.Stop()
		for {
			for _, a := range s.apps {
				if pids := s.processes("NEKO_APP=" + a.name); len(pids) > most[a.name] {
					s.Errorf("%d processes of %s at once: %v", len(pids), a.name, pids)
					return
				}
			}
			select {
			case <-tick.C:
			case <-done:
				return
			}
		}
	})
	defer look.Wait()
	defer close(done)
	s.eachApp(func(a *app) error {
		errs := make(chan error, commands)
		for range commands {
			go func() {
				_, err := s.try("reload", a.name)
				errs <- err
			}()
		}
		for range commands {
			if err := <-errs; err != nil {
				return err
			}
		}
		return nil
	})
}

// leaks is the folder with the pids of those who hold a leaked socket.
func (d *daemon) leaks() string { return filepath.Join(d.dir, "leaks") }

// leakSockets has every process start another that holds the socket, and ends
// these when all is over.
func leakSockets(t *testing.T, d *daemon) {
	if err := os.Mkdir(d.leaks(), 0o700); err != nil {
		t.Fatal(err)
	}
	d.setFault("leak " + d.leaks())
	t.Cleanup(func() {
		for _, pid := range d.leakers() {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
	})
}

// leakers are the processes with a leaked socket that still live.
func (d *daemon) leakers() (pids []int) {
	names, _ := filepath.Glob(filepath.Join(d.leaks(), "*"))
	for _, name := range names {
		pid, _ := strconv.Atoi(filepath.Base(name))
		command, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		if strings.HasPrefix(string(command), "sleep\x00") {
			pids = append(pids, pid)
		}
	}
	return pids
}

// socketsAreLeaked shows that they were not closed by accident.
func socketsAreLeaked(s *stage) {
	holders := 0
	for _, pid := range s.leakers() {
		if sockets(s, pid) > 0 {
			holders++
		}
	}
	if want := 2 * 4; holders < want {
		s.Errorf("%d processes hold a leaked socket, and there should be %d", holders, want)
	}
}

func scaleDownAndUp(s *stage, _ int) {
	for _, n := range []int{1, 4} {
		scaleTo(s, n)
		s.pass()
	}
}

func scaleTo(s *stage, n int) {
	s.eachApp(func(a *app) error {
		_, err := s.try("scale", a.name, strconv.Itoa(n))
		return err
	})
	list := s.online()
	for _, a := range s.apps {
		if got := len(a.of(list)); got != n {
			s.Fatalf("scale %s %d: %d processes", a.name, n, got)
		}
	}
}

// oftenDue is for reloads that nobody commands.
const oftenDue = "cron_restart: \"*/5 * * * * *\"\n"

func awaitDue(s *stage, _ int) {
	before := s.online()
	s.waitFor("each process is replaced as it is due", func() bool {
		for i, p := range s.online() {
			if p.PID == before[i].PID {
				return false
			}
		}
		return true
	})
}

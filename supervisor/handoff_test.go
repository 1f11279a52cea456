package supervisor_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nekoctl/neko/supervisor/control"
	"github.com/nekoctl/neko/supervisor/spec"
)

// trapped is a server of which the process of slot 1 does not start while there is a file.
const trapped = `
const { existsSync } = require('node:fs')
if (process.env.NODE_APP_INSTANCE === '1' && existsSync(process.env.TRAP)) process.exit(4)
const http = require('node:http')
const server = http.createServer((request, response) => response.end(String(process.pid)))
if (process.env.MOST) server.maxConnections = Number(process.env.MOST)
server.keepAliveTimeout = 60_000
server.listen(0, '127.0.0.1')
`

// queue makes connections with a request each. They are spread over all slots, and where the
// process is frozen they wait: it is the kernel that has made them.
func queue(t *testing.T, address string, n int) (waiting []net.Conn) {
	t.Helper()
	return queueBy(t, net.Dialer{}, address, n)
}

func queueBy(t *testing.T, dialer net.Dialer, address string, n int) (waiting []net.Conn) {
	t.Helper()
	for range n {
		conn, err := dialer.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		fmt.Fprint(conn, "GET / HTTP/1.1\r\nHost: example\r\n\r\n")
		conn.SetDeadline(time.Now().Add(time.Minute))
		waiting = append(waiting, conn)
	}
	return waiting
}

// answered says who has answered, and closes the connections.
func answered(t *testing.T, waiting []net.Conn) map[string]int {
	t.Helper()
	who := map[string]int{}
	for i, conn := range waiting {
		conn.SetDeadline(time.Now().Add(time.Minute))
		answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatalf("connection %d of %d: %v", i, len(waiting), err)
		}
		if answer.StatusCode != http.StatusOK {
			t.Fatalf("connection %d of %d: %s", i, len(waiting), answer.Status)
		}
		body, err := io.ReadAll(answer.Body)
		if err != nil {
			t.Fatal(err)
		}
		who[string(body)]++
		conn.Close()
	}
	return who
}

// Nobody serves in a slot, and its program does not start again: what has queued there is
// given to the process of its sibling, also by a master that is new.
func TestWhatQueuesOnASlotOfANodeProgramIsGivenToItsSiblings(t *testing.T) {
	t.Parallel()
	for name, andMaster := range map[string]bool{"a process ends": false, "a process and the master end": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := newDaemon(t)
			empty := d.fewestDescriptors()
			trap, set := flag(t)
			a := nodeApp(t, "api", 2, trapped)
			a.Env["TRAP"], a.MaxRestarts = trap, 0
			list := d.start(a).Processes
			set()
			d.freeze(list[1].PID)
			waiting := queue(t, address(t, list), 40)
			if before, err := d.Ping(t.Context()); err != nil {
				t.Fatal(err)
			} else if andMaster {
				d.freeze(before.Master) // it is not to see that
				kill(t, list[1].PID, syscall.SIGKILL)
				kill(t, before.Master, syscall.SIGKILL)
				d.nextMaster(before)
			} else {
				kill(t, list[1].PID, syscall.SIGKILL)
			}
			if who := answered(t, waiting); who[fmt.Sprint(list[0].PID)] != 40 {
				t.Errorf("who has answered: %v, and not 40 times %d", who, list[0].PID)
			}
			d.until("given up", func(l []control.Process) bool { return l[1].State == control.Errored })
			if err := os.Remove(trap); err != nil {
				t.Fatal(err)
			}
			if list = d.command("restart", "1").Processes; list[0].State != control.Online {
				t.Errorf("it does not come back: %+v", list)
			}
			d.eventually("what was given is told of", func() bool {
				text, err := os.ReadFile(d.home.Log())
				return err == nil && strings.Contains(string(text), "api:1: its siblings were given ")
			})
			if !andMaster { // the next one has some that it has inherited
				d.command("delete", "api")
				d.sameDescriptors(empty)
			}
		})
	}
}

// Of a slot that has given up a new master has nothing else to do.
func TestWhatQueuesIsGivenToSiblingsByTheNextMasterToo(t *testing.T) {
	t.Parallel()
	d := newDaemon(t)
	trap, set := flag(t)
	a := nodeApp(t, "api", 2, trapped)
	a.Env["TRAP"], a.MaxRestarts = trap, 0
	list := d.start(a).Processes
	set()
	kill(t, list[1].PID, syscall.SIGKILL)
	d.until("given up", func(l []control.Process) bool { return l[1].State == control.Errored })
	d.killMaster()
	answered(t, queueAt(t, address(t, list), 1, 5))
}

// A process that hangs is offered one connection as well, and given none for good: when
// it ends, another is offered that.
func TestWhatAProcessWasOfferedAndHasNotTakenIsNotLostWithIt(t *testing.T) {
	t.Parallel()
	d := newDaemon(t)
	trap, set := flag(t)
	a := nodeApp(t, "api", 3, trapped)
	a.Env["TRAP"], a.MaxRestarts = trap, 0
	list := d.start(a).Processes
	set()
	d.freeze(list[0].PID)
	d.freeze(list[1].PID)
	waiting := queue(t, address(t, list), 60)
	kill(t, list[1].PID, syscall.SIGKILL)
	d.until("given up", func(l []control.Process) bool { return l[1].State == control.Errored })
	kill(t, list[0].PID, syscall.SIGKILL)
	who := answered(t, waiting)
	if who[fmt.Sprint(list[2].PID)] == 0 || who[fmt.Sprint(list[0].PID)]+who[fmt.Sprint(list[1].PID)] > 0 {
		t.Errorf("who has answered: %v, of %+v", who, list)
	}
}

// Whoever has as many connections as it wants refuses what it is offered; if nobody is
// left to ask, the client is to know.
func TestAConnectionThatNobodyTakesIsClosed(t *testing.T) {
	t.Parallel()
	d := newDaemon(t)
	trap, set := flag(t)
	a := nodeApp(t, "api", 2, trapped)
	a.Env["TRAP"], a.Env["MOST"], a.MaxRestarts = trap, "1", 0
	list := d.start(a).Processes
	set()
	d.freeze(list[1].PID)
	waiting := queue(t, address(t, list), 40)
	kill(t, list[1].PID, syscall.SIGKILL)
	served := 0
	for i, conn := range waiting {
		switch n, err := conn.Read(make([]byte, 1)); {
		case n > 0:
			served++
		case errors.Is(err, os.ErrDeadlineExceeded):
			t.Fatalf("connection %d of %d is neither answered nor closed", i, len(waiting))
		}
	}
	if served != 1 {
		t.Errorf("%d were served, by a process that takes one", served)
	}
}

// tardy is a server that does not listen in a slot as long as there is the file of it.
const tardy = `
const { existsSync } = require('node:fs')
const http = require('node:http')
const trap = process.env.TRAP + process.env.NODE_APP_INSTANCE
const server = http.createServer((request, response) => response.end(String(process.pid)))
if (process.env.MOST) server.maxConnections = Number(process.env.MOST)
server.keepAliveTimeout = 60_000
process.on('internalMessage', (message) => { if (message?.act === 'newconn') console.log('offered') })
function begin() {
  if (existsSync(trap)) return setTimeout(begin, 5)
  server.listen(0, '127.0.0.1', () => process.send('ready'))
  if (process.env.SECOND?.includes(process.env.NODE_APP_INSTANCE)) {
    http.createServer((request, response) => response.end(String(process.pid))).listen(0, '127.0.0.1')
  }
}
begin()
`

// tardyApp is an app of that server, and what keeps a slot of it from listening.
func tardyApp(t *testing.T, instances int) (a spec.App, trap func(slot int) (release func())) {
	t.Helper()
	a = nodeApp(t, "api", instances, tardy)
	a.Env["TRAP"], a.ListenTimeout = t.TempDir()+"/", spec.Duration(time.Minute)
	return a, func(slot int) func() {
		path := a.Env["TRAP"] + fmt.Sprint(slot)
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		return func() {
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// queueAt makes them to one slot, as a probe does.
func queueAt(t *testing.T, address string, slot, n int) (waiting []net.Conn) {
	t.Helper()
	return queueBy(t, net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 65, 0, byte(slot))}}, address, n)
}

// crash kills the process of a slot, and waits until the next one starts.
func (d *daemon) crash(slot, pid int) {
	d.t.Helper()
	kill(d.t, pid, syscall.SIGKILL)
	d.until("the next one starts", func(l []control.Process) bool {
		return l[slot].PID != pid && l[slot].PID != 0 && l[slot].State == control.Launching
	})
}

// What is asked of a process that starts must not be answered by a sibling which was
// given the question.
func TestASiblingDoesNotPassTheProbeOfAProcessThatStarts(t *testing.T) {
	t.Parallel()
	d := newDaemon(t)
	a, trap := tardyApp(t, 2)
	a.Readiness = often(spec.Probe{HTTP: "/"})
	a.ListenTimeout, a.MaxRestarts = spec.Duration(4*time.Second), 1
	list := d.start(a).Processes
	trap(1)
	d.crash(1, list[1].PID)
	list = d.until("it is ready, or was given up", func(l []control.Process) bool { return l[1].State != control.Launching })
	if list[1].State != control.Errored {
		t.Errorf("it does not listen, and is %s", list[1].State)
	}
}

// Where only one of the slots listens, connections come to another's socket while its
// process is missing.
func TestWhatQueuesWhereASlotDoesNotListenIsGivenToWhoDoes(t *testing.T) {
	t.Parallel()
	d := newDaemon(t)
	a, trap := tardyApp(t, 2)
	a.Env["SECOND"] = "0"
	d.start(a)
	list := d.until("it listens on both", func(l []control.Process) bool { return len(l[0].Listeners) == 2 })
	release := trap(0)
	d.crash(0, list[0].PID)
	waiting := queue(t, list[0].Listeners[1], 10)
	release()
	answered(t, waiting)
}

// A process that has as many connections as it wants may want more later, and elsewhere.
func TestWhoHasRefusedAConnectionIsAskedAgain(t *testing.T) {
	t.Parallel()
	d := newDaemon(t)
	a, trap := tardyApp(t, 2)
	a.Env["MOST"] = "1"
	list := d.start(a).Processes
	at := address(t, list)
	d.freeze(list[1].PID)
	held := queueAt(t, at, 0, 1)
	if _, err := held[0].Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	waiting := queueAt(t, at, 1, 5)
	trap(1)
	d.crash(1, list[1].PID)
	d.eventually("one was offered", func() bool {
		text, _ := os.ReadFile(d.home.OutLog("api", 0))
		return strings.Contains(string(text), "offered")
	})
	held[0].Close()
	if who := answered(t, waiting); who[fmt.Sprint(list[0].PID)] != 5 {
		t.Errorf("who has answered: %v, and not 5 times %d", who, list[0].PID)
	}
}

func TestAConnectionThatWaitsDoesNotHoldUpThoseOfAnotherListener(t *testing.T) {
	t.Parallel()
	d := newDaemon(t)
	a, trap := tardyApp(t, 2)
	a.Env["MOST"], a.Env["SECOND"] = "1", "01"
	d.start(a)
	list := d.until("both listen on both", func(l []control.Process) bool { return len(l[0].Listeners) == 2 && len(l[1].Listeners) == 2 })
	d.freeze(list[1].PID)
	held := queueAt(t, list[0].Listeners[0], 0, 1)
	if _, err := held[0].Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	queueAt(t, list[0].Listeners[0], 1, 5)
	waiting := queueAt(t, list[0].Listeners[1], 1, 20)
	trap(1)
	d.crash(1, list[1].PID)
	answered(t, waiting)
}

// Who begins to serve is given what waits, also where another one hangs.
func TestWhoBeginsToServeIsGivenWhatWaits(t *testing.T) {
	t.Parallel()
	d := newDaemon(t)
	a, trap := tardyApp(t, 3)
	list := d.start(a).Processes
	at := address(t, list)
	release := trap(0)
	trap(2)
	d.freeze(list[1].PID)
	d.crash(2, list[2].PID)
	d.crash(0, list[0].PID)
	waiting := queueAt(t, at, 2, 3)
	release()
	d.until("the first serves", func(l []control.Process) bool { return l[0].State == control.Online })
	answered(t, waiting[1:]) // the one that hangs has been offered the first
	kill(t, list[1].PID, syscall.SIGKILL)
	answered(t, waiting[:1])
}

// A process without room for another descriptor does not get what it is sent.
func TestAConnectionThatDoesNotReachAProcessIsOfferedToAnother(t *testing.T) {
	t.Parallel()
	d := newDaemon(t)
	a, trap := tardyApp(t, 2)
	list := d.start(a).Processes
	at := address(t, list)
	d.freeze(list[1].PID)
	waiting := queueAt(t, at, 1, 3)
	var before unix.Rlimit
	if err := unix.Prlimit(list[0].PID, unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: 3, Max: 1000}, &before); err != nil {
		t.Fatal(err)
	}
	release := trap(1)
	d.crash(1, list[1].PID)
	release()
	answered(t, waiting)
}

// A master that is to be replaced waits for commands, which may take their time.
func TestWhatQueuesIsGivenToSiblingsAlsoWhileAnUpgradeWaits(t *testing.T) {
	t.Parallel()
	d := newDaemon(t)
	a, trap := tardyApp(t, 2)
	list := d.start(a).Processes
	at := address(t, list)
	d.freeze(list[1].PID)
	waiting := queueAt(t, at, 1, 5)
	trap(1)
	b, trapOther := tardyApp(t, 1)
	b.Name, b.WaitReady = "other", true
	release := trapOther(0)
	d.crash(1, list[1].PID)
	answered(t, waiting)

	before, err := d.Ping(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	next := program(t, "next")
	started, upgraded := make(chan error, 1), make(chan error, 1)
	go func() {
		_, err := d.Start(t.Context(), control.StartRequest{Apps: []spec.App{b}}, nil)
		started <- err
	}()
	d.until("the other starts", func(l []control.Process) bool { return len(l) == 3 && l[2].State == control.Launching })
	go func() {
		_, err := d.Upgrade(t.Context(), control.UpgradeRequest{Program: next}, nil)
		upgraded <- err
	}()
	d.eventually("no command is taken", func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		defer cancel()
		_, err := d.Command(ctx, "reopen", control.TargetRequest{}, nil)
		return err != nil
	})
	answered(t, queueAt(t, at, 1, 5))
	release()
	if err := errors.Join(<-started, <-upgraded); err != nil {
		t.Fatal(err)
	}
	d.untilUpgraded(before)
}

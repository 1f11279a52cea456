package supervisor_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/nekoctl/neko/scripts/freeport"
	"github.com/nekoctl/neko/scripts/npm"
	"github.com/nekoctl/neko/supervisor/control"
	"github.com/nekoctl/neko/supervisor/spec"
)

// nodeApp is a program of Node's in cluster mode, of which the script is given.
func nodeApp(t *testing.T, name string, instances int, script string, args ...string) spec.App {
	t.Helper()
	file := filepath.Join(t.TempDir(), name+".cjs")
	if err := os.WriteFile(file, []byte(script), 0o600); err != nil {
		t.Fatal(err)
	}
	a := app(name, instances)
	a.Node, a.Command = spec.NodeCluster, append([]string{npm.Node(t, "node"), file}, args...)
	a.WaitReady = false
	a.ListenTimeout = spec.Duration(20 * time.Second)
	return a
}

// server answers with its pid; after half a second to /slow, and where it got the
// message 'shutdown' it says so.
const server = `
const http = require('node:http')
const answer = (request, response) => setTimeout(() => response.end(process.pid + ' ' + process.env.NODE_APP_INSTANCE), request.url === '/slow' ? 500 : 0)
http.createServer(answer).listen(Number(process.env.PORT || 0), '127.0.0.1')
process.on('message', (m) => { if (m === 'shutdown') { console.log('shut down'); process.exit(0) } })
`

// address is where the only listener of an app is.
func address(t *testing.T, list []control.Process) string {
	t.Helper()
	if len(list) == 0 || len(list[0].Listeners) != 1 {
		t.Fatalf("no process has one listener: %+v", list)
	}
	return list[0].Listeners[0]
}

// answers counts who answers.
func answers(t *testing.T, address string, n int) map[string]int {
	t.Helper()
	who := map[string]int{}
	for range n {
		who[get(t, address)]++
	}
	return who
}

func TestANodeProgramIsServedByAllItsWorkers(t *testing.T) {
	t.Parallel()
	d := newDaemon(t)
	done := d.start(nodeApp(t, "api", 2, server))
	at := address(t, done.Processes)
	if who := answers(t, at, 40); len(who) != 2 {
		t.Errorf("who answers: %v", who)
	}
	before := states(d.list())
	reloaded := d.command("reload", "api").Processes
	if got := address(t, reloaded); got != at || states(reloaded) != before {
		t.Errorf("after a reload %s on %s", states(reloaded), got)
	}
	for i, p := range reloaded {
		if p.PID == done.Processes[i].PID {
			t.Errorf("%+v was not replaced", p)
		}
	}
}

// hammer asks without a break, with new connections, until stop; it returns what went
// wrong.
func hammer(t *testing.T, url string) (stop func() (requests int, errors []string)) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var all sync.WaitGroup
	var mu sync.Mutex
	var wrong []string
	n := 0
	for kept := range 4 {
		all.Go(func() {
			client := http.Client{Transport: &http.Transport{DisableKeepAlives: kept%2 == 0}, Timeout: 20 * time.Second}
			defer client.CloseIdleConnections()
			for ctx.Err() == nil {
				response, err := client.Get(url)
				if err == nil {
					_, err = io.Copy(io.Discard, response.Body)
					response.Body.Close()
				}
				mu.Lock()
				n++
				if err != nil {
					wrong = append(wrong, err.Error())
				}
				mu.Unlock()
			}
		})
	}
	return func() (int, []string) {
		cancel()
		all.Wait()
		return n, wrong
	}
}

// Node's cluster workers end when their channel closes. It never does, whoever is
// killed, and what comes next can tell them to go without a loss.
func TestNodeWorkersOutliveMasterAndKeeper(t *testing.T) {
	t.Parallel()
	for _, killed := range []string{"master", "keeper", "both"} {
		t.Run(killed, func(t *testing.T) {
			t.Parallel()
			d := newDaemon(t)
			done := d.start(nodeApp(t, "api", 2, server))
			at := address(t, done.Processes)
			stop := hammer(t, "http://"+at+"/")
			ping, err := d.Ping(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			switch killed {
			case "master":
				d.killMaster()
			case "keeper":
				d.killKeeper()
				d.nextMaster(ping)
			default:
				d.killBoth()
				d.spawn()
			}
			for i, p := range d.until("online", func(l []control.Process) bool { return states(l) == "api:0 online, api:1 online" }) {
				if p.PID != done.Processes[i].PID || address(t, []control.Process{p}) != at {
					t.Errorf("it was %+v and is %+v", done.Processes[i], p)
				}
			}
			if err := d.Send(t.Context(), control.SendRequest{Targets: []string{"api"}, Message: json.RawMessage(`"hello"`)}); err != nil {
				t.Errorf("the channel is gone: %v", err)
			}
			d.command("reload", "api")
			n, wrong := stop()
			if len(wrong) > 0 {
				t.Errorf("%d of %d requests failed: %s", len(wrong), n, wrong[0])
			}
			d.eventually("the old ones have gone", func() bool { workers, _ := d.family(); return len(workers) == 2 })
		})
	}
}

func TestANodeProgramIsReadyWhenItSaysSo(t *testing.T) {
	t.Parallel()
	d := newDaemon(t)
	gate := filepath.Join(t.TempDir(), "gate")
	a := nodeApp(t, "api", 1, server+`
const fs = require('node:fs')
const timer = setInterval(() => { if (fs.existsSync(process.env.GATE)) { process.send('ready'); clearInterval(timer) } }, 10)
`)
	a.WaitReady, a.Env["GATE"] = true, gate
	started := make(chan error, 1)
	go func() {
		_, err := d.Start(context.Background(), control.StartRequest{Apps: []spec.App{a}}, nil)
		started <- err
	}()
	d.until("listens, and has not said that it is ready", func(l []control.Process) bool {
		return len(l) == 1 && len(l[0].Listeners) == 1 && l[0].State == control.Launching
	})
	if err := os.WriteFile(gate, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := <-started; err != nil {
		t.Fatal(err)
	}
}

// A spare has loaded and wants to listen; it gets its socket when it is needed.
func TestASpareOfNodesTakesOver(t *testing.T) {
	t.Parallel()
	d := newDaemon(t)
	a := nodeApp(t, "api", 1, server)
	a.Spare = 1
	p := d.start(a).Processes[0]
	at := address(t, []control.Process{p})
	for range 2 {
		spare := d.spare("api", 0, p.PID)
		for who := range answers(t, at, 20) {
			if who != fmt.Sprintf("%d 0", p.PID) {
				t.Errorf("%s answers, and %d serves", who, p.PID)
			}
		}
		kill(t, p.PID, syscall.SIGKILL)
		if got, want := get(t, at), fmt.Sprintf("%d 0", spare); got != want {
			t.Errorf("%s answers, and %s was the spare", got, want)
		}
		p = d.until("taken over", func(l []control.Process) bool { return l[0].PID == spare && l[0].State == control.Online })[0]
	}
}

// A program may listen in one of its workers only: connections go there.
func TestAListenerOfOneWorkerGetsItsConnections(t *testing.T) {
	t.Parallel()
	d := newDaemon(t)
	d.start(nodeApp(t, "api", 3, server+`
if (process.env.NODE_APP_INSTANCE === '1') http.createServer(answer).listen(process.env.ADMIN_PATH || 0, '127.0.0.1')
`))
	list := d.until("both are there", func(l []control.Process) bool { return len(l[0].Listeners) == 2 })
	for _, at := range list[0].Listeners {
		who := answers(t, at, 30)
		if one := len(who) == 1; one {
			if who[fmt.Sprintf("%d 1", list[1].PID)] != 30 {
				t.Errorf("on %s answers %v", at, who)
			}
			return
		}
	}
	t.Error("no listener is of one worker")
}

func TestAnAddressThatNobodyListensOnAnyMoreIsClosed(t *testing.T) {
	t.Parallel()
	d := newDaemon(t)
	a := nodeApp(t, "api", 2, server)
	before := address(t, d.start(a).Processes)
	port := freeport.For(t)
	a.Env["PORT"] = fmt.Sprint(port)
	d.start(a)
	list := d.until("the old address has gone", func(l []control.Process) bool { return len(l[0].Listeners) == 1 })
	if got, want := address(t, list), fmt.Sprintf("127.0.0.1:%d", port); got != want {
		t.Errorf("it listens on %s, and not %s", got, want)
	}
	if conn, err := net.Dial("tcp", before); err == nil {
		conn.Close()
		t.Error("the address before takes connections")
	}
}

// A process that is killed says nothing of what it listened on.
func TestTheAddressOfAKilledPredecessorIsClosed(t *testing.T) {
	t.Parallel()
	d := newDaemon(t)
	a := nodeApp(t, "api", 1, server)
	a.DrainTimeout, a.KillTimeout = spec.Duration(100*time.Millisecond), spec.Duration(100*time.Millisecond)
	list := d.start(a).Processes
	before := address(t, list)
	d.freeze(list[0].PID)
	a.Env["PORT"] = fmt.Sprint(freeport.For(t))
	d.start(a)
	d.until("the old address has gone", func(l []control.Process) bool {
		return len(l[0].Listeners) == 1 && l[0].Listeners[0] != before
	})
	if conn, err := net.Dial("tcp", before); err == nil {
		conn.Close()
		t.Error("the address before takes connections")
	}
}

// The script that Node programs load does not stay behind.
func TestNothingStaysInTheRunFolderOfADaemonThatHasEnded(t *testing.T) {
	t.Parallel()
	d := newDaemon(t)
	list := d.start(nodeApp(t, "api", 1, server), web("web", 1)).Processes
	folder := ""
	for line := range strings.Lines(environment(t, list[0].PID)) {
		if dir, ok := strings.CutPrefix(strings.TrimSpace(line), "NEKO_RUN_DIR="); ok {
			folder = filepath.Dir(dir)
		}
	}
	if scripts, _ := filepath.Glob(filepath.Join(folder, "drain-*.cjs")); len(scripts) != 1 {
		t.Fatalf("in %s is %v", folder, scripts)
	}
	d.command("delete", "web")
	d.command("reload", "api")
	if _, err := d.Kill(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	d.eventually(folder+" is gone", func() bool { // the master removes what it counted last, when it has answered
		_, err := os.Stat(folder)
		return os.IsNotExist(err)
	})
}

func TestAQueueWorkerInClusterModeNeedNotListen(t *testing.T) {
	t.Parallel()
	d := newDaemon(t)
	a := nodeApp(t, "queue", 2, `setInterval(() => {}, 1000)`)
	a.ListenTimeout = spec.Duration(2 * time.Second) // it is taken for ready a little before
	if got, want := states(d.start(a).Processes), "queue:0 online, queue:1 online"; got != want {
		t.Errorf("got %s", got)
	}
	d.command("reload", "queue")
}

func TestTheMessageShutdownEndsANodeProgram(t *testing.T) {
	t.Parallel()
	d := newDaemon(t)
	a := nodeApp(t, "api", 1, server)
	a.ShutdownWithMessage = true
	d.start(a)
	d.command("stop", "api")
	if got := d.lastExit("api"); got != "exit code 0" {
		t.Errorf("it ended with %s", got)
	}
	text, err := os.ReadFile(d.home.OutLog("api", 0))
	if err != nil || string(text) != "shut down\n" {
		t.Errorf("it printed %q, %v", text, err)
	}
}

// What was in progress is answered, and what a handler of SIGTERM does is done.
func TestAStoppedNodeProgramFinishes(t *testing.T) {
	t.Parallel()
	for _, signal := range []string{"SIGINT", "SIGTERM"} {
		t.Run(signal, func(t *testing.T) {
			t.Parallel()
			d := newDaemon(t)
			at := address(t, d.start(nodeApp(t, "api", 1, server+`
process.on(process.argv[2], () => { console.log('bye'); process.exit(3) })
`, signal)).Processes)
			conn, err := net.Dial("tcp", at)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			answer := make(chan string, 1)
			if _, err := io.WriteString(conn, "GET /slow HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
				t.Fatal(err)
			}
			go func() {
				text, _ := io.ReadAll(conn)
				answer <- string(text)
			}()
			d.command("stop", "api")
			if got := <-answer; !strings.HasPrefix(got, "HTTP/1.1 200 OK") || !strings.Contains(got, "Connection: close") {
				t.Errorf("the answer is %q", got)
			}
			if got := d.lastExit("api"); got != "exit code 3" {
				t.Errorf("it ended with %s", got)
			}
		})
	}
}

// In fork mode a program listens by itself, and has its channel all the same.
func TestANodeProgramInForkModeHasAChannel(t *testing.T) {
	t.Parallel()
	d := newDaemon(t)
	a := nodeApp(t, "lone", 1, `
const cluster = require('node:cluster')
process.on('message', (m) => console.log('message', JSON.stringify(m)))
process.stdin.on('data', (text) => console.log('input', String(text).trim()))
console.log('worker', cluster.isWorker)
process.send('ready')
`)
	a.Node, a.WaitReady = spec.NodeFork, true
	d.start(a)
	for _, q := range []control.SendRequest{{Message: json.RawMessage(`{"a":[1,"\u2028"]}`)}, {Text: "a line\n"}} {
		q.Targets = []string{"lone"}
		if err := d.Send(t.Context(), q); err != nil {
			t.Fatal(err)
		}
	}
	d.eventually("it has heard both", func() bool {
		text, _ := os.ReadFile(d.home.OutLog("lone", 0))
		return strings.Contains(string(text), "worker false\n") && strings.Contains(string(text), "message {\"a\":[1,\"\u2028\"]}\n") && strings.Contains(string(text), "input a line\n")
	})
}

// The actions of @pm2/io are said once, and known to the next master.
func TestAnActionOfANodeProgramIsTriggered(t *testing.T) {
	t.Parallel()
	d := newDaemon(t)
	d.start(nodeApp(t, "api", 2, server+`
process.send({type: 'axm:action', data: {action_name: 'double', arity: 2}})
process.send({type: 'axm:action', data: {action_name: 'end'}})
setInterval(() => process.send({type: 'axm:monitor', data: {hits: {value: 42, unit: 'n'}}}), 10)
process.on('message', (m) => {
  if (m === 'end') process.exit(5)
  if (m === 'double') process.send({type: 'axm:reply', data: {action_name: 'double', return: null}})
  if (m.msg === 'double') process.send({type: 'axm:reply', data: {action_name: 'double', return: m.opts * 2}})
})
`))
	d.until("its metrics are known", func(l []control.Process) bool {
		return string(l[0].Metrics["hits"]) == `{"value":42,"unit":"n"}` && len(l[0].Actions) == 2 && len(l[1].Actions) == 2
	})
	d.killMaster()
	trigger := func(target, action, parameter string) string {
		replies, err := d.Trigger(t.Context(), control.TriggerRequest{Targets: []string{target}, Action: action, Parameter: json.RawMessage(parameter), TimeoutMS: 10_000})
		text := ""
		for _, r := range replies {
			text += fmt.Sprintf("%s:%d %s;", r.Name, r.ID, r.Value)
		}
		if err != nil {
			text += err.Error()
		}
		return text
	}
	if got := trigger("0", "double", "21"); got != "api:0 42;" {
		t.Errorf("got %s", got)
	}
	if got := trigger("api", "double", ""); got != "api:0 null;api:1 null;" && got != "api:1 null;api:0 null;" {
		t.Errorf("got %s", got)
	}
	if got := trigger("api", "triple", ""); got != `no process has an action "triple"` {
		t.Errorf("got %s", got)
	}
	if got := trigger("1", "end", ""); got != "api:1 ended before it had answered" {
		t.Errorf("got %s", got)
	}
}

// The address is taken: the program hears that as under Node's own primary.
func TestANodeProgramHearsThatItsAddressIsTaken(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	d := newDaemon(t)
	a := nodeApp(t, "api", 2, `
require('node:net').createServer().listen(Number(process.env.PORT), '127.0.0.1').on('error', (e) => { console.log(e.code, e.syscall, e.address, e.port); process.exit(1) })
`)
	port := taken.Addr().(*net.TCPAddr).Port
	a.Env["PORT"] = fmt.Sprint(port)
	a.Autorestart = false
	_, err = d.Start(t.Context(), control.StartRequest{Apps: []spec.App{a}}, nil)
	var e *control.Error
	if !errors.As(err, &e) || !strings.HasPrefix(e.Hint, "something else has its port; ") {
		t.Errorf("start says %+v", err)
	}
	var text []byte
	d.eventually("the first has heard, too", func() bool {
		text, _ = os.ReadFile(d.home.OutLog("api", 0))
		return bytes.HasSuffix(text, []byte("\n"))
	})
	if got, want := string(text), fmt.Sprintf("EADDRINUSE bind 127.0.0.1 %d\n", port); got != want {
		t.Errorf("it printed %q, and not %q", got, want)
	}
}

// A master that is killed leaves the last query in the channel, answered or not, and the
// next one hears it. Here the process itself asks twice by one number.
func TestAQueryThatIsHeardAgainIsAnsweredAgain(t *testing.T) {
	t.Parallel()
	d := newDaemon(t)
	d.start(nodeApp(t, "api", 1, `
const query = { cmd: 'NODE_CLUSTER', act: 'queryServer', index: 0, data: null, address: '127.0.0.1', port: 0, addressType: 4 }
const ask = (seq) => process.send({ ...query, seq })
let heard = 0
process.on('internalMessage', (message, socket) => {
  if (!(message.ack >= 1000)) return
  console.log(message.ack, message.errno, !!socket)
  if (++heard < 3) ask(heard < 2 ? 1000 : 1001)
  else process.send({ ...query, act: 'listening' })
})
ask(1000)
`))
	var text []byte
	d.eventually("all three are answered", func() bool {
		text, _ = os.ReadFile(d.home.OutLog("api", 0))
		return bytes.Count(text, []byte("\n")) == 3
	})
	if got, want := string(text), fmt.Sprintf("1000 0 true\n1000 0 true\n1001 -%d false\n", syscall.EADDRINUSE); got != want {
		t.Errorf("it heard %q, and not %q", got, want)
	}
}

// Each process is asked by way of its own socket, which it has asked for itself.
func TestANodeProgramIsProbed(t *testing.T) {
	t.Parallel()
	d := newDaemon(t)
	ill := filepath.Join(t.TempDir(), "ill")
	a := nodeApp(t, "api", 2, `
const http = require('node:http')
const fs = require('node:fs')
http.createServer((request, response) => {
  response.statusCode = request.url === '/ready' && fs.existsSync(process.env.ILL + process.env.NODE_APP_INSTANCE) ? 503 : 200
  response.end(process.env.NODE_APP_INSTANCE)
}).listen(0, '127.0.0.1')
`)
	a.Env["ILL"] = ill
	a.Readiness = &spec.Probe{HTTP: "/ready", Interval: spec.Duration(20 * time.Millisecond), Timeout: spec.Duration(5 * time.Second), Failures: 1}
	a.Liveness = &spec.Probe{HTTP: "/live", Interval: spec.Duration(100 * time.Millisecond), Timeout: spec.Duration(2 * time.Second), Failures: 1}
	list := d.start(a).Processes
	at := address(t, list)
	if err := os.WriteFile(ill+"1", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	d.until("the second is not ready", func(l []control.Process) bool { return l[0].Unready == "" && l[1].Unready != "" })
	if who := answers(t, at, 20); who["0"] != 20 {
		t.Errorf("who answers: %v", who)
	}
	kill(t, list[0].PID, syscall.SIGSTOP)
	d.until("the first was found hung", func(l []control.Process) bool {
		return l[0].PID != list[0].PID && l[0].State == control.Online && l[0].Unready == ""
	})
}

func TestANodeProgramWithTooMuchMemoryIsReplaced(t *testing.T) {
	t.Parallel()
	d := newDaemon(t)
	a := nodeApp(t, "api", 1, server+`
if (require('node:fs').existsSync(process.env.FAT)) globalThis.fat = Buffer.alloc(150 << 20, 1)
`)
	a.Env["FAT"], a.MaxMemory = filepath.Join(t.TempDir(), "fat"), 150<<20
	if err := os.WriteFile(a.Env["FAT"], nil, 0o600); err != nil {
		t.Fatal(err)
	}
	p := d.start(a).Processes[0]
	if err := os.Remove(a.Env["FAT"]); err != nil {
		t.Fatal(err)
	}
	stop := hammer(t, "http://"+address(t, []control.Process{p})+"/")
	d.until("it was replaced", func(l []control.Process) bool { return l[0].PID != p.PID && l[0].State == control.Online })
	if n, wrong := stop(); len(wrong) > 0 {
		t.Errorf("%d of %d requests failed: %s", len(wrong), n, wrong[0])
	}
}

func TestANodeProgramIsReloadedWhenItsFilesChange(t *testing.T) {
	t.Parallel()
	d := newDaemon(t)
	a := nodeApp(t, "api", 2, server)
	a.Watch = []string{t.TempDir()}
	list := d.start(a).Processes
	stop := hammer(t, "http://"+address(t, list)+"/")
	if err := os.WriteFile(filepath.Join(a.Watch[0], "route.js"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	d.until("both are new", func(l []control.Process) bool {
		return l[0].PID != list[0].PID && l[1].PID != list[1].PID && states(l) == "api:0 online, api:1 online"
	})
	if n, wrong := stop(); len(wrong) > 0 {
		t.Errorf("%d of %d requests failed: %s", len(wrong), n, wrong[0])
	}
}

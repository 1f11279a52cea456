package node

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nekoctl/neko/scripts/freeport"
	"github.com/nekoctl/neko/supervisor/control"
)

const deeds = "testdata/process/server.cjs"

// get asks on a connection of its own.
func (a *app) get(path string) (string, error) {
	ctx, cancel := context.WithTimeout(a.t.Context(), patience)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, "GET", "http://"+a.address()+path, nil)
	if err != nil {
		return "", err
	}
	r.Close = true
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		return "", err
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	return string(body), err
}

func (a *app) gets(path string) string {
	a.t.Helper()
	body, err := a.get(path)
	if err != nil {
		a.t.Fatalf("GET %s: %v", path, err)
	}
	return body
}

// recovers waits until all slots are online, and each has served; so many processes
// have ended.
func (a *app) recovers(restarts int) {
	a.t.Helper()
	a.waitFor(fmt.Sprintf("%d processes were restarted", restarts), func() bool {
		n := 0
		list := a.list()
		for _, p := range list {
			n += p.Restarts
		}
		return n == restarts && !slices.ContainsFunc(list, func(p control.Process) bool { return p.State != control.Online })
	})
}

func TestAWorkerThatEndsInTheMiddleIsReplaced(t *testing.T) {
	eachNode(t, func(t *testing.T, n node) {
		for _, c := range []struct {
			path, exit, says string
		}{
			{"/exit", "exit code 7", ""},
			{"/throw", "exit code 1", "Error: nobody catches this\n    at "},
			{"/reject", "exit code 1", "Error: nobody awaits this\n    at "},
			{"/leave", "exit code 0", ""},   // cluster.worker.disconnect()
			{"/hang-up", "exit code 0", ""}, // process.disconnect(), which ends a worker of Node's own primary, too
		} {
			t.Run(strings.Trim(c.path, "/"), func(t *testing.T) {
				t.Parallel()
				a := start(t, n, deeds)
				_, _ = a.get(c.path) // whether it is answered is chance
				a.recovers(1)
				said := false
				for _, p := range a.describe().Processes {
					if p.Restarts == 0 {
						continue
					}
					if p.LastExit != c.exit {
						t.Errorf("it ended with %s, and not with %s", p.LastExit, c.exit)
					}
					said = strings.Contains(a.log("error", p.Slot), c.says)
				}
				if !said {
					t.Errorf("its log does not say %q", c.says)
				}
				reloadUnderLoad(t, a, "http://"+a.address()+"/")
				a.stops()
			})
		}
	})
}

func TestAMessageThatIsTooLongForAnybodyEndsNothing(t *testing.T) {
	eachNode(t, func(t *testing.T, n node) {
		a := start(t, n, deeds)
		for range 4 {
			if got := a.gets("/large"); got != "sent" {
				t.Error(got)
			}
		}
		reloadUnderLoad(t, a, "http://"+a.address()+"/") // they are heard, and drain
		a.recovers(2)
		a.stops()
	})
}

func TestAFloodOfMessagesHoldsNobodyUp(t *testing.T) {
	eachNode(t, func(t *testing.T, n node) {
		a := start(t, n, deeds)
		sent := make(chan error, 1)
		go func() {
			_, err := a.get("/flood")
			sent <- err
		}()
		for flows := true; flows; {
			a.list() // which is answered
			select {
			case err := <-sent:
				if flows = false; err != nil {
					t.Error(err)
				}
			default:
			}
		}
		reloadUnderLoad(t, a, "http://"+a.address()+"/")
		a.recovers(2)
		a.stops()
	})
}

func TestThreadsAndChildrenOfAWorkerAreItsOwnAffair(t *testing.T) {
	eachNode(t, func(t *testing.T, n node) {
		a := start(t, n, deeds)
		if got := a.gets("/thread"); got != "a thread listens" {
			t.Error(got)
		}
		if got := a.gets("/fork"); got != `{"worker":false,"execArgv":[]}` {
			t.Error(got)
		}
		if got := a.gets("/variables"); strings.Contains(got, "NODE_CHANNEL") || strings.Contains(got, "NODE_UNIQUE_ID") {
			t.Errorf("what is Node's own is in the environment: %s", got)
		}
		if got := len(a.list()[0].Listeners); got != 1 {
			t.Errorf("there are %d listeners", got)
		}
		a.stops()
	})
}

func TestOptionsOfNodeReachTheWorkers(t *testing.T) {
	eachNode(t, func(t *testing.T, n node) {
		a := start(t, n, deeds, "-i", "2", "--node-args=--max-old-space-size=64 --enable-source-maps")
		got := a.gets("/options")
		if !strings.Contains(got, `"execArgv":["--max-old-space-size=64","--enable-source-maps"]`) {
			t.Error(got)
		}
		var limit int
		if _, err := fmt.Sscanf(got[strings.Index(got, `"limit"`):], `"limit":%d`, &limit); err != nil || limit > 400 {
			t.Errorf("%d MiB, %v", limit, err)
		}
		a.stops()
	})
}

func TestStacksAreThoseOfTheSourceWithSourceMaps(t *testing.T) {
	eachNode(t, func(t *testing.T, n node) {
		a := prepare(t, n, "testdata/process")
		out, err := a.try("start", "mapped.cjs", "--name", "app", "-i", "2", "--node-args=--enable-source-maps")
		if err == nil || !strings.Contains(out, "written.ts:10") {
			t.Errorf("%s%v", out, err)
		}
		a.prints("error", 0, "written.ts:10", 1)
	})
}

func TestAProgramThatNeverListensRunsInClusterMode(t *testing.T) {
	eachNode(t, func(t *testing.T, n node) {
		a := start(t, n, "queue/worker.js")
		for slot := range 2 {
			a.prints("out", slot, fmt.Sprintf("instance %d has done a job", slot), 2)
		}
		a.reload()
		a.drained()
		a.stops()
	})
}

// In fork mode a program is its own primary, as without nekoctl. In cluster mode it
// takes itself for a worker, as under PM2: servers_test.go has that.
func TestAProgramThatClustersItselfIsItsOwnPrimaryInForkMode(t *testing.T) {
	eachNode(t, func(t *testing.T, n node) {
		a := prepare(t, n, "own-cluster")
		port := freeport.For(t)
		at := fmt.Sprintf("127.0.0.1:%d", port)
		a.env = append(a.env, fmt.Sprintf("PORT=%d", port))
		a.configure("server.js", "exec_mode: fork\ninstances: 1\nmin_uptime: 200ms\ndrain_timeout: 1m\n")
		for i := range 2 {
			answered := map[string]bool{}
			waitFor(t, "both of its workers answer", func() bool {
				r, err := http.Get("http://" + at)
				if err != nil {
					return false
				}
				defer r.Body.Close()
				body, err := io.ReadAll(r.Body)
				http.DefaultClient.CloseIdleConnections()
				answered[string(body)] = err == nil
				return len(answered) == 2
			})
			if before := pids(a)[0]; answered[fmt.Sprintf("hello from %d\n", before)] {
				t.Error("the primary has answered")
			}
			if i > 0 {
				break
			}
			if out := a.nekoctl("reload", "app"); !strings.Contains(out, "restarted, not reloaded") {
				t.Error(out)
			}
		}
		begun := time.Now()
		a.stops()
		if d := time.Since(begun); d > 30*time.Second { // of a minute
			t.Errorf("it took %v to stop", d)
		}
	})
}

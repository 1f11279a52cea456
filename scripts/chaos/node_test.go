package chaos

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/nekoctl/neko/scripts/load"
	"github.com/nekoctl/neko/scripts/npm"
)

// nodeMatrix is what happens to programs of Node's in cluster mode, which know nothing of
// neko.
var nodeMatrix = []row{
	{event: "reload", times: [2]int{1, 10}, instances: 2, do: reload},
	{event: "reload, and the successor never listens, dies at start, or listens and dies", instances: 2,
		keys: shortListenTimeout, do: reloadIntoEachFault, wholeOnly: true},
	{event: "reload faster than a drain lasts", instances: 2, do: reloadFast, wholeOnly: true},
	{event: "scale 4→1→4", times: [2]int{1, 5}, instances: 4, do: scaleDownAndUp, wholeOnly: true},
	{event: "worker kill -9", times: [2]int{1, 10}, instances: 2, do: killWorkers},
	{event: "worker kill -9, with a spare", times: [2]int{1, 10}, instances: 2, keys: "spare: 1\n", do: killSpared},
	{event: "worker SIGSTOP, found by liveness", times: [2]int{1, 3}, instances: 4, keys: liveness, do: hangUntilAsked, wholeOnly: true},
	{event: "worker crash-loops beside healthy ones", times: [2]int{1, 3}, instances: 4, do: crashLoop, wholeOnly: true},
	{event: "upgrade in place", times: [2]int{1, 20}, instances: 2, do: upgrade},
	{event: "master kill -9", times: [2]int{1, 10}, instances: 2, do: killMaster, rest: exitStatusesAreRight},
	{event: "keeper kill -9", times: [2]int{1, 3}, instances: 2, do: killKeeper, wholeOnly: true},
	{event: "keeper and master kill -9", times: [2]int{1, 3}, instances: 2, do: killBoth},
}

// kinds are those of node/server.cjs, and what npm has to install for each: pinned, so
// that a loss is a change of neko's.
var kinds = []struct{ name, module string }{
	{"http", ""},
	{"express", "express@5.3.0"},
	{"fastify", "fastify@5.12.8"},
}

// nodeApps are a program of Node's as it is, and one with a SIGINT handler of its own.
func nodeApps(t *testing.T, kind, module string) []*app {
	t.Helper()
	npm.Node(t, "node")
	script, err := filepath.Abs("node/server.cjs")
	if err != nil {
		t.Fatal(err)
	}
	var apps []*app
	for _, handler := range []string{"", "sigint"} {
		name := kind
		if handler != "" {
			name += "-" + handler
		}
		heard := newLines()
		apps = append(apps, &app{
			name: name, sockets: 3, // the listener, and both ends of the channel
			keys: fmt.Sprintf("script: %s\nargs: %s %s\nexec_mode: cluster\nenv: {NODE_PATH: %s}\n", script, kind, handler, modules(t, module)),
			body: `{"a": "question"}`, check: func(r *load.Response) error { return heard.hear(r.Body) }, lines: heard,
		})
	}
	return apps
}

// modules is the folder in which npm has installed a module.
func modules(t *testing.T, module string) string {
	t.Helper()
	if module == "" {
		return os.DevNull
	}
	return filepath.Join(npm.Need(t, module), "node_modules")
}

// killSpared is killWorkers when each worker has a spare.
func killSpared(s *stage, i int) {
	s.waitFor("each slot has a spare", func() bool {
		for _, a := range s.apps {
			for _, p := range s.describe(a.name).Processes {
				if p.Spare == 0 {
					return false
				}
			}
		}
		return true
	})
	killWorkers(s, i)
}

// hangUntilAsked stops workers that liveness asks.
func hangUntilAsked(s *stage, _ int) {
	for _, a := range s.apps {
		s.warm(a)
	}
	hang(s, hangFoundBy[1].within)
}

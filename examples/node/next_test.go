package node

import (
	"os"
	"os/exec"
	"testing"
)

// The production build of Next.js takes too long for every run.
func TestNextIsReloadedUnderLoadAndLosesNothing(t *testing.T) {
	if os.Getenv("NEKO_TEST_SLOW") == "" {
		t.Skip("NEKO_TEST_SLOW is not set")
	}
	eachNode(t, func(t *testing.T, n node) {
		a := prepare(t, n, "next")
		build := exec.Command(n.program(), "../../node_modules/next/dist/bin/next", "build")
		build.Dir, build.Env = a.dir, append(a.env, "NEXT_TELEMETRY_DISABLED=1")
		if out, err := build.CombinedOutput(); err != nil {
			t.Fatalf("next build: %v\n%s", err, out)
		}
		a.start("../../node_modules/.bin/next", "-i", "2", "--min-uptime", "200ms", "--", "start")
		reloadUnderLoad(t, a, "http://"+a.address()+"/")
		a.stopsWith("exit code 130") // by its own handler of SIGINT
	})
}

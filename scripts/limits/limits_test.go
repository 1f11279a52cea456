// Package limits proves what docs/limits.md promises, by what really happens: hosts that are
// network namespaces, worker processes on them that are killed, stopped, reloaded and
// started again, one Redis that goes away, and a judge who has nothing but the journal of
// every decision and the plain words of the promise.
//
//	NEKO_LIMITS=10m   how long each run is; in short runs some seconds
//	NEKO_LIMITS_SEED  the choices of an earlier run
package limits

import (
	"fmt"
	"os"
	"testing"
)

func TestMain(m *testing.M) {
	for name, mode := range map[string]func() error{workerTerms: work, proxyTarget: relay} {
		if os.Getenv(name) == "" {
			continue
		}
		if err := mode(); err != nil {
			fmt.Fprintln(os.Stderr, "error:", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

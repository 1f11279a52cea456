// Package caches proves what docs/caching.md promises of several hosts: hosts with run folders and worker
// processes of their own, one Redis behind a bad network for each host, a store whose objects change all the
// time, and a judge who has nothing but the journal of every read and every change and the plain words of the
// promise.
//
//	NEKO_CACHES=60s   how long it is; else some seconds
//	NEKO_CACHES_SEED  the choices of an earlier run
package caches

import (
	"fmt"
	"os"
	"testing"
)

func TestMain(m *testing.M) {
	if os.Getenv(workerDir) != "" {
		if err := work(); err != nil {
			fmt.Fprintln(os.Stderr, "error:", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

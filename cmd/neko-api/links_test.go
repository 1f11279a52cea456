package main

import (
	"os/exec"
	"strings"
	"testing"
)

// A worker of somebody else's schema, without a Redis, carries none: only this program brings it.
func TestWorkerAndCacheLinkNoRedis(t *testing.T) {
	out, err := exec.Command("go", "list", "-deps", "../../worker", "../../cache/guarded").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	for dep := range strings.Lines(string(out)) {
		switch dep = strings.TrimSpace(dep); {
		case strings.HasPrefix(dep, "github.com/redis/"), strings.HasPrefix(dep, "github.com/nekoctl/neko/redisconn"),
			strings.HasPrefix(dep, "github.com/nekoctl/neko/api"), strings.HasPrefix(dep, "go.mongodb.org/"):
			t.Errorf("worker or cache links %s; go list -deps -json tells by way of what", dep)
		}
	}
}

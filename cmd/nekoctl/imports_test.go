package main

import (
	"os/exec"
	"strings"
	"testing"
)

// A master starts in milliseconds and sits in a few MiB because it links nothing
// of what it supervises. And the API can be shipped without touching it.
func TestLinksNothingOfTheAPI(t *testing.T) {
	linksNone(t, ".",
		"github.com/nekoctl/neko/api",
		"github.com/nekoctl/neko/worker",
		"github.com/nekoctl/neko/cache",
		"github.com/nekoctl/neko/limiter",
		"github.com/nekoctl/neko/hostmem",
		"github.com/nekoctl/neko/breaker",
		"github.com/nekoctl/neko/redisconn",
		"github.com/valyala/fasthttp",
		"github.com/graph-gophers/graphql-go",
		"github.com/vektah/gqlparser",
		"go.mongodb.org",
		"github.com/redis",
		"github.com/failsafe-go",
		"modernc.org",
		"database/sql",
		"github.com/prometheus",
		"google.golang.org/protobuf",
		"go.opentelemetry.io",
	)
}

// What is PM2's is the command line's affair: the daemon knows apps.
func TestTheSupervisorKnowsNothingOfPM2(t *testing.T) {
	linksNone(t, "../../supervisor", "github.com/nekoctl/neko/pm2")
}

func linksNone(t *testing.T, pkg string, none ...string) {
	t.Helper()
	out, err := exec.Command("go", "list", "-deps", pkg).Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	for dep := range strings.Lines(string(out)) {
		dep = strings.TrimSpace(dep)
		if dep == "database/sql/driver" {
			continue // types only: the colors of monit's terminal could be kept in a database
		}
		for _, no := range none {
			if dep == no || strings.HasPrefix(dep, no+"/") {
				t.Errorf("%s links %s; go list -deps -json tells by way of what", pkg, dep)
			}
		}
	}
}

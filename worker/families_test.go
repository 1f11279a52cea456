package worker

import (
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"github.com/nekoctl/neko/scripts/debian"
)

// Names and helps are as Prometheus's conventions have them, each help can be understood by
// itself, and no name is there twice.
func TestFamiliesAreConventional(t *testing.T) {
	names := map[string]bool{}
	for _, f := range MetricFamilies() {
		if names[f.Name] {
			t.Errorf("%s is there twice", f.Name)
		}
		names[f.Name] = true
		if !regexp.MustCompile(`^(neko|process|go)_[a-z0-9_]+$`).MatchString(f.Name) {
			t.Errorf("%s is no name", f.Name)
		}
		if strings.HasSuffix(f.Name, "_total") != (f.Type == MetricCounter) {
			t.Errorf("%s is a %s", f.Name, f.Type)
		}
		if !strings.HasSuffix(f.Help, ".") || len(f.Help) < 15 {
			t.Errorf("%s: %s", f.Name, f.Help)
		}
		for _, l := range f.Labels {
			if l.Name == "app" || l.Name == "worker" || !regexp.MustCompile(`^[a-z]+$`).MatchString(l.Name) {
				t.Errorf("%s has the label %s", f.Name, l.Name)
			}
		}
	}
}

// What a worker tells is what Prometheus's own tool finds nothing wrong with.
func TestPromtool(t *testing.T) {
	promtool := debian.Need(t, "promtool", "prometheus")
	w := newHitWorker(t, func(c *Config) {
		c.Limiter = newHostLimiter(t)
		c.RateLimits = []RateLimit{perMinute("identity", 2)}
	})
	for range 5 {
		w.askRaw(t, hitText("POST", hitParts.queries[0], []string{asJSON}, ""))
	}
	check := exec.Command(promtool, "check", "metrics")
	check.Stdin = strings.NewReader(string(w.appendMetrics(nil)))
	if said, err := check.CombinedOutput(); err != nil || len(said) > 0 {
		t.Errorf("%v\n%s", err, said)
	}
}

package prometheus

import (
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"github.com/nekoctl/neko/scripts/debian"
)

func promtool(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	return exec.CommandContext(t.Context(), debian.Need(t, "promtool", "prometheus"), args...)
}

func TestPromtoolTakesRulesAndConfiguration(t *testing.T) {
	for _, args := range [][]string{{"check", "rules", "--lint-fatal", rulesFile}, {"check", "config", "--lint-fatal", configFile}} {
		if out, err := promtool(t, args...).CombinedOutput(); err != nil {
			t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
}

func TestAlertsFireWhenTheyShould(t *testing.T) {
	t.Parallel()
	if out, err := promtool(t, "test", "rules", testsFile).CombinedOutput(); err != nil {
		t.Errorf("promtool test rules: %v\n%s", err, out)
	}
}

// Whoever is woken finds what has happened, on which app, and what to do, here and in the runbook.
func TestEachAlertSaysWhatToDoAndIsTried(t *testing.T) {
	tests, err := os.ReadFile(testsFile)
	if err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile(runbook)
	if err != nil {
		t.Fatal(err)
	}
	anchors := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^#+ (.*)$`).FindAllStringSubmatch(string(page), -1) {
		anchors[strings.ReplaceAll(strings.ToLower(m[1]), " ", "-")] = true
	}
	used := map[string]bool{}
	for _, r := range readRules(t).all() {
		if r.Alert == "" {
			if len(r.Annotations) > 0 || !strings.Contains(r.Record, ":") {
				t.Errorf("%s: is no name for a recording rule, or it has annotations", r.Record)
			}
			continue
		}
		switch r.Labels["severity"] {
		case "critical", "warning", "info":
		default:
			t.Errorf("%s: its severity is %q", r.Alert, r.Labels["severity"])
		}
		for _, name := range []string{"summary", "description", "runbook_url"} {
			if r.Annotations[name] == "" {
				t.Errorf("%s: has no %s", r.Alert, name)
			}
		}
		anchor, ok := strings.CutPrefix(r.Annotations["runbook_url"], "https://github.com/nekoctl/neko/blob/main/docs/alerts.md#")
		if !ok || !anchors[anchor] {
			t.Errorf("%s: docs/alerts.md has no heading for %s", r.Alert, r.Annotations["runbook_url"])
		}
		used[anchor] = true
		if !strings.Contains(string(tests), `{alertname="`+r.Alert+`"`) {
			t.Errorf("%s: rules_test.yml never sees it fire", r.Alert)
		}
	}
	for anchor := range anchors {
		if strings.HasPrefix(anchor, "neko") && !used[anchor] {
			t.Errorf("docs/alerts.md: there is no alert for #%s", anchor)
		}
	}
}

// A dashboard that asks for a metric under a name that nobody has shows nothing, and says nothing.
func TestRulesAndDashboardsKnowTheNames(t *testing.T) {
	page, err := os.ReadFile(metricsPage)
	if err != nil {
		t.Fatal(err)
	}
	known := map[string]bool{"up": true, "ALERTS": true, "scrape_duration_seconds": true} // Prometheus's own
	for _, m := range regexp.MustCompile("(?m)^\\| `([a-z0-9_]+)`").FindAllStringSubmatch(string(page), -1) {
		known[m[1]] = true
	}
	rules := readRules(t)
	for _, r := range rules.all() {
		if r.Record != "" {
			known[r.Record] = true
		}
	}
	asked := map[string]bool{}
	for _, e := range append(rules.expressions(), dashboards(t)...) {
		found := selectors(e.text)
		if len(found) == 0 {
			t.Errorf("%s asks for nothing: %s", e.where, e.text)
		}
		for _, s := range found {
			name := family(s, func(name string) bool { return known[name] })
			asked[name] = true
			if !known[name] {
				t.Errorf("%s asks for %s, which docs/metrics.md does not have", e.where, name)
			}
		}
	}
	for _, r := range rules.all() {
		if r.Record != "" && !asked[r.Record] {
			t.Errorf("nobody asks for %s", r.Record)
		}
	}
}

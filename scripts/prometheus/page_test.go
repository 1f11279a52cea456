package prometheus

import (
	"bytes"
	"flag"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/nekoctl/neko/worker"
)

const metricsPage = "../../docs/metrics.md"

var update = flag.Bool("update", false, "write docs/metrics.md anew")

// lookAtPage demands of what a daemon answers that promtool has nothing against it, and that docs/metrics.md
// says the same.
func lookAtPage(t *testing.T, text string) {
	tool := promtool(t, "check", "metrics")
	tool.Stdin = strings.NewReader(text)
	if out, err := tool.CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("promtool check metrics: %v\n%s", err, out)
	}
	parser := expfmt.NewTextParser(model.LegacyValidation)
	there, err := parser.TextToMetricFamilies(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	told := map[string]worker.MetricFamily{}
	for _, f := range worker.MetricFamilies() {
		told[f.Name] = f
	}
	page := document(there, told)
	if *update {
		if err := os.WriteFile(metricsPage, page, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	file, err := os.ReadFile(metricsPage)
	if err != nil || !bytes.Equal(file, page) {
		t.Errorf("docs/metrics.md is not what the programs have; go test ./scripts/prometheus -run EveryExpression -update writes it (%v)", err)
	}
}

// chapter is a part of docs/metrics.md: the families whose names begin like that.
type chapter struct {
	title, about string
	names        []string
}

var chapters = []chapter{
	{"nekoctl", "The daemon itself.", []string{"neko_build_", "neko_master_", "neko_keeper_", "neko_collect_duration", "neko_events_", "neko_hook_"}},
	{"Apps", "Whatever they are written in; the daemon knows this by itself. `worker` is the number of a slot.", []string{"neko_app_", "neko_worker_", "neko_log_", "neko_collect_failures"}},
	{"Requests", "Of workers made with package `worker`, neko-api among them; and so are the next five.", []string{"neko_http_", "neko_tls_"}},
	{"GraphQL", "", []string{"neko_graphql_"}},
	{"Rate limits", "See [limits.md](limits.md).", []string{"neko_limiter_"}},
	{"Cache", "See [caching.md](caching.md).", []string{"neko_cache_"}},
	{"Breakers", "See [breakers.md](breakers.md).", []string{"neko_breaker_"}},
	{"Process", "Under the names that Prometheus's own libraries have for it.", []string{"process_", "go_"}},
	{"Other", "", []string{""}},
}

const above = `# Metrics

<!-- Written by go test ./scripts/prometheus -run EveryExpression -update: the names and words are in supervisor and worker. -->

What ` + "`nekoctl metrics`" + ` prints, and Prometheus gets at the address that ` + "`metrics:`" + ` in neko.yaml says. How to make alerts and dashboards of it
is in [alerts.md](alerts.md).

What the processes of an app count is told as one, with a label ` + "`app`" + `: counters and histograms are sums over all processes that it ever had, and go on
over reloads, crashes and upgrades; gauges are those of the process that serves, with a label ` + "`worker`" + `. A label named so by a program becomes ` + "`exported_app`" + ` or ` + "`exported_worker`" + `.
A histogram ` + "`X`" + ` has ` + "`X_bucket`, `X_sum` and `X_count`" + `. Seconds, bytes and the like are in the names.
`

func document(there map[string]*dto.MetricFamily, told map[string]worker.MetricFamily) []byte {
	var b bytes.Buffer
	b.WriteString(above)
	left := slices.Sorted(maps.Keys(there))
	for _, c := range chapters {
		var own []string
		left = slices.DeleteFunc(left, func(name string) bool {
			is := slices.ContainsFunc(c.names, func(begin string) bool { return strings.HasPrefix(name, begin) })
			if is {
				own = append(own, name)
			}
			return is
		})
		if len(own) == 0 {
			continue
		}
		fmt.Fprintf(&b, "\n## %s\n\n", c.title)
		if c.about != "" {
			fmt.Fprintf(&b, "%s\n\n", c.about)
		}
		b.WriteString("| name | type | labels | |\n|---|---|---|---|\n")
		for _, name := range own {
			f := there[name]
			help := f.GetHelp()
			if when := told[name].When; when != "" {
				help += " Only " + when + "."
			}
			fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", name, strings.ToLower(f.GetType().String()), labels(f, told[name]), strings.ReplaceAll(help, "|", "\\|"))
		}
	}
	return b.Bytes()
}

// closed are labels of the daemon's own metrics that have the same few values everywhere.
var closed = []string{"state", "reason", "result", "event"}

// labels are those of the series of a family, with their values if they are known.
func labels(f *dto.MetricFamily, told worker.MetricFamily) string {
	values := map[string][]string{}
	for _, l := range told.Labels {
		values[l.Name] = l.Values
	}
	var names []string
	for _, m := range f.Metric {
		for _, l := range m.Label {
			name := l.GetName()
			if !slices.Contains(names, name) {
				names = append(names, name)
			}
			if told.Name == "" && slices.Contains(closed, name) && !slices.Contains(values[name], l.GetValue()) {
				values[name] = append(values[name], l.GetValue())
			}
		}
	}
	for i, name := range names {
		names[i] = "`" + name + "`"
		if list := values[name]; len(list) > 0 {
			names[i] += " (" + strings.Join(list, ", ") + ")"
		}
	}
	return strings.Join(names, ", ")
}

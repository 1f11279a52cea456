package worker

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

// unixDialer dials the unix socket at path.
func unixDialer(path string) func(context.Context, string, string) (net.Conn, error) {
	return func(ctx context.Context, _, _ string) (net.Conn, error) {
		address, done, err := shortAddress(path)
		if err != nil {
			return nil, err
		}
		defer done()
		return (&net.Dialer{}).DialContext(ctx, "unix", address)
	}
}

// scrape asks as Prometheus does.
func scrape(t *testing.T, path string) map[string]*dto.MetricFamily {
	t.Helper()
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: unixDialer(path)}}
	resp, err := client.Get("http://worker/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if f := expfmt.ResponseFormat(resp.Header); resp.StatusCode != 200 || f.FormatType() != expfmt.TypeTextPlain {
		t.Errorf("%d %q", resp.StatusCode, resp.Header)
	}
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	parser := expfmt.NewTextParser(model.LegacyValidation)
	families, err := parser.TextToMetricFamilies(strings.NewReader(string(text)))
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	return families
}

// The metrics are well-formed, and say what the limiter has counted.
func TestMetrics(t *testing.T) {
	dir := filepath.Join(t.TempDir(), strings.Repeat("long/", 30))
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "metrics")
	serve := func() (*Worker, *metricsServer) {
		t.Helper()
		w := newTestWorker(t, Config{Limiter: newHostLimiter(t), RateLimits: []RateLimit{perMinute("identity", 2), perMinute("never-used", 1, on("Mutation.touch"))}})
		m, err := w.serveMetrics(path)
		if err != nil {
			t.Fatal(err)
		}
		return w, m
	}
	_, predecessor := serve()
	w, m := serve()
	info, err := os.Lstat(path)
	if err != nil || info.Mode() != os.ModeSocket|0o600 {
		t.Errorf("%v, %v", info, err)
	}
	predecessor.close() // and what has its name is not its own any more
	for range 5 {
		w.ask("POST", "/graphql", asJSON, `{"query":"{hello}"}`)
	}
	families := scrape(t, path)
	told := 0
	for _, f := range MetricFamilies() {
		if f.When == "" || f.When == whenLimits {
			told++
			if families[f.Name] == nil {
				t.Errorf("%s is not told", f.Name)
			}
		}
	}
	value := func(name, policy string) string {
		for _, metric := range families[name].GetMetric() {
			if policy == "" && len(metric.Label) == 0 || len(metric.Label) == 1 && metric.Label[0].GetName() == "policy" && metric.Label[0].GetValue() == policy {
				return fmt.Sprint(metric.GetCounter().GetValue() + metric.GetGauge().GetValue())
			}
		}
		return "none"
	}
	for _, c := range []struct{ name, policy, want string }{
		{"neko_limiter_allowed_total", "identity", "2"},
		{"neko_limiter_denied_total", "identity", "3"},
		{"neko_limiter_allowed_total", "never-used", "0"},
		{"neko_limiter_hosts", "", "1"},
		{"neko_limiter_away", "", "0"},
		{"neko_limiter_forgotten_total", "", "0"},
		{"neko_limiter_leased_tokens_total", "", "0"},
	} {
		if got := value(c.name, c.policy); got != c.want {
			t.Errorf("%s of %q is %s, want %s", c.name, c.policy, got, c.want)
		}
	}
	if len(families) != told {
		t.Errorf("%d families, and not %d", len(families), told)
	}
	m.close()
	if left, err := os.ReadDir(dir); err != nil || len(left) != 1 || left[0].Name() != "metrics.last" {
		t.Errorf("%v, %v", left, err)
	}
	precious := filepath.Join(dir, "precious")
	if err := os.WriteFile(precious, []byte("somebody's"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := w.serveMetrics(precious); err == nil || !strings.Contains(err.Error(), "is no socket") {
		t.Errorf("in the place of a file: %v", err)
	}
	if text, err := os.ReadFile(precious); err != nil || string(text) != "somebody's" {
		t.Errorf("%q, %v", text, err)
	}
	if _, err := w.serveMetrics("metrics"); err == nil {
		t.Error("a relative path is taken")
	}
	if _, err := w.serveMetrics(filepath.Join(dir, "none", "metrics")); err == nil {
		t.Error("a path in no folder is taken")
	}
}

// How it is with the limits is told, and a worker that decides alone is ready.
func TestHealthOfRateLimits(t *testing.T) {
	w, f := rateWorker(t, Config{RateLimits: []RateLimit{perMinute("identity", 1)}})
	f.alone = true
	ready := w.ask("GET", "/readyz?verbose", "", "")
	if ready.Response.StatusCode() != 200 || string(ready.Response.Body()) != "[+] rate limits: what the hosts share is away, and this one decides alone\nok\n" {
		t.Errorf("%d %s", ready.Response.StatusCode(), ready.Response.Body())
	}
	if health := w.ask("GET", "/health", "", ""); !strings.Contains(string(health.Response.Body()), `"limiter":{"away":true,"hosts":3,"rules":1}`) {
		t.Errorf("%s", health.Response.Body())
	}
	f.alone = false
	if ready := w.ask("GET", "/readyz?verbose", "", ""); string(ready.Response.Body()) != "[+] rate limits ok\nok\n" {
		t.Errorf("%s", ready.Response.Body())
	}
	if w := newTestWorker(t, Config{}); strings.Contains(string(w.ask("GET", "/health", "", "").Response.Body()), "limiter") {
		t.Error("a worker without limits tells of them")
	}
}

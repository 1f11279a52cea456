package examples

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// The smallest program on package worker has all metrics of one, and leaves them at its end,
// without a line for it.
func TestTheBareWorkerHasMetrics(t *testing.T) {
	dir := t.TempDir()
	program, socket := filepath.Join(dir, "bare"), filepath.Join(dir, "metrics")
	if out, err := exec.Command("go", "build", "-o", program, "./bare").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	f, err := l.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	p := exec.Command(program)
	p.Env = append(os.Environ(), "LISTEN_FDS=1", "NEKO_METRICS_SOCKET="+socket)
	p.ExtraFiles = []*os.File{f}
	errs, err := p.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = p.Process.Kill() }()
	lines := bufio.NewScanner(errs)
	if !lines.Scan() || !strings.Contains(lines.Text(), "serves GraphQL") {
		t.Fatal(lines.Text(), lines.Err())
	}

	client := http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Post("http://"+l.Addr().String()+"/graphql", "application/json", strings.NewReader(`{"query":"{hello}"}`))
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	client.Transport.(*http.Transport).DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", socket)
	}
	if resp, err = client.Get("http://worker/metrics"); err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(resp.Body)
	if resp.Body.Close(); err != nil {
		t.Fatal(err)
	}
	_ = p.Process.Signal(syscall.SIGTERM)
	if err := p.Wait(); err != nil {
		t.Fatal(err)
	}
	last, err := os.ReadFile(socket + ".last")
	if err != nil {
		t.Fatal(err)
	}
	for _, page := range [][]byte{text, last} {
		for _, want := range []string{`neko_http_requests_total{handler="graphql",code="200"} 1`, `neko_graphql_operations_total{type="query",outcome="ok"} 1`, "process_start_time_seconds ", "go_goroutines "} {
			if !strings.Contains(string(page), "\n"+want) {
				t.Errorf("%s is not in\n%s", want, page)
			}
		}
	}
}

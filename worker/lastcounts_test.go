package worker

import (
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/nekoctl/neko/logtext"
)

// lastOf is what a process that has ended has left of its metrics at a socket.
func lastOf(t *testing.T, socket string) map[string]float64 {
	t.Helper()
	if left, err := os.ReadDir(filepath.Dir(socket)); err != nil || len(left) != 1 {
		t.Errorf("there is not the file alone: %v, %v", left, err)
	}
	info, err := os.Lstat(socket + lastMetrics)
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode() != 0o600 {
		t.Errorf("it has the mode %v", info.Mode())
	}
	text, err := os.ReadFile(socket + lastMetrics)
	if err != nil {
		t.Fatal(err)
	}
	return seriesOf(t, string(text))
}

const (
	answeredQueries = `neko_graphql_operations_total{type="query",outcome="ok"}`
	answeredProbes  = `neko_http_requests_total{handler="probe",code="200"}`
)

// A process that ends in order leaves what it has counted, to the last request: those before the
// signal, those that were under way, and those of clients that came back during the drain.
func TestLastCountsAreWhole(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "metrics-7")
	l, f := listenLocal(t)
	p := start(t, true, []string{"NEKO_DRAIN_TIMEOUT=20s", "NEKO_METRICS_SOCKET=" + socket}, f)
	p.told(t)
	address := l.Addr().String()
	idle := dial(t, address)
	idle.ask(t, "/livez")
	var clients sync.WaitGroup
	answered := make([]int, 4)
	signalled := make(chan struct{})
	for i := range answered {
		clients.Go(func() {
			c := dial(t, address)
			for {
				c.send(t, "/graphql?query={hello}")
				_, closing := c.receive(t)
				answered[i]++
				if closing {
					return
				}
				if answered[i] == 50 && i == 0 {
					close(signalled)
				}
			}
		})
	}
	<-signalled
	if n := scrape(t, socket)["neko_http_requests_total"]; n == nil {
		t.Error("it does not answer before its end")
	}
	p.signal(t, syscall.SIGTERM)
	for got := ""; !strings.Contains(got, "STOPPING=1"); {
		got = p.told(t)
	}
	clients.Wait()
	if closing := idle.ask(t, "/livez"); !closing {
		t.Error("the drain is over before it began")
	}
	if code := p.end(t); code != 0 {
		t.Fatalf("exit code %d: %s", code, p.stderr.String())
	}
	want := 0
	for _, n := range answered {
		want += n
	}
	last := lastOf(t, socket)
	for series, want := range map[string]int{
		answeredQueries: want, `neko_http_requests_total{handler="graphql",code="200"}`: want, answeredProbes: 2,
		`neko_http_request_duration_seconds_count{handler="graphql"}`: want,
		"neko_http_connections_total":                                 5, "neko_http_connections": 0, "neko_http_requests_in_flight": 0,
		"neko_http_drains_total": 1, "neko_http_requests_cut_total": 0,
	} {
		if int(last[series]) != want {
			t.Errorf("%s is %v, and not %d", series, last[series], want)
		}
	}
	if took := last["neko_http_drain_seconds_total"]; took <= 0 || took > 20 {
		t.Errorf("a drain of %v s", took)
	}
}

// Whoever is ended at once, or has never served, leaves what there is all the same.
func TestLastCountsOfAHastyEnd(t *testing.T) {
	t.Run("a second signal", func(t *testing.T) {
		socket := filepath.Join(t.TempDir(), "metrics-7")
		l, f := listenLocal(t)
		p := start(t, true, []string{"NEKO_DRAIN_TIMEOUT=1h", "NEKO_METRICS_SOCKET=" + socket}, f)
		p.told(t)
		dial(t, l.Addr().String()).ask(t, "/livez")
		dial(t, l.Addr().String()).send(t, "/graphql?query={wait}")
		p.signal(t, syscall.SIGTERM)
		for got := ""; !strings.Contains(got, "STOPPING=1"); {
			got = p.told(t)
		}
		time.Sleep(echo + 100*time.Millisecond)
		p.signal(t, syscall.SIGTERM)
		if code := p.end(t); code != 1 {
			t.Errorf("exit code %d", code)
		}
		last := lastOf(t, socket)
		if last[answeredProbes] != 1 || last[answeredQueries] != 0 {
			t.Errorf("%v probes, %v queries", last[answeredProbes], last[answeredQueries])
		}
	})
	t.Run("requests that were cut", func(t *testing.T) {
		socket := filepath.Join(t.TempDir(), "metrics-7")
		l, f := listenLocal(t)
		p := start(t, true, []string{"NEKO_DRAIN_TIMEOUT=300ms", "NEKO_METRICS_SOCKET=" + socket}, f)
		p.told(t)
		dial(t, l.Addr().String()).send(t, "/graphql?query={wait}")
		waitUntil(t, func() bool {
			return scrape(t, socket)["neko_http_requests_in_flight"].GetMetric()[0].GetGauge().GetValue() == 1
		})
		p.signal(t, syscall.SIGTERM)
		if code := p.end(t); code != 1 {
			t.Errorf("exit code %d", code)
		}
		if n := lastOf(t, socket)["neko_http_requests_cut_total"]; n != 1 {
			t.Errorf("%v requests were cut", n)
		}
	})
	t.Run("it has never served", func(t *testing.T) {
		socket := filepath.Join(t.TempDir(), "metrics-7")
		_, f := listenLocal(t)
		p := start(t, true, []string{"WORKER_TEST_WAIT_FOR=/none", "NEKO_METRICS_SOCKET=" + socket}, f)
		waitUntil(t, func() bool { _, err := os.Lstat(socket); return err == nil })
		p.signal(t, syscall.SIGTERM)
		if code := p.end(t); code != 0 {
			t.Errorf("exit code %d: %s", code, p.stderr.String())
		}
		if last := lastOf(t, socket); last[answeredQueries] != 0 || last["process_cpu_seconds_total"] <= 0 {
			t.Errorf("%v", last)
		}
	})
}

// A file that cannot be written is nothing but a line in the log.
func TestLastCountsThatCannotBeWritten(t *testing.T) {
	var said printed
	w := newTestWorker(t, Config{Log: logtext.Logger(&said)})
	socket := filepath.Join(t.TempDir(), "metrics")
	if err := os.MkdirAll(filepath.Join(socket+lastMetrics, "in the way"), 0o700); err != nil {
		t.Fatal(err)
	}
	m, err := w.serveMetrics(socket)
	if err != nil {
		t.Fatal(err)
	}
	m.close()
	if text := said.String(); !strings.Contains(text, "what was counted last is lost for the metrics: ") || strings.Count(text, "\n") != 1 {
		t.Errorf("%q", text)
	}
}

// What is in the file is the last word: nobody was told more before, and nobody is told
// anything after. Who had connected before the end is answered.
func TestLastCountsAreTheLastWord(t *testing.T) {
	for range 20 {
		w := newTestWorker(t, Config{})
		address := w.serveTest(t)
		socket := filepath.Join(t.TempDir(), "metrics")
		m, err := w.serveMetrics(socket)
		if err != nil {
			t.Fatal(err)
		}
		stop := make(chan struct{})
		var busy sync.WaitGroup
		busy.Go(func() { // requests go on: the service of a worker that is not drained
			c := dial(t, address)
			for {
				select {
				case <-stop:
					return
				default:
					c.ask(t, "/livez")
				}
			}
		})
		most := make([]float64, 3)
		failed := make([]error, len(most))
		for i := range most {
			busy.Go(func() {
				for {
					conn, err := net.Dial("unix", socket)
					if err != nil { // the end
						if !errors.Is(err, os.ErrNotExist) {
							failed[i] = err
						}
						return
					}
					text, err := askUnix(conn)
					if err != nil {
						failed[i] = err
						return
					}
					most[i] = seriesOf(t, text)[answeredProbes]
				}
			})
		}
		time.Sleep(2 * time.Millisecond)
		m.close()
		close(stop)
		busy.Wait()
		last := lastOf(t, socket)[answeredProbes]
		for i := range most {
			if most[i] > last || failed[i] != nil {
				t.Errorf("%v were told before, %v last; %v", most[i], last, failed[i])
			}
		}
	}
}

func askUnix(conn net.Conn) (text string, err error) {
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	if _, err := io.WriteString(conn, "GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"); err != nil {
		return "", err
	}
	all, err := io.ReadAll(conn)
	if err != nil {
		return "", err
	}
	head, body, ok := strings.Cut(string(all), "\r\n\r\n")
	if !ok || !strings.HasPrefix(head, "HTTP/1.1 200 ") {
		return "", errors.New("answered " + head)
	}
	return body, nil
}

// Somebody who asks, and neither goes on nor goes away, keeps no process from ending.
func TestSlowQuestionsDelayNoEnd(t *testing.T) {
	w := newTestWorker(t, Config{})
	socket := filepath.Join(t.TempDir(), "metrics")
	m, err := w.serveMetrics(socket)
	if err != nil {
		t.Fatal(err)
	}
	var conns []net.Conn
	for range metricsAtOnce {
		conn, err := net.Dial("unix", socket)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if _, err := io.WriteString(conn, "GET /metr"); err != nil {
			t.Fatal(err)
		}
		conns = append(conns, conn)
	}
	waitUntil(t, func() bool { return m.server.GetOpenConnectionsCount() >= metricsAtOnce })
	began := time.Now()
	m.close()
	if took := time.Since(began); took > metricsTime {
		t.Errorf("it took %v", took)
	}
	lastOf(t, socket)
	if _, err := io.WriteString(conns[0], "ics HTTP/1.1\r\nHost: x\r\n\r\n"); err == nil { // it was told the last word in the file
		_ = conns[0].SetReadDeadline(time.Now().Add(20 * time.Second))
		if text, _ := io.ReadAll(conns[0]); strings.Contains(string(text), "HTTP/1.1 200 ") {
			t.Errorf("it is told more after the last word: %.200s", text)
		}
	}
}

// More than may ask at once are turned away, and it is the others' turn again then.
func TestManyQuestionsAtOnce(t *testing.T) {
	w := newTestWorker(t, Config{})
	socket := filepath.Join(t.TempDir(), "metrics")
	m, err := w.serveMetrics(socket)
	if err != nil {
		t.Fatal(err)
	}
	defer m.close()
	var all sync.WaitGroup
	var mu sync.Mutex
	good := 0
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: unixDialer(socket)}}
	for range 200 {
		all.Go(func() {
			resp, err := client.Get("http://worker/metrics")
			if err != nil {
				return // turned away, or before its turn
			}
			defer resp.Body.Close()
			if text, err := io.ReadAll(resp.Body); err == nil && resp.StatusCode == 200 {
				seriesOf(t, string(text))
				mu.Lock()
				good++
				mu.Unlock()
			}
		})
	}
	all.Wait()
	if good == 0 {
		t.Error("nobody was answered")
	}
	scrape(t, socket)
}

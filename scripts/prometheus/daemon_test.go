package prometheus

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/nekoctl/neko/scripts/debian"
	"github.com/nekoctl/neko/scripts/freeport"
	"github.com/nekoctl/neko/scripts/source"
	"github.com/nekoctl/neko/supervisor/control"
)

// The programs, as they are shipped, and a version to upgrade to.
var nekoctlA, nekoctlB, nekoAPI string

func TestMain(m *testing.M) {
	os.Exit(func() int {
		bin, err := os.MkdirTemp("", "neko-prometheus")
		if err != nil {
			fmt.Fprintln(os.Stderr, "error:", err)
			return 1
		}
		defer os.RemoveAll(bin)
		nekoctlA, nekoctlB, nekoAPI = bin+"/nekoctl", bin+"/nekoctl-b", bin+"/neko-api"
		return m.Run()
	}())
}

var building sync.Mutex

// build makes the programs that are not there yet.
func build(t *testing.T) {
	t.Helper()
	building.Lock()
	defer building.Unlock()
	source.LookAt(t, "../../api", "../../cmd", "../../supervisor", "../../worker", "../../limiter", "../../cache", "../../breaker")
	for _, b := range [][]string{
		{nekoctlA, "-ldflags", "-X main.Version=a", "../../cmd/nekoctl"},
		{nekoctlB, "-ldflags", "-X main.Version=b", "../../cmd/nekoctl"},
		{nekoAPI, "../../cmd/neko-api"},
	} {
		if _, err := os.Stat(b[0]); err == nil {
			continue
		}
		if err := source.Build(b[0], b[1:]...); err != nil {
			t.Fatal(err)
		}
	}
}

// daemon is a nekoctl with a home of its own and its metrics at an address.
type daemon struct {
	*testing.T
	dir     string
	env     []string
	metrics string // HOST:PORT
}

// startDaemon starts what a neko.yaml says below its key metrics.
func startDaemon(t *testing.T, yaml string) *daemon {
	t.Helper()
	build(t)
	dir, err := os.MkdirTemp("", "metrics") // t.TempDir's paths are too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	d := &daemon{T: t, dir: dir, metrics: freeport.Address(t)}
	d.env = append(os.Environ(), "NEKO_HOME="+filepath.Join(dir, "home"), "NEKO_API_STORE="+filepath.Join(dir, "api.db"))
	d.write("neko.yaml", "metrics: "+d.metrics+"\n"+yaml)
	t.Cleanup(func() {
		if t.Failed() {
			log, _ := os.ReadFile(filepath.Join(dir, "home", "neko.log")) // there is none
			t.Logf("neko.log:\n%s", log)
		}
		if out, err := d.try("kill"); err != nil {
			t.Errorf("nekoctl kill: %v\n%s", err, out)
		}
	})
	d.nekoctl("start", filepath.Join(dir, "neko.yaml"))
	return d
}

func (d *daemon) write(name, text string) string {
	d.Helper()
	file := filepath.Join(d.dir, name)
	if err := os.WriteFile(file, []byte(text), 0o755); err != nil {
		d.Fatal(err)
	}
	return file
}

func (d *daemon) try(args ...string) (string, error) {
	cmd := exec.Command(nekoctlA, args...) // the daemon is to end also after the test
	cmd.Env = d.env
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func (d *daemon) nekoctl(args ...string) string {
	d.Helper()
	out, err := d.try(args...)
	if err != nil {
		d.Fatalf("nekoctl %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

func (d *daemon) list(app string) (own []control.Process) {
	d.Helper()
	var all []control.Process
	if err := json.Unmarshal([]byte(d.nekoctl("list", "--json")), &all); err != nil {
		d.Fatal(err)
	}
	for _, p := range all {
		if p.Name == app {
			own = append(own, p)
		}
	}
	return own
}

func (d *daemon) ping() (p control.Ping) {
	d.Helper()
	if err := json.Unmarshal([]byte(d.nekoctl("ping", "--json")), &p); err != nil {
		d.Fatal(err)
	}
	return p
}

func (d *daemon) kill(pid int) {
	d.Helper()
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		d.Fatal(err)
	}
}

// page is what the daemon answers to GET /metrics.
func (d *daemon) page() string {
	d.Helper()
	res, err := http.Get("http://" + d.metrics + "/metrics")
	if err != nil {
		d.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != 200 {
		d.Fatalf("GET /metrics: %s, %v\n%s", res.Status, err, text)
	}
	return string(text)
}

// patience is how long a busy machine may take for what usually takes a moment.
const patience = time.Minute

// eventually waits until f has nothing to say.
func eventually(t *testing.T, patience time.Duration, f func() error) {
	t.Helper()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(patience); ; <-tick.C {
		err := f()
		if err == nil {
			return
		}
		if time.Now().After(end) {
			t.Fatal(err)
		}
	}
}

// server is a Prometheus.
type server struct {
	*testing.T
	base string
}

// scrapeEvery is short, so that a test can see what takes hours elsewhere.
const scrapeEvery = 200 * time.Millisecond

// startPrometheus starts one that scrapes a daemon, with rules if there are any.
func startPrometheus(t *testing.T, d *daemon, rules string) *server {
	t.Helper()
	program := debian.Need(t, "prometheus", "prometheus")
	dir := t.TempDir()
	config := fmt.Sprintf("global: {scrape_interval: %s, evaluation_interval: %[1]s}\nscrape_configs:\n  - {job_name: neko, scrape_timeout: %[1]s, static_configs: [{targets: [%q]}]}\n", scrapeEvery, d.metrics)
	if rules != "" {
		config += "rule_files: [rules.yml]\n"
		if err := os.WriteFile(filepath.Join(dir, "rules.yml"), []byte(rules), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "prometheus.yml"), []byte(config), 0o644); err != nil {
		t.Fatal(err)
	}
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	s := &server{T: t}
	address := freeport.Address(t)
	s.base = "http://" + address
	cmd := exec.Command(program, "--config.file="+filepath.Join(dir, "prometheus.yml"), "--storage.tsdb.path="+filepath.Join(dir, "data"),
		"--web.listen-address="+address, "--storage.tsdb.retention.time=1h", "--log.level=warn")
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // it has ended
		_ = cmd.Wait()         // by the kill
		if t.Failed() {
			text, _ := os.ReadFile(log.Name()) // it was there
			t.Logf("prometheus:\n%s", text)
		}
	})
	eventually(t, patience, func() error {
		found, err := s.query(`up{job="neko"} == 1`)
		if err == nil && len(found) == 0 {
			err = fmt.Errorf("prometheus has not scraped %s", d.metrics)
		}
		return err
	})
	return s
}

// sample is a series of an answer, with its one value or with all of a range.
type sample struct {
	Metric map[string]string `json:"metric"`
	Value  point             `json:"value"`
	Values []point           `json:"values"`
}

type point struct {
	at    time.Time
	value float64
}

func (p *point) UnmarshalJSON(text []byte) error {
	var at float64
	var value string
	if err := json.Unmarshal(text, &[]any{&at, &value}); err != nil {
		return err
	}
	p.at = time.UnixMilli(int64(math.Round(at * 1000)))
	var err error
	p.value, err = strconv.ParseFloat(value, 64)
	return err
}

func (s *server) query(expr string) (list []sample, err error) {
	var answer struct {
		Result []sample `json:"result"`
	}
	return answer.Result, s.get("query?query="+url.QueryEscape(expr), &answer)
}

func (s *server) get(what string, into any) error {
	ctx, cancel := context.WithTimeout(s.Context(), 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, "GET", s.base+"/api/v1/"+what, nil)
	if err != nil {
		return err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	var answer struct {
		Status, Error string
		Data          json.RawMessage
	}
	if err := json.NewDecoder(res.Body).Decode(&answer); err != nil {
		return fmt.Errorf("%s: %w", res.Status, err)
	}
	if answer.Status != "success" {
		return fmt.Errorf("%s: %s", what, answer.Error)
	}
	return json.Unmarshal(answer.Data, into)
}

var (
	windows    = regexp.MustCompile(`\[[0-9]+[smhd]\]`)
	rates      = regexp.MustCompile(`\[5m\]`)
	offsets    = regexp.MustCompile(`offset [0-9]+[smhd]`)
	comparison = regexp.MustCompile(`\s(==|!=|>=|<=|>|<)\s`)
)

// short is an expression for a Prometheus that scrapes all the time: rates are of some seconds, and what is long is a minute.
func short(expr string) string {
	expr = strings.NewReplacer("[$__rate_interval]", "[5m]", "[$__range]", "[10m]", `"$instance"`, `".*"`, `"$app"`, `".*"`, `"$worker"`, `".*"`).Replace(expr)
	return offsets.ReplaceAllString(windows.ReplaceAllString(rates.ReplaceAllString(expr, "[5s]"), "[60s]"), "offset 1s")
}

// unfiltered is an expression that gives what it compares, and not only what is beyond a threshold.
func unfiltered(expr string) string {
	return strings.ReplaceAll(comparison.ReplaceAllString(short(expr), " $1 bool "), "unless on", "or on")
}

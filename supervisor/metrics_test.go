package supervisor_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nekoctl/neko/scripts/freeport"
	"github.com/nekoctl/neko/supervisor/cgroup"
	"github.com/nekoctl/neko/supervisor/control"
	"github.com/nekoctl/neko/supervisor/metrics"
	"github.com/nekoctl/neko/supervisor/spec"
)

// counting is a worker that keeps the metrics part of the contract, or with the arguments
// what breaks it. It counts what it has served.
func counting(args []string) {
	how := strings.Join(args, " ")
	var served atomic.Int64
	page := func() string {
		n := served.Load()
		return fmt.Sprintf("# TYPE served counter\nserved %d\n# TYPE size histogram\nsize_bucket{le=\"1\"} %d\nsize_bucket{le=\"+Inf\"} %d\nsize_sum %d\nsize_count %d\n# TYPE mood gauge\nmood{app=\"own\"} 7\n", n, n, n, n, n)
	}
	path := os.Getenv("NEKO_METRICS_SOCKET")
	answer := func(w http.ResponseWriter, _ *http.Request) {
		switch how {
		case "rubbish":
			fmt.Fprint(w, "<html>")
		case "hangs":
			select {}
		case "huge":
			for line := bytes.Repeat([]byte("# no end\n"), 10_000); ; {
				if _, err := w.Write(line); err != nil {
					return
				}
			}
		case "fails":
			w.WriteHeader(http.StatusInternalServerError)
		default:
			fmt.Fprint(w, page())
		}
	}
	if how == "leads elsewhere" {
		if err := os.Symlink(os.Getenv("ELSEWHERE"), path); err != nil {
			panic(err)
		}
	} else {
		l, err := net.Listen("unix", path+".new")
		if err != nil {
			panic(err)
		}
		l.(*net.UnixListener).SetUnlinkOnClose(false)
		if err := os.Rename(path+".new", path); err != nil {
			panic(err)
		}
		go func() { _ = http.Serve(l, http.HandlerFunc(answer)) }()
	}
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM)
	listener, err := net.FileListener(os.NewFile(3, "listener"))
	if err != nil {
		panic(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		served.Add(1)
		fmt.Fprintf(w, "%s %d", os.Getenv("NEKO_SLOT"), os.Getpid())
	})}
	go func() { _ = server.Serve(listener) }()
	say("READY=1")
	<-stop
	_ = server.Shutdown(context.Background())
	switch how {
	case "leaves a pipe":
		err = unix.Mkfifo(path+".last", 0o600)
	case "leaves rubbish":
		err = os.WriteFile(path+".last", []byte("# TYPE served"), 0o600)
	default:
		if err = os.WriteFile(path+".last.new", []byte(page()), 0o600); err == nil {
			err = os.Rename(path+".last.new", path+".last")
		}
	}
	if err != nil {
		panic(err)
	}
	os.Exit(0)
}

func counts(name string, instances int, how ...string) spec.App {
	a := web(name, instances)
	a.Command = append([]string{a.Command[0], "counting"}, how...)
	return a
}

// scraped are the samples that are told, by name and labels.
func scraped(t *testing.T, text []byte) map[string]float64 {
	t.Helper()
	if _, err := metrics.ParseOurs(text); err != nil {
		t.Fatalf("%v in\n%s", err, text)
	}
	samples := map[string]float64{}
	for line := range strings.Lines(string(text)) {
		if at := strings.LastIndexByte(line, ' '); !strings.HasPrefix(line, "#") {
			v, err := strconv.ParseFloat(strings.TrimSpace(line[at:]), 64)
			if err != nil {
				t.Fatal(err)
			}
			samples[line[:at]] = v
		}
	}
	return samples
}

func (d *daemon) metrics(targets ...string) map[string]float64 {
	d.t.Helper()
	text, err := d.Metrics(d.t.Context(), targets, false)
	if err != nil {
		d.t.Fatal(err)
	}
	return scraped(d.t, text)
}

// untilTold waits until counters are told as they should be: who takes more than a second to answer counts with what
// it has said before. To tell of more is wrong at once.
func (d *daemon) untilTold(when string, want map[string]float64, targets ...string) (now map[string]float64) {
	d.t.Helper()
	d.eventually(fmt.Sprintf("%v is told, %s", want, when), func() bool {
		now = d.metrics(targets...)
		all := true
		for name, n := range want {
			if now[name] > n {
				d.t.Fatalf("%s: %s is %v, and should be %v", when, name, now[name], n)
			}
			all = all && now[name] == n
		}
		return all
	})
	return now
}

// Whatever is reloaded, scaled, killed or replaced: what the processes have counted is told
// to the last request, and never less than before.
func TestWhatWasCountedIsToldToTheLastRequest(t *testing.T) {
	t.Parallel()
	d := newDaemon(t)
	address := d.start(counts("web", 2)).Processes[0].Listeners[0]
	sent := 0
	before := map[string]float64{}
	send := func() {
		t.Helper()
		for range 20 {
			get(t, address)
			sent++
		}
	}
	check := func(after string) {
		t.Helper()
		send()
		now := d.untilTold("after "+after, map[string]float64{
			`served{app="web"}`: float64(sent), `size_count{app="web"}`: float64(sent), `size_sum{app="web"}`: float64(sent),
			`size_bucket{app="web",le="1"}`: float64(sent), `mood{app="web",worker="0",exported_app="own"}`: 7,
		}, "web")
		for name, was := range before {
			if strings.Contains(name, "_total{") && now[name] < was {
				t.Errorf("after %s: %s went from %v to %v", after, name, was, now[name])
			}
		}
		before = now
	}
	check("the start")
	for _, step := range []struct {
		what string
		do   func()
	}{
		{"a reload", func() { d.command("reload", "web") }},
		{"the death of the master", d.killMaster},
		{"another scale", func() { d.scale("web", "3") }},
		{"the deletion of a process", func() { d.command("delete", strconv.Itoa(d.list()[1].ID)) }},
		{"a restart", func() { d.command("restart", "web") }},
		{"an upgrade", func() { d.upgrade(program(t, "next")) }},
		{"the death of the keeper", d.killKeeper},
		{"a crash", func() {
			pid := d.list()[0].PID
			kill(t, pid, syscall.SIGKILL)
			d.until("it is back", func(l []control.Process) bool { return l[0].PID != pid && l[0].State == control.Online })
		}},
		{"the death of both", func() {
			d.scale("web", "3") // a vacant slot has a socket that nobody would have then
			d.killBoth()
			d.spawn()
		}},
	} {
		if step.what != "a crash" { // which takes what nobody was told of
			send()
		}
		step.do()
		check(step.what)
	}
	text, err := d.Metrics(t.Context(), nil, true)
	if err != nil {
		t.Fatal(err)
	}
	byWorker := scraped(t, text)
	sum := 0.0
	for name, v := range byWorker {
		if strings.HasPrefix(name, "served{") {
			sum += v
		}
	}
	if sum == 0 || int(sum) >= sent { // most have ended
		t.Errorf("by worker, of those that live, %v", byWorker)
	}
	d.eventually("there is a socket for each process, and nothing of those that have ended", func() bool {
		left, err := filepath.Glob(filepath.Join(d.runDir("web"), "metrics-*"))
		return err == nil && len(left) == 3
	})
	d.command("delete", "web")
	for name := range d.metrics() {
		if strings.Contains(name, `app="web"`) {
			t.Errorf("of what was deleted %s is told", name)
		}
	}
	address = d.start(counts("web", 1)).Processes[0].Listeners[0]
	sent, before = 0, nil
	check("a new start")
}

// runDir is that of an app that runs.
func (d *daemon) runDir(app string) string {
	d.t.Helper()
	for _, p := range d.list() {
		if p.Name == app && p.PID != 0 {
			return filepath.Dir(variable(d.t, p.PID, "NEKO_METRICS_SOCKET"))
		}
	}
	d.t.Fatalf("%s does not run", app)
	return ""
}

func variable(t *testing.T, pid int, name string) string {
	t.Helper()
	for entry := range strings.SplitSeq(environment(t, pid), "\n") {
		if value, found := strings.CutPrefix(entry, name+"="); found {
			return value
		}
	}
	return ""
}

// A process that ends while there is no master is counted by the next one.
func TestWhatAProcessLeavesWhileThereIsNoMasterIsCounted(t *testing.T) {
	t.Parallel()
	d := newDaemon(t)
	p := d.start(counts("web", 1)).Processes[0]
	get(t, p.Listeners[0])
	d.metrics()
	get(t, p.Listeners[0])
	ping, err := d.Ping(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	last := variable(t, p.PID, "NEKO_METRICS_SOCKET") + ".last"
	d.freeze(ping.Master)
	kill(t, p.PID, syscall.SIGTERM)
	d.eventually("it has left its file", func() bool { return there(last) })
	kill(t, ping.Master, syscall.SIGKILL)
	d.until("it is back", func(l []control.Process) bool { return l[0].PID != p.PID && l[0].State == control.Online })
	d.untilTold("by the next master", map[string]float64{`served{app="web"}`: 2})
	if there(last) {
		t.Error("the file is there still")
	}
}

// What a program answers, or has an answer come from, harms nobody, and is told of.
func TestAProgramThatAnswersBadlyHarmsNobody(t *testing.T) {
	t.Parallel()
	d := newDaemon(t)
	kinds := []string{"rubbish", "hangs", "huge", "fails", "leads elsewhere"}
	apps := []spec.App{counts("good", 1)}
	for _, how := range kinds {
		a := counts(strings.ReplaceAll(how, " ", "-"), 1, how)
		a.Env["ELSEWHERE"] = d.home.Control()
		apps = append(apps, a)
	}
	address := ""
	for _, p := range d.start(apps...).Processes {
		if p.Name == "good" {
			address = p.Listeners[0]
		}
	}
	get(t, address)
	for range 3 {
		d.untilTold("beside those that are bad", map[string]float64{`served{app="good"}`: 1})
	}
	now := d.metrics()
	for _, how := range kinds {
		name := strings.ReplaceAll(how, " ", "-")
		if n := now[fmt.Sprintf(`neko_collect_failures_total{app="%s"}`, name)]; n < 1 {
			t.Errorf("%s: %v failures", name, n)
		}
		text, err := os.ReadFile(d.home.Log())
		if n := strings.Count(string(text), "the metrics of "+name+":0 "); n != 1 || err != nil {
			t.Errorf("neko.log tells of %s %d times: %v", name, n, err)
		}
		detail, err := d.App(t.Context(), name)
		if err != nil || detail.Processes[0].MetricsProblem == "" {
			t.Errorf("describe says nothing of %s: %v", name, err)
		}
	}
}

func TestWhatAProcessLeavesIsReadWithCare(t *testing.T) {
	t.Parallel()
	d := newDaemon(t)
	d.start(counts("pipe", 1, "leaves a pipe"), counts("rubbish", 1, "leaves rubbish"))
	d.command("reload", "all")
	d.eventually("both are told of", func() bool {
		now := d.metrics()
		return now[`neko_collect_failures_total{app="pipe"}`] > 0 && now[`neko_collect_failures_total{app="rubbish"}`] > 0
	})
	for _, app := range []string{"pipe", "rubbish"} {
		left, err := filepath.Glob(filepath.Join(d.runDir(app), "metrics-*"))
		if err != nil || len(left) != 1 {
			t.Errorf("%v is there: %v", left, err)
		}
	}
}

// What the master itself counts goes on, too.
func TestTheMasterCountsWhatBecomesOfProcesses(t *testing.T) {
	t.Parallel()
	d := newDaemon(t)
	api := web("api", 2)
	api.MaxMemory = 1 << 30
	d.start(api, app("other", 1))
	expect := func(want map[string]float64) {
		t.Helper()
		now := d.metrics()
		for name, v := range want {
			if got, there := now[name]; !there || got != v {
				t.Errorf("%s is %v, and should be %v", name, got, v)
			}
		}
	}
	mostMemory := float64(api.MaxMemory)
	if group := float64(cgroup.Read("/").Memory); group > 0 && group < mostMemory {
		mostMemory = group
	}
	listener := d.list()[0].Listeners[0]
	expect(map[string]float64{
		`neko_app_instances{app="api"}`: 2, `neko_worker_up{app="api",worker="1"}`: 1, `neko_worker_state{app="api",state="online",worker="0"}`: 1,
		`neko_worker_memory_max_bytes{app="api",worker="1"}`:      mostMemory,
		`neko_worker_state{app="api",state="errored",worker="0"}`: 0, `neko_app_crashes_total{app="api"}`: 0, `neko_app_errored{app="api"}`: 0,
		`neko_worker_queue_length{app="api",listener="` + listener + `",worker="1"}`: 0, `neko_build_info{version="test"}`: 1,
	})
	pid := d.list()[0].PID
	kill(t, pid, syscall.SIGKILL)
	d.until("it is back", func(l []control.Process) bool { return l[0].PID != pid && l[0].State == control.Online })
	d.command("reload", "api")
	d.command("restart", "api")
	d.killMaster()
	if _, err := d.Command(t.Context(), "reload", control.TargetRequest{Targets: []string{"nobody"}}, nil); err == nil {
		t.Error("nobody was reloaded")
	}
	expect(map[string]float64{
		`neko_app_crashes_total{app="api"}`: 1, `neko_app_restarts_total{app="api",reason="crash"}`: 1, `neko_app_restarts_total{app="api",reason="reload"}`: 2,
		`neko_app_restarts_total{app="api",reason="command"}`: 2, `neko_app_reloads_total{app="api",result="ok"}`: 1, `neko_app_reloads_total{app="api",result="failed"}`: 0,
		`neko_app_restarts_total{app="other",reason="crash"}`: 0, `neko_events_total{event="crash"}`: 1, `neko_events_total{event="hung"}`: 0,
	})
	for name, v := range d.metrics("other") {
		if strings.Contains(name, `app="api"`) {
			t.Errorf("of an app that was not asked for there is %s %v", name, v)
		}
	}
	for _, name := range []string{"neko_master_memory_bytes", "neko_keeper_memory_bytes", "neko_master_start_time_seconds", `neko_worker_memory_bytes{app="api",worker="0"}`, `neko_worker_start_time_seconds{app="api",worker="0"}`} {
		if v := d.metrics()[name]; v <= 0 {
			t.Errorf("%s is %v", name, v)
		}
	}
}

// Each process has a socket of its own; who asks as a probe has none.
func TestEachProcessIsOfferedASocketOfItsOwn(t *testing.T) {
	t.Parallel()
	d := newDaemon(t)
	seen := filepath.Join(t.TempDir(), "seen")
	a := web("api", 2)
	a.Spare = 1
	a.Readiness = &spec.Probe{Interval: spec.Duration(time.Second), Timeout: spec.Duration(5 * time.Second), Failures: 3, Exec: []string{"/bin/sh", "-c", "env >" + seen + ".new; mv " + seen + ".new " + seen}}
	d.start(a)
	paths := map[string]bool{}
	detail := control.AppDetail{}
	d.until("there are spares", func([]control.Process) bool {
		var err error
		detail, err = d.App(t.Context(), "api")
		return err == nil && detail.Processes[0].Spare > 0 && detail.Processes[1].Spare > 0
	})
	for _, p := range detail.Processes {
		for _, pid := range []int{p.PID, p.Spare} {
			path := variable(t, pid, "NEKO_METRICS_SOCKET")
			if filepath.Dir(path) != variable(t, pid, "NEKO_RUN_DIR") {
				t.Errorf("it is offered %s", path)
			}
			paths[path] = true
		}
	}
	if len(paths) != 4 {
		t.Errorf("4 processes have %v", paths)
	}
	text, err := os.ReadFile(seen)
	if err != nil || !strings.Contains(string(text), "NEKO_PID=") || strings.Contains(string(text), "NEKO_METRICS_SOCKET=") {
		t.Errorf("a probe has %s: %v", text, err)
	}
}

func (d *daemon) set(s spec.Daemon, apps ...spec.App) error {
	_, err := d.Start(d.t.Context(), control.StartRequest{Apps: apps, Daemon: s}, nil)
	return err
}

func (d *daemon) metricsAddress() string {
	d.t.Helper()
	p, err := d.Ping(d.t.Context())
	if err != nil {
		d.t.Fatal(err)
	}
	return p.Metrics
}

// scrape does what Prometheus does.
func scrape(t *testing.T, address string) (map[string]float64, error) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+address+"/metrics", nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Accept-Encoding", "gzip")
	response, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	z, err := gzip.NewReader(response.Body)
	if err != nil {
		return nil, err
	}
	text, err := io.ReadAll(z)
	if err != nil {
		return nil, err
	}
	if response.StatusCode != http.StatusOK || response.Header.Get("Content-Type") != metrics.ContentType {
		t.Errorf("%d %v", response.StatusCode, response.Header)
	}
	return scraped(t, text), nil
}

func TestAnAddressForMetricsIsOpenedChangedAndClosed(t *testing.T) {
	t.Parallel()
	d := newDaemon(t)
	first := "127.0.0.1:" + strconv.Itoa(freeport.For(t))
	if err := d.set(spec.Daemon{Metrics: first}, counts("web", 1)); err != nil {
		t.Fatal(err)
	}
	serves := func(address string) {
		t.Helper()
		if now, err := scrape(t, address); err != nil || now[`neko_app_instances{app="web"}`] != 1 {
			t.Errorf("%s answers %v, %v", address, now, err)
		}
	}
	refuses := func(address string) {
		t.Helper()
		d.eventually(address+" is closed", func() bool {
			_, err := net.DialTimeout("tcp", address, time.Second)
			return errors.Is(err, syscall.ECONNREFUSED)
		})
	}
	serves(first)
	for _, c := range []struct {
		method, path string
		status       int
	}{{"HEAD", "/metrics", 200}, {"POST", "/metrics", 405}, {"GET", "/", 404}, {"GET", "/v1/processes", 404}, {"GET", "/metrics?app=web&by=worker", 200}} {
		request, err := http.NewRequestWithContext(t.Context(), c.method, "http://"+first+c.path, nil)
		if err != nil {
			t.Fatal(err)
		}
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(response.Body)
		response.Body.Close()
		if response.StatusCode != c.status || err != nil || c.status == 200 && c.method == "GET" && !bytes.Contains(text, []byte("neko_build_info")) {
			t.Errorf("%s %s: %s %s %v", c.method, c.path, response.Status, text, err)
		}
	}

	// One that is taken changes nothing.
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	err = d.set(spec.Daemon{Metrics: taken.Addr().String()}, app("more", 1))
	if e := (*control.Error)(nil); !errors.As(err, &e) || !strings.Contains(e.Message, "metrics: address "+taken.Addr().String()+" is in use") {
		t.Errorf("an address that is taken: %v", err)
	}
	if n := len(d.list()); n != 1 {
		t.Errorf("there are %d processes", n)
	}
	serves(first)

	// A wider one of the same port takes its place; a file that says nothing leaves it.
	_, port, _ := net.SplitHostPort(first)
	if err := d.set(spec.Daemon{Metrics: "0.0.0.0:" + port}); err != nil {
		t.Fatal(err)
	}
	serves("127.0.0.2:" + port)
	if err := d.set(spec.Daemon{}); err != nil {
		t.Fatal(err)
	}
	serves(first)

	// Another.
	if err := d.set(spec.Daemon{Metrics: "127.0.0.3:0"}); err != nil {
		t.Fatal(err)
	}
	second := d.metricsAddress()
	serves(second)
	refuses("127.0.0.2:" + port)
	if err := d.set(spec.Daemon{Metrics: second}); err != nil { // what it has from the kernel, by name
		t.Fatal(err)
	}
	serves(second)

	// It is there again when keeper and master were killed, also if it was taken meanwhile.
	d.command("reload", "web")
	d.killBoth()
	d.eventually("it is free", func() bool {
		if taken, err = net.Listen("tcp", second); err != nil {
			return false
		}
		return true
	})
	d.spawn()
	d.eventually("that is told", func() bool {
		p, err := d.Ping(t.Context())
		return err == nil && strings.Contains(strings.Join(p.Warnings, "\n"), "metrics: address "+second+" is in use")
	})
	taken.Close()
	d.eventually("it is opened", func() bool { return d.metricsAddress() == second })
	serves(second)

	if err := d.set(spec.Daemon{Metrics: spec.Off}); err != nil {
		t.Fatal(err)
	}
	refuses(second)
	d.killMaster()
	if address := d.metricsAddress(); address != "" {
		t.Errorf("the next master serves at %s", address)
	}
}

// Who scrapes is refused by nobody while masters come and go, and in an upgrade is answered.
func TestScrapesGoOnOverMasters(t *testing.T) {
	t.Parallel()
	d := newDaemon(t)
	if err := d.set(spec.Daemon{Metrics: "127.0.0.1:0"}, counts("web", 1)); err != nil {
		t.Fatal(err)
	}
	address := d.metricsAddress()
	var killed atomic.Bool
	var answered, cut atomic.Int64
	over := make(chan struct{})
	var scrapers sync.WaitGroup
	for range 2 {
		scrapers.Go(func() {
			for {
				select {
				case <-over:
					return
				case <-time.After(time.Duration(rand.IntN(3)) * time.Millisecond):
				}
				_, err := scrape(t, address)
				switch {
				case err == nil:
					answered.Add(1)
				case errors.Is(err, syscall.ECONNREFUSED) || !killed.Load():
					t.Errorf("a scrape: %v", err)
				default:
					cut.Add(1)
				}
			}
		})
	}
	enough := func() {
		n := answered.Load()
		d.eventually("it is answered", func() bool { return answered.Load() >= n+5 })
	}
	enough()
	for i := range 2 {
		d.upgrade(program(t, fmt.Sprint("next", i)))
		enough()
	}
	killed.Store(true)
	for range 3 {
		d.killMaster()
		enough()
	}
	d.killKeeper()
	enough()
	close(over)
	scrapers.Wait()
	if n := cut.Load(); n > 8 { // two at most for each that was killed
		t.Errorf("%d scrapes were cut off", n)
	}
}

// The settings are of the daemon that is started in the foreground, too: with them goes
// what `nekoctl save` keeps.
func TestTheAddressIsPartOfWhatIsSaved(t *testing.T) {
	t.Parallel()
	d := newDaemon(t)
	if err := d.set(spec.Daemon{Metrics: "127.0.0.1:0"}, counts("web", 1)); err != nil {
		t.Fatal(err)
	}
	settings, err := d.Daemon(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(settings)
	if err != nil || string(text) != `{"metrics":"127.0.0.1:0"}` {
		t.Errorf("kept is %s: %v", text, err)
	}
	other := newDaemon(t)
	if _, err := other.Resurrect(t.Context(), control.ResurrectRequest{Daemon: settings}, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := scrape(t, other.metricsAddress()); err != nil {
		t.Error(err)
	}
}

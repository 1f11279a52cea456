package limits

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/nekoctl/neko/limiter"
	"github.com/nekoctl/neko/scripts/debian"
	"github.com/nekoctl/neko/scripts/source"
)

const (
	apiPort   = "4000"
	apiClient = "NEKO_LIMITS_HTTP" // a URL: the worker asks there, and has no limiter of its own
)

// overHTTP has a neko-api decide. Its answer is 200 or 429, and everything else is
// a failure of this run, but a connection that a killed worker had.
type overHTTP struct {
	url    string
	client *http.Client
	cut    atomic.Uint64
}

func newOverHTTP(url string) *overHTTP {
	return &overHTTP{url: url, client: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}, Timeout: patience}}
}

// Decide asks for nothing, in an operation with the policy's name: the rules of neko-api go
// by that.
func (c *overHTTP) Decide(ctx context.Context, charges []limiter.Charge) limiter.Decision {
	body := fmt.Sprintf(`{"query":"query %s { __typename }"}`, charges[0].Policy.Name)
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, c.url, strings.NewReader(body))
	if err != nil {
		return c.failed(err)
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := c.client.Do(request)
	if err != nil {
		// Its worker was killed, or nobody listens: not an answer.
		c.cut.Add(1)
		return limiter.Decision{Refused: noAnswer}
	}
	defer response.Body.Close()
	text, err := io.ReadAll(io.LimitReader(response.Body, 1<<20))
	if err != nil {
		c.cut.Add(1)
		return limiter.Decision{Refused: noAnswer}
	}
	switch response.StatusCode {
	case http.StatusOK:
		if !bytes.Contains(text, []byte(`"__typename":"Query"`)) {
			return c.failed(fmt.Errorf("200 with %.300s", text))
		}
		return limiter.Decision{Refused: -1}
	case http.StatusTooManyRequests:
		seconds, err := strconv.Atoi(response.Header.Get("Retry-After"))
		if err != nil || seconds < 1 || !bytes.Contains(text, []byte("RATE_LIMITED")) {
			return c.failed(fmt.Errorf("429 with Retry-After %q and %.300s", response.Header.Get("Retry-After"), text))
		}
		return limiter.Decision{Refused: 0, RetryAfter: time.Duration(seconds) * time.Second}
	}
	if response.StatusCode == http.StatusServiceUnavailable && bytes.Contains(text, []byte("UNAVAILABLE")) && response.Header.Get("Retry-After") != "" {
		return limiter.Decision{Alone: true} // Redis did not answer in time, and fail is closed
	}
	return c.failed(fmt.Errorf("%s: %.300s", response.Status, text))
}

// What is no index of a charge.
const noAnswer, wrongAnswer = 100, 101

func (c *overHTTP) failed(err error) limiter.Decision {
	fmt.Println("WRONG:", err)
	return limiter.Decision{Refused: wrongAnswer}
}

func (c *overHTTP) Stats() limiter.Stats        { return limiter.Stats{} }
func (c *overHTTP) Close(context.Context) error { return nil }

// site is a host with a nekoctl in namespaces of its own: of processes, which end with
// it, and of mounts, with a /dev/shm that nobody else has.
type site struct {
	*host
	daemon  *process
	home    string
	program string
}

func (h *host) install(nekoctl, nekoAPI, rules string) *site {
	h.Helper()
	home, err := os.MkdirTemp("", "neko-limits-"+strconv.Itoa(os.Getpid())+"-") // short, for the socket in it
	must(h.T, err)
	h.Cleanup(func() { removeAll(h.T, home) })
	config := filepath.Join(home, "neko.yaml")
	must(h.T, os.WriteFile(config, []byte(fmt.Sprintf("apps:\n  - name: api\n    command: %s --redis %s --rate-limits %s\n    instances: %d\n"+
		"    listen: 0.0.0.0:%s\n    wait_ready: true\n", nekoAPI, h.redis, rules, slotsOfHost, apiPort)), 0o600))
	s := &site{host: h, home: home, program: nekoctl}
	s.daemon, err = start(h.ns, "nekoctl of "+h.node, "\n", []string{"NEKO_HOME=" + home, "NEKO_API_STORE=" + filepath.Join(home, "api.db")},
		"unshare", "--pid", "--fork", "--kill-child", "--mount-proc",
		"sh", "-c", `mount -t tmpfs none /dev/shm && exec "$@"`, "sh", nekoctl, "start", "--no-daemon", config)
	must(h.T, err)
	h.Cleanup(s.daemon.close)
	return s
}

// nekoctl is a command of it, on its own side of the namespaces.
func (s *site) nekoctl(args ...string) error {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%[1]d/children", s.daemon.Process.Pid))
	if err != nil {
		return err
	}
	_, err = run(s.ns, append([]string{"nsenter", "-t", strings.TrimSpace(string(text)), "-p", "-m", "env", "NEKO_HOME=" + s.home, s.program}, args...)...)
	return err
}

// workers are the processes of neko-api, as seen from here.
func (s *site) workers() (pids []int, err error) {
	names, err := os.ReadDir("/proc")
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		pid, err := strconv.Atoi(name.Name())
		if err != nil {
			continue
		}
		text, err := os.ReadFile("/proc/" + name.Name() + "/environ")
		if err != nil {
			continue // it has ended
		}
		env := "\x00" + string(text)
		if strings.Contains(env, "\x00NEKO_SLOT=") && strings.Contains(env, "\x00NEKO_HOME="+s.home+"\x00") {
			pids = append(pids, pid)
		}
	}
	return pids, nil
}

// disturb reloads and scales what runs there and kills workers of it, until end.
func (s *site) disturb(end time.Time, rand *rand.Rand) (done map[string]int, err error) {
	done = map[string]int{}
	for {
		time.Sleep(time.Duration(100+rand.IntN(400)) * time.Millisecond)
		if time.Now().After(end) {
			return done, nil
		}
		switch n := rand.IntN(8); {
		case n < 3:
			done["reload"]++
			err = s.nekoctl("reload", "api")
		case n < 4: // takes 3 s for each that goes
			done["scale"]++
			err = s.nekoctl("scale", "api", strconv.Itoa(3+rand.IntN(3)))
		default:
			var pids []int
			if pids, err = s.workers(); err == nil && len(pids) > 0 {
				done["kill -9"]++
				if err = syscall.Kill(pids[rand.IntN(len(pids))], syscall.SIGKILL); errors.Is(err, syscall.ESRCH) {
					err = nil // it has just ended
				}
			}
		}
		if err != nil {
			return done, err
		}
	}
}

func TestOverHTTPNoMoreIsAnsweredThanIsAllowed(t *testing.T) {
	sideBySide(t)
	source.LookAt(t, "../../api", "../../cmd", "../../supervisor", "../../worker", "../../limiter", "../../hostmem")
	policies := []policy{
		{Name: "Fast", rule: rule{200, time.Second, 200}},
		{Name: "Minute", rule: rule{1000, time.Minute, 1000}},
		{Name: "Exact", rule: rule{10, time.Second, 10}},
	}
	// Fail is closed: what a host lets pass by itself cannot be told from outside.
	// All come from 127.0.0.1, on each host its own, and are one client.
	var streams []stream
	var rules strings.Builder
	for i, p := range policies {
		perSec := 1.5 * float64(p.Limit) / p.Window.Seconds()
		streams = append(streams, stream{Charges: []charge{{Policy: i, Key: "127.0.0.1"}}, Arrive: "poisson", PerSec: max(perSec, 60)})
		fmt.Fprintf(&rules, "- {name: %s, per: [ip], operations: [%[1]s], limit: %d/%v, burst: %d, fail: closed}\n", p.Name, p.Limit, p.Window, p.Burst)
	}
	bin := t.TempDir()
	nekoctl, nekoAPI := filepath.Join(bin, "nekoctl"), filepath.Join(bin, "neko-api")
	must(t, source.Build(nekoctl, "../../cmd/nekoctl"))
	must(t, source.Build(nekoAPI, "../../cmd/neko-api"))

	s := newStage(t, policies, streams, oneRedis)
	for _, h := range s.hosts {
		h.slots = h.slots[:1] // clients
	}
	file := filepath.Join(bin, "limits.yaml")
	must(t, os.WriteFile(file, []byte(rules.String()), 0o600))
	var sites []*site
	for _, h := range s.hosts {
		sites = append(sites, h.install(nekoctl, nekoAPI, file))
	}
	for _, x := range sites {
		var said string
		for end := time.Now().Add(2 * patience); ; time.Sleep(50 * time.Millisecond) {
			var err error
			if said, err = run(x.ns, debian.Need(t, "curl", "curl"), "-sf", "http://127.0.0.1:"+apiPort+"/readyz"); err == nil {
				break
			}
			if time.Now().After(end) {
				t.Fatalf("neko-api on %s does not serve: %v %s\n%s", x.node, err, said, x.daemon.printed.String())
			}
		}
		x.http = "http://127.0.0.1:" + apiPort + "/graphql"
	}
	s.arrive()
	end := time.Now().Add(duration(t))
	var disturbing sync.WaitGroup
	var kills atomic.Int64
	for _, x := range sites {
		source := rand.New(rand.NewPCG(s.rand.Uint64(), 0))
		disturbing.Go(func() {
			done, err := x.disturb(end, source)
			if err != nil {
				t.Error(err)
			}
			kills.Add(int64(done["kill -9"]))
			t.Logf("%s: %v", x.node, done)
		})
	}
	disturbing.Wait()
	s.leave()
	e := s.evidence()
	e.describe()
	e.bound(nil)
	cut, closed := int64(0), 0
	for i := range e.requests {
		switch r := &e.requests[i]; {
		case r.Refused == noAnswer:
			cut++
		case r.is(alone):
			closed++
		}
	}
	t.Logf("to %d of %d requests the answer was that Redis does not answer", closed, len(e.requests))
	if part := float64(closed) / float64(len(e.requests)); part > e.tolerance() {
		t.Errorf("that is %.1f %%", 100*part)
	}
	t.Logf("%d requests have no answer, as one of %d workers was killed that had them", cut, kills.Load())
	if cut > 5*kills.Load() { // of twelve that share all, one has few at a time
		t.Error("that is too much")
	}
	for _, p := range s.clients {
		for line := range strings.Lines(p.printed.String()) {
			if strings.HasPrefix(line, "WRONG") {
				t.Errorf("%s: %s", p.name, line)
			}
		}
	}
}

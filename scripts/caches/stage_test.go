package caches

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/nekoctl/neko/limiter/redis/redistest"
	"github.com/nekoctl/neko/scripts/slowproxy"
)

const (
	hostsOfStage  = 3
	workersOfHost = 2
	patience      = time.Minute
)

// stage is some hosts with their workers, and what they share.
type stage struct {
	*testing.T
	dir    string
	store  *store
	redis  *redistest.Server
	hosts  []*host
	every  []*process
	faults []fault
	diary  []fault // of all that was done
	rand   *rand.Rand
	deaf   string
}

// host is a run folder with its workers, and its way to Redis.
type host struct {
	*stage
	number int
	runDir string
	proxy  *slowproxy.Proxy
	slots  []*process
}

func newStage(t *testing.T, config ...string) *stage {
	t.Helper()
	seed := uint64(time.Now().UnixNano())
	if text := os.Getenv(workerSeed); text != "" {
		var err error
		seed, err = strconv.ParseUint(text, 10, 64)
		must(t, err)
	}
	t.Logf("%s=%d repeats these choices", workerSeed, seed)
	s := &stage{T: t, dir: t.TempDir(), redis: redistest.Start(t, config...), rand: rand.New(rand.NewPCG(seed, 0))}
	var err error
	s.store, err = openStore(filepath.Join(s.dir, "store"))
	must(t, err)
	for i := range hostsOfStage {
		h := &host{stage: s, number: i, runDir: filepath.Join(s.dir, fmt.Sprint("host", i)), slots: make([]*process, workersOfHost)}
		must(t, os.Mkdir(h.runDir, 0o700))
		h.proxy, err = slowproxy.New(s.redis.Addr())
		must(t, err)
		t.Cleanup(h.proxy.Close)
		s.hosts = append(s.hosts, h)
	}
	return s
}

func (s *stage) arrive() {
	s.Helper()
	for _, h := range s.hosts {
		for i := range h.slots {
			h.slots[i] = h.launch()
		}
	}
	for _, p := range s.every {
		p.await()
	}
}

func (s *stage) leave() {
	s.Helper()
	for _, h := range s.hosts {
		for _, p := range h.slots {
			must(s.T, p.Process.Signal(syscall.SIGTERM))
		}
	}
	for _, h := range s.hosts {
		for _, p := range h.slots {
			select {
			case <-p.ended:
			case <-time.After(patience):
				s.Fatalf("a worker of host %d does not end:\n%s", h.number, p.err.String())
			}
			if !p.ProcessState.Success() {
				s.Errorf("a worker of host %d has ended badly: %v\n%s", h.number, p.ProcessState, p.err.String())
			}
		}
	}
}

// verdict is the judge's, of all that has happened.
func (s *stage) verdict() verdict {
	s.Helper()
	var lives []life
	for _, p := range s.every {
		records, err := readJournal(p.journal)
		if errors.Is(err, fs.ErrNotExist) {
			continue // it was killed before it had one
		}
		must(s.T, err)
		lives = append(lives, life{p.host.number, p.began, records, p.killed})
	}
	return judge(lives, s.faults)
}

// report says what was wrong, and what has happened about then.
func (s *stage) report(v *verdict) {
	s.Helper()
	if v.latest > soon {
		s.Log("the latest: ", s.around(v.latestRead))
	}
	for _, x := range v.violations {
		s.Error(s.around(x))
	}
}

// around has what was done shortly before, too.
func (s *stage) around(x finding) string {
	lines := []string{x.text}
	for _, e := range s.diary {
		if e.begin <= x.at && x.at <= e.end+int64(5*time.Second) {
			lines = append(lines, fmt.Sprintf("%s from %v to %v before", e.name,
				time.Duration(x.at-e.begin).Round(time.Millisecond), time.Duration(x.at-e.end).Round(time.Millisecond)))
		}
	}
	return strings.Join(lines, "\n\t")
}

// during has something be wrong for d.
func (s *stage) during(name string, host int, d time.Duration, begin, end func()) {
	s.Helper()
	f := fault{name: name, host: host, begin: monotonic()}
	begin()
	time.Sleep(d)
	end()
	f.end = monotonic()
	s.faults = append(s.faults, f)
}

// process is a worker.
type process struct {
	*exec.Cmd
	host    *host
	journal string
	ready   chan struct{}
	ended   chan struct{}
	err     safeBuffer
	began   int64
	killed  int64
}

// starter is an OS thread that ends with this process and not before: what it starts is killed then
// (PDEATHSIG looks at the thread).
var starter = sync.OnceValue(func() chan<- func() {
	work := make(chan func())
	go func() {
		runtime.LockOSThread()
		for f := range work {
			f()
		}
	}()
	return work
})

func (h *host) launch() *process {
	h.Helper()
	own, err := os.Executable()
	must(h.T, err)
	p := &process{Cmd: exec.Command(own), host: h, ready: make(chan struct{}), ended: make(chan struct{}),
		journal: filepath.Join(h.dir, fmt.Sprintf("journal-%d-%d", h.number, len(h.every)))}
	p.Env = append(os.Environ(), workerDir+"="+h.dir, workerJournal+"="+p.journal, workerRunDir+"="+h.runDir,
		workerRedis+"=redis://"+h.proxy.Addr(), workerSeed+"="+strconv.FormatUint(h.rand.Uint64(), 10), workerDeaf+"="+h.deaf)
	p.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	p.Stdout, p.Stderr = &announcer{ready: p.ready}, &p.err
	p.began = monotonic()
	started := make(chan error)
	starter() <- func() { started <- p.Start() }
	must(h.T, <-started)
	go func() {
		_ = p.Wait() // how it has ended is asked for in leave
		close(p.ended)
	}()
	h.every = append(h.every, p)
	h.Cleanup(func() { _ = p.Process.Kill(); <-p.ended })
	return p
}

func (p *process) await() {
	t := p.host.T
	t.Helper()
	select {
	case <-p.ready:
	case <-p.ended:
		t.Fatalf("a worker of host %d has ended:\n%s", p.host.number, p.err.String())
	case <-time.After(patience):
		t.Fatalf("a worker of host %d is not ready:\n%s", p.host.number, p.err.String())
	}
}

// replace kills a worker, with whatever it is doing, and starts another.
func (h *host) replace(slot int) {
	h.Helper()
	p := h.slots[slot]
	must(h.T, p.Process.Kill())
	<-p.ended
	p.killed = monotonic()
	h.slots[slot] = h.launch()
	h.slots[slot].await()
}

// announcer closes ready at the first thing that is printed.
type announcer struct {
	once  sync.Once
	ready chan struct{}
}

func (a *announcer) Write(text []byte) (int, error) {
	if strings.Contains(string(text), "ready") {
		a.once.Do(func() { close(a.ready) })
	}
	return len(text), nil
}

type safeBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *safeBuffer) Write(text []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.buf.Len() > 64<<10 {
		return len(text), nil
	}
	return b.buf.Write(text)
}

func (b *safeBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

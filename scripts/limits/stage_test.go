package limits

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/nekoctl/neko/hostmem"
)

const (
	hostsOfStage = 3
	slotsOfHost  = 4
	patience     = time.Minute // for what takes milliseconds on a machine with nothing else to do
)

// stage is some hosts with their workers, and a Redis that they share.
type stage struct {
	*testing.T
	network *network
	dir     string
	terms   terms
	hosts   []*host
	servers []*server // Redis's
	rand    *rand.Rand
	every   []string // the journals of all workers that ever were
	clients []*process
	emptied map[owner]int64 // buckets that had nothing in them, and when
}

// host is a machine, as far as a worker can tell: a network and a run folder.
type host struct {
	*stage
	number int
	node   string // its name
	ns     *os.File
	runDir string
	slots  []*process
	up     bool
	redis  string // its URL from here
	path   *path  // to it; nil: nothing is between
	http   string // a URL of neko-api's that decides; "": workers do
}

// newStage starts no worker yet. What Redis there is is redis's, which returns its URL.
func newStage(t *testing.T, policies []policy, streams []stream, redis func(*stage) string) *stage {
	t.Helper()
	return newStageOf(t, hostsOfStage, policies, streams, redis)
}

func newStageOf(t *testing.T, hosts int, policies []policy, streams []stream, redis func(*stage) string) *stage {
	t.Helper()
	s := &stage{T: t, network: newNetwork(t, hosts)}
	s.prepare(policies, streams)
	url := redis(s)
	for i, ns := range s.network.hosts {
		s.addHost(i, ns, url)
	}
	return s
}

// prepare is what a stage needs of any kind.
func (s *stage) prepare(policies []policy, streams []stream) {
	s.Helper()
	seed := uint64(time.Now().UnixNano())
	if text := os.Getenv("NEKO_LIMITS_SEED"); text != "" {
		var err error
		seed, err = strconv.ParseUint(text, 10, 64)
		must(s.T, err)
	}
	s.Logf("NEKO_LIMITS_SEED=%d repeats these choices", seed)
	s.rand = rand.New(rand.NewPCG(seed, 0))
	s.dir, s.emptied = memory(s.T), map[owner]int64{}
	s.terms = terms{Policies: policies, Streams: streams, Buckets: hostmem.DefaultBuckets}
	perSec := 60.0 // those of watch
	for _, x := range streams {
		perSec += x.PerSec // one process may have nearly all of it for a while
	}
	s.terms.Room = int64(perSec*(duration(s.T).Seconds()+60)) + 10_000
}

func (s *stage) termsFile() string { return filepath.Join(s.dir, "terms") }

func (s *stage) addHost(i int, ns *os.File, url string) {
	h := &host{stage: s, number: i, ns: ns, node: "host" + strconv.Itoa(i), redis: url, slots: make([]*process, slotsOfHost)}
	s.hosts = append(s.hosts, h)
	h.boot()
}

// duration is how long a run is.
func duration(t *testing.T) time.Duration {
	t.Helper()
	if !isLong() {
		return 4 * time.Second
	}
	d, err := time.ParseDuration(os.Getenv(howLong))
	must(t, err)
	return d
}

const howLong = "NEKO_LIMITS"

func isLong() bool { return os.Getenv(howLong) != "" }

// sideBySide has a short run share the machine with others: most of it is waiting.
func sideBySide(t *testing.T) {
	if !isLong() {
		t.Parallel()
	}
}

// longOnly is for what others show in less time, without a load.
func longOnly(t *testing.T) {
	t.Helper()
	if !isLong() {
		t.Skip(howLong + "=1m has it run")
	}
}

// boot gives a host a run folder with nothing in it, as after a start of the machine.
func (h *host) boot() {
	h.Helper()
	var err error
	h.runDir, err = os.MkdirTemp(h.dir, h.node+"-")
	must(h.T, err)
}

// launch starts a worker, which is not ready yet.
func (h *host) launch(slot int) *process {
	h.Helper()
	name := fmt.Sprintf("%s-%d-%d", h.node, slot, len(h.every))
	j := filepath.Join(h.dir, "journal-"+name)
	h.every = append(h.every, j)
	own, err := os.Executable()
	must(h.T, err)
	value := func(name string, n int) string { return name + "=" + strconv.Itoa(n) }
	p, err := start(h.ns, name, "ready\n", []string{
		workerTerms + "=" + h.termsFile(), workerJournal + "=" + j, workerRunDir + "=" + h.runDir, workerRedis + "=" + h.redis, apiClient + "=" + h.http,
		value(workerHost, h.number), value(workerHosts, len(h.hosts)), value(workersOfHost, len(h.slots)), value(workerSeed, int(h.rand.Int32())),
		"GOMAXPROCS=1",
	}, own)
	must(h.T, err)
	h.Cleanup(p.close)
	h.clients = append(h.clients, p)
	return p
}

// arrive has a host's workers run.
func (h *host) arrive() {
	h.Helper()
	for i := range h.slots {
		h.slots[i] = h.launch(i)
	}
	for _, p := range h.slots {
		must(h.T, p.await(patience))
	}
	h.up = true
}

// leave has them end well.
func (h *host) leave() {
	h.Helper()
	h.up = false
	for _, p := range h.slots {
		must(h.T, p.signal(syscall.SIGTERM))
	}
	for _, p := range h.slots {
		must(h.T, p.awaitEnd(patience))
	}
}

// lose has the host lose its power: what its workers know is gone, too.
func (h *host) lose() {
	h.Helper()
	h.up = false
	for _, p := range h.slots {
		must(h.T, p.signal(syscall.SIGKILL))
	}
	for _, p := range h.slots {
		<-p.ended
	}
	h.boot()
}

// replace kills a worker and starts another.
func (h *host) replace(slot int) {
	h.Helper()
	must(h.T, h.slots[slot].kill())
	h.slots[slot] = h.launch(slot)
	must(h.T, h.slots[slot].await(patience))
}

// reload is neko's: a successor is ready before its predecessor is told to end.
func (h *host) reload(slot int) {
	h.Helper()
	next := h.launch(slot)
	must(h.T, next.await(patience))
	must(h.T, h.slots[slot].end(patience))
	h.slots[slot] = next
}

// arrive has all workers of all hosts run, and then begins the load.
func (s *stage) arrive() {
	s.Helper()
	text, err := json.Marshal(s.terms)
	must(s.T, err)
	must(s.T, os.WriteFile(s.termsFile(), text, 0o600))
	for _, h := range s.hosts {
		for i := range h.slots {
			h.slots[i] = h.launch(i)
		}
	}
	for _, h := range s.hosts {
		for _, p := range h.slots {
			must(s.T, p.await(patience))
		}
		h.up = true
	}
	file := s.termsFile() + startSuffix
	must(s.T, os.WriteFile(file+".new", strconv.AppendInt(nil, monotonic(), 10), 0o600))
	must(s.T, os.Rename(file+".new", file))
}

func (s *stage) leave() {
	s.Helper()
	for _, h := range s.hosts {
		if h.up {
			h.leave()
		}
	}
}

// churn does to workers and hosts what happens to them, for d: one thing after the other,
// but who stands still does so meanwhile.
func (s *stage) churn(d time.Duration, kinds int) {
	s.Helper()
	done := map[string]int{}
	away := map[*host]time.Time{}     // until when
	still := map[*process]time.Time{} // until when
	goOn := func(p *process) {
		if _, is := still[p]; is {
			must(s.T, p.signal(syscall.SIGCONT))
			delete(still, p)
		}
	}
	for end := time.Now().Add(d); time.Now().Before(end); {
		time.Sleep(min(time.Duration(20+s.rand.IntN(250))*time.Millisecond, time.Until(end)))
		for p, until := range still {
			if time.Now().After(until) {
				goOn(p)
			}
		}
		h, slot, soon := s.hosts[s.rand.IntN(len(s.hosts))], s.rand.IntN(slotsOfHost), time.Duration(s.rand.IntN(2000))*time.Millisecond
		if until, gone := away[h]; gone {
			if time.Now().After(until) {
				delete(away, h)
				h.arrive()
				done["a host comes"]++
			}
			continue
		}
		p := h.slots[slot]
		switch n := s.rand.IntN(kinds); {
		case n < 6: // also who stands still
			done["kill -9"]++
			delete(still, p)
			h.replace(slot)
		case n < 11:
			done["reload"]++
			goOn(p)
			h.reload(slot)
		case n < workerEvents:
			done["SIGSTOP"]++
			must(s.T, p.signal(syscall.SIGSTOP))
			still[p] = time.Now().Add(soon)
		case n < 18 && len(away) == 0:
			done["a host goes"]++
			for _, p := range h.slots {
				goOn(p)
			}
			h.leave()
			away[h] = time.Now().Add(soon)
		case len(away) == 0:
			done["a host loses power"]++
			for _, p := range h.slots {
				delete(still, p)
			}
			h.lose()
			away[h] = time.Now().Add(soon)
		}
	}
	for p := range still {
		goOn(p)
	}
	for h := range away {
		h.arrive()
	}
	s.Logf("in %v: %v", d, done)
}

// The kinds of events: those of workers come first.
const (
	workerEvents = 16
	allEvents    = 20
)

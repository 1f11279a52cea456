package supervisor

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nekoctl/neko/supervisor/metrics"
)

// Each process is offered a socket to answer GET /metrics on (NEKO_METRICS_SOCKET), in the
// run folder of its app, and leaves what it has counted last in a file beside it when it
// ends in order. One goroutine, [master.collect], asks all of them every collectEvery, and
// whenever somebody asks us; it has the accounts of what all processes of an app have ever
// counted (package metrics), and writes them down where the next master finds them
// (counted.go). The loop only tells it who there is, and who has ended.
//
// The folder is the app's, perhaps another user's: what lies there is opened without
// following links, and believed only if it is whose it should be.

const (
	collectEvery = 5 * time.Second
	// collectTime is how long a process has to answer. All are asked at once, so many at
	// a time; who comes too late counts with what it said before.
	collectTime   = time.Second
	collectAtOnce = 16
	// longestUnasked is between two questions to a process that gives no good answers.
	longestUnasked = time.Minute
	// mostNames of a run folder are looked at. A new master reads for restoreTime what is
	// left there by processes of which nothing is written down.
	mostNames   = 10_000
	restoreTime = 3 * time.Second
)

// metricsSocket is the name of a process's socket in its run folder.
func metricsSocket(launch int64) string { return "metrics-" + strconv.FormatInt(launch, 10) }

// lastCounted is added to that for the file with what it has counted last.
const lastCounted = ".last"

// collector is the goroutine's; others use only what is behind mu.
type collector struct {
	accounts map[string]*appAccount // by the unique ids of apps
	asked    map[metrics.ProcessID]*asking
	taken    time.Duration // by the last look at all of them
	retired  []retired     // whose files are to be removed when it is written that they are counted

	daemon  daemonCounts
	saved   countedState // what was loaded, until it is restored; then only its Sequence
	place   string       // of the file; "": there is none
	warning string       // why there is none, and should be
	dirty   bool         // something was counted since it was written

	restored bool
	refused  map[string]bool // families, of which neko.log tells

	mu    sync.Mutex
	ended []func() // processes that have ended and apps that are gone, in their order
	wants []*scrape
	wake  chan struct{}
	done  chan struct{} // closed when the goroutine has ended
}

func newCollector() *collector {
	return &collector{
		accounts: map[string]*appAccount{}, asked: map[metrics.ProcessID]*asking{},
		wake: make(chan struct{}, 1), done: make(chan struct{}),
	}
}

// appAccount is what is known of one app.
type appAccount struct {
	name string
	dir  string // its run folder, as last seen
	countedApp
	lost map[string]uint64 // lines that are in Lost, by the paths of this master's logs
}

// cpuAccount sums the time that the processes of an app have used, in clock ticks.
type cpuAccount struct {
	Total uint64                       `json:"total"`
	Told  map[metrics.ProcessID]uint64 `json:"told,omitempty"` // that is in it, by processes that have not ended
}

func (c *cpuAccount) observe(id metrics.ProcessID, ticks uint64) (changed bool) {
	if before := c.Told[id]; ticks > before {
		if c.Told == nil {
			c.Told = map[metrics.ProcessID]uint64{}
		}
		c.Told[id] = ticks
		c.Total += ticks - before
		return true
	}
	return false
}

// asking is how it goes with a process.
type asking struct {
	failures int // in a row
	notUntil time.Time
	problem  string // the last, "" if there is none
}

// source is a process as the loop shows it.
type source struct {
	app    string // unique id
	name   string
	dir    string
	id     metrics.ProcessID
	pid    int
	slot   int
	serves bool
	ticks  uint64
	sample bool // its ticks are not known yet
}

// scrape is a question to us.
type scrape struct {
	about  []string // names of apps; nil: all
	worker bool     // by worker
	answer chan []byte
}

// later has the collector do f in its turn. It never waits, and may be called in the loop.
func (c *collector) later(f func()) {
	c.mu.Lock()
	c.ended = append(c.ended, f)
	c.mu.Unlock()
	c.stir()
}

func (c *collector) stir() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// metricsText asks all processes, and returns what is to be told of them.
func (m *master) metricsText(about []string, worker bool) ([]byte, error) {
	s := &scrape{about: about, worker: worker, answer: make(chan []byte, 1)}
	c := m.collector
	c.mu.Lock()
	c.wants = append(c.wants, s)
	c.mu.Unlock()
	c.stir()
	select {
	case text := <-s.answer:
		return text, nil
	case <-c.done:
		return nil, errStopping
	}
}

// collect goes on as long as the master.
func (m *master) collect() {
	c := m.collector
	defer close(c.done)
	m.restoreCounted()
	tick := time.NewTicker(collectEvery)
	defer tick.Stop()
	for over := false; !over; {
		due := false
		select {
		case <-tick.C:
			due = true
			m.do(m.reopenMetrics)
		case <-c.wake:
		case <-m.ended:
			over = true
		}
		// Who wants to know is told of all that has ended before it asked.
		c.mu.Lock()
		wants := c.wants
		c.wants = nil
		c.mu.Unlock()
		if due || len(wants) > 0 {
			m.collectAll(len(wants) > 0)
		}
		c.mu.Lock()
		ended := c.ended
		c.ended = nil
		c.mu.Unlock()
		for _, f := range ended {
			f()
		}
		texts := make([][]byte, len(wants))
		for i, s := range wants {
			texts[i] = m.expose(s)
		}
		m.saveCounted() // before anybody is told
		m.removeRetired()
		for i, s := range wants {
			s.answer <- texts[i]
		}
	}
}

// account is that of an app, made if there is none.
func (c *collector) account(id, name, dir string) *appAccount {
	a := c.accounts[id]
	if a == nil {
		a = &appAccount{countedApp: countedApp{Account: metrics.NewAccount()}}
		c.accounts[id] = a
	}
	a.name, a.dir = name, dir
	return a
}

// sources are copied in the loop.
func (m *master) sources() (list []source) {
	m.do(func() {
		for _, p := range m.processes {
			list = append(list, p.source())
		}
	})
	return list
}

func (p *process) source() source {
	a := p.slot.app
	return source{
		app: a.uniqueID, name: a.name, dir: a.runDir, id: metrics.ProcessID(p.launch), pid: p.PID, slot: p.slot.index,
		serves: p.slot.serving == p || p.slot.serving == nil && p.slot.standIn == p, ticks: p.usage.ticks, sample: p.usage.at.IsZero(),
	}
}

// collectAll asks all processes that have made their sockets.
func (m *master) collectAll(asked bool) {
	c := m.collector
	began := time.Now()
	list := m.sources()
	ctx, cancel := context.WithTimeout(context.Background(), collectTime)
	defer cancel()
	type answer struct {
		page metrics.Page
		err  error
	}
	// Who answers goes first, so that those who do not take nobody's time but their own.
	slices.SortStableFunc(list, func(a, b source) int { return c.failuresOf(a.id) - c.failuresOf(b.id) })
	answers := make([]*answer, len(list))
	free := make(chan struct{}, collectAtOnce)
	var work sync.WaitGroup
	for i, s := range list {
		if how := c.asked[s.id]; s.dir == "" || how != nil && began.Before(how.notUntil) {
			continue
		}
		if _, err := os.Lstat(filepath.Join(s.dir, metricsSocket(int64(s.id)))); err != nil {
			continue // it has nothing to tell, or not yet
		}
		select {
		case free <- struct{}{}:
		case <-ctx.Done():
		}
		if ctx.Err() != nil {
			break // it is no fault of those who have not been asked
		}
		answers[i] = &answer{}
		work.Add(1)
		go func() {
			defer func() {
				<-free
				work.Done()
			}()
			answers[i].page, answers[i].err = askForMetrics(ctx, s)
		}()
	}
	work.Wait()
	for i, s := range list {
		if answers[i] != nil {
			m.takeDown(s, answers[i].page, answers[i].err)
		}
		if !asked {
			continue // nobody wants to know
		}
		if s.sample {
			u, _ := readUsage(s.pid) // leaves 0
			s.ticks = u.ticks
		}
		if c.account(s.app, s.name, s.dir).CPU.observe(s.id, s.ticks) {
			c.dirty = true
		}
	}
	living := map[metrics.ProcessID]bool{}
	for _, s := range list {
		living[s.id] = true
	}
	for id := range c.asked {
		if !living[id] {
			delete(c.asked, id)
		}
	}
	c.taken = time.Since(began)
}

func (c *collector) failuresOf(id metrics.ProcessID) int {
	if how := c.asked[id]; how != nil {
		return how.failures
	}
	return 0
}

// takeDown counts an answer.
func (m *master) takeDown(s source, page metrics.Page, err error) {
	c := m.collector
	if err != nil && m.goes(s) {
		return // it may have no more to say than what it leaves
	}
	how := c.asked[s.id]
	if how == nil {
		how = &asking{}
		c.asked[s.id] = how
	}
	a := c.account(s.app, s.name, s.dir)
	if err == nil {
		how.failures = 0
		moves := a.Account.Moves()
		err = a.Account.Observe(s.id, page)
		c.dirty = c.dirty || a.Account.Moves() != moves
	} else {
		how.failures++
		how.notUntil = time.Now().Add(min(collectEvery<<min(how.failures, 10)-collectEvery, longestUnasked))
	}
	problem := ""
	if err != nil {
		a.Failures++
		c.dirty = true
		problem = err.Error()
	}
	if (problem == "") != (how.problem == "") {
		if problem != "" {
			m.log("the metrics of %s:%d (pid %d) cannot be had: %s", s.name, s.slot, s.pid, problem)
		}
		m.do(func() {
			if p := m.processes[s.pid]; p != nil && metrics.ProcessID(p.launch) == s.id {
				p.metricsProblem = problem
			}
		})
	}
	how.problem = problem
}

// goes says that a process has ended since it was asked, or is about to.
func (m *master) goes(s source) bool {
	gone := true
	m.do(func() {
		p := m.processes[s.pid]
		gone = p == nil || metrics.ProcessID(p.launch) != s.id || p.leaving
	})
	return gone
}

// askForMetrics asks one process. What is at the end of its socket must be itself, or of
// the user whose folder it is: else it could have us speak to somebody in its place.
func askForMetrics(ctx context.Context, s source) (metrics.Page, error) {
	dir, uid, err := openRunDir(s.dir)
	if err != nil {
		return nil, err
	}
	defer unix.Close(dir)
	place, err := unix.Openat(dir, metricsSocket(int64(s.id)), unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open its socket: %w", err)
	}
	defer unix.Close(place)
	var stat unix.Stat_t
	if err := unix.Fstat(place, &stat); err != nil || stat.Mode&unix.S_IFMT != unix.S_IFSOCK {
		return nil, errors.New("what has the name of its socket is none")
	}
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "unix", fmt.Sprintf("/proc/self/fd/%d", place))
	if err != nil {
		return nil, errors.Unwrap(err)
	}
	defer conn.Close()
	cred, err := peerOf(conn.(*net.UnixConn))
	if err != nil {
		return nil, err
	}
	if int(cred.Pid) != s.pid && cred.Uid != uid {
		return nil, fmt.Errorf("its socket is one of uid %d, and not its own", cred.Uid)
	}
	if deadline, ok := ctx.Deadline(); ok {
		_ = conn.SetDeadline(deadline) // fails for closed connections only
	}
	const question = "GET /metrics HTTP/1.1\r\nHost: neko\r\nAccept: text/plain;version=0.0.4\r\nConnection: close\r\n\r\n"
	if _, err := io.WriteString(conn, question); err != nil {
		return nil, tooLate(err)
	}
	in := bufio.NewReader(io.LimitReader(conn, metrics.MaxBytes+64<<10)) // headers, and the marks of chunks
	response, err := http.ReadResponse(in, nil)
	if err != nil {
		return nil, tooLate(err)
	}
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("it answers %d", response.StatusCode)
	}
	text, err := io.ReadAll(io.LimitReader(response.Body, metrics.MaxBytes+1))
	if err != nil && len(text) <= metrics.MaxBytes {
		return nil, tooLate(err)
	}
	reading.Lock()
	defer reading.Unlock()
	return metrics.Parse(text, "app", "worker")
}

// reading lets one page be read after the other: each takes some times its length.
var reading sync.Mutex

func tooLate(err error) error {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return fmt.Errorf("it did not answer within %s", collectTime)
	}
	return fmt.Errorf("it gives no answer: %.200s", strings.ToValidUTF8(err.Error(), "?"))
}

// openRunDir opens a run folder, whose parent is ours, and says whose it is.
func openRunDir(dir string) (fd int, uid uint32, err error) {
	if fd, err = unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0); err != nil {
		return -1, 0, fmt.Errorf("open %s: %w", dir, err)
	}
	var stat unix.Stat_t
	if err = unix.Fstat(fd, &stat); err != nil {
		unix.Close(fd)
		return -1, 0, err
	}
	return fd, stat.Uid, nil
}

// retired is a process that has ended.
type retired struct {
	app string
	id  metrics.ProcessID
	dir string
}

// retireMetrics is called in the loop when a process has ended.
func (m *master) retireMetrics(p *process) {
	s := p.source()
	if !p.adopted { // or it is reaped, and the pid may be another's
		if u, err := readUsage(p.PID); err == nil {
			s.ticks = u.ticks
		}
	}
	m.collector.later(func() { m.retire(s) })
}

// retire counts what a process has counted last.
func (m *master) retire(s source) {
	c := m.collector
	if slices.ContainsFunc(c.retired, func(r retired) bool { return r.app == s.app && r.id == s.id }) {
		return // its file is there still, and counted
	}
	a := c.account(s.app, s.name, s.dir)
	page, err := readLast(s)
	if page != nil {
		err = a.Account.Observe(s.id, page)
	}
	if err != nil {
		m.log("what pid %d of %s:%d has counted last cannot be had: %v", s.pid, s.name, s.slot, err)
		a.Failures++
	}
	delete(c.asked, s.id)
	a.CPU.observe(s.id, s.ticks)
	delete(a.CPU.Told, s.id)
	a.Account.Retire(s.id)
	c.dirty = true
	c.retired = append(c.retired, retired{s.app, s.id, s.dir})
}

// readLast reads the file that a process has left, nil if there is none.
func readLast(s source) (metrics.Page, error) {
	if s.dir == "" {
		return nil, nil
	}
	dir, uid, err := openRunDir(s.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer unix.Close(dir)
	fd, err := unix.Openat(dir, metricsSocket(int64(s.id))+lastCounted, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	file := os.NewFile(uintptr(fd), "last")
	defer file.Close()
	var stat unix.Stat_t
	if err := unix.Fstat(fd, &stat); err != nil {
		return nil, err
	}
	if stat.Mode&unix.S_IFMT != unix.S_IFREG || stat.Uid != uid {
		return nil, errors.New("what it has left is no file of its own")
	}
	text, err := io.ReadAll(io.LimitReader(file, metrics.MaxBytes+1))
	if err != nil {
		return nil, err
	}
	return metrics.Parse(text, "app", "worker")
}

// removeRetired removes the files of processes that are counted, which is written down.
func (m *master) removeRetired() {
	c := m.collector
	for _, r := range c.retired {
		removeMetricsFiles(r.dir, int64(r.id))
	}
	c.retired = nil
}

// removeMetricsFiles removes a process's socket, its file, and what it was about to make
// them of.
func removeMetricsFiles(dir string, launch int64) {
	if dir == "" {
		return
	}
	folder, err := os.Open(dir)
	if err != nil {
		return // it went with its app
	}
	defer folder.Close()
	own := metricsSocket(launch)
	for _, name := range []string{own, own + lastCounted} { // however many others there are
		_ = unix.Unlinkat(int(folder.Fd()), name, 0)
	}
	names, _ := folder.Readdirnames(mostNames)
	for _, name := range names {
		if strings.HasPrefix(name, own+".") {
			_ = unix.Unlinkat(int(folder.Fd()), name, 0) // it is the app's affair what else it has made there
		}
	}
}

// forgetMetrics is called in the loop when an app is deleted.
func (m *master) forgetMetrics(a *app) {
	id := a.uniqueID
	c := m.collector
	c.later(func() {
		delete(c.accounts, id)
		c.dirty = true
	})
}

// servingOf are the processes that serve in the slots of an app, by the numbers of these.
func servingOf(list []source, app string) map[metrics.ProcessID]string {
	serving := map[metrics.ProcessID]string{}
	for _, s := range list {
		if s.app == app && s.serves {
			serving[s.id] = strconv.Itoa(s.slot)
		}
	}
	return serving
}

func wanted(about []string, name string) bool { return about == nil || slices.Contains(about, name) }

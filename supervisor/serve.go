package supervisor

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nekoctl/neko/supervisor/control"
	"github.com/nekoctl/neko/supervisor/home"
	"github.com/nekoctl/neko/supervisor/keeper"
)

// serveControl answers the control API. The keeper holds the socket as well:
// while there is no master, clients wait for the next.
func (m *master) serveControl(in *keeper.Inheritance) error {
	fd := -1
	if fds := in.Files["control"]; len(fds) == 1 {
		fd = fds[0]
	} else {
		var err error
		if fd, err = listenControl(m.home); err != nil {
			return err
		}
		if err := m.conn.Put("control", fd); err != nil {
			return err
		}
	}
	m.held["control"] = []int{fd}
	var err error
	if m.listener, err = listenerOf(fd); err != nil {
		return err
	}
	m.accepting = make(chan struct{})
	m.listener.(*net.UnixListener).SetUnlinkOnClose(false)
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/ping", m.servePing)
	mux.HandleFunc("GET /v1/processes", m.serveProcesses)
	mux.HandleFunc("GET /v1/apps/{name}", m.serveApp)
	mux.HandleFunc("GET /v1/apps", m.serveApps)
	mux.HandleFunc("GET /v1/specs", m.serveSpecs)
	mux.HandleFunc("GET /v1/daemon", m.serveDaemon)
	mux.HandleFunc("GET /v1/events", m.serveEvents)
	mux.HandleFunc("GET /v1/metrics", m.serveMetrics)
	mux.HandleFunc("POST /v1/start", command(m, func(r reporter, q control.StartRequest) (subject, []string, error) {
		about := subject{targets: q.Targets}
		for _, app := range q.Apps {
			about.names = append(about.names, app.Name)
		}
		if len(q.Targets) > 0 {
			notes, err := m.startKnown(r, q.Targets)
			if err != nil || len(q.Apps) == 0 {
				return about, notes, err
			}
		}
		notes, err := m.start(r, q.Apps, startOptions{daemon: q.Daemon, reload: q.Reload, restart: q.Restart, parallel: q.Parallel})
		return about, notes, err
	}))
	mux.HandleFunc("POST /v1/resurrect", command(m, func(r reporter, q control.ResurrectRequest) (subject, []string, error) {
		var about subject
		for _, s := range q.Apps {
			about.names = append(about.names, s.App.Name)
		}
		notes, err := m.resurrect(r, q.Apps, q.Daemon)
		return about, notes, err
	}))
	rolled := func(f func(reporter, control.TargetRequest) ([]string, error)) http.HandlerFunc {
		return command(m, func(r reporter, q control.TargetRequest) (subject, []string, error) {
			notes, err := f(r, q)
			return subject{targets: q.Targets}, notes, err
		})
	}
	target := func(f func(reporter, []string) error) http.HandlerFunc {
		return command(m, func(r reporter, q control.TargetRequest) (subject, []string, error) {
			return subject{targets: q.Targets}, nil, f(r, q.Targets)
		})
	}
	mux.HandleFunc("POST /v1/stop", rolled(func(r reporter, q control.TargetRequest) ([]string, error) {
		return nil, m.stop(r, q.Targets, q.Unwatch)
	}))
	mux.HandleFunc("POST /v1/restart", rolled(func(r reporter, q control.TargetRequest) ([]string, error) {
		return nil, m.restart(r, q.Targets, q.Parallel)
	}))
	mux.HandleFunc("POST /v1/reload", rolled(func(r reporter, q control.TargetRequest) ([]string, error) {
		return m.reload(r, q.Targets, q.Parallel)
	}))
	mux.HandleFunc("POST /v1/reset", target(func(_ reporter, targets []string) error { return m.reset(targets) }))
	mux.HandleFunc("POST /v1/signal", command(m, func(_ reporter, q control.SignalRequest) (subject, []string, error) {
		return subject{targets: q.Targets}, nil, m.sendSignal(q)
	}))
	mux.HandleFunc("POST /v1/delete", target(m.delete))
	mux.HandleFunc("POST /v1/flush", target(func(_ reporter, targets []string) error { return m.flush(targets) }))
	mux.HandleFunc("POST /v1/reopen", target(func(reporter, []string) error { return m.reopenLogs() }))
	mux.HandleFunc("POST /v1/scale", command(m, func(r reporter, q control.ScaleRequest) (subject, []string, error) {
		return subject{targets: []string{q.Name}}, nil, m.scale(r, q.Name, q.Instances)
	}))
	mux.HandleFunc("POST /v1/send", command(m, func(_ reporter, q control.SendRequest) (subject, []string, error) {
		return subject{targets: q.Targets}, nil, m.send(q)
	}))
	mux.HandleFunc("POST /v1/trigger", command(m, func(r reporter, q control.TriggerRequest) (subject, []string, error) {
		return subject{}, nil, m.runAction(r, q)
	}))
	mux.HandleFunc("POST /v1/upgrade", command(m, func(r reporter, q control.UpgradeRequest) (subject, []string, error) {
		return subject{}, nil, m.upgrade(r, q.Program, 1)
	}))
	mux.HandleFunc("POST /v1/kill", command(m, func(r reporter, _ struct{}) (subject, []string, error) {
		m.do(func() { m.lookOn(r) })
		m.shutdown("kill")
		return subject{}, nil, nil
	}))
	server := &http.Server{
		Handler: mux, ReadHeaderTimeout: 5 * time.Second, MaxHeaderBytes: 16 << 10,
		ConnState: func(_ net.Conn, state http.ConnState) {
			switch state {
			case http.StateNew:
				m.clients.Add(1)
			case http.StateClosed:
				m.clients.Done()
			}
		},
	}
	server.SetKeepAlivesEnabled(false)
	go func() {
		defer close(m.accepting)
		_ = server.Serve(ownOnly{m.listener}) // until it is closed
	}()
	return nil
}

// listenerOf accepts by way of a descriptor that stays the caller's.
func listenerOf(fd int) (net.Listener, error) {
	dup, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	file := os.NewFile(uintptr(dup), "control")
	defer file.Close()
	return net.FileListener(file)
}

// finishControl answers all whose connection was accepted; those that still wait
// are the next master's. The server's own Shutdown would drop what has not been
// read yet.
func (m *master) finishControl() {
	m.listener.Close()
	<-m.accepting
	answered := make(chan struct{})
	go func() {
		m.clients.Wait()
		close(answered)
	}()
	select {
	case <-answered:
	case <-time.After(5 * time.Second): // a client that says nothing
	}
}

// listenControl binds the socket by a short path, for sun_path holds 108 bytes
// and homes may be longer.
func listenControl(h home.Dir) (int, error) {
	if err := os.Remove(h.Control()); err != nil && !os.IsNotExist(err) {
		return -1, err
	}
	dir, err := unix.Open(string(h), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("open %s: %w", h, err)
	}
	defer unix.Close(dir)
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	name := h.Control()[len(h)+1:]
	err = unix.Bind(fd, &unix.SockaddrUnix{Name: fmt.Sprintf("/proc/self/fd/%d/%s", dir, name)})
	if err == nil {
		err = os.Chmod(h.Control(), 0o600)
	}
	if err == nil {
		err = unix.Listen(fd, 128)
	}
	if err != nil {
		unix.Close(fd)
		return -1, fmt.Errorf("listen on %s: %w", h.Control(), err)
	}
	return fd, nil
}

// ownOnly accepts clients of our own user and root.
type ownOnly struct{ net.Listener }

func (l ownOnly) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		cred, err := peerOf(conn.(*net.UnixConn))
		if err == nil && (cred.Uid == 0 || int(cred.Uid) == syscall.Geteuid()) {
			return conn, nil
		}
		conn.Close()
	}
}

// peerOf says who is at the other end of a connection, or had it listen there.
func peerOf(conn *net.UnixConn) (cred *unix.Ucred, err error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return nil, err
	}
	controlErr := raw.Control(func(fd uintptr) { cred, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) })
	return cred, errors.Join(controlErr, err)
}

func answer(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) // the client has gone
}

// look is do for an answer to a client. If this master has ended the client gets
// none, and asks the next one.
func (m *master) look(f func()) {
	looked := false
	m.do(func() {
		f()
		looked = true
	})
	if !looked {
		panic(http.ErrAbortHandler)
	}
}

func (m *master) servePing(w http.ResponseWriter, _ *http.Request) {
	var p control.Ping
	m.look(func() {
		p = control.Ping{
			Version: m.version, Keeper: m.keeper.PID, KeeperVersion: m.keeper.Version, Master: os.Getpid(),
			Home: string(m.home), Metrics: m.metricsAddress(), Upgrading: m.upgrading, UpgradeFailed: m.upgradeFailed, Warnings: m.warningList(),
		}
	})
	answer(w, http.StatusOK, p)
}

func (m *master) serveProcesses(w http.ResponseWriter, _ *http.Request) {
	list := []control.Process{}
	m.look(func() {
		for _, s := range m.slots() {
			list = append(list, s.show())
		}
	})
	slices.SortFunc(list, func(a, b control.Process) int { return a.ID - b.ID })
	answer(w, http.StatusOK, list)
}

// identity is what a slot is called.
func (s *slot) identity() control.Process {
	a := s.app.spec
	return control.Process{ID: s.id, Name: s.app.name, Title: a.Title, Namespace: a.NamespaceName(), Slot: s.index}
}

// show is the slot as the world sees it.
func (s *slot) show() control.Process {
	v := s.identity()
	v.State, v.Restarts, v.Listeners, v.Reason = s.state, s.restarts, []string{}, s.reason
	if p := s.shown(); p != nil {
		v.PID = p.PID
		v.UptimeMS = time.Since(p.startedAt).Milliseconds()
		if p.usage.at.IsZero() { // younger than the sampling
			p.usage, _ = readUsage(p.PID)
		}
		v.MemoryBytes, v.CPUPercent = p.usage.memory, p.usage.cpu
	}
	if s.serving != nil {
		v.Unready = s.serving.unready
		v.Metrics, v.Actions = s.serving.saysOfItself()
	}
	for _, g := range s.app.groups {
		if g.Len() == 0 {
			continue
		}
		if g.Network == "unix" {
			v.Listeners = append(v.Listeners, "unix:"+g.Address)
		} else {
			v.Listeners = append(v.Listeners, g.Address)
		}
	}
	return v
}

func (m *master) serveApp(w http.ResponseWriter, r *http.Request) {
	list, err := m.choose([]string{r.PathValue("name")})
	m.look(func() {}) // or it would seem that there is no such app
	if err != nil || len(list) != 1 {
		var e *control.Error
		if !errors.As(err, &e) {
			e = failure("give an id; `nekoctl list` shows them", "%q is not one app, but %d", r.PathValue("name"), len(list))
		}
		answer(w, http.StatusNotFound, e)
		return
	}
	var d control.AppDetail
	m.look(func() {
		d = m.detail(list[0])
		d.Spec.Env, d.Spec.PM2 = hideSecrets(d.Spec.Env), nil // in which other environments are, too
	})
	answer(w, http.StatusOK, d)
}

// serveApps hides nothing: who may ask can read the environment of the processes, too.
func (m *master) serveApps(w http.ResponseWriter, _ *http.Request) {
	list := []control.AppDetail{}
	m.look(func() {
		for _, name := range m.order {
			list = append(list, m.detail(chosen{app: m.apps[name]}))
		}
	})
	answer(w, http.StatusOK, list)
}

// detail is all about an app, or about it and one slot. Nobody changes a spec, so that
// it can be read outside of the loop.
func (m *master) detail(c chosen) control.AppDetail {
	d := control.AppDetail{
		Name: c.app.name, Spec: *c.app.spec, URL: announceURL(c.app), UniqueID: c.app.uniqueID, Processes: []control.ProcessExtra{},
	}
	for _, s := range c.slots() {
		d.Processes = append(d.Processes, m.showAll(s))
	}
	return d
}

func (m *master) showAll(s *slot) control.ProcessExtra {
	paths := m.logPaths(s.spec, s)
	v := control.ProcessExtra{
		Process: s.show(), LastExit: s.lastExit, LastExitAt: s.exitedAt, Ends: s.ends,
		OutLog: paths[0], ErrLog: paths[1], AllLog: paths[2], Lost: m.showLost(paths),
		CreatedAt: s.createdAt, Unstable: s.unstable, ExitCode: s.lastCode, PIDFile: s.spec.PIDFileOf(s.index, s.id),
	}
	if s.serving != nil {
		v.Status, v.MetricsProblem = s.serving.status, s.serving.metricsProblem
	}
	if v.StartedAt = s.lastStart; s.shown() != nil {
		v.StartedAt = s.shown().startedAt
	}
	for _, other := range []struct {
		p   *process
		pid *int
	}{{s.starting, &v.Starting}, {s.spare, &v.Spare}, {s.standIn, &v.StandIn}} {
		if other.p != nil && (other.p.ready || other.p == s.starting) {
			*other.pid = other.p.PID
		}
	}
	for _, p := range s.leaving {
		v.Draining = append(v.Draining, p.PID)
	}
	return v
}

// hideSecrets replaces the values of variables whose names say that they are
// secret, and passwords in URLs.
func hideSecrets(env map[string]string) map[string]string {
	shown := make(map[string]string, len(env))
	for name, value := range env {
		upper := strings.ToUpper(name)
		secret := slices.ContainsFunc([]string{"SECRET", "TOKEN", "PASSWORD", "PASSWD", "PASSPHRASE", "KEY", "CREDENTIAL", "AUTH", "COOKIE", "PRIVATE", "DSN", "HEADERS"},
			func(word string) bool { return strings.Contains(upper, word) })
		if _, rest, found := strings.Cut(value, "://"); found && strings.Contains(rest, "@") {
			secret = true
		}
		if secret && value != "" {
			value = "[hidden]"
		}
		shown[name] = value
	}
	return shown
}

// stream is the answer to a command: its events, a line each, as they happen.
type stream struct {
	mu     sync.Mutex
	queue  []control.Answer
	signal chan struct{}
	trace  *control.Trace // that the command belongs to
}

func (s *stream) traceOf() *control.Trace { return s.trace }

// report is called in the loop and never waits.
func (s *stream) report(p control.Progress) { s.add(control.Answer{Progress: &p}) }

func (s *stream) reply(r control.Reply) { s.add(control.Answer{Reply: &r}) }

func (s *stream) add(e control.Answer) {
	s.mu.Lock()
	s.queue = append(s.queue, e)
	s.mu.Unlock()
	select {
	case s.signal <- struct{}{}:
	default:
	}
}

func (s *stream) take() []control.Answer {
	s.mu.Lock()
	defer s.mu.Unlock()
	events := s.queue
	s.queue = nil
	return events
}

// subject is what a command was about, for its answer.
type subject struct {
	targets []string
	names   []string // of apps, in the daemon
}

// command answers a POST. The command goes on if its client goes away.
func command[Q any](m *master, run func(reporter, Q) (about subject, notes []string, err error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		var q Q
		if r.ContentLength != 0 {
			if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 16<<20)).Decode(&q); err != nil {
				answer(w, http.StatusBadRequest, failure("", "the request is not understood: %v", err))
				return
			}
		}
		w.Header().Set("Content-Type", "application/x-ndjson")
		w.WriteHeader(http.StatusOK)
		s := &stream{signal: make(chan struct{}, 1)}
		if trace, ok := control.ParseTrace(r.Header.Get(control.TraceHeader)); ok {
			s.trace = &trace
		}
		go func() {
			end, err := m.begin()
			if err != nil {
				s.add(m.outcome(subject{}, nil, err))
				return
			}
			defer end()
			about, notes, err := run(s, q)
			s.add(m.outcome(about, notes, err))
		}()
		again := time.NewTicker(lookAgain)
		defer again.Stop()
		lines := json.NewEncoder(w)
		flush := http.NewResponseController(w)
		for {
			for _, e := range s.take() {
				if lines.Encode(e) != nil || e.Done != nil || e.Error != nil {
					return
				}
			}
			_ = flush.Flush()
			select {
			case <-s.signal:
			case <-again.C:
				m.post(func() { m.tellAll(s) })
			case <-r.Context().Done():
				return
			}
		}
	}
}

// launched says that everything that went wrong did so in processes that had been
// started.
func launched(err error) bool {
	if several, ok := err.(interface{ Unwrap() []error }); ok {
		return !slices.ContainsFunc(several.Unwrap(), func(err error) bool { return !launched(err) })
	}
	e, ok := errors.AsType[*control.Error](err)
	return ok && e.Launched
}

func (m *master) outcome(about subject, notes []string, err error) control.Answer {
	if err != nil {
		var e *control.Error
		if !errors.As(err, &e) {
			e = &control.Error{Message: err.Error()}
		} else if all := err.Error(); all != e.Message {
			e = &control.Error{Message: strings.ReplaceAll(all, "\n", "; "), Hint: e.Hint, Output: e.Output, Launched: launched(err)}
		}
		return control.Answer{Error: e}
	}
	m.untilSaved()
	done := &control.Done{Processes: []control.Process{}, Notes: notes}
	m.do(func() {
		done.Notes = append(done.Notes, m.warningList()...)
		meant := map[int]bool{}
		slots := m.slots()
		var all []control.Process
		for _, s := range slots {
			all = append(all, s.identity())
		}
		for _, target := range about.targets {
			found, _, _ := control.Choose(all, target) // nothing, if it was deleted
			for _, p := range found {
				meant[p.ID] = true
			}
		}
		for _, s := range slots {
			if meant[s.id] || slices.Contains(about.names, s.app.name) {
				done.Processes = append(done.Processes, s.show())
			}
		}
	})
	return control.Answer{Done: done}
}

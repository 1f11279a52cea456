package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nekoctl/neko/api/store/mongo/mongotest"
	"github.com/nekoctl/neko/scripts/load"
	"github.com/nekoctl/neko/scripts/slowproxy"
	"github.com/nekoctl/neko/supervisor/control"
)

// stage is the deployment that is broken.
type stage struct {
	*config
	dir     string // "": it is not ours
	nekoctl string
	api     string // as the app's command names it: a link, so that a deploy can replace it
	db      string // the SQLite file
	backup  string
	key     string // of a program that may change things
	redis   *server
	mongo   *server
	// What is between the workers and those.
	redisWay, mongoWay *slowproxy.Proxy

	target string            // whom clients ask; url if it is ""
	env    map[string]string // of the workers
	probes *prober
	took   map[string]float64
	mounts []string
}

// server is a server that we have started.
type server struct {
	path string
	args []string
	cmd  *exec.Cmd
	in   io.Closer
	out  io.ReadCloser
}

func (s *server) start() (err error) {
	s.cmd = exec.Command(s.path, s.args...)
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} // never left behind
	if s.in, err = s.cmd.StdinPipe(); err != nil {
		return err
	}
	if s.out, err = s.cmd.StdoutPipe(); err != nil {
		return err
	}
	return s.cmd.Start()
}

func (s *server) signal(sig syscall.Signal) error { return s.cmd.Process.Signal(sig) }

func (s *server) kill() error {
	err := s.cmd.Process.Kill()
	io.Copy(io.Discard, s.out)
	s.cmd.Wait() // killed
	return err
}

// newStage starts it.
func newStage(ctx context.Context, c *config) (s *stage, err error) {
	bin, err := filepath.Abs(c.bin)
	if err != nil {
		return nil, err
	}
	s = &stage{config: c, nekoctl: filepath.Join(bin, "nekoctl")}
	for _, name := range []string{"nekoctl", "neko-api"} {
		if _, err := os.Stat(filepath.Join(bin, name)); err != nil {
			return nil, fmt.Errorf("there is no %s in %s: make build, or name the folder with -bin", name, bin)
		}
	}
	if c.url != "" {
		s.probes = newProber(c.url, "", "")
		return s, s.healthy(ctx)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.close())
		}
	}()
	if s.dir, err = os.MkdirTemp("", "gameday"); err != nil {
		return s, err
	}
	s.home = filepath.Join(s.dir, "home")
	data := filepath.Join(s.dir, "data")
	if err = errors.Join(os.Mkdir(s.home, 0o700), os.Mkdir(data, 0o700)); err != nil {
		return s, err
	}
	if os.Geteuid() == 0 { // a disk that can be filled
		if err = unix.Mount("tmpfs", data, "tmpfs", 0, "size=64m,mode=0700"); err == nil {
			s.mounts = append(s.mounts, data)
		}
	}
	s.db, s.backup = filepath.Join(data, "api.db"), filepath.Join(s.dir, "backup.db")
	s.api = filepath.Join(s.dir, "neko-api")
	if err = os.Symlink(filepath.Join(bin, "neko-api"), s.api); err != nil {
		return s, err
	}
	env := map[string]string{
		"NEKO_API_STORE": s.db, "NEKO_API_RATE_LIMIT": "1000000/1s", "NEKO_API_BREAKER_OPEN_FOR": openFor.String(),
		"NEKO_API_AUTH_SECRET_FILE": filepath.Join(s.dir, "secret"), "NEKO_API_AUDIT_LOG": filepath.Join(s.dir, "audit.log"),
	}
	if err = os.WriteFile(env["NEKO_API_AUTH_SECRET_FILE"], []byte(rand.Text()+rand.Text()), 0o600); err != nil {
		return s, err
	}
	if err = s.startRedis(ctx, env); err != nil {
		return s, err
	}
	if c.store == "mongodb" {
		if err = s.startMongo(env); err != nil {
			return s, err
		}
	}
	for name, value := range env {
		os.Setenv(name, value) // of the commands that are run
	}
	address, err := freeAddress()
	if err != nil {
		return s, err
	}
	s.url = "http://" + address
	s.env = env
	if err = os.WriteFile(filepath.Join(s.dir, "neko.yaml"), s.appFile(c.app, address, nil), 0o600); err != nil {
		return s, err
	}
	c.say("starting two workers on %s, with their files in %s", s.url, s.dir)
	if _, err = s.ctl(ctx, "start", filepath.Join(s.dir, "neko.yaml")); err != nil {
		return s, err
	}
	if s.key, err = s.neko(ctx, "key", "add", "gameday", "--role", "analyst"); err != nil {
		return s, err
	}
	s.key = strings.TrimSpace(s.key)
	if s.key = s.key[strings.LastIndex(s.key, "\n")+1:]; !strings.HasPrefix(s.key, "neko_") {
		return s, errors.New("neko-api key add has printed no key")
	}
	s.probes = newProber(s.url, "", "")
	return s, s.healthy(ctx)
}

// appFile is a file for nekoctl: two workers of neko-api.
func (s *stage) appFile(name, address string, more map[string]string) []byte {
	env := maps.Clone(s.env)
	maps.Copy(env, more)
	text, err := json.Marshal(map[string]any{"apps": []any{map[string]any{ // JSON is YAML, too
		"name": name, "command": []string{s.api}, "listen": address, "instances": 2, "wait_ready": true, "watchdog": watchdog.String(), "kill_timeout": "1s",
		"drain_timeout": "5s", "env": env,
	}}})
	if err != nil {
		panic(err) // strings and numbers
	}
	return text
}

// How the deployment that we start is set: as the page says of its figures.
const (
	watchdog = 3 * time.Second
	openFor  = 5 * time.Second
)

func (s *stage) startRedis(ctx context.Context, env map[string]string) error {
	path, err := exec.LookPath("redis-server")
	if err != nil {
		return errors.New("there is no redis-server: apt-get install redis-server")
	}
	address, err := freeAddress()
	if err != nil {
		return err
	}
	_, port, _ := strings.Cut(address, ":")
	s.redis = &server{path: path, args: []string{"--port", port, "--bind", "127.0.0.1", "--save", "", "--dir", s.dir, "--loglevel", "warning"}}
	if err := s.redis.start(); err != nil {
		return err
	}
	if s.redisWay, err = slowproxy.New(address); err != nil {
		return err
	}
	env["NEKO_API_REDIS"] = "redis://" + s.redisWay.Addr()
	return s.waitFor(ctx, "Redis answers", 10*time.Second, func() error { return s.redisCommand("PING") })
}

func (s *stage) startMongo(env map[string]string) error {
	path, err := mongotest.Build()
	if err != nil {
		return err
	}
	address, err := freeAddress()
	if err != nil {
		return err
	}
	folder := filepath.Join(s.dir, "mongo")
	if err := os.Mkdir(folder, 0o700); err != nil {
		return err
	}
	s.mongo = &server{path: path, args: []string{folder, address}}
	if err := s.startedMongo(); err != nil {
		return err
	}
	if s.mongoWay, err = slowproxy.New(address); err != nil {
		return err
	}
	env["NEKO_API_STORE"] = "mongodb://" + s.mongoWay.Addr() + "/neko"
	return nil
}

// startedMongo starts it, and waits for the line that it prints when it listens.
func (s *stage) startedMongo() error {
	if err := s.mongo.start(); err != nil {
		return err
	}
	_, err := bufio.NewReader(s.mongo.out).ReadString('\n')
	return err
}

func (s *stage) redisCommand(words ...string) error {
	conn, err := net.DialTimeout("tcp", "127.0.0.1:"+s.redis.args[1], time.Second)
	if err != nil {
		return err
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(2 * time.Second))
	if _, err := fmt.Fprintf(conn, "%s\r\n", strings.Join(words, " ")); err != nil {
		return err
	}
	line, err := bufio.NewReader(conn).ReadString('\n')
	if err == nil && !strings.HasPrefix(line, "+") {
		err = errors.New(strings.TrimSpace(line))
	}
	return err
}

func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	return l.Addr().String(), nil
}

// close ends what we have started, and removes it.
func (s *stage) close() (err error) {
	if s.dir == "" {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if _, e := os.Stat(s.home); e == nil {
		_, err = s.ctl(ctx, "kill")
	}
	for _, srv := range []*server{s.redis, s.mongo} {
		if srv != nil && srv.cmd != nil && srv.cmd.Process != nil {
			srv.kill()
		}
	}
	for _, way := range []*slowproxy.Proxy{s.redisWay, s.mongoWay} {
		if way != nil {
			way.Close()
		}
	}
	for _, m := range s.mounts {
		err = errors.Join(err, unix.Unmount(m, unix.MNT_DETACH))
	}
	return errors.Join(err, os.RemoveAll(s.dir))
}

// command runs a program with the settings of the deployment; an error has what it has printed.
func (s *stage) command(ctx context.Context, program string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Env = append(os.Environ(), "NEKO_HOME="+s.home)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		return out.String(), fmt.Errorf("%s %s: %w: %s", filepath.Base(program), strings.Join(args, " "), err, strings.TrimSpace(errs.String()))
	}
	return out.String(), nil
}

func (s *stage) ctl(ctx context.Context, args ...string) (string, error) {
	return s.command(ctx, s.nekoctl, args...)
}

func (s *stage) neko(ctx context.Context, args ...string) (string, error) {
	return s.command(ctx, filepath.Join(filepath.Dir(s.nekoctl), "neko-api"), args...)
}

// step is a part of a repair, whose time is told.
func (s *stage) step(what string, do func() error) error {
	s.say("  %s", what)
	begun := time.Now()
	err := do()
	s.took[what] = time.Since(begun).Seconds()
	return err
}

func (s *stage) ping(ctx context.Context) (p control.Ping, err error) {
	text, err := s.ctl(ctx, "ping", "--json")
	if err == nil {
		err = json.Unmarshal([]byte(text), &p)
	}
	return p, err
}

// workers are the processes of the app.
func (s *stage) workers(ctx context.Context) (list []control.Process, err error) {
	text, err := s.ctl(ctx, "list", "--json")
	if err != nil {
		return nil, err
	}
	var all []control.Process
	if err := json.Unmarshal([]byte(text), &all); err != nil {
		return nil, err
	}
	for _, p := range all {
		if p.Name == s.app {
			list = append(list, p)
		}
	}
	if len(list) == 0 {
		return nil, fmt.Errorf("nekoctl has no app %s", s.app)
	}
	return list, nil
}

// healthy waits until all is as it should be.
func (s *stage) healthy(ctx context.Context) error {
	return s.waitFor(ctx, "all workers are online and answer", time.Minute, func() error {
		list, err := s.workers(ctx)
		if err != nil {
			return err
		}
		for _, w := range list {
			if w.State != control.Online {
				return fmt.Errorf("worker %d is %s: %s", w.Slot, w.State, w.Reason)
			}
		}
		_, err = s.probes.ask(ctx, fmt.Sprintf(`{healthy%d: threatActors(first: 1) {nodes {name}}}`, time.Now().UnixNano()))
		return err
	})
}

func (s *stage) waitFor(ctx context.Context, what string, patience time.Duration, is func() error) error {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(patience); ; {
		err := is()
		if err == nil {
			return nil
		}
		if time.Now().After(end) {
			return fmt.Errorf("waited %v for this: %s: %w", patience, what, err)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Before a failure all must have been well for a while, and after it for another.
const steady = 2 * time.Second

// happens lets a failure happen, and measures what it costs.
func (s *stage) happens(ctx context.Context, f failure) (r result) {
	s.say("%s: %s", f.name, f.what)
	r = result{Failure: f.name, Page: fmt.Sprintf("%v, %s", f.rto, f.cost())}
	fail := func(err error) result {
		r.Verdict, r.Why = untried, err.Error()
		return r
	}
	if f.root && len(s.mounts) == 0 && s.dir != "" {
		r.Verdict, r.Why = skipped, "only as root: it needs a small disk"
		return r
	}
	if err := s.healthy(ctx); err != nil {
		return fail(err)
	}
	s.took = map[string]float64{}
	s.target = s.url
	if f.prepare != nil {
		if err := f.prepare(ctx, s); err != nil {
			return fail(err)
		}
	}
	s.probes = newProber(s.target, s.key, "gameday"+strings.ToLower(rand.Text()[:8]))
	s.probes.slowly = s.mongo != nil || s.dir == "" // which has rate limits
	s.probes.start(ctx)
	var clients []*load.Run
	for _, mode := range []load.Mode{load.NewConnection, load.KeepAlive} {
		if s.clients <= 0 {
			break
		}
		run, err := load.Start(ctx, load.Config{
			URL: s.target + "/graphql", Mode: mode, Clients: max(1, s.clients/2), Header: []string{"Content-Type: application/json"}, Body: []byte(`{"query":"{threatActors(first: 3) {nodes {name}}}"}`),
			ThinkMax: 50 * time.Millisecond, LookBeforeReuse: s.target == s.url, Timeout: patience, ErrorPause: 20 * time.Millisecond,
		})
		if err != nil {
			return fail(err)
		}
		clients = append(clients, run)
	}
	stop := func() (marks []mark, acked int, reports []load.Report) {
		for _, c := range clients {
			reports = append(reports, c.Stop())
		}
		marks, acked = s.probes.end()
		return marks, acked, reports
	}
	begun := time.Now()
	if err := s.waitFor(ctx, "all is well before the failure", 30*time.Second, func() error {
		if time.Since(begun) < steady || !s.probes.well(time.Now().Add(-steady)) {
			return fmt.Errorf("not all requests are answered: %s", s.probes.last())
		}
		return nil
	}); err != nil {
		stop()
		return fail(err)
	}
	at := time.Now()
	err := f.happens(ctx, s)
	done := time.Now()
	if err == nil && f.lasts > 0 {
		s.say("  for %v", f.lasts)
		select {
		case <-time.After(f.lasts):
		case <-ctx.Done():
		}
	}
	if err == nil && f.mend != nil {
		if f.fromRepair { // its RTO is that of the repair, whose beginning is somebody's decision
			at = time.Now()
			done = at
		}
		s.say("  repair: %s", f.repair)
		err = f.mend(ctx, s)
	}
	if err == nil {
		err = s.waitFor(ctx, "all requests are answered", f.rto+30*time.Second, func() error {
			if since := time.Now().Add(-steady); since.Before(at) || !s.probes.well(since) {
				return fmt.Errorf("not all are: %s", s.probes.last())
			}
			return nil
		})
	}
	marks, acked, reports := stop()
	r.Took, r.Acked = s.took, acked
	if err != nil {
		return fail(err)
	}
	if f.after != nil {
		if err := f.after(ctx, s); err != nil {
			r.Verdict, r.Why = broken, err.Error()
		}
	}
	found, err := s.probes.found(ctx)
	if err != nil {
		return fail(err)
	}
	r.Lost = max(0, acked-found)
	r.judge(f, marks, at, done, reports)
	return r
}

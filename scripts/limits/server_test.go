package limits

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nekoctl/neko/scripts/debian"
)

// server is a redis-server in the servers' namespace.
type server struct {
	*testing.T
	*process
	ns      *os.File
	dir     string
	address string
	port    string
	socket  string // the same by another way, for the test itself
	env     []string
	args    []string
}

// oneRedis is a server without persistence.
func oneRedis(s *stage) string {
	s.Helper()
	return "redis://" + s.serve(6379, nil).address
}

// serve starts one more server.
func (s *stage) serve(port int, env []string, args ...string) *server {
	s.Helper()
	number := strconv.Itoa(port)
	x := &server{T: s.T, ns: s.network.servers, dir: filepath.Join(s.dir, "redis-"+number), port: number,
		address: serverAddress + ":" + number, env: env, args: args}
	x.socket = filepath.Join(x.dir, "socket")
	must(s.T, os.Mkdir(x.dir, 0o700))
	x.start()
	s.Cleanup(func() { x.process.close() })
	s.servers = append(s.servers, x)
	return x
}

// start starts it, also once more after its end: it has forgotten all.
func (x *server) start() {
	x.Helper()
	args := append([]string{debian.Need(x.T, "redis-server", "redis-server"), "--bind", "0.0.0.0", "--protected-mode", "no", "--port", x.port,
		"--unixsocket", x.socket, "--dir", x.dir, "--save", "", "--appendonly", "no"}, x.args...)
	var err error
	x.process, err = start(x.ns, "redis-server", "Ready to accept connections", x.env, args...)
	must(x.T, err)
	must(x.T, x.await(patience))
}

// cli is a command, and its answer.
func (x *server) cli(args ...string) string {
	x.Helper()
	out, err := x.try(args...)
	must(x.T, err)
	return out
}

func (x *server) try(args ...string) (string, error) {
	x.Helper()
	out, err := run(nil, append([]string{debian.Need(x.T, "redis-cli", "redis-tools"), "-e", "-s", x.socket}, args...)...)
	return strings.TrimSpace(out), err
}

// calls is how many scripts it has run.
func (x *server) calls() int64 {
	x.Helper()
	var sum int64
	for line := range strings.Lines(x.cli("INFO", "commandstats")) {
		name, rest, _ := strings.Cut(strings.TrimPrefix(line, "cmdstat_"), ":")
		if name == "evalsha" || name == "eval" {
			var n int64
			if _, err := fmt.Sscanf(rest, "calls=%d,", &n); err != nil {
				x.Fatalf("%q: %v", line, err)
			}
			sum += n
		}
	}
	return sum
}

// redisKey is where a bucket is.
func (s *stage) redisKey(o owner) string {
	sum := sha256.Sum256([]byte(o.key))
	return "neko:limit:" + s.terms.Policies[o.policy].Name + ":" + base64.RawURLEncoding.EncodeToString(sum[:16])
}

// empty leaves nothing in a bucket.
func (s *stage) empty(o owner) {
	s.Helper()
	const script = `local t = redis.call('TIME')
redis.call('SET', KEYS[1], string.format('%.0f %.0f', t[1] * 1000000 + t[2] + ARGV[1], ARGV[1]))`
	p := s.terms.Policies[o.policy]
	s.emptied[o] = monotonic()
	s.servers[0].cli("EVAL", script, "1", s.redisKey(o), strconv.FormatInt(p.units(p.Burst)/p.Limit/1000, 10))
}

// lacks is how many tokens are missing in a bucket, now, and when that was.
func (s *stage) lacks(o owner) (tokens float64, at int64) {
	s.Helper()
	const script = `local full, t = string.match(redis.call('GET', KEYS[1]) or '0', '^%d+'), redis.call('TIME')
return math.max(full - (t[1] * 1000000 + t[2]), 0)`
	at = monotonic()
	micros, err := strconv.ParseInt(s.servers[0].cli("--raw", "EVAL", script, "1", s.redisKey(o)), 10, 64)
	must(s.T, err)
	p := s.terms.Policies[o.policy]
	return p.tokens(p.grown(micros * int64(time.Microsecond))), at
}

package limits

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nekoctl/neko/limiter"
	"github.com/nekoctl/neko/scripts/debian"
)

// failover is a master that is killed under load, and its replica takes over.
type failover struct {
	master     *server
	from, to   int64 // until another master is there
	mastersOwn map[owner]bool
}

// spread is buckets enough for each of three masters to have some of each kind.
func spread() ([]policy, []stream) {
	policies := []policy{
		{Name: "leased", rule: rule{100, time.Second, 100}},
		{Name: "exact", rule: rule{10, time.Second, 10}},
	}
	var streams []stream
	for i, p := range policies {
		for k := range 8 {
			streams = append(streams, stream{Charges: []charge{{Policy: i, Key: fmt.Sprint("key", k)}}, Arrive: "poisson", PerSec: 1.2 * float64(p.Limit)})
		}
	}
	return policies, streams
}

// owns says which buckets a server has.
func (x *server) owns(s *stage) map[owner]bool {
	x.Helper()
	has := map[string]bool{}
	for _, key := range strings.Fields(x.cli("--raw", "KEYS", "*")) {
		has[key] = true
	}
	all := map[owner]bool{}
	for _, st := range s.terms.Streams {
		for _, c := range st.Charges {
			if o := (owner{c.Policy, c.Key}); has[s.redisKey(o)] {
				all[o] = true
			}
		}
	}
	return all
}

// role is "master" or "slave".
func (x *server) role() string {
	x.Helper()
	out, err := x.try("--raw", "ROLE")
	if err != nil {
		return ""
	}
	role, _, _ := strings.Cut(out, "\n")
	return role
}

// fail kills a master, and waits for another that has what it had.
func (s *stage) fail(master, replica *server) *failover {
	s.Helper()
	f := &failover{master: master, mastersOwn: master.owns(s)}
	f.from = monotonic()
	must(s.T, master.kill())
	waitFor(s.T, "the replica is master", patience, func() bool { return replica.role() == "master" })
	f.to = monotonic()
	return f
}

// afterFailover is within what time clients hear of a new master, from Sentinels or by asking a Cluster
// again.
const afterFailover = 3 * time.Second

// judge says what of the bound a failover may cost: what the master granted and the replica
// has not heard of, which is at most a bucket; and what it has cost.
func (f *failover) judge(e *evidence, bucketsOf map[owner]bool) {
	e.Helper()
	e.describe()
	t := e.times(func(*request) bool { return true })
	var together, during int
	for i := range e.requests {
		r := &e.requests[i]
		c := e.stream(r).Charges[0]
		if r.is(alone) {
			continue
		}
		if r.Before > f.from && r.Before < f.to {
			during++
			if !bucketsOf[owner{c.Policy, c.Key}] {
				together++
			}
		}
	}
	back := e.back(f.to)
	e.Logf("another master after %v, and %v later all workers have asked it; %d decisions meanwhile that were not alone, %d of buckets of others; %v",
		time.Duration(f.to-f.from).Round(time.Millisecond), back.Round(time.Millisecond), during, together, t)
	if back > afterFailover {
		e.Errorf("not all workers have asked the new master within %v", afterFailover)
	}
	e.Logf("what a worker has said:\n%s", e.clients[0].printed.String())
	e.bound(func(o owner) []taking {
		if !bucketsOf[o] {
			return nil
		}
		return []taking{gain(f.from-e.began, f.to-e.began, e.terms.Policies[o.policy].Burst, limiter.LeaseTTL)}
	})
}

func TestASentinelFailoverUnderLoad(t *testing.T) {
	longOnly(t)
	policies, streams := spread()
	var master, replica *server
	s := newStage(t, policies, streams, func(s *stage) string {
		master = s.serve(6379, nil)
		replica = s.serve(6380, nil, "--replicaof", serverAddress, "6379")
		waitFor(s.T, "the replica follows", patience, func() bool { return strings.Contains(replica.cli("INFO", "replication"), "master_link_status:up") })
		for i := range 3 {
			s.sentinel(26379 + i)
		}
		waitFor(s.T, "the sentinels know each other", patience, func() bool {
			for i := range 3 {
				out, err := run(s.network.servers, debian.Need(s.T, "redis-cli", "redis-tools"), "-p", fmt.Sprint(26379+i), "SENTINEL", "CKQUORUM", "neko")
				if err != nil || !strings.HasPrefix(out, "OK 3") {
					return false
				}
			}
			return true
		})
		return fmt.Sprintf("redis://%s:26379?addr=%[1]s:26380&addr=%[1]s:26381&master_set=neko", serverAddress)
	})
	s.arrive()
	time.Sleep(1500 * time.Millisecond)
	f := s.fail(master, replica)
	time.Sleep(2500 * time.Millisecond)
	s.leave()
	f.judge(s.evidence(), f.mastersOwn)
}

// sentinel starts one, which keeps its state in its configuration.
func (s *stage) sentinel(port int) {
	s.Helper()
	dir := filepath.Join(s.dir, fmt.Sprint("sentinel-", port))
	must(s.T, os.Mkdir(dir, 0o700))
	file := filepath.Join(dir, "sentinel.conf")
	text := fmt.Sprintf("port %d\nbind 0.0.0.0\nprotected-mode no\ndir %s\nsentinel monitor neko %s 6379 2\n"+
		"sentinel down-after-milliseconds neko 500\nsentinel failover-timeout neko 3000\n", port, dir, serverAddress)
	must(s.T, os.WriteFile(file, []byte(text), 0o600))
	p, err := start(s.network.servers, "sentinel", "+monitor", nil, debian.Need(s.T, "redis-server", "redis-server"), file, "--sentinel")
	must(s.T, err)
	s.Cleanup(p.close)
	must(s.T, p.await(patience))
}

func TestAMasterOfAClusterIsKilledUnderLoad(t *testing.T) {
	longOnly(t)
	policies, streams := spread()
	s := newStage(t, policies, streams, func(s *stage) string {
		cli := debian.Need(s.T, "redis-cli", "redis-tools")
		create := []string{cli, "--cluster", "create"}
		for i := range 6 {
			x := s.serve(7000+i, nil, "--cluster-enabled", "yes", "--cluster-node-timeout", "1000", "--cluster-require-full-coverage", "no")
			create = append(create, x.address)
		}
		_, err := run(s.network.servers, append(create, "--cluster-replicas", "1", "--cluster-yes")...)
		must(s.T, err)
		for _, x := range s.servers {
			waitFor(s.T, x.address+" is in the cluster", patience, func() bool {
				info := x.cli("CLUSTER", "INFO")
				return strings.Contains(info, "cluster_state:ok") && strings.Contains(info, "cluster_known_nodes:6") &&
					(x.role() == "master" || strings.Contains(x.cli("INFO", "replication"), "master_link_status:up"))
			})
		}
		return "redis://" + s.servers[0].address + "?addr=" + s.servers[1].address + "&addr=" + s.servers[2].address
	})
	var masters []*server
	replicas := map[string]*server{} // by the port of their master
	for _, x := range s.servers {
		role := strings.Fields(x.cli("--raw", "ROLE"))
		if role[0] == "master" {
			masters = append(masters, x)
		} else {
			replicas[role[2]] = x
		}
	}
	if len(masters) != 3 || len(replicas) != 3 {
		t.Fatalf("%d masters, replicas of %v", len(masters), maps.Keys(replicas))
	}
	s.arrive()
	time.Sleep(1500 * time.Millisecond)
	for _, m := range masters {
		t.Logf("%s has %d buckets", m.address, len(m.owns(s)))
	}
	m := masters[s.rand.IntN(3)]
	f := s.fail(m, replicas[m.port])
	time.Sleep(2500 * time.Millisecond)
	s.leave()
	f.judge(s.evidence(), f.mastersOwn)
}

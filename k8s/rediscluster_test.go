package k8s

import (
	"context"
	crand "crypto/rand"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nekoctl/neko/limiter"
	limiterredis "github.com/nekoctl/neko/limiter/redis"
)

// cluster is the six pods of components/redis-cluster. Each has an address of its own, and another when it is elsewhere.
type cluster struct {
	*testing.T
	pods []*pod
}

func newCluster(t *testing.T) *cluster {
	c := &cluster{T: t}
	for range 6 {
		p := newPod(t, "redis-cluster", clusterUsers(t))
		p.secret(t, "replication", `aB3+/"\=`+"\n")
		c.pods = append(c.pods, p)
	}
	return c
}

// address is where a pod is after so many moves.
func address(i, moves int) string { return fmt.Sprintf("127.0.%d.%d", 10+moves, i+1) }

// start starts one as the StatefulSet does: names lead to where all are now.
func (c *cluster) start(i, moves int) {
	c.Helper()
	var nodes []string
	for n, p := range c.pods {
		nodes = append(nodes, address(n, moves)+":"+p.port)
	}
	p := c.pods[i]
	p.env = []string{"NEKO_REDIS_NODES=" + strings.Join(nodes, " "), fmt.Sprint("NEKO_REDIS_INDEX=", i), "NEKO_REDIS_ADDRESS=" + address(i, moves)}
	p.start(c.T)
}

func (c *cluster) startAll(moves int) {
	c.Helper()
	for i := range c.pods {
		c.start(i, moves)
	}
	for _, p := range c.pods {
		p.await(c.T)
		// Failovers in a test's time, and not in that of a network.
		p.admin(c.T, "CONFIG", "SET", "cluster-node-timeout", "1000")
	}
}

// whole returns when all agree that there are three primaries, with all slots, and three replicas that have what these have.
func (c *cluster) whole(moves int) {
	c.Helper()
	for i, p := range c.pods {
		eventually(c, func() error {
			nodes := p.admin(c.T, "CLUSTER", "NODES")
			if info := p.admin(c.T, "CLUSTER", "INFO"); !strings.Contains(info, "cluster_state:ok") || !strings.Contains(info, "cluster_slots_ok:16384") {
				return fmt.Errorf("to node %d not all slots are served:\n%s\n%s", i, info, nodes)
			}
			primaries, replicas := 0, 0
			for _, line := range strings.Split(nodes, "\n") {
				f := strings.Fields(line)
				alive := !strings.Contains(f[2], "fail") && !strings.Contains(f[2], "noaddr") && f[7] == "connected"
				switch {
				case !alive:
				case !strings.HasPrefix(f[1], "127.0."+fmt.Sprint(10+moves)+"."):
					return fmt.Errorf("node %d knows an old address:\n%s", i, nodes)
				case strings.Contains(f[2], "slave"):
					replicas++
				case len(f) > 8:
					primaries++
				}
			}
			if primaries != 3 || replicas != 3 {
				return fmt.Errorf("node %d sees %d primaries and %d replicas:\n%s", i, primaries, replicas, nodes)
			}
			if r := p.admin(c.T, "INFO", "replication"); strings.Contains(r, "role:slave") && !strings.Contains(r, "master_link_status:up") {
				return fmt.Errorf("replica %d has no link to its primary:\n%s", i, r)
			}
			return nil
		})
	}
}

// serves has neko-api's own clients use it: of the cache and of limits, with the rights of the documented Secret.
func (c *cluster) serves(moves int) {
	c.Helper()
	url := "redis://neko:" + password + "@" + address(1, moves) + ":" + c.pods[1].port + "?addr=" + address(4, moves) + ":" + c.pods[4].port
	one, other := newHost(c.T, url), newHost(c.T, url)
	const objects = 8 // in all parts
	var s [objects]thing
	for n := range objects {
		s[n].version.Store(time.Now().UnixNano())
		// Told when Redis can be: a part of it may just have another primary.
		eventually(c, func() error { return one.Invalidate(c.Context(), tag(n)) })
		eventually(c, func() error {
			if got, want := other.ask(c.T, n, &s[n]), s[n].version.Load(); got != want {
				return fmt.Errorf("object %d has version %d, and not %d", n, got, want)
			}
			return nil
		})
	}
	one.die()
	other.die()
	rule, err := limiter.NewPolicy("small", 10, time.Hour, 10, limiter.FailLocal)
	must(c, err)
	source, err := limiterredis.New(c.Context(), url, limiterredis.Options{})
	must(c, err)
	defer source.Close()
	for id := range byte(9) {
		eventually(c, func() error {
			ctx, cancel := context.WithTimeout(c.Context(), time.Second)
			defer cancel()
			_, err := source.Grant(ctx, rule, limiter.ID{id, byte(moves)}, 1, 1)
			return err
		})
	}
}

func TestAClusterFormsItselfAndHeals(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	step := func(what string) { t.Helper(); t.Log(what) }

	step("six that know nothing")
	c.startAll(0)
	c.whole(0)
	c.serves(0)
	before := c.pods[0].admin(t, "CLUSTER", "MYID")

	step("all are started again, elsewhere")
	for _, p := range c.pods {
		if code := p.stop(t); code != 0 {
			t.Errorf("exit code %d", code)
		}
	}
	c.startAll(1)
	c.whole(1)
	c.serves(1)
	if now := c.pods[0].admin(t, "CLUSTER", "MYID"); now != before {
		t.Errorf("node 0 was %s and is %s", before, now)
	}

	if os.Getenv("NEKO_K8S") != "whole" {
		t.Log("NEKO_K8S=whole goes on with a killed primary, a lost volume and a lost majority, half a minute")
		return
	}

	step("a primary is killed, and its replica succeeds it")
	c.pods[1].kill()
	eventually(t, func() error {
		if r := c.pods[4].admin(t, "INFO", "replication"); !strings.Contains(r, "role:master") {
			return fmt.Errorf("it has no successor:\n%s", r)
		}
		return nil
	})
	c.start(1, 1)
	c.pods[1].await(t)
	c.whole(1)
	c.serves(1)

	step("one is killed and comes back without its volume")
	c.pods[2].kill()
	eventually(t, func() error {
		if r := c.pods[5].admin(t, "INFO", "replication"); !strings.Contains(r, "role:master") {
			return fmt.Errorf("it has no successor:\n%s", r)
		}
		return nil
	})
	must(t, os.RemoveAll(c.pods[2].data))
	must(t, os.Mkdir(c.pods[2].data, 0o700))
	c.start(2, 1)
	c.pods[2].await(t)
	c.whole(1)
	c.serves(1)
	if !strings.Contains(c.pods[2].out.String(), "node 2 follows ") {
		t.Error("it does not say whom it follows")
	}

	step("two primaries are gone at once, which leaves no majority: their replicas are told to succeed them")
	pairs := c.pairs()
	gone, heirs := slices.Sorted(maps.Keys(pairs))[:2], []int{}
	for _, i := range gone {
		c.pods[i].kill()
		heirs = append(heirs, pairs[i])
	}
	for _, i := range heirs {
		eventually(t, func() error {
			out, _ := c.pods[i].script("cli.sh", "CLUSTER", "FAILOVER", "TAKEOVER").CombinedOutput()
			if r := c.pods[i].admin(t, "INFO", "replication"); !strings.Contains(r, "role:master") {
				return fmt.Errorf("node %d succeeds nobody: %s\n%s", i, out, r)
			}
			return nil
		})
	}
	for _, i := range gone {
		c.start(i, 1)
		c.pods[i].await(t)
	}
	c.whole(1)
	c.serves(1)
}

// pairs are the primaries, each with its replica.
func (c *cluster) pairs() map[int]int {
	c.Helper()
	var pairs map[int]int
	eventually(c, func() error {
		pairs = map[int]int{}
		for i, p := range c.pods {
			for n, primary := range c.pods {
				if strings.Contains(p.admin(c.T, "INFO", "replication"), "\nmaster_port:"+primary.port+"\r") {
					pairs[n] = i
				}
			}
		}
		if len(pairs) != 3 {
			return fmt.Errorf("pairs: %v", pairs)
		}
		return nil
	})
	return pairs
}

func TestWhatAnOperatorOfAClusterMayHaveWrong(t *testing.T) {
	t.Parallel()
	for name, f := range map[string]struct {
		break_ func(*pod)
		want   string
	}{
		"no password for replicas": {func(p *pod) { p.secret(t, "replication", "") }, "replication is empty"},
		"the default user is on":   {func(p *pod) { p.secret(t, "users.acl", "user default on nopass +@all\n") }, `has no line "user default off"`},
		"five nodes": {func(p *pod) {
			p.env = []string{"NEKO_REDIS_NODES=a:1 b:1 c:1 d:1 e:1", "NEKO_REDIS_INDEX=0", "NEKO_REDIS_ADDRESS=127.0.0.1"}
		}, "has 5 nodes"},
		"a seventh pod": {func(p *pod) {
			p.env = []string{"NEKO_REDIS_NODES=a:1 b:1 c:1 d:1 e:1 f:1", "NEKO_REDIS_INDEX=6", "NEKO_REDIS_ADDRESS=127.0.0.1"}
		}, "is no number of a node"},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPod(t, "redis-cluster", clusterUsers(t))
			p.secret(t, "replication", "x")
			p.env = []string{"NEKO_REDIS_NODES=a:1 b:1 c:1 d:1 e:1 f:1", "NEKO_REDIS_INDEX=0", "NEKO_REDIS_ADDRESS=127.0.0.1"}
			f.break_(p)
			p.start(t)
			if code := p.exit(t); code != 1 || !strings.Contains(p.out.String(), f.want) || !strings.Contains(p.out.String(), "hint: ") {
				t.Errorf("exit code %d:\n%s", code, p.out)
			}
		})
	}
}

// The password of replicas is in files that only the pod can read, and in nothing that is printed.
func TestTheClusterTellsNobodyItsPasswords(t *testing.T) {
	t.Parallel()
	p := newPod(t, "redis-cluster", clusterUsers(t))
	secret := crand.Text() // others have processes here, too
	p.secret(t, "replication", secret)
	p.env = []string{"NEKO_REDIS_NODES=" + strings.Repeat("127.0.0.1:"+p.port+" ", 6), "NEKO_REDIS_INDEX=0", "NEKO_REDIS_ADDRESS=127.0.0.1"}
	p.start(t)
	p.await(t)
	for _, name := range []string{"redis.conf", "users.acl", "admin"} {
		info, err := os.Stat(filepath.Join(p.run, name))
		must(t, err)
		if info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v", name, info.Mode())
		}
	}
	pids, err := filepath.Glob("/proc/[0-9]*/cmdline")
	must(t, err)
	for _, name := range pids {
		if line, _ := os.ReadFile(name); strings.Contains(string(line), secret) {
			t.Errorf("%s: %q", name, line)
		}
	}
	if strings.Contains(p.out.String(), secret) {
		t.Error("it is in the log")
	}
	p.stop(t)
}

func clusterUsers(t *testing.T) string {
	return usersOf(t, "components/redis-cluster/secrets.example.yaml")
}

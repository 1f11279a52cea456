package redistest

import (
	"fmt"
	"testing"
)

// Guarded is a master with a replica, and three Sentinels that make the replica a master
// when they have not seen the other for half a second.
type Guarded struct {
	Master, Replica *Server
	Sentinels       []*Server
}

const masterSet = "neko"

// StartGuarded starts all of them, and returns when they know each other.
func StartGuarded(t testing.TB, config ...string) *Guarded {
	t.Helper()
	g := &Guarded{Master: Start(t, config...)}
	g.Replica = Start(t, append([]string{"replicaof 127.0.0.1 " + g.Master.port}, config...)...)
	// A master sends a new replica nothing before it has said that it is ready, a second
	// after it looks connected.
	g.Master.Do(t, "SET", "redistest", "1")
	await(t, func() bool { return g.Replica.text("GET", "redistest") == "1" })
	g.Master.Do(t, "SET", "redistest", "2")
	await(t, func() bool { return g.Replica.text("GET", "redistest") == "2" })
	g.Master.Do(t, "DEL", "redistest")
	var err error
	for range attempts {
		if g.Sentinels, err = startSentinels(t, g); err == nil {
			break
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range g.Sentinels {
		await(t, func() bool {
			m, err := s.Try("SENTINEL", "MASTER", masterSet).AsStrMap()
			return err == nil && m["num-slaves"] == "1" && m["num-other-sentinels"] == "2" && m["flags"] == "master"
		})
	}
	return g
}

// startSentinels tells them of each other, which they would find out in some seconds.
func startSentinels(t testing.TB, g *Guarded) (all []*Server, err error) {
	t.Helper()
	ports := []string{freePort(t), freePort(t), freePort(t)}
	name := func(i int) string { return fmt.Sprintf("%040d", i+1) }
	for i, port := range ports {
		config := []string{
			"sentinel myid " + name(i),
			fmt.Sprintf("sentinel monitor %s 127.0.0.1 %s 2", masterSet, g.Master.port),
			fmt.Sprintf("sentinel down-after-milliseconds %s 500", masterSet),
			fmt.Sprintf("sentinel failover-timeout %s 3000", masterSet),
			fmt.Sprintf("sentinel known-replica %s 127.0.0.1 %s", masterSet, g.Replica.port),
		}
		for j, other := range ports {
			if j != i {
				config = append(config, fmt.Sprintf("sentinel known-sentinel %s 127.0.0.1 %s %s", masterSet, other, name(j)))
			}
		}
		s, err := start(t, port, []string{"--sentinel"}, config...)
		if err != nil {
			for _, s := range all {
				s.Kill()
			}
			return nil, err
		}
		all = append(all, s)
	}
	return all, nil
}

// URL is that of the Sentinels.
func (g *Guarded) URL() string {
	url := g.Sentinels[0].URL() + "?master_set=" + masterSet
	for _, s := range g.Sentinels[1:] {
		url += "&addr=" + s.Addr()
	}
	return url
}

// AwaitPromoted returns when the replica is a master, and most Sentinels say so.
func (g *Guarded) AwaitPromoted(t testing.TB) {
	t.Helper()
	await(t, func() bool {
		n := 0
		for _, sentinel := range g.Sentinels {
			addr, err := sentinel.Try("SENTINEL", "GET-MASTER-ADDR-BY-NAME", masterSet).AsStrSlice()
			if err == nil && len(addr) == 2 && addr[1] == g.Replica.port {
				n++
			}
		}
		return n > len(g.Sentinels)/2
	})
}

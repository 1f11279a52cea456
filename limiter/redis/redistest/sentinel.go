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
	await(t, func() bool {
		role, err := g.Replica.Try("ROLE").ToArray()
		if err != nil || len(role) < 4 {
			return false
		}
		state, _ := role[3].ToString()
		return state == "connected"
	})
	for range 3 {
		g.Sentinels = append(g.Sentinels, start(t, []string{"--sentinel"},
			fmt.Sprintf("sentinel monitor %s 127.0.0.1 %s 2", masterSet, g.Master.port),
			fmt.Sprintf("sentinel down-after-milliseconds %s 500", masterSet),
			fmt.Sprintf("sentinel failover-timeout %s 3000", masterSet)))
	}
	for _, s := range g.Sentinels {
		await(t, func() bool {
			m, err := s.Try("SENTINEL", "MASTER", masterSet).AsStrMap()
			return err == nil && m["num-slaves"] == "1" && m["num-other-sentinels"] == "2" && m["flags"] == "master"
		})
	}
	return g
}

// URL is that of the Sentinels.
func (g *Guarded) URL() string {
	url := g.Sentinels[0].URL() + "?master_set=" + masterSet
	for _, s := range g.Sentinels[1:] {
		url += "&addr=" + s.Addr()
	}
	return url
}

// AwaitPromoted returns when the replica is a master.
func (g *Guarded) AwaitPromoted(t testing.TB) {
	t.Helper()
	await(t, func() bool {
		role, err := g.Replica.Try("ROLE").ToArray()
		if err != nil || len(role) == 0 {
			return false
		}
		name, _ := role[0].ToString()
		return name == "master"
	})
}

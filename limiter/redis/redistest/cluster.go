package redistest

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// Cluster is one of three masters, without replicas. If one is away, the others serve on.
type Cluster []*Server

// StartCluster starts one that agrees about its slots.
func StartCluster(t testing.TB, config ...string) Cluster {
	t.Helper()
	var c Cluster
	ports := map[*Server]string{}
	for range 3 {
		var port string
		s := startAnew(t, func() []string {
			port = freePort(t)
			return append([]string{
				"cluster-enabled yes", "cluster-config-file nodes.conf", "cluster-port " + port,
				"cluster-node-timeout 1000", "cluster-require-full-coverage no",
			}, config...)
		})
		c, ports[s] = append(c, s), port
	}
	const slots = 16384
	for i, s := range c {
		s.Do(t, "CLUSTER", "SET-CONFIG-EPOCH", fmt.Sprint(i+1))
		s.Do(t, "CLUSTER", "ADDSLOTSRANGE", fmt.Sprint(i*slots/3), fmt.Sprint((i+1)*slots/3-1))
		if i > 0 {
			c[0].Do(t, "CLUSTER", "MEET", "127.0.0.1", s.port, ports[s])
		}
	}
	for _, s := range c {
		await(t, func() bool {
			return s.agrees(len(c)) && strings.Count(s.text("CLUSTER", "NODES"), "connected ") >= len(c)
		})
	}
	return c
}

// URL names all nodes.
func (c Cluster) URL() string {
	url := c[0].URL()
	for i, s := range c[1:] {
		url += string("?&"[min(i, 1)]) + "addr=" + s.Addr()
	}
	return url
}

func (s *Server) agrees(nodes int) bool {
	info := s.text("CLUSTER", "INFO")
	return strings.Contains(info, "cluster_state:ok") && strings.Contains(info, "cluster_slots_ok:16384") &&
		strings.Contains(info, fmt.Sprintf("cluster_known_nodes:%d", nodes))
}

// AwaitServing returns when a node serves its slots, which after a start it does not for 2 s.
func (c Cluster) AwaitServing(t testing.TB, s *Server) {
	t.Helper()
	await(t, func() bool { return s.agrees(len(c)) })
}

func (s *Server) text(command ...string) string {
	text, _ := s.Try(command...).ToString()
	return text
}

func await(t testing.TB, done func() bool) {
	t.Helper()
	for began := time.Now(); !done(); time.Sleep(10 * time.Millisecond) {
		if time.Since(began) > Patience {
			t.Fatalf("not within %v", Patience)
		}
	}
}

package limits

import (
	"testing"
	"time"
)

func noRedis(*stage) string { return "" }

// One host by itself has no leases: its workers share what they know, and the bound is
// exact, however hard they press on one bucket.
func TestAHostWithoutRedisIsExactWhateverHappensToItsWorkers(t *testing.T) {
	sideBySide(t)
	policies, streams := crowd()
	press := len(policies)
	policies = append(policies, policy{Name: "pressed", rule: rule{2000, time.Second, 50}})
	streams = append(streams, stream{Charges: []charge{{Policy: press, Key: "hot"}}, Arrive: "bursty", PerSec: 10_000},
		stream{Charges: []charge{{Policy: press, Key: "hot"}, {Policy: press, Key: "half as hot", Costs: true}}, Arrive: "bursty", PerSec: 1000, MaxCost: 3})
	for i := range streams {
		streams[i].Hosts = nil
	}
	s := newStageOf(t, 1, policies, streams, noRedis)
	s.arrive()
	s.churn(duration(t)/2, workerEvents)
	s.leave()
	e := s.evidence()
	e.noLeases = true
	e.describe()
	e.bound(nil)
}

package limits

import (
	"fmt"
	"testing"
	"time"

	"github.com/nekoctl/neko/hostmem"
)

func TestNoBoundIsExceededWhateverHappensToWorkers(t *testing.T) {
	sideBySide(t)
	policies, streams := crowd()
	s := newStage(t, policies, streams, oneRedis)
	s.arrive()
	for _, x := range streams {
		if x.Steady {
			s.empty(owner{x.Charges[0].Policy, x.Charges[0].Key})
		}
	}
	s.churn(duration(t), allEvents)
	s.leave()
	e := s.evidence()
	all := e.describe()
	e.bound(nil)
	e.enough(all)
}

// More keys than there are places: buckets and leases change hands all the time.
func TestKeysThatTakeEachOthersPlaces(t *testing.T) {
	longOnly(t)
	policies := []policy{
		{Name: "leased", rule: rule{100, time.Second, 200}},
		{Name: "slow", rule: rule{600, time.Minute, 100}},
		{Name: "exact", rule: rule{10, time.Second, 10}},
	}
	var streams []stream
	for i := range policies {
		for k := range 12 {
			perSec := 20.0
			if k == 0 {
				perSec = 200
			}
			streams = append(streams, stream{Charges: []charge{{Policy: i, Key: fmt.Sprint("key", k), Costs: true}}, Arrive: "bursty", PerSec: perSec, MaxCost: 3})
		}
	}
	s := newStage(t, policies, streams, oneRedis)
	s.terms.Buckets = hostmem.MinBuckets
	s.arrive()
	time.Sleep(duration(t))
	s.leave()
	e := s.evidence()
	e.describe()
	e.bound(nil)
	e.conserved()
}

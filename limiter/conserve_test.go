package limiter

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// Requests with some charges each, by leases, by the source and by Fail, while answers come in time, late or
// too late: what the source has given, and was neither given back nor lost, has been let pass. So who is refused by
// one policy has paid none of the others, and who was let pass has paid all, once.
func TestWhatIsTakenIsLetPassWhateverAnswersTake(t *testing.T) {
	for seed := range 50 {
		bubble(t, 1, 2, func(t *testing.T, f *fleet) {
			policies := []*Policy{
				failing(t, "leased", 1000, MaxWindow, 1000, FailOpen),
				failing(t, "leased and closed", 300, MaxWindow, 300, FailClosed),
				failing(t, "exact", 19, MaxWindow, 19, FailLocal),
				failing(t, "quick", 20, 10*time.Second, 20, FailLocal),
			}
			worst := []int{1, 10, 18, 30, 60}[seed%5] // milliseconds
			var mu sync.Mutex
			var surely, perhaps int64 // what was let pass without the source it has been told of, or not
			var clients sync.WaitGroup
			for client := range 6 {
				random := rand.New(rand.NewPCG(uint64(seed), uint64(client)))
				clients.Go(func() {
					for range 150 {
						time.Sleep(time.Duration(random.IntN(20)) * time.Millisecond)
						if random.IntN(10) == 0 {
							f.bank.set(func(b *bank) { b.delay = time.Duration(random.IntN(worst*1000)) * time.Microsecond })
						}
						var charges []Charge
						var sum int64
						for range 1 + random.IntN(4) {
							n := []int64{1, 1, 8, 22}[random.IntN(4)]
							charges = append(charges, charge(policies[random.IntN(len(policies))], fmt.Sprint(random.IntN(2)), n))
							sum += n
						}
						if d := decide(f.workers[0][random.IntN(2)], charges...); d.OK() {
							mu.Lock()
							if perhaps += sum; !d.Alone {
								surely += sum
							}
							mu.Unlock()
						}
					}
				})
			}
			clients.Wait()
			f.bank.set(func(b *bank) { b.delay = 0 })
			time.Sleep(5 * time.Second) // what is under way has come, and all leases have ended
			synctest.Wait()
			var taken int64
			for _, s := range f.workers[0] {
				st := s.Stats()
				taken += int64(st.Leased) - int64(st.Returned) - int64(st.Expired)
			}
			if taken < surely || taken > perhaps {
				t.Errorf("seed %d: %d tokens were taken, and %d to %d let pass", seed, taken, surely, perhaps)
			}
		})
	}
}

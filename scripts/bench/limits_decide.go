package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nekoctl/neko/hostmem"
	"github.com/nekoctl/neko/limiter"
)

// decideCommand makes this program one of the processes that decide.
const decideCommand = "decide"

// decide does what limits.js does, by package limiter: it warms up, prints a line, waits for one, and
// prints what it has decided.
func decide(text string) error {
	var job deciding
	if err := json.Unmarshal([]byte(text), &job); err != nil {
		return err
	}
	memory, err := hostmem.Open(job.Run, 0)
	if err != nil {
		return err
	}
	defer memory.Close()
	l, err := newLimiter(memory, job.Redis)
	if err != nil {
		return err
	}
	policy, err := limiter.NewPolicy("bench", job.Limit, time.Duration(job.Seconds)*time.Second, 0, limiter.FailClosed)
	if err != nil {
		return err
	}
	keys := make([][]byte, job.Keys)
	for i := range keys {
		keys[i] = []byte("client-" + strconv.Itoa(i))
	}
	run := func(seconds float64) decided { return decideFor(l, policy, keys, seconds) }
	warm := run(job.Warm)
	for i := 0; job.Full && warm.Refused < warm.Decisions*9/10 && i < 50; i++ {
		warm = run(0.2)
	}
	fmt.Println("warm")
	if _, err := bufio.NewReader(os.Stdin).ReadString('\n'); err != nil {
		return err
	}
	before := l.Stats()
	done := run(job.Measured)
	if after := l.Stats(); after.Alone != before.Alone || after.Failures != before.Failures {
		return fmt.Errorf("%d decisions were made without Redis, %d calls of it failed", after.Alone-before.Alone, after.Failures-before.Failures)
	}
	fmt.Println(jsonOf(done))
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	return l.Close(ctx)
}

// clients is how many ask at once in one process. Most decisions wait for nothing.
const clients = 16

func decideFor(l limiter.Limiter, p *limiter.Policy, keys [][]byte, seconds float64) decided {
	var all, refused atomic.Int64
	var wg sync.WaitGroup
	began := time.Now()
	until := began.Add(time.Duration(seconds * float64(time.Second)))
	for c := range clients {
		wg.Go(func() {
			charges := make([]limiter.Charge, 1)
			var n, no int64
			for next := c * 37 % len(keys); time.Now().Before(until); {
				for range 64 { // looking at the time would count
					charges[0] = limiter.Charge{Policy: p, Key: keys[next], Cost: 1}
					if !l.Decide(context.Background(), charges).OK() {
						no++
					}
					n++
					next = (next + 1) % len(keys)
				}
			}
			all.Add(n)
			refused.Add(no)
		})
	}
	wg.Wait()
	return decided{Decisions: all.Load(), Refused: refused.Load(), Seconds: time.Since(began).Seconds()}
}

func newLimiter(memory *hostmem.Mapping, url string) (limiter.Limiter, error) {
	if url == "" {
		return limiter.NewHost(memory)
	}
	return nil, fmt.Errorf("not yet")
}

package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"time"

	"github.com/nekoctl/neko/hostmem"
	"github.com/nekoctl/neko/limiter"
	"github.com/nekoctl/neko/limiter/redis"
	"github.com/nekoctl/neko/logtext"
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
	memory, err := hostmem.Open(job.Run, 0) // it ends with the process
	if err != nil {
		return err
	}
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
	alone := l.Stats().Alone
	done := run(job.Measured)
	done.Alone = l.Stats().Alone - alone
	fmt.Println(jsonOf(done))
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	return l.Close(ctx)
}

// decideFor asks as fast as it can: in one goroutine, as the peer has one thread, so that
// answers of Redis are seen by another. (Where all that may run are busy, Go looks at the network
// every ten milliseconds.)
func decideFor(l limiter.Limiter, p *limiter.Policy, keys [][]byte, seconds float64) (d decided) {
	charges := make([]limiter.Charge, 1)
	next := 0
	began := time.Now()
	for until := began.Add(time.Duration(seconds * float64(time.Second))); time.Now().Before(until); {
		for range 64 { // looking at the time would count
			charges[0] = limiter.Charge{Policy: p, Key: keys[next], Cost: 1}
			if !l.Decide(context.Background(), charges).OK() {
				d.Refused++
			}
			d.Decisions++
			next = (next + 1) % len(keys)
		}
	}
	d.Seconds = time.Since(began).Seconds()
	return d
}

func newLimiter(memory *hostmem.Mapping, url string) (limiter.Limiter, error) {
	if url == "" {
		return limiter.NewHost(memory)
	}
	log := logtext.Logger(os.Stderr)
	source, err := redis.New(context.Background(), url, redis.Options{Log: log})
	if err != nil {
		return nil, err
	}
	return limiter.NewShared(memory, source, log)
}

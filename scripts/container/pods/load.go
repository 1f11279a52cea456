package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// queries are n different ones that have an answer: of what there is, with more or less of what belongs to it.
func (all pods) queries(ctx context.Context, n int) (bodies [][]byte, err error) {
	body, status, err := post(ctx, http.DefaultClient, all[0].address, []byte(`{"query":"{techniques(first: 100) {nodes {id}}}"}`))
	if err != nil || status != http.StatusOK {
		return nil, fmt.Errorf("what there is cannot be asked for: %d, %w: %s", status, err, body)
	}
	var answer struct {
		Data struct {
			Techniques struct{ Nodes []struct{ ID string } }
		}
	}
	if err := json.Unmarshal(body, &answer); err != nil {
		return nil, err
	}
	nodes := answer.Data.Techniques.Nodes
	if len(nodes) == 0 {
		return nil, errors.New("the store has no techniques")
	}
	const fields = "{id attackId name description platforms isSubtechnique mitigations(first: $n) {totalCount nodes {id attackId name}}}"
	for i := range n {
		of, first := nodes[i%len(nodes)].ID, 1+i/len(nodes)%100
		q := fmt.Sprintf("query Q%d($id: ID!, $n: Int) {technique(id: $id) %s}", i/len(nodes)/100, fields)
		text, err := json.Marshal(map[string]any{"query": q, "variables": map[string]any{"id": of, "n": first}})
		if err != nil {
			return nil, err
		}
		bodies = append(bodies, text)
	}
	return bodies, nil
}

func post(ctx context.Context, client *http.Client, address string, body []byte) ([]byte, int, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+address+"/graphql", bytes.NewReader(body))
	if err != nil {
		return nil, 0, err
	}
	request.Header.Set("Content-Type", "application/json")
	r, err := client.Do(request)
	if err != nil {
		return nil, 0, err
	}
	defer r.Body.Close()
	text, err := io.ReadAll(r.Body)
	return text, r.StatusCode, err
}

// outcome is that of a load.
type outcome struct {
	took   []time.Duration // sorted, from when a request was due
	errors int
	lasted time.Duration
	failed error // of what was done meanwhile
}

func (o outcome) perSecond() float64 { return float64(len(o.took)) / o.lasted.Seconds() }

// percentile is in milliseconds.
func (o outcome) percentile(p float64) float64 {
	if len(o.took) == 0 {
		return -1
	}
	return ms(o.took[min(int(p*float64(len(o.took))), len(o.took)-1)])
}

// load is an open loop: requests are due at a steady rate, and how long they took counts from then, also if all
// connections were waiting. The pods are asked in turn. A third into it meanwhile is called.
func (s settings) load(ctx context.Context, all pods, queries [][]byte, meanwhile func() error) (o outcome) {
	client := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: s.clients, MaxConnsPerHost: s.clients}}
	defer client.CloseIdleConnections()
	var next, wrong atomic.Int64
	var lock sync.Mutex
	total := int64(s.lasts.Seconds() * float64(s.rate))
	began := time.Now()
	var done sync.WaitGroup
	for c := range s.clients {
		done.Go(func() {
			random := rand.New(rand.NewSource(int64(c)))
			zipf := rand.NewZipf(random, 1.1, 1, uint64(len(queries)-1))
			var took []time.Duration
			for i := next.Add(1) - 1; i < total && ctx.Err() == nil; i = next.Add(1) - 1 {
				due := began.Add(time.Duration(i) * time.Second / time.Duration(s.rate))
				time.Sleep(time.Until(due))
				_, status, err := post(ctx, client, all[i%int64(len(all))].address, queries[zipf.Uint64()])
				if err != nil || status != http.StatusOK {
					wrong.Add(1)
					continue
				}
				took = append(took, time.Since(due))
			}
			lock.Lock()
			defer lock.Unlock()
			o.took = append(o.took, took...)
		})
	}
	if meanwhile != nil {
		time.Sleep(s.lasts / 3)
		o.failed = meanwhile()
	}
	done.Wait()
	o.lasted, o.errors = time.Since(began), int(wrong.Load())
	slices.Sort(o.took)
	return o
}

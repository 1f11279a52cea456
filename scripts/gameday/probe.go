package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"time"
)

// class is a kind of request, by what it needs.
type class string

const (
	keptAnswer class = "kept"   // an answer that workers keep
	newAnswer  class = "new"    // one that has to be made from the store
	change     class = "change" // a mutation
)

// prober asks, at a fixed rate and on a new connection each time, whatever becomes of the requests before: an
// open loop, so that a system that stands still is asked as often as one that answers.
type prober struct {
	url, key string
	run      string // a word that all changes of this run have in their names
	client   *http.Client
	slowly   bool // one that cannot take more, or does not let more pass

	mu    sync.Mutex
	marks []mark
	under map[int]time.Time // way: when they were begun
	n     int
	acked int
	stop  context.CancelFunc
	wg    sync.WaitGroup
}

// mark is what has become of one request.
type mark struct {
	class      class
	begun, end time.Time
	kind       string // "" if it was answered right
}

// Between two requests of a class, and how long one may take.
const (
	askEvery   = 20 * time.Millisecond
	writeEvery = 100 * time.Millisecond
	slower     = 8 // times
	patience   = 10 * time.Second
)

func newProber(url, key, run string) *prober {
	return &prober{url: url, key: key, run: run, under: map[int]time.Time{}, client: &http.Client{Timeout: patience, Transport: &http.Transport{
		DisableKeepAlives: true,
		TLSClientConfig:   &tls.Config{InsecureSkipVerify: true}, // what is asked is made up, and so is the certificate
	}}}
}

func (p *prober) start(ctx context.Context) {
	ctx, p.stop = context.WithCancel(ctx)
	ask, write := askEvery, writeEvery
	if p.slowly {
		ask, write = ask*slower, write*slower
	}
	p.wg.Go(func() { p.every(ctx, ask, keptAnswer) })
	p.wg.Go(func() { p.every(ctx, ask, newAnswer) })
	if p.key != "" {
		p.wg.Go(func() { p.every(ctx, write, change) })
	}
}

func (p *prober) every(ctx context.Context, d time.Duration, c class) {
	tick := time.NewTicker(d)
	defer tick.Stop()
	var flying sync.WaitGroup
	defer flying.Wait()
	room := make(chan struct{}, int(patience/d)) // all that can be under way at this rate
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		room <- struct{}{}
		flying.Go(func() {
			p.once(c)
			<-room
		})
	}
}

func (p *prober) once(c class) {
	p.mu.Lock()
	p.n++
	n := p.n
	p.under[n] = time.Now()
	p.mu.Unlock()
	query := `{threatActors(first: 3) {nodes {name}}}`
	switch c {
	case newAnswer: // a document that nobody has sent, so nobody keeps its answer
		query = fmt.Sprintf(`{a%d: threatActors(first: 3) {nodes {name}}}`, n)
	case change:
		query = fmt.Sprintf(`mutation {createIndicator(input: {name: "%s %d", valueType: "domain-name", value: "h%d.%s.example"}) {indicator {id}}}`, p.run, n, n, p.run)
	}
	begun := time.Now()
	_, err := p.ask(context.Background(), query)
	m := mark{class: c, begun: begun, end: time.Now(), kind: kindOf(err)}
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.under, n)
	p.marks = append(p.marks, m)
	if c == change && err == nil {
		p.acked++
	}
}

// answerError is an answer that is none.
type answerError string

func (e answerError) Error() string { return string(e) }

func (p *prober) ask(ctx context.Context, query string) (json.RawMessage, error) {
	body, err := json.Marshal(map[string]string{"query": query})
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, p.url+"/graphql", bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	if p.key != "" && strings.HasPrefix(query, "mutation") {
		req.Header.Set("Authorization", "Bearer "+p.key)
	}
	resp, err := p.client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return nil, err
	}
	var answer struct {
		Data   json.RawMessage
		Errors []struct {
			Extensions struct{ Code string }
		}
	}
	if err := json.Unmarshal(text, &answer); err != nil {
		return nil, answerError(fmt.Sprintf("status %d", resp.StatusCode))
	}
	if len(answer.Errors) > 0 {
		return nil, answerError(answer.Errors[0].Extensions.Code)
	}
	return answer.Data, nil
}

func kindOf(err error) string {
	var own answerError
	var timeout net.Error
	switch {
	case err == nil:
		return ""
	case errors.As(err, &own):
		return string(own)
	case errors.Is(err, syscall.ECONNREFUSED):
		return "refused"
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return "reset"
	case errors.As(err, &timeout) && timeout.Timeout():
		return "timeout"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "eof"
	}
	return "other"
}

// found is how many of the changes of this run the store has.
func (p *prober) found(ctx context.Context) (n int, err error) {
	text, err := p.ask(ctx, fmt.Sprintf(`{found%d: indicators(filter: {text: "%s"}) {totalCount}}`, time.Now().UnixNano(), p.run))
	if err != nil {
		return 0, err
	}
	var answer map[string]struct{ TotalCount int }
	if err := json.Unmarshal(text, &answer); err != nil {
		return 0, err
	}
	for _, a := range answer {
		n = a.TotalCount
	}
	return n, nil
}

// last is the last error.
func (p *prober) last() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := len(p.marks) - 1; i >= 0; i-- {
		if m := p.marks[i]; m.kind != "" {
			return string(m.class) + " " + m.kind
		}
	}
	return "one is under way"
}

// end stops asking, waits for what is under way, and returns all that there was.
func (p *prober) end() ([]mark, int) {
	p.stop()
	p.wg.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.marks, p.acked
}

// well tells whether all that was begun since then, at least some of each class, was answered right, and nothing of before is
// still under way.
func (p *prober) well(since time.Time) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, begun := range p.under {
		if begun.Before(since) {
			return false
		}
	}
	seen := map[class]int{}
	for i := len(p.marks) - 1; i >= 0 && p.marks[i].end.After(since); i-- {
		m := p.marks[i]
		if m.kind != "" {
			return false
		}
		if m.begun.After(since) {
			seen[m.class]++
		}
	}
	classes := 2
	if p.key != "" {
		classes = 3
	}
	return len(seen) == classes && seen[newAnswer] >= 3
}

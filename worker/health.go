package worker

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"time"

	"github.com/nekoctl/neko/logtext"
	"github.com/valyala/fasthttp"
)

// checkResult is the outcome of one check.
type checkResult struct {
	Name     string `json:"name"`
	OK       bool   `json:"ok"`
	Degraded bool   `json:"degraded,omitempty"` // it has failed, and leaves the worker ready
	Error    string `json:"error,omitempty"`
	MS       int64  `json:"ms"`
}

// check runs the checks side by side and says whether the worker is ready: all have passed, but
// for those that need to only once, and have.
func (w *Worker) check(ctx context.Context) (results []checkResult, ok bool) {
	done := make(chan int, len(w.config.Checks))
	results = make([]checkResult, len(w.config.Checks))
	for i := range w.config.Checks {
		go func() {
			results[i] = w.checkOne(ctx, i)
			done <- i
		}()
	}
	ok = true
	for range results {
		r := results[<-done]
		ok = ok && (r.OK || r.Degraded)
	}
	return results, ok
}

// checkOne returns in time; a check that does not heed its context goes on by itself.
func (w *Worker) checkOne(ctx context.Context, i int) checkResult {
	c, passed := w.config.Checks[i], &w.passed[i]
	mayFail := c.OnlyToStart && passed.Load()
	wait := checkTimeout
	if mayFail {
		wait = degradedTimeout
	}
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	began := time.Now()
	done := make(chan error, 1)
	go func() {
		err := errors.New("panic")
		defer func() {
			if v := recover(); v != nil {
				w.config.Log.Error("panic in check "+c.Name, logtext.Reason, v)
			}
			done <- err
		}()
		err = c.Run(ctx)
	}()
	var err error
	select {
	case err = <-done:
	case <-ctx.Done():
		err = errors.New("no answer")
	}
	r := checkResult{Name: c.Name, OK: err == nil, MS: time.Since(began).Milliseconds()}
	if err != nil {
		r.Error, r.Degraded = err.Error(), mayFail
	} else {
		passed.Store(true)
	}
	return r
}

// serveLivez says that the process answers: 200.
func (w *Worker) serveLivez(ctx *fasthttp.RequestCtx) {
	plainText(ctx, fasthttp.StatusOK, "ok\n")
}

// serveReadyz says whether new requests should come here: 200 if all checks pass that must
// and the worker neither drains nor is about to, else 503. ?verbose lists the checks, and what
// the worker can do without for a while.
func (w *Worker) serveReadyz(ctx *fasthttp.RequestCtx) {
	results, ok := w.check(w.base)
	draining, stopping := w.drainer.draining.Load(), w.stopping.look()
	status, word := fasthttp.StatusOK, "ok\n"
	if !ok || draining || stopping {
		status, word = fasthttp.StatusServiceUnavailable, "not ready\n"
	}
	if ctx.QueryArgs().Has("verbose") {
		list := ""
		for _, r := range results {
			switch {
			case r.OK:
				list += fmt.Sprintf("[+] %s ok\n", r.Name)
			case r.Degraded:
				list += fmt.Sprintf("[!] %s: %s; what is known is served\n", r.Name, r.Error)
			default:
				list += fmt.Sprintf("[-] %s: %s\n", r.Name, r.Error)
			}
		}
		if w.rates != nil {
			list += w.rates.verbose()
		}
		list += w.cacheVerbose()
		list += w.dependencies.verbose()
		if draining {
			list += "[-] draining\n"
		} else if stopping {
			list += "[-] stopping\n"
		}
		word = list + word
	}
	plainText(ctx, status, word)
}

// serveHealth tells what a person or a dashboard wants to know. It is 200 as
// long as the process answers; status says how it is.
func (w *Worker) serveHealth(ctx *fasthttp.RequestCtx) {
	results, ok := w.check(w.base)
	states, well := w.dependencies.states()
	for _, r := range results {
		well = well && r.OK
	}
	status := "ok"
	switch {
	case w.drainer.draining.Load():
		status = "draining"
	case w.stopping.look():
		status = "stopping"
	case !ok:
		status = "unready"
	case !well:
		status = "degraded"
	}
	health := struct {
		Status   string            `json:"status"`
		Name     string            `json:"name"`
		Version  string            `json:"version"`
		Uptime   float64           `json:"uptime_seconds"`
		Slot     *int              `json:"slot"` // null outside a supervisor
		PID      int               `json:"pid"`
		Checks   []checkResult     `json:"checks"`
		Breakers []dependencyState `json:"breakers,omitempty"`
		Limiter  *limiterState     `json:"limiter,omitempty"`
		Cache    *cacheState       `json:"cache,omitempty"`
	}{status, w.config.Name, w.config.Version, time.Since(w.started).Seconds(), nil, os.Getpid(), results, states, w.rates.state(), w.cacheState()}
	if slot, err := strconv.Atoi(os.Getenv("NEKO_SLOT")); err == nil {
		health.Slot = &slot
	}
	writeJSON(ctx, fasthttp.StatusOK, health)
}

// limiterState is how it is with the rate limits. A worker whose limiter decides alone is
// ready: it serves as well as any other could.
type limiterState struct {
	Away  bool `json:"away"` // what the hosts share cannot be asked
	Hosts int  `json:"hosts"`
	Rules int  `json:"rules"`
}

func (r *rates) state() *limiterState {
	if r == nil {
		return nil
	}
	s := r.limiter.Stats()
	return &limiterState{s.Away, s.Hosts, len(r.current.Load().rules)}
}

func (r *rates) verbose() string {
	if r.state().Away {
		return "[+] rate limits: what the hosts share is away, and this one decides alone\n"
	}
	return "[+] rate limits ok\n"
}

// cacheState is how it is with the cache. A worker is ready without what the hosts share: it
// serves what it has, and makes the rest.
type cacheState struct {
	Away    bool   `json:"away"` // what the hosts share cannot be asked
	Entries uint64 `json:"entries"`
	Bytes   uint64 `json:"bytes"`
	Waiting uint64 `json:"waiting_tags"` // invalidated, and other hosts do not know yet
}

func (w *Worker) cacheState() *cacheState {
	if w.config.Cache == nil {
		return nil
	}
	s := w.config.Cache.Stats()
	return &cacheState{s.SharedAway, s.Entries, s.Bytes, s.Waiting}
}

func (w *Worker) cacheVerbose() string {
	switch s := w.cacheState(); {
	case s == nil:
		return ""
	case s.Away:
		return "[+] cache: what the hosts share is away, and this worker has its own memory\n"
	}
	return "[+] cache ok\n"
}

func plainText(ctx *fasthttp.RequestCtx, status int, body string) {
	ctx.SetStatusCode(status)
	ctx.Response.Header.SetContentType("text/plain; charset=utf-8")
	ctx.SetBodyString(body)
}

package worker

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"time"

	"github.com/valyala/fasthttp"
)

// checkResult is the outcome of one check.
type checkResult struct {
	Name  string `json:"name"`
	OK    bool   `json:"ok"`
	Error string `json:"error,omitempty"`
	MS    int64  `json:"ms"`
}

// check runs the checks side by side and says whether all passed.
func (w *Worker) check(ctx context.Context) (results []checkResult, ok bool) {
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	type outcome struct {
		i   int
		err error
		ms  int64
	}
	done := make(chan outcome, len(w.config.Checks))
	began := time.Now()
	results = make([]checkResult, len(w.config.Checks))
	for i, c := range w.config.Checks {
		results[i] = checkResult{Name: c.Name, Error: "no answer", MS: checkTimeout.Milliseconds()}
		go func() {
			err := errors.New("panic")
			defer func() {
				if v := recover(); v != nil {
					w.config.Log.Printf("error: panic in check %s: %v", c.Name, v)
				}
				done <- outcome{i, err, time.Since(began).Milliseconds()}
			}()
			err = c.Run(ctx)
		}()
	}
	ok = true
	for range results {
		select {
		case o := <-done:
			r := &results[o.i]
			r.OK, r.Error, r.MS = o.err == nil, "", o.ms
			if o.err != nil {
				r.Error, ok = o.err.Error(), false
			}
		case <-ctx.Done(): // a check that does not heed its context goes on by itself
			return results, false
		}
	}
	return results, ok
}

// serveLivez says that the process answers: 200.
func (w *Worker) serveLivez(ctx *fasthttp.RequestCtx) {
	plainText(ctx, fasthttp.StatusOK, "ok\n")
}

// serveReadyz says whether new requests should come here: 200 if all checks pass
// and the worker neither drains nor is about to, else 503. ?verbose lists the checks.
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
			if r.OK {
				list += fmt.Sprintf("[+] %s ok\n", r.Name)
			} else {
				list += fmt.Sprintf("[-] %s: %s\n", r.Name, r.Error)
			}
		}
		if w.rates != nil {
			list += w.rates.verbose()
		}
		list += w.cacheVerbose()
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
	status := "ok"
	switch {
	case w.drainer.draining.Load():
		status = "draining"
	case w.stopping.look():
		status = "stopping"
	case !ok:
		status = "unready"
	}
	health := struct {
		Status  string        `json:"status"`
		Name    string        `json:"name"`
		Version string        `json:"version"`
		Uptime  float64       `json:"uptime_seconds"`
		Slot    *int          `json:"slot"` // null outside a supervisor
		PID     int           `json:"pid"`
		Checks  []checkResult `json:"checks"`
		Limiter *limiterState `json:"limiter,omitempty"`
		Cache   *cacheState   `json:"cache,omitempty"`
	}{status, w.config.Name, w.config.Version, time.Since(w.started).Seconds(), nil, os.Getpid(), results, w.rates.state(), w.cacheState()}
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

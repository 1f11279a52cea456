package worker

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"runtime/debug"
	"sync"

	"github.com/nekoctl/neko/logtext"
	"github.com/valyala/fasthttp"
)

// A batch is a list of requests in one. It may ask for no more than one request
// may: what bounds an operation (time, fields, introspection) bounds all of a batch
// together.

// batchConcurrency is how many operations of a batch run at once.
const batchConcurrency = 4

// decodeBatch reads a JSON list of at most limit requests, no further than it has
// to. An entry that is no request has an error as its result.
func decodeBatch(data []byte, limit int) (ops []operation, bad *badRequest) {
	if limit <= 0 {
		return nil, malformed("the body must be a JSON object with a query: lists of them are not taken here, send one after the other")
	}
	d := json.NewDecoder(bytes.NewReader(data))
	_, _ = d.Token() // the bracket
	for d.More() {
		if len(ops) == limit {
			return nil, &badRequest{fasthttp.StatusRequestEntityTooLarge, CodeBatchTooLarge, fmt.Sprintf("a batch may have %d requests", limit)}
		}
		var raw json.RawMessage
		if err := d.Decode(&raw); err != nil {
			return nil, notJSON(data)
		}
		if raw[0] != '{' {
			return nil, malformed("request %d of the batch is no JSON object", len(ops)+1)
		}
		op := operation{}
		if op.request, bad = parseBody(raw); bad != nil {
			op.fail(NewError(bad.code, bad.reason))
		}
		ops = append(ops, op)
	}
	if _, err := d.Token(); err != nil {
		return nil, notJSON(data)
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, notJSON(data)
	}
	if len(ops) == 0 {
		return nil, malformed("the batch is empty")
	}
	return ops, nil
}

// notJSON says where data, which a decoder has stumbled over, is no JSON.
func notJSON(data []byte) *badRequest {
	var raw json.RawMessage
	return illegible("the body is no JSON: %v", json.Unmarshal(data, &raw))
}

// boundBatch fails what a batch has too much of, by the plans.
func (w *Worker) boundBatch(ops []operation) {
	introspected := false
	for i := range ops {
		op := &ops[i]
		if !op.pending() || !op.plan.introspect {
			continue
		}
		if introspected {
			op.fail(NewError(CodeBatchTooLarge, "only one request of a batch may ask for __schema or __type"))
		}
		introspected = true
	}
}

// executeBatch runs what is still pending, some at once and in no order.
func (w *Worker) executeBatch(ctx context.Context, ops []operation, caller *Caller) {
	ctx, cancel := context.WithTimeout(ctx, w.config.ExecutionTimeout)
	defer cancel()
	ctx, release := withFieldBudget(ctx, w.config.MaxFields)
	defer release(nil)
	var running sync.WaitGroup
	places := make(chan struct{}, batchConcurrency)
	for i := range ops {
		op := &ops[i]
		if !op.pending() {
			continue
		}
		places <- struct{}{}
		running.Go(func() {
			defer func() { <-places }()
			defer func() { // else it ends the process
				if v := recover(); v != nil {
					w.config.Log.ErrorContext(WithCaller(ctx, caller), "panic in an operation of a batch", logtext.Reason, v, "stack", string(debug.Stack()))
					op.fail(NewError(CodeInternal, "internal error"))
				}
			}()
			op.result = w.resultOf(ctx, op, caller)
		})
	}
	running.Wait()
}

package worker

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/nekoctl/neko/logtext"
	"github.com/vektah/gqlparser/v2/ast"
)

// AuditStage says of an [AuditEvent] what has happened.
type AuditStage string

// The stages. A mutation has an attempt and an outcome, a refused operation of
// whatever kind is an event of its own.
const (
	AuditAttempt AuditStage = "attempt" // a mutation is about to run
	AuditOutcome AuditStage = "outcome" // it has run
	AuditRefused AuditStage = "refused" // nobody knows who asks, or they may not, or not so often
)

// AuditEvent is something that Config.Audit is told. Nothing of it is a value of
// the client's but the operation's name.
type AuditEvent struct {
	Stage     AuditStage
	Caller    *Caller
	Kind      string   // "query", "mutation"
	Operation string   // its name; may be empty
	Fields    []string // the root fields, "Mutation.login"
	Code      Code     // of the first error; "" if there was none
	Objects   []string // see AuditObject
	Notes     []string // see AuditNote
}

// audited gathers what resolvers say about one operation.
type audited struct {
	mu             sync.Mutex
	objects, notes []string
}

// maxAudited bounds what is gathered of one operation, in number.
const maxAudited = 100

type auditedKey struct{}

// AuditObject says that the mutation of ctx works on an object: its id. Elsewhere
// it does nothing.
func AuditObject(ctx context.Context, id string) {
	if a, ok := ctx.Value(auditedKey{}).(*audited); ok {
		a.add(&a.objects, id)
	}
}

// AuditNote says something about the mutation of ctx that an auditor should know.
// It must hold no secret. Elsewhere it does nothing.
func AuditNote(ctx context.Context, note string) {
	if a, ok := ctx.Value(auditedKey{}).(*audited); ok {
		a.add(&a.notes, note)
	}
}

func (a *audited) add(list *[]string, s string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(*list) < maxAudited && !slices.Contains(*list, s) {
		*list = append(*list, s)
	}
}

func (w *Worker) event(stage AuditStage, plan *Plan, caller *Caller, code Code) AuditEvent {
	return AuditEvent{Stage: stage, Caller: caller, Kind: string(plan.Kind), Operation: plan.Name, Fields: plan.roots, Code: code}
}

// auditRefused tells that an operation was refused.
func (w *Worker) auditRefused(plan *Plan, caller *Caller, code Code) {
	if w.config.Audit == nil {
		return
	}
	if err := w.config.Audit(w.event(AuditRefused, plan, caller, code)); err != nil {
		w.auditFailed("that an operation was refused could not be recorded", err)
	}
}

// auditMutation runs a mutation between its attempt and its outcome, and does not
// run it if the attempt cannot be recorded. Other operations it just runs.
func (w *Worker) auditMutation(ctx context.Context, plan *Plan, caller *Caller, run func(context.Context) result) result {
	if plan.Kind != ast.Mutation || w.config.Audit == nil {
		return run(ctx)
	}
	if err := w.config.Audit(w.event(AuditAttempt, plan, caller, "")); err != nil {
		w.auditFailed("mutations are refused, as they cannot be recorded", err)
		return failed(NewError(CodeUnavailable, "changes cannot be recorded at the moment, and so are not made"))
	}
	a := &audited{}
	r := run(context.WithValue(ctx, auditedKey{}, a))
	outcome := w.event(AuditOutcome, plan, caller, "")
	if len(r.errors) > 0 {
		outcome.Code = Code(fmt.Sprint(r.errors[0].Extensions()["code"]))
	}
	a.mu.Lock()
	outcome.Objects, outcome.Notes = slices.Clone(a.objects), slices.Clone(a.notes)
	a.mu.Unlock()
	if err := w.config.Audit(outcome); err != nil {
		w.auditFailed("the outcome of a mutation could not be recorded", err)
	}
	return r
}

// auditFailed says so in the log, but not for each request of many.
func (w *Worker) auditFailed(what string, err error) {
	now := time.Now().Unix()
	if last := w.auditComplained.Load(); now-last >= 10 && w.auditComplained.CompareAndSwap(last, now) {
		w.config.Log.Error(what, logtext.Reason, err)
	}
}

package api

import (
	"context"
	"errors"
	"fmt"

	graphql "github.com/graph-gophers/graphql-go"

	"github.com/nekoctl/neko/api/store"
	"github.com/nekoctl/neko/worker"
)

type reportSightingArgs struct {
	Input struct {
		Of          graphql.ID
		FirstSeen   *instant
		LastSeen    *instant
		Count       optionalInt
		Description *string
		Reporter    *string
	}
}

type sightingPayload struct{ Sighting *sighting }

// ReportSighting records that something was seen.
func (r *Resolver) ReportSighting(ctx context.Context, a reportSightingArgs) (*sightingPayload, error) {
	in := a.Input
	fields := inputs{prefix: "input"}
	count := in.Count.orElse(1)
	if count < 1 { // the store would take 0 for not told
		fields.refuse("count", fmt.Sprintf("is %d, but must be at least 1", count))
	}
	n := store.NewSighting{
		Of:          string(in.Of),
		FirstSeen:   fields.time("firstSeen", in.FirstSeen),
		LastSeen:    fields.time("lastSeen", in.LastSeen),
		Count:       count,
		Description: value(in.Description),
		Reporter:    value(in.Reporter),
	}
	if fields.err != nil {
		return nil, fields.err
	}
	obj, err := r.store.ReportSighting(ctx, n)
	invalidate(ctx, "Sighting", obj, err)
	if err != nil {
		return nil, inputError(err, "of", "indicator, threat actor, technique, software or campaign")
	}
	worker.AuditObject(ctx, obj.ID)
	return &sightingPayload{newSighting(r.alone(obj))}, nil
}

type createIndicatorArgs struct {
	Input struct {
		Name           *string
		Description    *string
		ValueType      *string
		Value          *string
		Pattern        *string
		PatternType    *string
		IndicatorTypes *[]string
		Indicates      *[]graphql.ID
		ValidFrom      *instant
		ValidUntil     *instant
	}
}

type indicatorPayload struct{ Indicator *indicator }

// CreateIndicator adds an indicator.
func (r *Resolver) CreateIndicator(ctx context.Context, a createIndicatorArgs) (*indicatorPayload, error) {
	in := a.Input
	fields := inputs{prefix: "input"}
	n := store.NewIndicator{
		Name:        value(in.Name),
		Description: value(in.Description),
		Type:        value(in.ValueType),
		Value:       value(in.Value),
		Pattern:     value(in.Pattern),
		PatternType: value(in.PatternType),
		ValidFrom:   fields.time("validFrom", in.ValidFrom),
		ValidUntil:  fields.time("validUntil", in.ValidUntil),
	}
	if fields.err != nil {
		return nil, fields.err
	}
	if in.IndicatorTypes != nil {
		n.IndicatorTypes = *in.IndicatorTypes
	}
	if in.Indicates != nil {
		n.Indicates = keys(*in.Indicates)
	}
	obj, err := r.store.CreateIndicator(ctx, n)
	invalidate(ctx, "Indicator", obj, err)
	if err != nil {
		return nil, inputError(err, "indicates", "threat actor, campaign, software or technique")
	}
	worker.AuditObject(ctx, obj.ID)
	return &indicatorPayload{newIndicator(r.alone(obj))}, nil
}

// RetireIndicator ends an indicator.
func (r *Resolver) RetireIndicator(ctx context.Context, a idArg) (*indicatorPayload, error) {
	obj, err := r.store.RetireIndicator(ctx, string(a.ID))
	invalidate(ctx, "Indicator", obj, err, string(a.ID))
	if err != nil {
		return nil, storeError(err, "")
	}
	worker.AuditObject(ctx, obj.ID)
	return &indicatorPayload{newIndicator(r.alone(obj))}, nil
}

// invalidate says that an object of a type was made or changed, or may have been: obj is
// nil if the store has failed, with err, which it may have done after the change. What certainly
// has changed nothing is none: while the store is away there is nothing better than what was
// kept, and who only tries to change something must not take it from all. Ids are further
// ones by which it is looked up. Every list and count of the type may be another now, and
// nothing else shows it: no field of what a sighting or an indicator is about is made of it.
func invalidate(ctx context.Context, typ string, obj *store.Object, err error, ids ...string) {
	if errors.Is(err, store.ErrNotMade) || errors.Is(err, store.ErrInvalid) || errors.Is(err, store.ErrNotFound) {
		return
	}
	if obj != nil {
		ids = append(ids, obj.ID)
	}
	tags := []string{worker.CacheTag(typ, "list")}
	for _, id := range ids {
		tags = append(tags, worker.CacheTag(typ, id), worker.CacheTag("Node", id))
	}
	worker.Invalidate(ctx, tags...)
}

// inputError translates an error of the store where ref is the only field of
// the input that names other objects, and kinds are what they may be.
func inputError(err error, ref, kinds string) error {
	e := storeError(err, "input")
	var missing *store.NotFoundError
	if errors.As(err, &missing) {
		e.Field = "input." + ref
		e.Message = fmt.Sprintf("%s: there is no %s %q", e.Field, kinds, missing.Key)
	}
	return e
}

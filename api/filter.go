package api

import (
	"fmt"

	graphql "github.com/graph-gophers/graphql-go"

	"github.com/nekoctl/neko/api/store"
)

// maxIDs bounds filter.ids, as maxFirst bounds what they can find.
const maxIDs = maxFirst

// filterCommon is what the …Filter inputs of all types have.
type filterCommon struct {
	IDs            *[]graphql.ID
	Text           *string
	CreatedAfter   *instant
	CreatedBefore  *instant
	ModifiedAfter  *instant
	ModifiedBefore *instant
}

func (c filterCommon) filter(in *inputs) store.Filter {
	f := store.Filter{
		Text:           value(c.Text), // of a search box that may well be empty
		CreatedAfter:   in.time("createdAfter", c.CreatedAfter),
		CreatedBefore:  in.time("createdBefore", c.CreatedBefore),
		ModifiedAfter:  in.time("modifiedAfter", c.ModifiedAfter),
		ModifiedBefore: in.time("modifiedBefore", c.ModifiedBefore),
	}
	if c.IDs != nil {
		if len(*c.IDs) > maxIDs {
			in.refuse("ids", fmt.Sprintf("has %d ids, but may have %d", len(*c.IDs), maxIDs))
		}
		f.Keys = keys(*c.IDs)
	}
	return f
}

// datedCommon is what filters of dated types have.
type datedCommon struct {
	filterCommon
	SeenAfter  *instant
	SeenBefore *instant
}

func (d datedCommon) filter(in *inputs) store.Filter {
	f := d.filterCommon.filter(in)
	f.SeenAfter = in.time("seenAfter", d.SeenAfter)
	f.SeenBefore = in.time("seenBefore", d.SeenBefore)
	return f
}

type threatActorFilter struct {
	datedCommon
	Name          *string
	Alias         *string
	UsesTechnique *graphql.ID
	UsesSoftware  *graphql.ID
	Domain        *string
}

func (a *threatActorFilter) filter() (store.Filter, error) {
	if a == nil {
		return store.Filter{}, nil
	}
	in := inputs{prefix: "filter"}
	f := a.datedCommon.filter(&in)
	f.Name = some(&in, "name", a.Name)
	f.Alias = some(&in, "alias", a.Alias)
	f.UsesTechnique = some(&in, "usesTechnique", a.UsesTechnique)
	f.UsesSoftware = some(&in, "usesSoftware", a.UsesSoftware)
	f.Domain = stixDomain(a.Domain)
	return f, in.err
}

type techniqueFilter struct {
	filterCommon
	Name           *string
	Tactic         *string
	Platform       *string
	Domain         *string
	IsSubtechnique *bool
}

func (a *techniqueFilter) filter() (store.Filter, error) {
	if a == nil {
		return store.Filter{}, nil
	}
	in := inputs{prefix: "filter"}
	f := a.filterCommon.filter(&in)
	f.Name = some(&in, "name", a.Name)
	f.Tactic = some(&in, "tactic", a.Tactic)
	f.Platform = some(&in, "platform", a.Platform)
	f.Domain = stixDomain(a.Domain)
	f.Subtechnique = a.IsSubtechnique
	return f, in.err
}

type softwareFilter struct {
	filterCommon
	Name          *string
	Alias         *string
	Kind          *string
	UsesTechnique *graphql.ID
	Platform      *string
	Domain        *string
}

func (a *softwareFilter) filter() (store.Filter, error) {
	if a == nil {
		return store.Filter{}, nil
	}
	in := inputs{prefix: "filter"}
	f := a.filterCommon.filter(&in)
	f.Name = some(&in, "name", a.Name)
	f.Alias = some(&in, "alias", a.Alias)
	switch value(a.Kind) {
	case malware:
		f.Type = "malware"
	case tool:
		f.Type = "tool"
	}
	f.UsesTechnique = some(&in, "usesTechnique", a.UsesTechnique)
	f.Platform = some(&in, "platform", a.Platform)
	f.Domain = stixDomain(a.Domain)
	return f, in.err
}

type campaignFilter struct {
	datedCommon
	Name          *string
	Alias         *string
	AttributedTo  *graphql.ID
	UsesTechnique *graphql.ID
	UsesSoftware  *graphql.ID
	Domain        *string
}

func (a *campaignFilter) filter() (store.Filter, error) {
	if a == nil {
		return store.Filter{}, nil
	}
	in := inputs{prefix: "filter"}
	f := a.datedCommon.filter(&in)
	f.Name = some(&in, "name", a.Name)
	f.Alias = some(&in, "alias", a.Alias)
	f.AttributedTo = some(&in, "attributedTo", a.AttributedTo)
	f.UsesTechnique = some(&in, "usesTechnique", a.UsesTechnique)
	f.UsesSoftware = some(&in, "usesSoftware", a.UsesSoftware)
	f.Domain = stixDomain(a.Domain)
	return f, in.err
}

type mitigationFilter struct {
	filterCommon
	Name      *string
	Mitigates *graphql.ID
	Domain    *string
}

func (a *mitigationFilter) filter() (store.Filter, error) {
	if a == nil {
		return store.Filter{}, nil
	}
	in := inputs{prefix: "filter"}
	f := a.filterCommon.filter(&in)
	f.Name = some(&in, "name", a.Name)
	f.Mitigates = some(&in, "mitigates", a.Mitigates)
	f.Domain = stixDomain(a.Domain)
	return f, in.err
}

type tacticFilter struct {
	filterCommon
	Name   *string
	Domain *string
}

func (a *tacticFilter) filter() (store.Filter, error) {
	if a == nil {
		return store.Filter{}, nil
	}
	in := inputs{prefix: "filter"}
	f := a.filterCommon.filter(&in)
	f.Name = some(&in, "name", a.Name)
	f.Domain = stixDomain(a.Domain)
	return f, in.err
}

type indicatorFilter struct {
	filterCommon
	Name          *string
	Indicates     *graphql.ID
	Active        *bool
	IndicatorType *string
	ValueType     *string
	Value         *string
}

func (a *indicatorFilter) filter() (store.Filter, error) {
	if a == nil {
		return store.Filter{}, nil
	}
	in := inputs{prefix: "filter"}
	f := a.filterCommon.filter(&in)
	f.Name = some(&in, "name", a.Name)
	f.Indicates = some(&in, "indicates", a.Indicates)
	f.Active = a.Active
	f.IndicatorType = some(&in, "indicatorType", a.IndicatorType)
	f.ValueType = some(&in, "valueType", a.ValueType)
	f.Value = some(&in, "value", a.Value)
	return f, in.err
}

type sightingFilter struct {
	datedCommon
	SightingOf *graphql.ID
}

func (a *sightingFilter) filter() (store.Filter, error) {
	if a == nil {
		return store.Filter{}, nil
	}
	in := inputs{prefix: "filter"}
	f := a.datedCommon.filter(&in)
	f.SightingOf = some(&in, "sightingOf", a.SightingOf)
	return f, in.err
}

func keys(ids []graphql.ID) []string {
	out := make([]string, len(ids))
	for i, id := range ids {
		out[i] = string(id)
	}
	return out
}

func stixDomain(enum *string) string {
	for _, d := range domains {
		if enum != nil && d.enum == *enum {
			return d.stix
		}
	}
	return ""
}

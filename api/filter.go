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

func (c filterCommon) filter() (store.Filter, error) {
	t := instants{prefix: "filter."}
	f := store.Filter{
		Text:           value(c.Text),
		CreatedAfter:   t.at("createdAfter", c.CreatedAfter),
		CreatedBefore:  t.at("createdBefore", c.CreatedBefore),
		ModifiedAfter:  t.at("modifiedAfter", c.ModifiedAfter),
		ModifiedBefore: t.at("modifiedBefore", c.ModifiedBefore),
	}
	if c.IDs != nil {
		if len(*c.IDs) > maxIDs {
			return f, badInput("filter.ids", fmt.Sprintf("filter.ids has %d ids, but may have %d", len(*c.IDs), maxIDs))
		}
		f.Keys = keys(*c.IDs)
	}
	return f, t.err
}

// datedCommon is what filters of dated types have besides.
type datedCommon struct {
	filterCommon
	SeenAfter  *instant
	SeenBefore *instant
}

func (d datedCommon) filter() (store.Filter, error) {
	f, err := d.filterCommon.filter()
	if err != nil {
		return f, err
	}
	t := instants{prefix: "filter."}
	f.SeenAfter = t.at("seenAfter", d.SeenAfter)
	f.SeenBefore = t.at("seenBefore", d.SeenBefore)
	return f, t.err
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
	f, err := a.datedCommon.filter()
	f.Name = value(a.Name)
	f.Alias = value(a.Alias)
	f.UsesTechnique = value(a.UsesTechnique)
	f.UsesSoftware = value(a.UsesSoftware)
	f.Domain = stixDomain(a.Domain)
	return f, err
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
	f, err := a.filterCommon.filter()
	f.Name = value(a.Name)
	f.Tactic = value(a.Tactic)
	f.Platform = value(a.Platform)
	f.Domain = stixDomain(a.Domain)
	f.Subtechnique = a.IsSubtechnique
	return f, err
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
	f, err := a.filterCommon.filter()
	f.Name = value(a.Name)
	f.Alias = value(a.Alias)
	switch value(a.Kind) {
	case malware:
		f.Type = "malware"
	case tool:
		f.Type = "tool"
	}
	f.UsesTechnique = value(a.UsesTechnique)
	f.Platform = value(a.Platform)
	f.Domain = stixDomain(a.Domain)
	return f, err
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
	f, err := a.datedCommon.filter()
	f.Name = value(a.Name)
	f.Alias = value(a.Alias)
	f.AttributedTo = value(a.AttributedTo)
	f.UsesTechnique = value(a.UsesTechnique)
	f.UsesSoftware = value(a.UsesSoftware)
	f.Domain = stixDomain(a.Domain)
	return f, err
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
	f, err := a.filterCommon.filter()
	f.Name = value(a.Name)
	f.Mitigates = value(a.Mitigates)
	f.Domain = stixDomain(a.Domain)
	return f, err
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
	f, err := a.filterCommon.filter()
	f.Name = value(a.Name)
	f.Domain = stixDomain(a.Domain)
	return f, err
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
	f, err := a.filterCommon.filter()
	f.Name = value(a.Name)
	f.Indicates = value(a.Indicates)
	f.Active = a.Active
	f.IndicatorType = value(a.IndicatorType)
	f.ValueType = value(a.ValueType)
	f.Value = value(a.Value)
	return f, err
}

type sightingFilter struct {
	datedCommon
	SightingOf *graphql.ID
}

func (a *sightingFilter) filter() (store.Filter, error) {
	if a == nil {
		return store.Filter{}, nil
	}
	f, err := a.datedCommon.filter()
	f.SightingOf = value(a.SightingOf)
	return f, err
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

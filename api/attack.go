package api

import (
	graphql "github.com/graph-gophers/graphql-go"

	"github.com/nekoctl/neko/api/store"
)

// attackCommon resolves the fields that all types of the interface AttackObject
// have.
type attackCommon struct {
	member
	ID          graphql.ID
	AttackID    *string
	Name        string
	Description string
	Created     dateTime
	Modified    dateTime
}

func newAttackCommon(m member) attackCommon {
	o := m.obj
	return attackCommon{
		member:      m,
		ID:          graphql.ID(o.ID),
		AttackID:    optional(o.AttackID),
		Name:        o.Name,
		Description: o.Description,
		Created:     dateTime{o.Created},
		Modified:    dateTime{o.Modified},
	}
}

// domains are the values of the enum Domain with their STIX names.
var domains = []struct{ enum, stix string }{
	{"ENTERPRISE", "enterprise-attack"},
	{"MOBILE", "mobile-attack"},
	{"ICS", "ics-attack"},
}

// Domains are the matrices that the object belongs to, in the enum's order.
// ATT&CK has no others; what a bundle of another make may have is left out.
func (a attackCommon) Domains() []string {
	out := []string{}
	for _, d := range domains {
		for _, stix := range a.obj.Domains {
			if stix == d.stix {
				out = append(out, d.enum)
			}
		}
	}
	return out
}

// References are the sources, in the bundle's order.
func (a attackCommon) References() []reference { return newReferences(a.obj.References) }

// reference is a source to read.
type reference struct {
	SourceName  string
	ExternalID  *string
	URL         *string
	Description *string
}

func newReferences(refs []store.Reference) []reference {
	out := make([]reference, len(refs))
	for i, r := range refs {
		out[i] = reference{r.Source, optional(r.ID), optional(r.URL), optional(r.Description)}
	}
	return out
}

// optional is null for the empty string.
func optional[S ~string](s S) *S {
	if s == "" {
		return nil
	}
	return &s
}

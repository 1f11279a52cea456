package api

import "github.com/nekoctl/neko/api/store"

// node resolves the interfaces Node and AttackObject: an object whose type is
// known only when it is there. Indicators and sightings are no AttackObject;
// nothing asks theirs for its fields.
type node struct {
	attackCommon
	object any // of one of the types below
}

func newNode(m member) *node {
	n := &node{attackCommon: newAttackCommon(m)}
	switch m.obj.Kind {
	case store.KindThreatActor:
		n.object = newThreatActor(m)
	case store.KindTechnique:
		n.object = newTechnique(m)
	case store.KindSoftware:
		n.object = newSoftware(m)
	case store.KindCampaign:
		n.object = newCampaign(m)
	case store.KindMitigation:
		n.object = newMitigation(m)
	case store.KindTactic:
		n.object = newTactic(m)
	case store.KindIndicator:
		n.object = newIndicator(m)
	case store.KindSighting:
		n.object = newSighting(m)
	default:
		panic("api: object of unknown kind " + string(m.obj.Kind))
	}
	return n
}

// By these names graph-gophers finds out of which type a node is.

func (n *node) ToThreatActor() (*threatActor, bool) { return as[threatActor](n) }
func (n *node) ToTechnique() (*technique, bool)     { return as[technique](n) }
func (n *node) ToSoftware() (*software, bool)       { return as[software](n) }
func (n *node) ToCampaign() (*campaign, bool)       { return as[campaign](n) }
func (n *node) ToMitigation() (*mitigation, bool)   { return as[mitigation](n) }
func (n *node) ToTactic() (*tactic, bool)           { return as[tactic](n) }
func (n *node) ToIndicator() (*indicator, bool)     { return as[indicator](n) }
func (n *node) ToSighting() (*sighting, bool)       { return as[sighting](n) }

func as[N any](n *node) (*N, bool) {
	o, ok := n.object.(*N)
	return o, ok
}

package api

import "github.com/nekoctl/neko/api/store"

// The orders of lists and relations for which none is asked.
var (
	byAttackID  = store.Order{By: store.OrderAttackID}
	newestFirst = store.Order{By: store.OrderCreated, Desc: true}
	latestFirst = store.Order{By: store.OrderLastSeen, Desc: true}
)

// orderArg is every …Order input.
type orderArg struct {
	Field     string
	Direction direction
}

// direction is the enum OrderDirection as an argument; null, which an absent
// variable is to graph-gophers, is the default.
type direction struct{ desc bool }

// ImplementsGraphQLType tells graph-gophers which enum this is.
func (direction) ImplementsGraphQLType(name string) bool { return name == "OrderDirection" }

// UnmarshalGraphQL reads a value that was validated before.
func (d *direction) UnmarshalGraphQL(input any) error {
	d.desc = input == "DESC"
	return nil
}

// Nullable tells graph-gophers that UnmarshalGraphQL takes nil.
func (direction) Nullable() {}

// orderFields are the values of the …OrderField enums; which of them a type has,
// the SDL says.
var orderFields = map[string]store.OrderField{
	"ATTACK_ID":  store.OrderAttackID,
	"NAME":       store.OrderName,
	"CREATED":    store.OrderCreated,
	"MODIFIED":   store.OrderModified,
	"FIRST_SEEN": store.OrderFirstSeen,
	"LAST_SEEN":  store.OrderLastSeen,
}

func (o *orderArg) orElse(def store.Order) store.Order {
	if o == nil {
		return def
	}
	return store.Order{By: orderFields[o.Field], Desc: o.Direction.desc}
}

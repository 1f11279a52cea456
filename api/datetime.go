package api

import (
	"errors"
	"fmt"
	"time"
)

// dateTime is the scalar DateTime.
type dateTime struct{ time.Time }

// ImplementsGraphQLType tells graph-gophers which scalar this is.
func (dateTime) ImplementsGraphQLType(name string) bool { return name == "DateTime" }

// UnmarshalGraphQL is never called: arguments are instants.
func (*dateTime) UnmarshalGraphQL(any) error { return errors.New("DateTime is read as an instant") }

// MarshalJSON writes it in UTC. It cannot fail, as time.Time's can: graph-gophers
// panics on that.
func (d dateTime) MarshalJSON() ([]byte, error) {
	return d.UTC().AppendFormat(nil, `"`+time.RFC3339Nano+`"`), nil
}

// optionalTime is null for the zero time, which is unknown.
func optionalTime(t time.Time) *dateTime {
	if t.IsZero() {
		return nil
	}
	return &dateTime{t}
}

// instant is a DateTime as an argument. What is wrong with it is found where the
// name of the argument is known: graph-gophers would report an error of
// UnmarshalGraphQL without a code and drop the field from the answer.
type instant struct {
	time.Time
	err error
}

// ImplementsGraphQLType tells graph-gophers which scalar this is.
func (instant) ImplementsGraphQLType(name string) bool { return name == "DateTime" }

// UnmarshalGraphQL reads an argument; it never fails.
func (i *instant) UnmarshalGraphQL(input any) error {
	s, ok := input.(string)
	if !ok {
		i.err = fmt.Errorf("a DateTime is a string, such as %q", "2016-12-17T00:00:00Z")
		return nil
	}
	for _, layout := range []string{time.RFC3339Nano, time.DateOnly} {
		t, err := time.Parse(layout, s)
		// The year must have four digits in UTC too, or no answer could show it.
		if y := t.UTC().Year(); err == nil && 0 <= y && y <= 9999 {
			i.Time = t.UTC()
			return nil
		}
	}
	i.err = fmt.Errorf("%.40q is no DateTime: write it like %q or %q", s, "2016-12-17T00:00:00Z", "2016-12-17")
	return nil
}

package api

import "fmt"

// optionalInt is a nullable Int with a default in the SDL. graph-gophers applies
// the default where the argument is not written, but takes `first: $n` without an
// n for a null, and refuses it unless the type says that it is Nullable.
type optionalInt struct {
	n   int
	set bool
}

// ImplementsGraphQLType tells graph-gophers which scalar this is.
func (optionalInt) ImplementsGraphQLType(name string) bool { return name == "Int" }

// Nullable tells graph-gophers that UnmarshalGraphQL takes nil.
func (optionalInt) Nullable() {}

// UnmarshalGraphQL reads a value that was validated before: an int32 from the
// document, or what the decoder of the variables made.
func (i *optionalInt) UnmarshalGraphQL(input any) error {
	switch v := input.(type) {
	case nil:
		*i = optionalInt{}
	case int32:
		*i = optionalInt{int(v), true}
	case int64:
		*i = optionalInt{int(v), true}
	case int:
		*i = optionalInt{v, true}
	case float64:
		*i = optionalInt{int(v), true}
	default:
		return fmt.Errorf("%v is no Int", input)
	}
	return nil
}

func (i optionalInt) orElse(def int) int {
	if i.set {
		return i.n
	}
	return def
}

// value is empty for an argument that is absent.
func value[S ~string](s *S) string {
	if s == nil {
		return ""
	}
	return string(*s)
}

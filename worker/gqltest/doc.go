// Package gqltest makes GraphQL documents from a schema, for tests: valid ones by
// construction, and such as break one rule of the specification's validation.
// Nothing but tests imports it.
package gqltest

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/vektah/gqlparser/v2/ast"
	"pgregory.net/rapid"
)

// Document is a request.
type Document struct {
	Text      string
	Operation string // operationName
	Variables string // a JSON object
	// Broken is the rule that the document was made to break, by gqlparser's name
	// or by one of the names below; "" if it is valid.
	Broken string
}

// What a document may break that is no rule of validation.
const (
	Syntax    = "syntax"        // the text is no executable document
	Operation = "operationName" // it does not name an operation
	Variables = "variables"     // they are no values of the operation's
)

func (d Document) String() string {
	return fmt.Sprintf("%s\noperationName %q, variables %s, made to break %q", d.Text, d.Operation, d.Variables, d.Broken)
}

// Valid makes valid documents: each begins to run, whatever its resolvers then say.
func Valid(schema *ast.Schema) *rapid.Generator[Document] {
	return rapid.Custom(func(t *rapid.T) Document {
		return newMaker(t, schema).document().finish("")
	})
}

// Documents makes valid documents and, as often, such as break one rule.
func Documents(schema *ast.Schema) *rapid.Generator[Document] {
	broken := slices.Sorted(maps.Keys(breakers))
	return rapid.Custom(func(t *rapid.T) Document {
		m := newMaker(t, schema).document()
		if m.fair(2) == 0 {
			return m.finish("")
		}
		if m.fair(8) == 0 && breakers[Variables](m) { // there are many ways
			return m.finish(Variables)
		}
		// Not every document has what a rule is about; the next one is tried then.
		first := m.fair(len(broken))
		for i := range broken {
			how := broken[(first+i)%len(broken)]
			if breakers[how](m) {
				rule, _, _ := strings.Cut(how, ":")
				return m.finish(rule)
			}
		}
		panic("no rule can be broken")
	})
}

// finish prints what was made.
func (m *maker) finish(broken string) Document {
	if m.text == "" {
		m.text = m.print()
	}
	variables, err := json.Marshal(m.values)
	if err != nil {
		panic(err) // it is made of JSON
	}
	return Document{Text: m.text, Operation: m.operation, Variables: string(variables), Broken: broken}
}

package worker

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/formatter"
	"github.com/vektah/gqlparser/v2/parser"
	"github.com/vektah/gqlparser/v2/validator"
	"github.com/vektah/gqlparser/v2/validator/rules"
)

// Where graph-gophers cannot be compared with, as it goes wrong at fragments on
// interfaces and unions, an answer is compared with the specification: every object
// has the fields of CollectFields for the type that it says it is of.

// typeKey is the response name under which each object is asked for its type.
const typeKey = "type__"

// typed is document with the type asked for in every selection set.
func typed(document string) (string, *ast.QueryDocument, error) {
	tree, err := parser.ParseQuery(&ast.Source{Input: document})
	if err != nil {
		return "", nil, err
	}
	ask := func(set *ast.SelectionSet) {
		*set = append(*set, &ast.Field{Alias: typeKey, Name: "__typename"})
	}
	var below func(ast.SelectionSet)
	below = func(set ast.SelectionSet) {
		for _, s := range set {
			switch s := s.(type) {
			case *ast.Field:
				if s.SelectionSet != nil && !introspects(s) {
					below(s.SelectionSet)
					ask(&s.SelectionSet)
				}
			case *ast.InlineFragment:
				below(s.SelectionSet)
			}
		}
	}
	for _, op := range tree.Operations {
		if op.Operation == ast.Subscription {
			continue // it has one field, and does not run
		}
		below(op.SelectionSet)
		ask(&op.SelectionSet)
	}
	for _, f := range tree.Fragments {
		below(f.SelectionSet)
	}
	var b strings.Builder
	formatter.NewFormatter(&b, formatter.WithoutDescription()).FormatQueryDocument(tree)
	return b.String(), tree, nil
}

// misshapen says what is wrong with the answer to a document, nil if nothing is.
func (b both) misshapen(doc, operation string, given map[string]any) error {
	text, tree, err := typed(doc)
	if err != nil {
		return err
	}
	if errs := validator.ValidateWithRules(b.planner.schema, tree, rules.NewDefaultRules()); len(errs) > 0 {
		return errs
	}
	plan, failures := b.planner.make(text, operation)
	if failures != nil {
		return failures[0]
	}
	values, _, e := b.planner.coerceAll(plan, given)
	if e != nil {
		return e
	}
	r := b.worker.execute(b.worker.base, plan, b.planner.input(plan, given), &Caller{})
	if len(r.errors) > 0 {
		return r.errors[0]
	}
	op, _ := selectOperation(tree, operation)
	return shape{b.planner.schema, values}.object(r.data, op.SelectionSet)
}

// shape compares an answer with what CollectFields makes of a selection.
type shape struct {
	schema *ast.Schema
	values map[string]any
}

func (s shape) value(data json.RawMessage, set ast.SelectionSet) error {
	switch {
	case len(set) == 0 || string(data) == "null":
		return nil
	case data[0] == '[':
		var list []json.RawMessage
		if err := json.Unmarshal(data, &list); err != nil {
			return err
		}
		for _, v := range list {
			if err := s.value(v, set); err != nil {
				return err
			}
		}
		return nil
	}
	return s.object(data, set)
}

func (s shape) object(data json.RawMessage, set ast.SelectionSet) error {
	var typ struct {
		Name string `json:"type__"`
	}
	if err := json.Unmarshal(data, &typ); err != nil {
		return err
	}
	def := s.schema.Types[typ.Name]
	if def == nil {
		return fmt.Errorf("an object has the type %q: %s", typ.Name, data)
	}
	var names []string
	sets := map[string]ast.SelectionSet{}
	s.collect(def, set, &names, sets)
	d := json.NewDecoder(bytes.NewReader(data))
	if _, err := d.Token(); err != nil {
		return err
	}
	for i := 0; d.More(); i++ {
		name, err := d.Token()
		if err != nil {
			return err
		}
		if i >= len(names) || name != names[i] {
			return fmt.Errorf("a %s has the field %v, in the place of one of %v: %s", typ.Name, name, names[min(i, len(names)):], data)
		}
		var v json.RawMessage
		if err := d.Decode(&v); err != nil {
			return err
		}
		if err := s.value(v, sets[names[i]]); err != nil {
			return err
		}
		if i == len(names)-1 {
			names = nil
		}
	}
	if len(names) > 0 {
		return fmt.Errorf("a %s does not have all of %v: %s", typ.Name, names, data)
	}
	return nil
}

// collect is CollectFields of the specification.
func (s shape) collect(def *ast.Definition, set ast.SelectionSet, names *[]string, sets map[string]ast.SelectionSet) {
	applies := func(on string) bool {
		return on == "" || on == def.Name || slices.Contains(s.schema.PossibleTypes[on], def)
	}
	for _, sel := range set {
		if s.skipped(sel) {
			continue
		}
		switch sel := sel.(type) {
		case *ast.Field:
			if !slices.Contains(*names, sel.Alias) {
				*names = append(*names, sel.Alias)
			}
			if !introspects(sel) {
				sets[sel.Alias] = append(sets[sel.Alias], sel.SelectionSet...)
			}
		case *ast.InlineFragment:
			if applies(sel.TypeCondition) {
				s.collect(def, sel.SelectionSet, names, sets)
			}
		case *ast.FragmentSpread:
			if applies(sel.Definition.TypeCondition) {
				s.collect(def, sel.Definition.SelectionSet, names, sets)
			}
		}
	}
}

func (s shape) skipped(sel ast.Selection) bool {
	var list ast.DirectiveList
	switch sel := sel.(type) {
	case *ast.Field:
		list = sel.Directives
	case *ast.InlineFragment:
		list = sel.Directives
	case *ast.FragmentSpread:
		list = sel.Directives
	}
	for _, d := range list {
		if d.Name != "skip" && d.Name != "include" {
			continue
		}
		arg := d.Arguments.ForName("if").Value
		yes := arg.Raw == "true"
		if arg.Kind == ast.Variable {
			yes = s.values[arg.Raw] == true
		}
		if yes == (d.Name == "skip") {
			return true
		}
	}
	return false
}

package worker

import (
	"fmt"

	"github.com/vektah/gqlparser/v2/ast"
)

// maxSelections bounds two things about a document before it is validated, as
// both parsers take seconds for a few kilobytes that are made to hurt: the fields
// that it selects with its fragments expanded, and the pairs of fields with one
// response name at one place, each of which is checked for whether they merge.
const maxSelections = 20_000

// checkBounds returns an error if doc, not yet validated, is beyond the bounds.
func checkBounds(doc *ast.QueryDocument) *Error {
	b := bounds{doc: doc, left: maxSelections}
	for _, op := range doc.Operations {
		b.set(op.SelectionSet)
	}
	for _, f := range doc.Fragments {
		b.set(f.SelectionSet)
	}
	if b.left < 0 {
		return beyondBounds()
	}
	return nil
}

func beyondBounds() *Error {
	return &Error{
		Message: fmt.Sprintf("the document selects more than %d fields with its fragments expanded, or repeats fields too often", maxSelections),
		code:    CodeValidationFailed,
	}
}

type bounds struct {
	doc  *ast.QueryDocument
	left int // selections and pairs; below 0: beyond the bounds
}

// set counts what is selected where all of sets are selected at once.
func (b *bounds) set(sets ...ast.SelectionSet) {
	byName := map[string][]ast.SelectionSet{}
	for _, set := range sets {
		b.collect(set, byName)
	}
	for _, same := range byName {
		b.left -= len(same) * (len(same) - 1) / 2
		if b.left < 0 {
			return
		}
		b.set(same...)
	}
}

// collect adds the fields of set, by response name. A cycle of fragments, which
// is for validation to find, ends with the bound.
func (b *bounds) collect(set ast.SelectionSet, byName map[string][]ast.SelectionSet) {
	for _, s := range set {
		if b.left--; b.left < 0 {
			return
		}
		switch s := s.(type) {
		case *ast.Field:
			byName[s.Alias] = append(byName[s.Alias], s.SelectionSet)
		case *ast.InlineFragment:
			b.collect(s.SelectionSet, byName)
		case *ast.FragmentSpread:
			if f := b.doc.Fragments.ForName(s.Name); f != nil {
				b.collect(f.SelectionSet, byName)
			}
		}
	}
}

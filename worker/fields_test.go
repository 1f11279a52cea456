package worker

import (
	"strings"
	"testing"
)

// Lists in lists multiply; the answer ends at a number of fields, with one error.
func TestAnswerIsBounded(t *testing.T) {
	const tooLarge = "!RESPONSE_TOO_LARGE the answer would be too large: ask for shorter lists or fewer fields, or in several requests"
	w := newTestWorker(t, Config{MaxFields: 1000, FieldCosts: map[string]int{"id": 400}, MaxAliases: -1, MaxCost: -1})
	nested := func(depth int) string {
		return `{nodes {... on Actor {` + strings.Repeat(`friends(first: 10) {`, depth) + `name` + strings.Repeat(`}`, depth) + `}}}`
	}
	for _, c := range []struct {
		what, query string
		refused     bool
	}{
		{"two levels", nested(2), false}, // 1 + 2 nodes × (1 + 10 × (1 + 10)) fields
		{"three", nested(3), true},
		{"six: a million", nested(6), true},
		{"aliases", `{` + many("a%d: hello ", 1000) + `}`, false},
		{"one alias too many", `{` + many("a%d: hello ", 1001) + `}`, true},
		{"two dear fields", `{nodes {id}}`, false},
		{"four", `{nodes {id again: id}}`, true},
		{"a mutation", `mutation {` + many(`a%d: touch(name: "x") `, 10) + `}`, false},
	} {
		t.Run(c.what, func(t *testing.T) {
			got := w.answer(t, c.query, "", "")
			if refused := got == tooLarge; refused != c.refused {
				t.Errorf("got %.300s", got)
			}
		})
	}
}

// Of very many errors a hundred are told, and get into the log.
func TestErrorsAreBounded(t *testing.T) {
	w := newTestWorker(t, Config{MaxAliases: -1})
	got := w.answer(t, `{`+many("a%d: fail(how: CODED) ", 150)+`}`, "", "")
	if n := strings.Count(got, "!TEAPOT short and stout"); n != maxFieldErrors || !strings.HasSuffix(got, " !TEAPOT and 50 more errors") {
		t.Errorf("%d errors: … %.100s", n, got[max(0, len(got)-100):])
	}
}

package api

import (
	"encoding/json"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/vektah/gqlparser/v2"
	"github.com/vektah/gqlparser/v2/ast"

	"github.com/nekoctl/neko/api/auth"
)

var example = regexp.MustCompile("(?s)```graphql\n(.*?)```(?:\n\n```json\n(.*?)```)?")

// changing is what is another in each answer, and what the guide has in its place.
var changing = []struct {
	is   *regexp.Regexp
	show string
}{
	{regexp.MustCompile(`"endCursor":"[^"]+"`), `"endCursor":"CURSOR"`},
	{regexp.MustCompile(`"((?:access|refresh)Token)":"[^"]+"`), `"$1":"TOKEN"`},
	{regexp.MustCompile(`"(expires|refreshExpires)":"[^"]+"`), `"$1":"TIME"`},
}

// The examples of the guide, from its top to its end on the sample data, have
// the answers that it shows, to everybody before its login and to its user after.
func TestExamplesOfTheGuide(t *testing.T) {
	guide, err := os.ReadFile("../docs/api.md")
	if err != nil {
		t.Fatal(err)
	}
	s := serve(t, nil)
	if _, err := s.auth.Manager().CreateUser(t.Context(), "mia", auth.RoleAnalyst, password); err != nil {
		t.Fatal(err)
	}
	examples := example.FindAllStringSubmatch(string(guide), -1)
	if len(examples) < 8 {
		t.Fatalf("only %d examples were found", len(examples))
	}
	var session sessionAnswer
	for _, e := range examples {
		name := strings.Join(strings.Fields(e[1]), " ")
		t.Run(name[:min(len(name), 60)], func(t *testing.T) {
			if e[2] == "" {
				t.Fatal("no answer is shown")
			}
			vars := map[string]any{}
			if strings.Contains(e[1], "$last") {
				vars["last"] = session.RefreshToken
			}
			var got json.RawMessage
			s.get(session.AccessToken, &got, e[1], vars)
			var begun struct{ Login, RefreshSession *sessionAnswer }
			if err := json.Unmarshal(got, &begun); err != nil {
				t.Fatal(err)
			}
			for _, b := range []*sessionAnswer{begun.Login, begun.RefreshSession} {
				if b != nil {
					session = *b
				}
			}
			text := string(got)
			for _, c := range changing {
				text = c.is.ReplaceAllString(text, c.show)
			}
			wantJSON(t, text, e[2])
		})
	}
}

// The guide names every list, lookup and mutation, and every code.
func TestGuideIsComplete(t *testing.T) {
	guide, err := os.ReadFile("../docs/api.md")
	if err != nil {
		t.Fatal(err)
	}
	schema, err := gqlparser.LoadSchema(&ast.Source{Name: "schema.graphql", Input: Schema})
	if err != nil {
		t.Fatal(err)
	}
	names := []string{}
	for _, f := range append(schema.Query.Fields, schema.Mutation.Fields...) {
		if !strings.HasPrefix(f.Name, "__") {
			names = append(names, f.Name)
		}
	}
	for _, code := range []Code{BadUserInput, NotFound, Conflict, Unavailable, Internal, BadCredentials, Forbidden} {
		names = append(names, string(code))
	}
	for _, name := range names {
		if !strings.Contains(string(guide), name) {
			t.Errorf("the guide does not name %s", name)
		}
	}
}

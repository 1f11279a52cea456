package worker

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
)

const rolesSchema = `
	enum Role { ANYONE READER WRITER ADMIN }
	directive @requires(role: Role!) on FIELD_DEFINITION | OBJECT
	type Query {
		version: String! @requires(role: ANYONE)
		note: Note!
		thing: Thing!
		either: Either!
		secret: Secret!
	}
	type Mutation { write: Note! @requires(role: WRITER) }
	interface Thing { id: ID! about: String! }
	type Note implements Thing { id: ID! about: String! author: String! @requires(role: WRITER) }
	type Secret implements Thing @requires(role: ADMIN) { id: ID! about: String! }
	union Either = Note | Secret`

type rolesRoot struct{ caller *Caller }
type rolesNote struct{ ID, About, Author string }

func (rolesNote) ToSecret() (*rolesSecret, bool) { return nil, false }
func (n rolesNote) ToNote() (*rolesNote, bool)   { return &n, true }

type rolesSecret struct{ ID, About string }

func (r *rolesRoot) Version(ctx context.Context) string { r.caller = CallerFrom(ctx); return "1" }
func (r *rolesRoot) Note() rolesNote                    { return rolesNote{} }
func (r *rolesRoot) Thing() rolesNote                   { return rolesNote{} }
func (r *rolesRoot) Either() rolesNote                  { return rolesNote{} }
func (r *rolesRoot) Secret() rolesSecret                { return rolesSecret{} }
func (r *rolesRoot) Write() rolesNote                   { return rolesNote{} }

// rolesWorker knows whom "Bearer ROLE" names, and by "Bearer ROLE SCOPE…" what
// they may ask for.
func rolesWorker(t *testing.T, c Config) *Worker {
	t.Helper()
	c.Schema, c.Resolver = strings.ReplaceAll(rolesSchema, "ID!", "String!"), &rolesRoot{}
	c.Identify = func(_ context.Context, c Credentials) (Identity, error) {
		token, _ := strings.CutPrefix(c.Authorization, "Bearer ")
		words := strings.Fields(token)
		switch {
		case c.APIKey == "broken":
			return Identity{}, errors.New("no database, password hunter2")
		case len(words) == 0 || words[0] == "FORGED":
			return Identity{}, NewError(CodeUnauthenticated, "this token is nobody's")
		}
		who := Identity{Subject: "user:1", Role: words[0]}
		if len(words) > 1 {
			who.Scopes = words[1:]
		}
		return who, nil
	}
	return newTestWorker(t, c)
}

// What each role may ask for: decided before anything of it runs, whatever else
// the operation has, and whether a directive leaves the field out or not.
func TestRoles(t *testing.T) {
	w := rolesWorker(t, Config{})
	ranks := []string{"", "READER", "WRITER", "ADMIN"}
	for _, c := range []struct{ query, least, field string }{
		{`{version}`, "", ""},
		{`{__typename __schema {description}}`, "", ""},
		{`{note {id}}`, "", ""},
		{`{note {author}}`, "WRITER", "Note.author"},
		{`{note {id ...F}} fragment F on Note {author}`, "WRITER", "Note.author"},
		{`{note {author @skip(if: true)}}`, "WRITER", "Note.author"},
		{`{note {x: author}}`, "WRITER", "Note.author"},
		{`{thing {__typename}}`, "", ""},
		{`{thing {id}}`, "ADMIN", "Thing.id"},
		{`{thing {... on Note {id}}}`, "", ""},
		{`{thing {... on Secret {id}}}`, "ADMIN", "Secret.id"},
		{`{either {... on Note {id author}}}`, "WRITER", "Note.author"},
		{`{either {... on Thing {about}}}`, "ADMIN", "Thing.about"},
		{`{version secret {about}}`, "ADMIN", "Secret.about"},
		{`mutation {write {id}}`, "WRITER", "Mutation.write"},
		{`mutation {write {author}}`, "WRITER", "Mutation.write"},
	} {
		allowed := c.least == ""
		for _, role := range ranks {
			allowed = allowed || role == c.least
			header := asGraphQL
			if role != "" {
				header += "\nAuthorization: Bearer " + role
			}
			ctx := w.ask("POST", "/graphql", header, fmt.Sprintf(`{"query":%q}`, c.query))
			body, status := string(ctx.Response.Body()), ctx.Response.StatusCode()
			want, code := 200, ""
			switch {
			case !allowed && role == "":
				want, code = 401, "UNAUTHENTICATED"
			case !allowed:
				want, code = 403, "FORBIDDEN"
			}
			if status != want || !strings.Contains(body, code) || !strings.Contains(body, c.field) && !allowed || allowed == strings.Contains(body, `"errors"`) {
				t.Errorf("%s as %q: %d %s, want %d %s", c.query, role, status, body, want, code)
			}
			if (status == 401) != (string(ctx.Response.Header.Peek("WWW-Authenticate")) == "Bearer") {
				t.Errorf("%s as %q: %s", c.query, role, ctx.Response.Header.String())
			}
		}
	}
}

// Where reads are not for everybody, root fields need the default role unless
// they say otherwise, and so does introspection.
func TestDefaultRole(t *testing.T) {
	w := rolesWorker(t, Config{DefaultRole: "READER"})
	for query, anyone := range map[string]bool{
		`{version}`: true, `{__typename}`: true,
		`{note {id}}`: false, `{version note {id}}`: false, `{__schema {description}}`: false, `{__type(name: "Note") {name}}`: false,
	} {
		for _, who := range []string{"", "\nAuthorization: Bearer READER"} {
			status := w.ask("POST", "/graphql", asGraphQL+who, fmt.Sprintf(`{"query":%q}`, query)).Response.StatusCode()
			if want := anyone || who != ""; (status == 200) != want {
				t.Errorf("%s as %q: %d", query, who, status)
			}
		}
	}
	if _, err := New(Config{Schema: rolesSchema, Resolver: &rolesRoot{}, DefaultRole: "NOBODY"}); err == nil || !strings.Contains(err.Error(), `"NOBODY"`) {
		t.Error(err)
	}
	if _, err := New(Config{Schema: `directive @requires(role: String!) on FIELD_DEFINITION type Query {a: String!}`, Resolver: &struct{ A string }{}}); err == nil || !strings.Contains(err.Error(), "@requires") {
		t.Error(err)
	}
}

func TestScopes(t *testing.T) {
	w := rolesWorker(t, Config{})
	for _, c := range []struct {
		scopes, query string
		ok            bool
	}{
		{"Query.note", `{note {id}}`, true},
		{"Query.note", `{__typename note {id}}`, true},
		{"Query.note", `{x: note {author}}`, true},
		{"Query.note", `{version note {id}}`, false},
		{"Query.note", `{...F} fragment F on Query {version}`, false},
		{"Query.note", `{__schema {description}}`, false},
		{"Query.*", `{__schema {description} version}`, true},
		{"Query.*", `mutation {write {id}}`, false},
		{"Query.* Mutation.write", `mutation {write {id}}`, true},
	} {
		ctx := w.ask("POST", "/graphql", asGraphQL+"\nAuthorization: Bearer WRITER "+c.scopes, fmt.Sprintf(`{"query":%q}`, c.query))
		if status := ctx.Response.StatusCode(); status != 200 && status != 403 || (status == 200) != c.ok {
			t.Errorf("%s with %s: %d %s", c.query, c.scopes, status, ctx.Response.Body())
		}
	}
}

// A store that does not answer who somebody is holds no request for ever.
func TestIdentifyEnds(t *testing.T) {
	w := newTestWorker(t, Config{ExecutionTimeout: 50 * time.Millisecond, Identify: func(ctx context.Context, _ Credentials) (Identity, error) {
		select {
		case <-ctx.Done():
			return Identity{}, ctx.Err()
		case <-time.After(20 * time.Second):
			return Identity{}, errors.New("nobody ends it")
		}
	}})
	began := time.Now()
	ctx := w.ask("POST", "/graphql", asGraphQL+"\nX-API-Key: k", `{"query":"{hello}"}`)
	if took := time.Since(began); ctx.Response.StatusCode() != 503 || took > 10*time.Second {
		t.Errorf("%d after %v: %s", ctx.Response.StatusCode(), took, ctx.Response.Body())
	}
}

// Credentials that are nobody's are refused, also where nobody need be known: who
// shows some wants them to count. A resolver learns whom it works for.
func TestIdentify(t *testing.T) {
	w := rolesWorker(t, Config{})
	ctx := w.ask("POST", "/graphql", asJSON+"\nAuthorization: Bearer FORGED", `{"query":"{version}"}`)
	if body := string(ctx.Response.Body()); ctx.Response.StatusCode() != 401 || !strings.Contains(body, "this token is nobody's") || string(ctx.Response.Header.Peek("WWW-Authenticate")) != "Bearer" {
		t.Errorf("%d %s", ctx.Response.StatusCode(), body)
	}
	for _, name := range []string{"Authorization", "X-API-Key"} { // of a client that has lost its key
		ctx = w.ask("POST", "/graphql", asJSON+"\n"+name+": ", `{"query":"{version}"}`)
		if body := string(ctx.Response.Body()); ctx.Response.StatusCode() != 401 || !strings.Contains(body, name+" is empty") {
			t.Errorf("%d %s", ctx.Response.StatusCode(), body)
		}
	}
	ctx = w.ask("POST", "/graphql", asJSON+"\nX-API-Key: broken", `{"query":"{version}"}`)
	if body := string(ctx.Response.Body()); ctx.Response.StatusCode() != 503 || strings.Contains(body, "hunter2") {
		t.Errorf("%d %s", ctx.Response.StatusCode(), body)
	}
	ctx = w.ask("POST", "/graphql", asJSON+"\nAuthorization: Bearer READER", `{"query":"{version}"}`)
	if caller := w.config.Resolver.(*rolesRoot).caller; ctx.Response.StatusCode() != 200 || caller.Identity.Subject != "user:1" || caller.Identity.Role != "READER" {
		t.Errorf("%d %+v", ctx.Response.StatusCode(), caller)
	}
	if got := string(ctx.Response.Header.Peek("Cache-Control")); got != "no-store" {
		t.Errorf("what is answered to one may be kept for others: %q", got)
	}
	if c := CallerFrom(t.Context()); c.Identity.Subject != "" {
		t.Error(c)
	}
}

package worker

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/valyala/fasthttp"
)

type auditRoot struct{ ran int }

func (r *auditRoot) Read() string { return "r" }
func (r *auditRoot) Write(ctx context.Context, a struct{ Secret string }) (string, error) {
	r.ran++
	AuditObject(ctx, "thing:1")
	AuditObject(ctx, "thing:1")
	AuditNote(ctx, "as it was told")
	if a.Secret == "wrong" {
		return "", NewError(CodeBadUserInput, "no")
	}
	return "w", nil
}

// What is told of each operation: of mutations before and after, of refused ones
// that they were, of reads nothing; and no value of the client's.
func TestAudit(t *testing.T) {
	var events []string
	var broken error
	root := &auditRoot{}
	w := newTestWorker(t, Config{
		Schema: `enum Role { ANYONE ADMIN } directive @requires(role: Role!) on FIELD_DEFINITION
			type Query { read: String! secret: String! @requires(role: ADMIN) }
			type Mutation { write(secret: String!): String! @requires(role: ADMIN) }`,
		Resolver: &struct {
			*auditRoot
			Secret string
		}{root, ""},
		Identify: func(_ context.Context, c Credentials) (Identity, error) {
			switch c.Authorization {
			case "Bearer admin":
				return Identity{Subject: "user:1", Role: "ADMIN"}, nil
			case "Bearer guest":
				return Identity{Subject: "user:2", Role: "ANYONE"}, nil
			}
			return Identity{}, NewError(CodeUnauthenticated, "nobody's")
		},
		Audit: func(e AuditEvent) error {
			events = append(events, strings.TrimSpace(fmt.Sprint(e.Stage, " ", e.Caller.Identity.Subject, " ", e.Kind, " ", e.Operation, " ", e.Fields, " ", e.Code, " ", e.Objects, " ", e.Notes)))
			if strings.Contains(fmt.Sprint(e), "hunter2") {
				t.Errorf("told a value: %v", e)
			}
			return broken
		},
	})
	ask := func(who, query string) int {
		header := asGraphQL
		if who != "" {
			header += "\nAuthorization: Bearer " + who
		}
		return w.ask("POST", "/graphql", header, fmt.Sprintf(`{"query":%q}`, query)).Response.StatusCode()
	}
	for _, c := range []struct {
		who, query string
		status     int
		want       []string
	}{
		{"", `{read}`, 200, nil},
		{"admin", `{secret}`, 200, nil},
		{"", `query Q {read secret}`, 401, []string{"refused  query Q [Query.read Query.secret] UNAUTHENTICATED [] []"}},
		{"guest", `{secret}`, 403, []string{"refused user:2 query  [Query.secret] FORBIDDEN [] []"}},
		{"forged", `{read}`, 401, []string{"refused  query  [Query.read] UNAUTHENTICATED [] []"}},
		{"", `mutation {write(secret: "hunter2")}`, 401, []string{"refused  mutation  [Mutation.write] UNAUTHENTICATED [] []"}},
		{"admin", `mutation M {write(secret: "hunter2")}`, 200, []string{
			"attempt user:1 mutation M [Mutation.write]  [] []", "outcome user:1 mutation M [Mutation.write]  [thing:1] [as it was told]"}},
		{"admin", `mutation {write(secret: "wrong")}`, 294, []string{
			"attempt user:1 mutation  [Mutation.write]  [] []", "outcome user:1 mutation  [Mutation.write] BAD_USER_INPUT [thing:1] [as it was told]"}},
		{"admin", `mutation {write}`, 422, nil}, // is none
	} {
		events = nil
		if status := ask(c.who, c.query); status != c.status || !reflect.DeepEqual(events, c.want) {
			t.Errorf("%s as %q: %d %q\nwant %d %q", c.query, c.who, status, events, c.status, c.want)
		}
	}

	// What cannot be recorded does not happen, and reads go on.
	broken, root.ran = errors.New("disk full"), 0
	ctx := w.ask("POST", "/graphql", asGraphQL+"\nAuthorization: Bearer admin", `{"query":"mutation {write(secret: \"x\")}"}`)
	if body := string(ctx.Response.Body()); root.ran != 0 || !strings.Contains(body, `"UNAVAILABLE"`) || strings.Contains(body, "disk") {
		t.Errorf("ran %d times: %s", root.ran, body)
	}
	if status := ask("admin", `{read secret}`); status != 200 {
		t.Errorf("a read: %d", status)
	}
}

// Who sends two of a kind is not known, whichever of them would be good.
func TestTwoCredentials(t *testing.T) {
	w := rolesWorker(t, Config{})
	for _, header := range []string{
		"Authorization: Bearer READER\nAuthorization: Bearer READER",
		"Authorization: Bearer READER\nauthorization: Bearer FORGED",
		"X-API-Key: a\nX-Api-Key: b",
		"Authorization: \nAuthorization: Bearer READER",
		"X-API-Key: \nX-API-Key: ",
	} {
		ctx := new(fasthttp.RequestCtx)
		ctx.Request.Header.SetMethod("POST")
		ctx.Request.SetRequestURI("/graphql")
		ctx.Request.Header.SetContentType("application/json")
		ctx.Request.SetBodyString(`{"query":"{version}"}`)
		for line := range strings.SplitSeq(header, "\n") {
			name, value, _ := strings.Cut(line, ": ")
			ctx.Request.Header.Add(name, value)
		}
		w.server.Handler(ctx)
		if body := string(ctx.Response.Body()); ctx.Response.StatusCode() != 400 || !strings.Contains(body, "more than one") {
			t.Errorf("%q: %d %s", header, ctx.Response.StatusCode(), body)
		}
	}
}

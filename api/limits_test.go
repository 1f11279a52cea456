package api

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/nekoctl/neko/logtext"
	"github.com/nekoctl/neko/worker"
)

// What the default limits of a worker let through of this schema, and what not.
func TestDefaultLimits(t *testing.T) {
	w, err := worker.New(worker.Config{
		Schema: Schema, Resolver: NewResolver(&fakeStore{}), SchemaOptions: SchemaOptions(), FieldCosts: FieldCosts,
		Log: logtext.Logger(t.Output()),
	})
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- w.Serve(l) }()
	defer func() {
		http.DefaultClient.CloseIdleConnections()
		if err := w.Drain(context.Background()); err != nil {
			t.Error(err)
		}
		<-served
	}()
	ask := func(query string) string {
		resp, err := http.Post("http://"+l.Addr().String()+"/graphql", "application/json", strings.NewReader(fmt.Sprintf(`{"query":%q}`, query)))
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return string(body)
	}
	all := func(inner string, lists ...string) string {
		for i := len(lists) - 1; i >= 0; i-- {
			inner = lists[i] + "(first: 100) {totalCount nodes {name " + inner + "} pageInfo {hasNextPage endCursor}}"
		}
		return "{" + inner + "}"
	}
	const counts = "techniquesByTactic {key} threatActorsByDomain {key} threatActorsByTechnique {key} softwareByKind {key} softwareByPlatform {key}"
	for _, c := range []struct {
		what, query, code string
	}{
		{"a list", all("description", "threatActors"), ""},
		{"a list in each of its objects", all("description", "threatActors", "techniques"), ""},
		{"two of them, with edges", `{threatActors(first: 100) {edges {node {techniques(first: 100) {nodes {name}} software(first: 100) {edges {node {name}}}}}}}`, ""},
		{"one more in each of these", all("description", "threatActors", "techniques", "mitigations"), "COST_ESTIMATED_TOO_EXPENSIVE"},
		{"twenty in twenty in twenty, as without first", `{threatActors {nodes {techniques {nodes {mitigations {nodes {name}}}}}}}`, ""},
		{"a hundred lookups", `{` + aliases("a%d: threatActor(id: \"G9001\") {name techniques {totalCount}} ", 100) + `}`, ""},
		{"one more", `{` + aliases("a%d: threatActor(id: \"G9001\") {name techniques {totalCount}} ", 101) + `}`, "MAX_ALIASES_LIMIT"},
		// What a filter looks through does not show in how many it finds.
		{"two dozen searches", `{` + aliases("a%d: techniques(first: 1, filter: {text: \"a b c\"}) {totalCount nodes {id}} ", 24) + `}`, ""},
		{"a hundred of them", `{` + aliases("a%d: techniques(first: 1, filter: {text: \"a b c\"}) {totalCount nodes {id}} ", 100) + `}`, "COST_ESTIMATED_TOO_EXPENSIVE"},
		{"all counts", `{threatCounts {techniques ` + counts + `}}`, ""},
		{"all counts a hundred times", `{` + aliases("a%d: threatCounts {"+counts+"} ", 100) + `}`, "COST_ESTIMATED_TOO_EXPENSIVE"},
	} {
		t.Run(c.what, func(t *testing.T) {
			got := ask(c.query)
			if refused := strings.Contains(got, "_LIMIT") || strings.Contains(got, "EXPENSIVE"); refused != (c.code != "") || !strings.Contains(got, c.code) {
				t.Errorf("%.300s", got)
			}
		})
	}
}

func aliases(format string, n int) (s string) {
	for i := range n {
		s += fmt.Sprintf(format, i)
	}
	return s
}

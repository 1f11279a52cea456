package api

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nekoctl/neko/api/audit"
	"github.com/nekoctl/neko/api/auth"
	"github.com/nekoctl/neko/api/store"
	"github.com/nekoctl/neko/logtext"
	"github.com/nekoctl/neko/worker"
)

const password = "correct horse battery"

// served is the API as it is served: a worker, on the sample data, with a user for
// each role who is called as the role.
type served struct {
	testing.TB
	url      string
	client   *http.Client
	auth     *auth.Service
	accounts store.Accounts
	users    map[string]*store.User
	tokens   map[string]string // access tokens, by role; "" is nobody's
	log      *lockedBuffer
	audit    *lockedBuffer
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// serve serves the API, with a change to what it is told.
func serve(t testing.TB, change func(*worker.Config)) *served {
	t.Helper()
	st := openSample(t)
	s := &served{TB: t, accounts: st.(store.Accounts), users: map[string]*store.User{}, tokens: map[string]string{"": ""}, log: &lockedBuffer{}, audit: &lockedBuffer{}}
	logger := logtext.Logger(s.log)
	var err error
	if s.auth, err = auth.New(t.Context(), s.accounts, auth.Options{Secret: []byte(strings.Repeat("secret", 6)), Log: logger}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.auth.Close)
	for _, role := range auth.Roles {
		if s.users[role], err = s.auth.Manager().CreateUser(t.Context(), strings.ToLower(role), role, password); err != nil {
			t.Fatal(err)
		}
		g, err := s.auth.Login(t.Context(), role, password)
		if err != nil {
			t.Fatal(err)
		}
		s.tokens[role] = g.AccessToken
	}
	r := NewResolver(st).WithAuth(s.auth)
	r.now = func() time.Time { return now }
	c := worker.Config{
		Schema: Schema, Resolver: r, SchemaOptions: SchemaOptions(), FieldCosts: FieldCosts, Context: OperationContext,
		Identify: s.auth.Identify, Audit: audit.To(s.audit).Event, Log: logger,
	}
	if change != nil {
		change(&c)
	}
	w, err := worker.New(c)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- w.Serve(l) }()
	s.client = &http.Client{Transport: &http.Transport{}}
	t.Cleanup(func() {
		s.client.CloseIdleConnections() // which a drain would wait for
		if err := w.Drain(context.Background()); err != nil {
			t.Error(err)
		}
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	s.url = "http://" + l.Addr().String()
	return s
}

// answer is what a request was answered with.
type answer struct {
	status int
	header http.Header
	body   string
	Data   json.RawMessage
	Errors []struct {
		Message    string
		Extensions map[string]any
	}
}

// code is that of the first error, "" if there is none.
func (a answer) code() string {
	if len(a.Errors) == 0 {
		return ""
	}
	code, _ := a.Errors[0].Extensions["code"].(string)
	return code
}

// ask asks with a bearer token, or with none.
func (s *served) ask(token, query string, vars map[string]any) (a answer) {
	s.Helper()
	body, err := json.Marshal(map[string]any{"query": query, "variables": vars})
	if err != nil {
		s.Fatal(err)
	}
	return s.post(token, body)
}

// post sends a body.
func (s *served) post(token string, body []byte) (a answer) {
	s.Helper()
	req, err := http.NewRequestWithContext(s.Context(), http.MethodPost, s.url+"/graphql", bytes.NewReader(body))
	if err != nil {
		s.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "application/graphql-response+json")
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := s.client.Do(req)
	if err != nil {
		s.Fatal(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err == nil {
		err = json.Unmarshal(data, &a)
	}
	if err != nil {
		s.Fatalf("%v: %s", err, data)
	}
	a.status, a.header, a.body = resp.StatusCode, resp.Header, string(data)
	return a
}

// get asks for data into v, and fails on any error.
func (s *served) get(token string, v any, query string, vars map[string]any) {
	s.Helper()
	a := s.ask(token, query, vars)
	if len(a.Errors) > 0 {
		s.Fatalf("%s: %s", query, a.body)
	}
	if err := json.Unmarshal(a.Data, v); err != nil {
		s.Fatal(err)
	}
}

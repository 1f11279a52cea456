package api

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/nekoctl/neko/api/auth"
	"github.com/nekoctl/neko/worker"
)

type sessionAnswer struct {
	AccessToken, RefreshToken, Expires, RefreshExpires string
	Caller                                             struct{ Subject, Name, Role string }
}

const sessionFields = `{ accessToken expires refreshToken refreshExpires caller { subject name role } }`

func (s *served) login(name, password string) (a answer, session sessionAnswer) {
	s.Helper()
	a = s.ask("", `mutation ($in: LoginInput!) { login(input: $in) `+sessionFields+` }`, map[string]any{"in": map[string]any{"name": name, "password": password}})
	var data struct{ Login sessionAnswer }
	_ = json.Unmarshal(a.Data, &data)
	return a, data.Login
}

func (s *served) refresh(token string) (a answer, session sessionAnswer) {
	s.Helper()
	a = s.ask("", `mutation ($in: RefreshSessionInput!) { refreshSession(input: $in) `+sessionFields+` }`, map[string]any{"in": map[string]any{"refreshToken": token}})
	var data struct{ RefreshSession sessionAnswer }
	_ = json.Unmarshal(a.Data, &data)
	return a, data.RefreshSession
}

// A user's day: logs in, changes something, refreshes, logs out.
func TestSession(t *testing.T) {
	s := serve(t, nil)
	const me = `{ me { subject name role scopes } }`
	wantJSON(t, s.ask("", me, nil).body, `{"data": {"me": null}}`)
	a, session := s.login("Analyst", password)
	id := s.users[auth.RoleAnalyst].ID
	if a.code() != "" || session.Caller.Subject != "user:"+id || session.Caller.Role != "ANALYST" || session.Expires >= session.RefreshExpires {
		t.Fatal(a.body)
	}
	if got := a.header.Get("Cache-Control"); !strings.Contains(got, "no-store") {
		t.Errorf("a session may be cached: %q", got)
	}
	wantJSON(t, s.ask(session.AccessToken, me, nil).body, fmt.Sprintf(`{"data": {"me": {"subject": "user:%s", "name": "analyst", "role": "ANALYST", "scopes": null}}}`, id))
	const report = `mutation { reportSighting(input: {of: "G9001"}) { sighting { count } } }`
	if a := s.ask("", report, nil); a.status != http.StatusUnauthorized || a.code() != "UNAUTHENTICATED" {
		t.Errorf("nobody changes something: %d %s", a.status, a.body)
	}
	if a := s.ask(s.tokens[auth.RoleViewer], report, nil); a.status != http.StatusForbidden || a.code() != "FORBIDDEN" {
		t.Errorf("a viewer changes something: %d %s", a.status, a.body)
	}
	wantJSON(t, s.ask(session.AccessToken, report, nil).body, `{"data": {"reportSighting": {"sighting": {"count": 1}}}}`)

	a, next := s.refresh(session.RefreshToken)
	if a.code() != "" || next.RefreshToken == session.RefreshToken || next.Caller.Name != "analyst" {
		t.Fatal(a.body)
	}
	for range 2 {
		wantJSON(t, s.ask("", `mutation ($t: String!) { logout(input: {refreshToken: $t}) { ok } }`, map[string]any{"t": next.RefreshToken}).body, `{"data": {"logout": {"ok": true}}}`)
	}
	for _, token := range []string{session.RefreshToken, next.RefreshToken, "nekor_x_y", ""} {
		a, _ := s.refresh(token)
		wantJSON(t, a.body, `{"errors": [{"message": "the refresh token is not good, or no longer: log in", "path": ["refreshSession"], "extensions": {"code": "BAD_CREDENTIALS"}}], "data": null}`)
	}
}

// Whoever tries names and passwords learns nothing from the answers: byte for byte
// they are the same.
func TestLoginAnswersTellNothing(t *testing.T) {
	s := serve(t, nil)
	if _, err := s.auth.Manager().SetDisabled(t.Context(), s.users[auth.RoleViewer].ID, true); err != nil {
		t.Fatal(err)
	}
	seen := map[string]string{}
	for what, c := range map[string][2]string{
		"a wrong password": {"analyst", "wrong horse battery"}, "an unknown name": {"nobody", password}, "a disabled user": {"viewer", password},
		"nothing": {"", ""}, "a long password": {"analyst", strings.Repeat("a", 5000)}, "SQL": {`' OR 1=1 --`, password}, "MongoDB": {`{"$ne":1}`, password},
	} {
		a, _ := s.login(c[0], c[1])
		for _, h := range []string{"Date", "X-Request-Id"} {
			a.header.Del(h)
		}
		text := fmt.Sprint(a.status, a.header, a.body)
		seen[text] = what
		if a.code() != "BAD_CREDENTIALS" {
			t.Errorf("%s: %s", what, a.body)
		}
	}
	if len(seen) != 1 {
		t.Errorf("answers differ: %v", seen)
	}

	// One guess in one request.
	const login = `login(input: {name: "analyst", password: "` + password + `"}) { accessToken }`
	if a := s.ask("", "mutation { a: "+login+" }", nil); a.code() != "" {
		t.Error(a.body)
	}
	const two = "mutation { a: " + login + " b: " + login + " }"
	if a := s.ask("", two, nil); a.code() != string(worker.CodeTooExpensive) {
		t.Error(a.body)
	}
	s = serve(t, func(c *worker.Config) { c.MaxCost = 500_000 }) // also where much may be asked for
	if a := s.ask("", two, nil); a.code() != "BAD_USER_INPUT" {
		t.Error(a.body)
	}
}

// An administrator's day.
func TestAccounts(t *testing.T) {
	s := serve(t, nil)
	admin := s.tokens[auth.RoleAdmin]
	var made struct {
		CreateUser struct {
			User struct{ ID, Name, Role string }
		}
	}
	s.get(admin, &made, `mutation { createUser(input: {name: "Mia", role: ANALYST, password: "an honest password"}) { user { id name role disabled created passwordChanged } } }`, nil)
	mia := made.CreateUser.User
	if mia.Name != "Mia" || mia.Role != "ANALYST" || mia.ID == "" {
		t.Fatalf("%+v", mia)
	}
	for query, code := range map[string]string{
		`createUser(input: {name: "MIA", role: VIEWER, password: "an honest password"}) { user { id } }`: "CONFLICT",
		`createUser(input: {name: "tom", role: VIEWER, password: "short"}) { user { id } }`:              "BAD_USER_INPUT",
		`createUser(input: {name: "tom", role: ANYONE, password: "an honest password"}) { user { id } }`: "BAD_USER_INPUT",
		`createUser(input: {name: "a b", role: VIEWER, password: "an honest password"}) { user { id } }`: "BAD_USER_INPUT",
		`disableUser(id: "nobody") { user { id } }`:                                                      "NOT_FOUND",
		`disableUser(id: "` + s.users[auth.RoleAdmin].ID + `") { user { id } }`:                          "BAD_USER_INPUT",
		`createApiKey(input: {name: "", role: VIEWER}) { secret }`:                                       "BAD_USER_INPUT",
		`createApiKey(input: {name: "k", role: VIEWER, scopes: ["*"]}) { secret }`:                       "BAD_USER_INPUT",
		`createApiKey(input: {name: "k", role: VIEWER, expires: "2001-01-01"}) { secret }`:               "BAD_USER_INPUT",
		`revokeApiKey(id: "none") { apiKey { id } }`:                                                     "NOT_FOUND",
	} {
		if a := s.ask(admin, "mutation { "+query+" }", nil); a.code() != code || strings.Contains(a.body, "honest") {
			t.Errorf("%s: %s", query, a.body)
		}
	}

	// Pages.
	var names []string
	for after := ""; ; {
		vars := map[string]any{}
		if after != "" {
			vars["after"] = after
		}
		var page struct {
			Users struct {
				Nodes    []struct{ Name string }
				PageInfo struct {
					HasNextPage bool
					EndCursor   string
				}
			}
		}
		s.get(admin, &page, `query ($after: String) { users(first: 3, after: $after) { nodes { name } pageInfo { hasNextPage endCursor } } }`, vars)
		for _, n := range page.Users.Nodes {
			names = append(names, n.Name)
		}
		if !page.Users.PageInfo.HasNextPage {
			break
		}
		after = page.Users.PageInfo.EndCursor
	}
	if got := strings.Join(names, " "); got != "viewer analyst admin Mia" {
		t.Errorf("users: %s", got)
	}

	// Keys: shown once, narrowed, revoked; and no key makes another.
	var key struct {
		CreateAPIKey struct {
			Secret string
			APIKey struct{ ID, Owner string }
		} `json:"createApiKey"`
	}
	s.get(admin, &key, `mutation { createApiKey(input: {name: "gateway", role: ADMIN, scopes: ["Query.me", "Query.apiKeys", "Mutation.createApiKey", "Mutation.createUser"]}) { secret apiKey { id owner } } }`, nil)
	secret, id := key.CreateAPIKey.Secret, key.CreateAPIKey.APIKey.ID
	if key.CreateAPIKey.APIKey.Owner != s.users[auth.RoleAdmin].ID {
		t.Errorf("%+v", key)
	}
	wantJSON(t, s.ask(secret, `{ me { subject name role scopes } }`, nil).body,
		`{"data": {"me": {"subject": "key:`+id+`", "name": "gateway", "role": "ADMIN", "scopes": ["Query.me", "Query.apiKeys", "Mutation.createApiKey", "Mutation.createUser"]}}}`)
	if a := s.ask(secret, `{ threatCounts { tactics } }`, nil); a.code() != "FORBIDDEN" {
		t.Error(a.body)
	}
	for _, query := range []string{
		`mutation { createApiKey(input: {name: "k", role: VIEWER}) { secret } }`,
		`mutation { createUser(input: {name: "tom", role: ADMIN, password: "an honest password"}) { user { id } } }`,
	} {
		if a := s.ask(secret, query, nil); a.code() != "FORBIDDEN" || strings.Contains(a.body, "neko_") {
			t.Errorf("%s: %s", query, a.body)
		}
	}
	list := s.ask(secret, `{ apiKeys { nodes { id name role scopes owner created expires revoked lastUsed } pageInfo { hasNextPage } } }`, nil)
	if list.code() != "" || !strings.Contains(list.body, id) || strings.Contains(list.body, secret[40:]) {
		t.Error(list.body)
	}
	wantCode := func(query, code string) {
		t.Helper()
		if a := s.ask(admin, "mutation { "+query+" }", nil); a.code() != code {
			t.Errorf("%s: %s", query, a.body)
		}
	}
	wantCode(`revokeApiKey(id: "`+id+`") { apiKey { revoked } }`, "")
	wantCode(`disableUser(id: "`+mia.ID+`") { user { disabled } }`, "")
	if a, _ := s.login("mia", "an honest password"); a.code() != "BAD_CREDENTIALS" {
		t.Error(a.body)
	}
	wantCode(`enableUser(id: "`+mia.ID+`") { user { disabled } }`, "")
	if a, _ := s.login("mia", "an honest password"); a.code() != "" {
		t.Error(a.body)
	}
}

// What is on record of a day: who did what to which object, never with what; and
// nothing happens that cannot be recorded.
func TestAuditTrail(t *testing.T) {
	var broken error
	s := serve(t, func(c *worker.Config) {
		record := c.Audit
		c.Audit = func(e worker.AuditEvent) error {
			if broken != nil {
				return broken
			}
			return record(e)
		}
	})
	_, session := s.login("analyst", password)
	s.login("analyst", "wrong horse battery")
	s.login("hunter2hunter2hunter2", password)
	s.refresh(session.RefreshToken)
	s.refresh(session.RefreshToken)
	s.ask(s.tokens[auth.RoleViewer], `query Peek { users { nodes { name } } }`, nil)
	s.ask("", `mutation { retireIndicator(id: "indicator--x") { indicator { id } } }`, nil)
	var made struct {
		CreateIndicator struct{ Indicator struct{ ID string } }
	}
	s.get(s.tokens[auth.RoleAnalyst], &made, `mutation New { createIndicator(input: {valueType: "domain-name", value: "confidential.example"}) { indicator { id } } }`, nil)
	var key struct {
		CreateAPIKey struct{ Secret string } `json:"createApiKey"`
	}
	s.get(s.tokens[auth.RoleAdmin], &key, `mutation { createApiKey(input: {name: "k", role: VIEWER}) { secret } }`, nil)

	trail, logged := s.audit.String(), s.log.String()
	for _, secret := range []string{password, "horse", "hunter2", "confidential", session.AccessToken, session.RefreshToken, session.RefreshToken[40:], key.CreateAPIKey.Secret, key.CreateAPIKey.Secret[30:]} {
		if strings.Contains(trail, secret) || strings.Contains(logged, secret) {
			t.Errorf("on record: %s", secret)
		}
	}
	var got []string
	for text := range strings.SplitSeq(strings.TrimSpace(trail), "\n") {
		var l struct {
			Event, Subject, Operation, Code, IP string
			Fields, Objects, Notes              []string
			RequestID                           string `json:"request_id"`
		}
		if err := json.Unmarshal([]byte(text), &l); err != nil || l.IP != "127.0.0.1" || l.RequestID == "" {
			t.Fatalf("%v: %s", err, text)
		}
		got = append(got, strings.TrimSpace(fmt.Sprintf("%s %s %s%v %s %v %v", l.Event, l.Subject, l.Operation, l.Fields, l.Code, l.Objects, l.Notes)))
	}
	analyst, viewer, admin := "user:"+s.users[auth.RoleAnalyst].ID, "user:"+s.users[auth.RoleViewer].ID, "user:"+s.users[auth.RoleAdmin].ID
	want := []string{
		"attempt  [Mutation.login]  [] []",
		"outcome  [Mutation.login]  [" + analyst + "] []",
		"attempt  [Mutation.login]  [] []",
		"outcome  [Mutation.login] BAD_CREDENTIALS [" + analyst + "] []",
		"attempt  [Mutation.login]  [] []",
		"outcome  [Mutation.login] BAD_CREDENTIALS [unknown:*] []",
		"attempt  [Mutation.refreshSession]  [] []",
		"outcome  [Mutation.refreshSession]  [session:* " + analyst + "] []",
		"attempt  [Mutation.refreshSession]  [] []",
		"outcome  [Mutation.refreshSession] BAD_CREDENTIALS [session:* " + analyst + "] [a refresh token came a second time: its session is revoked]",
		"refused " + viewer + " Peek[Query.users] FORBIDDEN [] []",
		"refused  [Mutation.retireIndicator] UNAUTHENTICATED [] []",
		"attempt " + analyst + " New[Mutation.createIndicator]  [] []",
		"outcome " + analyst + " New[Mutation.createIndicator]  [" + made.CreateIndicator.Indicator.ID + "] []",
		"attempt " + admin + " [Mutation.createApiKey]  [] []",
		"outcome " + admin + " [Mutation.createApiKey]  [key:*] []",
	}
	if len(got) != len(want) {
		t.Fatalf("%d lines:\n%s", len(got), strings.Join(got, "\n"))
	}
	for i := range want {
		before, after, _ := strings.Cut(want[i], "*")
		if !strings.HasPrefix(got[i], before) || !strings.HasSuffix(got[i], after) {
			t.Errorf("line %d: got  %s\nwant %s", i, got[i], want[i])
		}
	}

	broken = fmt.Errorf("disk full")
	const report = `mutation { reportSighting(input: {of: "G9001"}) { sighting { id } } }`
	if a := s.ask(s.tokens[auth.RoleAnalyst], report, nil); a.code() != "UNAVAILABLE" {
		t.Error(a.body)
	}
	if a, _ := s.login("analyst", password); a.code() != "UNAVAILABLE" {
		t.Error(a.body)
	}
	var counts struct{ Sightings struct{ TotalCount int } }
	s.get("", &counts, `{ sightings { totalCount } }`, nil)
	broken = nil
	before := counts.Sightings.TotalCount
	s.get(s.tokens[auth.RoleAnalyst], &struct{}{}, report, nil)
	s.get("", &counts, `{ sightings { totalCount } }`, nil)
	if counts.Sightings.TotalCount != before+1 {
		t.Errorf("%d sightings, then %d", before, counts.Sightings.TotalCount)
	}
}

package mongo

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/event"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/nekoctl/neko/api/store"
	"github.com/nekoctl/neko/api/store/mongo/mongotest"
	"github.com/nekoctl/neko/api/store/storetest"
)

// The suite, races and all: the test server takes updates in turns, as a MongoDB
// takes those of one document (scripts/ferretdb/turns.go).
func TestAccounts(t *testing.T) {
	storetest.RunAccounts(t, func(t *testing.T) store.Accounts { return open(t, mongotest.URL(t), Options{}) })
}

// A write is one command, with its condition in it, of one document (prune and
// delete aside, whose documents have nothing to do with each other), and is
// answered when a majority has it on disk, whatever the URL asks for. These are
// the rights that docs/mongodb.md lists.
func TestAccountCommands(t *testing.T) {
	url := mongotest.URL(t)
	if strings.Contains(url, "?") {
		url += "&w=1"
	} else {
		url += "?w=1"
	}
	var mu sync.Mutex
	var sent []string
	st := open(t, url, Options{client: func(o *options.ClientOptions) {
		o.SetMonitor(&event.CommandMonitor{Started: func(_ context.Context, e *event.CommandStartedEvent) {
			mu.Lock()
			defer mu.Unlock()
			collection, _ := e.Command.Lookup(e.CommandName).StringValueOK()
			c := e.CommandName + " " + collection
			for _, list := range []string{"documents", "updates", "deletes"} {
				if v, err := e.Command.LookupErr(list); err == nil {
					all, _ := v.Array().Values()
					c += fmt.Sprint(" ", len(all))
				}
			}
			w, _ := e.Command.Lookup("writeConcern", "w").StringValueOK()
			if j, _ := e.Command.Lookup("writeConcern", "j").BooleanOK(); j {
				w += "+journal"
			}
			sent = append(sent, strings.TrimSpace(c+" "+w))
		}})
	}})
	yes := true
	at := time.Unix(1, 0)
	for _, c := range []struct {
		name string
		call func() error
		want string
	}{
		{"CreateUser", func() error { return st.CreateUser(t.Context(), store.User{ID: "u", Name: "Mia", Password: "p"}) }, "insert users 1 majority+journal"},
		{"User", func() error { _, err := st.User(t.Context(), "u"); return err }, "find users"},
		{"UserByName", func() error { _, err := st.UserByName(t.Context(), "mia"); return err }, "find users"},
		{"Users", func() error { _, err := st.Users(t.Context(), "", 5); return err }, "find users"},
		{"ChangeUser", func() error {
			_, err := st.ChangeUser(t.Context(), "u", store.UserChange{Disabled: &yes})
			return err
		}, "findAndModify users majority+journal"},
		{"RehashPassword", func() error { return st.RehashPassword(t.Context(), "u", "p", "q") }, "update users 1 majority+journal"},
		{"CreateSession", func() error { return st.CreateSession(t.Context(), store.Session{ID: "s", Expires: at}) }, "insert sessions 1 majority+journal"},
		{"Session", func() error { _, err := st.Session(t.Context(), "s"); return err }, "find sessions"},
		{"RotateSession", func() error {
			ok, err := st.RotateSession(t.Context(), store.Rotation{ID: "s", New: store.Digest{1}, Expires: at})
			if err == nil && !ok {
				t.Error("not rotated")
			}
			return err
		}, "update sessions 1 majority+journal"},
		{"RevokeSession", func() error { return st.RevokeSession(t.Context(), "s", at) }, "update sessions 1 majority+journal"},
		{"PruneSessions", func() error { return st.PruneSessions(t.Context(), at) }, "delete sessions 1 majority+journal"},
		{"CreateAPIKey", func() error { return st.CreateAPIKey(t.Context(), store.APIKey{ID: "k"}) }, "insert api_keys 1 majority+journal"},
		{"APIKey", func() error { _, err := st.APIKey(t.Context(), "k"); return err }, "find api_keys"},
		{"APIKeys", func() error { _, err := st.APIKeys(t.Context(), "", 5); return err }, "find api_keys"},
		{"TouchAPIKey", func() error { return st.TouchAPIKey(t.Context(), "k", at) }, "update api_keys 1 majority+journal"},
		{"RevokeAPIKey", func() error { _, err := st.RevokeAPIKey(t.Context(), "k", at); return err }, "update api_keys 1 majority+journal; find api_keys"},
		{"AddSigningKey", func() error { return st.AddSigningKey(t.Context(), store.SigningKey{Number: 1}) }, "insert signing_keys 1 majority+journal"},
		{"SigningKeys", func() error { _, err := st.SigningKeys(t.Context()); return err }, "find signing_keys"},
		{"DeleteSigningKeys", func() error { return st.DeleteSigningKeys(t.Context(), 2) }, "delete signing_keys 1 majority+journal"},
	} {
		mu.Lock()
		sent = nil
		mu.Unlock()
		if err := c.call(); err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
		mu.Lock()
		if got := strings.Join(sent, "; "); got != c.want {
			t.Errorf("%s sends %s, want %s", c.name, got, c.want)
		}
		mu.Unlock()
	}
}

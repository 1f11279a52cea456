package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/vektah/gqlparser/v2"
	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/validator/core"

	"github.com/nekoctl/neko/api"
	"github.com/nekoctl/neko/api/auth"
	"github.com/nekoctl/neko/api/store"
	"github.com/nekoctl/neko/worker/settings"
)

const keyUsage = `neko-api key: credentials of programs.

Usage:
  neko-api key add NAME --role ROLE [--scope FIELD]… [--expires TIME] [--owner USER]
  neko-api key list [--json]
  neko-api key revoke ID

NAME says what it is for. ROLE is viewer, analyst or admin. With scopes it may ask for
these root fields only: Query.threatActors, Mutation.reportSighting, Query.*. TIME is
how long it is good, like 90d or 12h; without it, until it is revoked. With an owner it
can do no more than that user, and nothing if the user is disabled.

The key is printed this once, and kept nowhere. It is sent as X-API-Key, or as
"Authorization: Bearer" like a token. A revoked one is refused within five seconds.

Examples:
  neko-api key add mail-gateway --role analyst --scope Mutation.reportSighting --expires 90d
  KEY=$(neko-api key add dashboard --role viewer)
  neko-api key revoke 0d1h2s…
`

// parseSpan reads a time span, like 90d or 12h.
func parseSpan(text string) (time.Duration, error) {
	if days, ok := strings.CutSuffix(text, "d"); ok {
		if n, err := strconv.ParseUint(days, 10, 16); err == nil && n > 0 {
			return time.Duration(n) * 24 * time.Hour, nil
		}
	} else if d, err := time.ParseDuration(text); err == nil && d > 0 {
		return d, nil
	}
	return 0, settings.BadValue(fmt.Sprintf("%q is no time span", text), "write it like 90d or 12h")
}

// scopesExist refuses root fields that the schema has not: a key for one of those could
// do nothing, and its owner would learn it when it is used. What is no root field at all
// is left to who makes the key.
func scopesExist(scopes []string) error {
	if len(scopes) == 0 {
		return nil
	}
	schema, err := gqlparser.LoadSchema(&ast.Source{Name: "schema.graphql", Input: api.Schema})
	if err != nil {
		return err
	}
	for _, scope := range scopes {
		name, field, _ := strings.Cut(scope, ".")
		for _, root := range []*ast.Definition{schema.Query, schema.Mutation} {
			if root.Name != name || field == "*" || root.Fields.ForName(field) != nil {
				continue
			}
			names := make([]string, 0, len(root.Fields))
			for _, f := range root.Fields {
				names = append(names, f.Name)
			}
			hint := "api/schema.graphql has all root fields"
			if near := core.SuggestionList(field, names); len(near) > 0 {
				hint = fmt.Sprintf("did you mean %s.%s?", name, near[0])
			}
			return usageError{fmt.Sprintf("there is no root field %q", scope), hint}
		}
	}
	return nil
}

func addKey(o *options, args []string, s streams) error {
	role, err := roleOf(o.role)
	if err != nil {
		return err
	}
	if err := scopesExist(o.scopes); err != nil {
		return err
	}
	return withAccounts(o, func(ctx context.Context, a store.Accounts) error {
		n := auth.NewKey{Name: args[0], Role: role, Scopes: o.scopes}
		if o.expires > 0 {
			n.Expires = time.Now().Add(o.expires)
		}
		if o.owner != "" {
			u, err := a.UserByName(ctx, o.owner)
			if err != nil {
				return err
			}
			n.Owner = u.ID
		}
		var text string
		var k *store.APIKey
		err := recorded(o, s, "key add", func() (_ string, err error) {
			if k, text, err = auth.NewManager(a).CreateKey(ctx, n); err != nil {
				return "", err
			}
			return auth.KeySubject + k.ID, nil
		})
		if err != nil {
			return err
		}
		fmt.Fprintf(s.err, "key %s (%s, %s) was made; it is shown this once:\n", k.ID, k.Name, strings.ToLower(k.Role))
		_, err = fmt.Fprintln(s.out, text)
		return err
	})
}

func listKeys(o *options, _ []string, s streams) error {
	return withAccounts(o, func(ctx context.Context, a store.Accounts) error {
		keys, err := all(ctx, a.APIKeys, func(k *store.APIKey) string { return k.ID })
		if err != nil {
			return err
		}
		if o.json {
			type key struct {
				ID       string     `json:"id"`
				Name     string     `json:"name"`
				Role     string     `json:"role"`
				Scopes   []string   `json:"scopes"`
				Owner    string     `json:"owner,omitempty"`
				Created  time.Time  `json:"created"`
				Expires  *time.Time `json:"expires"`
				Revoked  *time.Time `json:"revoked"`
				LastUsed *time.Time `json:"last_used"`
			}
			list := []key{}
			for _, k := range keys {
				list = append(list, key{k.ID, k.Name, strings.ToLower(k.Role), k.Scopes, k.Owner, k.Created, orNull(k.Expires), orNull(k.Revoked), orNull(k.LastUsed)})
			}
			return printJSON(s.out, list)
		}
		if len(keys) == 0 {
			fmt.Fprintln(s.err, "there are no keys: neko-api key add NAME --role viewer makes one")
			return nil
		}
		owners, err := owners(ctx, a)
		if err != nil {
			return err
		}
		rows := [][]string{{"ID", "NAME", "ROLE", "SCOPES", "OWNER", "STATE", "EXPIRES", "LAST USED"}}
		for _, k := range keys {
			state, scopes := "good", "-"
			switch {
			case !k.Revoked.IsZero():
				state = "revoked"
			case !k.Expires.IsZero() && !time.Now().Before(k.Expires):
				state = "expired"
			case owners[k.Owner].Disabled:
				state = "owner disabled"
			}
			if k.Scopes != nil {
				scopes = strings.Join(k.Scopes, " ")
			}
			rows = append(rows, []string{k.ID, k.Name, strings.ToLower(k.Role), scopes, owners[k.Owner].Name, state, day(k.Expires), day(k.LastUsed)})
		}
		return printTable(s.out, rows)
	})
}

// owners are those whom a key may belong to, by id: the operator without one.
func owners(ctx context.Context, a store.Accounts) (map[string]store.User, error) {
	users, err := all(ctx, a.Users, func(u *store.User) string { return u.ID })
	byID := map[string]store.User{"": {Name: "-"}}
	for _, u := range users {
		byID[u.ID] = *u
	}
	return byID, err
}

func revokeKey(o *options, args []string, s streams) error {
	return withAccounts(o, func(ctx context.Context, a store.Accounts) error {
		if _, err := a.APIKey(ctx, args[0]); err != nil {
			return err
		}
		err := recorded(o, s, "key revoke", func() (string, error) {
			_, err := auth.NewManager(a).RevokeKey(ctx, args[0])
			return auth.KeySubject + args[0], err
		})
		if err == nil {
			fmt.Fprintf(s.err, "key %s is revoked\n", args[0])
		}
		return err
	})
}

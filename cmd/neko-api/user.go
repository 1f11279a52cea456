package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/nekoctl/neko/api/auth"
	"github.com/nekoctl/neko/api/store"
)

const userUsage = `neko-api user: who can log in.

Usage:
  neko-api user add NAME --role ROLE [--password-stdin]
  neko-api user list [--json]
  neko-api user disable|enable NAME
  neko-api user password NAME [--password-stdin]
  neko-api user role NAME ROLE

ROLE is viewer (may read), analyst (may also report sightings and keep indicators)
or admin (may also keep users and keys).

A password is asked for on a terminal, and read from standard input, one line, with
--password-stdin. Otherwise one is made, and shown this once. It has at least 15
characters, whatever they are.

A change of password or role, and disable, end the user's sessions within five
seconds. A user is never removed: what was done under the name stays the user's.

Examples:
  neko-api user add mia --role analyst
  pass show neko | neko-api user add gateway --role viewer --password-stdin
  neko-api user disable mia
`

// roleOf is a role as the schema writes it.
func roleOf(text string) (string, error) {
	role := strings.ToUpper(text)
	for _, r := range auth.Roles {
		if r == role {
			return r, nil
		}
	}
	if text == "" {
		return "", usageError{"which role?", "say --role viewer, analyst or admin"}
	}
	return "", usageError{fmt.Sprintf("%q is no role", text), "write viewer, analyst or admin"}
}

func addUser(o *options, args []string, s streams) error {
	role, err := roleOf(o.role)
	if err != nil {
		return err
	}
	name := args[0]
	return withAccounts(o, func(ctx context.Context, a store.Accounts) error {
		password, made, err := newPassword(ctx, o, s, name)
		if err != nil {
			return err
		}
		err = recorded(o, s, "user add", func() (string, error) {
			u, err := auth.NewManager(a).CreateUser(ctx, name, role, password)
			if err != nil {
				return "", err
			}
			return auth.UserSubject + u.ID, nil
		})
		if err != nil {
			return err
		}
		fmt.Fprintf(s.err, "user %s (%s) was added\n", name, strings.ToLower(role))
		return showOnce(s, made, password)
	})
}

// showOnce prints a password that was made here.
func showOnce(s streams, made bool, password string) error {
	if !made {
		return nil
	}
	fmt.Fprintln(s.err, "the password, which is shown this once:")
	_, err := fmt.Fprintln(s.out, password)
	return err
}

func listUsers(o *options, _ []string, s streams) error {
	return withAccounts(o, func(ctx context.Context, a store.Accounts) error {
		users, err := all(ctx, a.Users, func(u *store.User) string { return u.ID })
		if err != nil {
			return err
		}
		if o.json {
			type user struct {
				ID              string    `json:"id"`
				Name            string    `json:"name"`
				Role            string    `json:"role"`
				Disabled        bool      `json:"disabled"`
				Created         time.Time `json:"created"`
				PasswordChanged time.Time `json:"password_changed"`
			}
			list := []user{}
			for _, u := range users {
				list = append(list, user{u.ID, u.Name, strings.ToLower(u.Role), u.Disabled, u.Created, u.PasswordChanged})
			}
			return printJSON(s.out, list)
		}
		if len(users) == 0 {
			fmt.Fprintln(s.err, "there are no users: neko-api user add NAME --role analyst makes one")
			return nil
		}
		rows := [][]string{{"NAME", "ROLE", "STATE", "ADDED", "PASSWORD OF", "ID"}}
		for _, u := range users {
			state := "enabled"
			if u.Disabled {
				state = "disabled"
			}
			rows = append(rows, []string{u.Name, strings.ToLower(u.Role), state, day(u.Created), day(u.PasswordChanged), u.ID})
		}
		return printTable(s.out, rows)
	})
}

// changeUser changes the user of a name, and says what became of it.
func changeUser(o *options, s streams, name, what, done string, change func(ctx context.Context, m *auth.Manager, id string) (*store.User, error)) error {
	return withAccounts(o, func(ctx context.Context, a store.Accounts) error {
		u, err := a.UserByName(ctx, name)
		if err != nil {
			return err
		}
		err = recorded(o, s, what, func() (string, error) {
			_, err := change(ctx, auth.NewManager(a), u.ID)
			return auth.UserSubject + u.ID, err
		})
		if err == nil {
			fmt.Fprintf(s.err, "user %s %s\n", u.Name, done)
		}
		return err
	})
}

func disableUser(o *options, args []string, s streams) error {
	return changeUser(o, s, args[0], "user disable", "is disabled", func(ctx context.Context, m *auth.Manager, id string) (*store.User, error) {
		return m.SetDisabled(ctx, id, true)
	})
}

func enableUser(o *options, args []string, s streams) error {
	return changeUser(o, s, args[0], "user enable", "can log in", func(ctx context.Context, m *auth.Manager, id string) (*store.User, error) {
		return m.SetDisabled(ctx, id, false)
	})
}

func changeRole(o *options, args []string, s streams) error {
	role, err := roleOf(args[1])
	if err != nil {
		return err
	}
	return changeUser(o, s, args[0], "user role", "is "+strings.ToLower(role)+" now", func(ctx context.Context, m *auth.Manager, id string) (*store.User, error) {
		return m.SetRole(ctx, id, role)
	})
}

func changePassword(o *options, args []string, s streams) error {
	made, password := false, ""
	err := changeUser(o, s, args[0], "user password", "has another password", func(ctx context.Context, m *auth.Manager, id string) (_ *store.User, err error) {
		if password, made, err = newPassword(ctx, o, s, args[0]); err != nil {
			return nil, err
		}
		return m.SetPassword(ctx, id, password)
	})
	if err != nil {
		return err
	}
	return showOnce(s, made, password)
}

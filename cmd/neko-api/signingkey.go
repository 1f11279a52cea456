package main

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/nekoctl/neko/api/auth"
	"github.com/nekoctl/neko/api/store"
)

const signingKeyUsage = `neko-api signing-key: what access tokens are signed with.

Usage:
  neko-api signing-key list [--json]
  neko-api signing-key rotate [--now]

Workers make a new key by themselves, every 30 days (--signing-key-age). rotate makes
one now: it signs in an hour, when whoever checks tokens has it, and nobody notices.

With --now it signs at once, and every access token there is ends within five seconds;
clients refresh their sessions. That is for a key that has leaked, and for a secret
(--auth-secret-file) that has, or is lost: give a new one to all hosts before, and
reload their workers after.
`

func listSigningKeys(o *options, _ []string, s streams) error {
	return withAccounts(o, func(ctx context.Context, a store.Accounts) error {
		keys, err := a.SigningKeys(ctx)
		if err != nil {
			return err
		}
		if o.json {
			type key struct {
				Number    int64     `json:"number"`
				ID        string    `json:"kid"`
				Created   time.Time `json:"created"`
				NotBefore time.Time `json:"not_before"`
			}
			list := []key{}
			for _, k := range keys {
				list = append(list, key{k.Number, k.ID, k.Created, k.NotBefore})
			}
			return printJSON(s.out, list)
		}
		rows := [][]string{{"NUMBER", "KID", "MADE", "SIGNS FROM"}}
		for _, k := range keys {
			rows = append(rows, []string{strconv.FormatInt(k.Number, 10), k.ID, day(k.Created), day(k.NotBefore)})
		}
		return printTable(s.out, rows)
	})
}

func rotateSigningKey(o *options, _ []string, s streams) error {
	return withAccounts(o, func(ctx context.Context, a store.Accounts) error {
		secret, err := secret(o)
		if err != nil {
			return err
		}
		var k *store.SigningKey
		err = recorded(o, s, "signing-key rotate", func() (_ string, err error) {
			if k, err = auth.RotateSigningKey(ctx, a, secret, o.now); err != nil {
				return "", err
			}
			return "signing-key:" + k.ID, nil
		})
		if err == nil {
			fmt.Fprintf(s.err, "signing key %d signs from %s\n", k.Number, day(k.NotBefore))
		}
		return err
	})
}

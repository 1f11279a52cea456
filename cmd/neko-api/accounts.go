package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/user"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/nekoctl/neko/api/audit"
	"github.com/nekoctl/neko/api/auth"
	"github.com/nekoctl/neko/api/store"
	"github.com/nekoctl/neko/api/store/mongo"
	"github.com/nekoctl/neko/worker"
)

// withAccounts runs a command on the accounts of the store.
func withAccounts(o *options, run func(ctx context.Context, a store.Accounts) error) error {
	ctx, stop := untilSignal()
	defer stop()
	st, err := openStore(ctx, o)
	if err != nil {
		return err
	}
	defer st.Close()
	return explain(run(ctx, st))
}

// explain puts an error of a store or of package auth into the words of the
// command line.
func explain(err error) error {
	var invalid *store.InvalidError
	var missing *store.NotFoundError
	var conflict *store.ConflictError
	switch {
	case errors.As(err, &missing) && missing.Kind == store.KindUser:
		return hinted{fmt.Sprintf("there is no user %q", missing.Key), "neko-api user list shows all"}
	case errors.As(err, &missing) && missing.Kind == store.KindAPIKey:
		return hinted{fmt.Sprintf("there is no key %q", missing.Key), "neko-api key list shows all"}
	case errors.As(err, &conflict) && conflict.Kind == store.KindUser:
		return hinted{fmt.Sprintf("there is a user %q already", conflict.ID), "neko-api user password " + conflict.ID + ", or user role, change that one"}
	case errors.As(err, &invalid) && invalid.Field == "password":
		return hinted{"the password " + invalid.Reason, "a few words are easy to keep in mind; or have one made"}
	case errors.As(err, &invalid):
		return usageError{fmt.Sprintf("the %s %s", invalid.Field, invalid.Reason), "see neko-api --help"}
	}
	return err
}

// recorded makes a change that is on record in the audit log, before and after:
// if the attempt cannot be, it is not made. change returns what it has worked on.
func recorded(o *options, s streams, what string, change func() (object string, err error)) error {
	log, err := openAudit(o, s.err)
	if err != nil {
		return err
	}
	event := worker.AuditEvent{Stage: worker.AuditAttempt, Caller: &worker.Caller{Identity: operator()}, Kind: "command", Fields: []string{what}}
	write := func() error { return nil }
	if log != nil {
		defer log.Close()
		write = func() error { return log.Event(event) }
	}
	if err := write(); err != nil {
		return err
	}
	object, err := change()
	event.Stage = worker.AuditOutcome
	if object != "" {
		event.Objects = []string{object}
	}
	if err != nil {
		event.Code = "FAILED"
	}
	if e := write(); e != nil { // what was done must still be told, a password or a key with it
		fmt.Fprintf(s.err, "warning: that this was done could not be recorded: %v\n", e)
	}
	return err
}

// operator is who works on the command line, in the audit log.
func operator() worker.Identity {
	who := worker.Identity{Subject: "operator", Role: "OPERATOR"}
	if u, err := user.Current(); err == nil {
		who.Subject, who.Name = "operator:"+u.Uid, u.Username
	}
	return who
}

// all gathers a list that comes in pages.
func all[V any](ctx context.Context, page func(ctx context.Context, after string, limit int) ([]*V, error), id func(*V) string) (list []*V, err error) {
	const size = 500
	for after := ""; ; {
		found, err := page(ctx, after, size)
		if err != nil {
			return nil, err
		}
		list = append(list, found...)
		if len(found) < size {
			return list, nil
		}
		after = id(found[len(found)-1])
	}
}

// printTable prints rows under their heads.
func printTable(w io.Writer, rows [][]string) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, r := range rows {
		fmt.Fprintln(t, strings.Join(r, "\t"))
	}
	return t.Flush()
}

func printJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

// day is a time in a table.
func day(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.Local().Format("2006-01-02 15:04")
}

// orNull is a time in JSON.
func orNull(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

// openAudit opens the audit log that the settings name, nil if it is off.
func openAudit(o *options, console io.Writer) (*audit.Log, error) {
	switch where := *o.auditLog; where {
	case "off":
		return nil, nil
	case "-":
		return audit.To(console), nil
	default:
		path, err := companion(o, where, "audit.log")
		if err != nil {
			return nil, err
		}
		if err := makeAudit(path, o); err != nil {
			return nil, err
		}
		return audit.Open(path)
	}
}

// makeAudit makes the audit log of a store that is a file, if it is root who needs it first, so that it belongs to
// who has the store: workers do not start with one that they cannot write.
func makeAudit(path string, o *options) error {
	name, err := storeName(o)
	if err != nil || mongo.Is(name) || os.Geteuid() != 0 {
		return err
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return nil // it is there, or audit.Open says why not
	}
	return errors.Join(give(f, o), f.Close())
}

// wantSecret is the error that there is no secret for a store that other hosts
// have, too: all of them must have the same.
func wantSecret(o *options) error {
	name, err := storeName(o)
	if err == nil && *o.secretFile == "" && mongo.Is(name) {
		err = usageError{"this store needs a secret that all its hosts share", "give --auth-secret-file FILE, made once with: (umask 077; head -c 32 /dev/urandom | base64 > FILE)"}
	}
	return err
}

// secret reads the secret of the settings. It makes one beside the store if that
// is a file.
func secret(o *options) ([]byte, error) {
	if err := wantSecret(o); err != nil {
		return nil, err
	}
	path, err := companion(o, *o.secretFile, "auth.secret")
	if err != nil {
		return nil, err
	}
	return auth.ReadSecret(path, *o.secretFile == "")
}

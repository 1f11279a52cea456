// Command notes is a worker with a schema of its own: notes in an SQLite file.
package main

import (
	"context"
	"database/sql"
	_ "embed"
	"errors"
	"log"

	graphql "github.com/graph-gophers/graphql-go"
	"github.com/nekoctl/neko/worker"
	_ "modernc.org/sqlite"
)

//go:embed schema.graphql
var schema string

type (
	root struct{ db *sql.DB } // Query and Mutation: a method for each field
	note struct {             // Note: a struct field for each
		ID   graphql.ID
		Text string
	}
)

func (r root) Notes(ctx context.Context, args struct{ First int32 }) (notes []note, err error) {
	if args.First < 0 || args.First > 100 {
		return nil, worker.NewError(worker.CodeBadUserInput, "first must be from 0 to 100")
	}
	rows, err := r.db.QueryContext(ctx, "SELECT id, text FROM note ORDER BY id DESC LIMIT ?", args.First)
	if err != nil {
		return nil, err // goes to the log; the client reads "internal error"
	}
	defer rows.Close()
	for err == nil && rows.Next() {
		var n note
		err = rows.Scan((*string)(&n.ID), &n.Text)
		notes = append(notes, n)
	}
	return notes, errors.Join(err, rows.Err())
}

func (r root) Note(ctx context.Context, args struct{ ID graphql.ID }) (*note, error) {
	n := note{ID: args.ID}
	err := r.db.QueryRowContext(ctx, "SELECT text FROM note WHERE id = ?", args.ID).Scan(&n.Text)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	return &n, err
}

func (r root) AddNote(ctx context.Context, args struct{ Text string }) (n note, err error) {
	if n.Text = args.Text; n.Text == "" {
		return n, worker.NewError(worker.CodeBadUserInput, "a note must have a text")
	}
	err = r.db.QueryRowContext(ctx, "INSERT INTO note (text) VALUES (?) RETURNING id", n.Text).Scan((*string)(&n.ID))
	return n, err
}

func config(db *sql.DB) worker.Config {
	return worker.Config{
		Name: "notes", Schema: schema, Resolver: &root{db},
		Prepare: func(ctx context.Context, _ *worker.Config) error {
			_, err := db.ExecContext(ctx, "CREATE TABLE IF NOT EXISTS note (id INTEGER PRIMARY KEY, text TEXT NOT NULL)")
			return err
		},
		Checks: []worker.Check{{Name: "database", Run: db.PingContext}},
	}
}

func main() {
	db, err := sql.Open("sqlite", "file:notes.db?_pragma=busy_timeout(5000)")
	if err == nil {
		err = worker.Run(context.Background(), config(db))
	}
	if err != nil {
		log.Fatalln("error:", err)
	}
}

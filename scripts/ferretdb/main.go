// Command ferretdb is a server for tests that speaks MongoDB's protocol and keeps
// its data in SQLite files: FerretDB 1, the last that needs nothing beside it. It
// has no transactions, change streams, $lookup, text, TTL or partial indexes, and
// only a look-up by _id is fast: nothing that it does says how fast a MongoDB is.
//
// What it lacks and MongoDB promises stands before it, in turns.go: that of two
// updates of one document the second sees what the first has made of it.
//
//	ferretdb FOLDER|memory [ADDRESS]
//
// It writes its URL to standard output, and ends with its standard input: no
// server is left behind by a test that was killed.
package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/url"
	"os"

	"github.com/FerretDB/FerretDB/ferretdb"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) < 1 || len(args) > 2 {
		return fmt.Errorf("usage: ferretdb FOLDER|memory [ADDRESS]")
	}
	address := "127.0.0.1:0" // any port
	if len(args) == 2 {
		address = args[1]
	}
	folder := args[0]
	if folder == "memory" {
		// Files all the same: with a database in memory, which it has, it can come to a
		// standstill as soon as one client writes while another reads.
		var err error
		if folder, err = os.MkdirTemp("/dev/shm", "neko-ferretdb-"); err != nil {
			folder, err = os.MkdirTemp("", "neko-ferretdb-")
		}
		if err != nil {
			return err
		}
		defer os.RemoveAll(folder)
	}
	front, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	defer front.Close()
	db, err := ferretdb.New(&ferretdb.Config{
		Listener:  ferretdb.ListenerConfig{TCP: "127.0.0.1:0"},
		Logger:    slog.New(slog.DiscardHandler),
		Handler:   "sqlite",
		SQLiteURL: "file:" + folder + "/",
	})
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancel(context.Background())
	go func() {
		io.Copy(io.Discard, os.Stdin)
		stop()
	}()
	go func() {
		u, err := url.Parse(db.MongoDBURI()) // waits until it listens
		if err != nil {
			panic(err)
		}
		fmt.Printf("mongodb://%s/\n", front.Addr())
		inTurns(front, u.Host)
	}()
	return db.Run(ctx)
}

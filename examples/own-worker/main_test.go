package main

import (
	"context"
	"database/sql"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nekoctl/neko/worker"
)

func TestNotes(t *testing.T) {
	db, err := sql.Open("sqlite", "file:"+filepath.Join(t.TempDir(), "notes.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	c := config(db)
	if err := c.Prepare(t.Context(), &c); err != nil {
		t.Fatal(err)
	}
	w, err := worker.New(c)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go w.Serve(l)
	defer w.Drain(context.Background())

	for _, c := range []struct{ query, want string }{
		{`mutation { addNote(text: \"buy fish\") { id } }`, `{"data":{"addNote":{"id":"1"}}}`},
		{`{ notes(first: 1) { text } }`, `{"data":{"notes":[{"text":"buy fish"}]}}`},
	} {
		resp, err := http.Post("http://"+l.Addr().String()+"/graphql", "application/json", strings.NewReader(`{"query": "`+c.query+`"}`))
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(resp.Body)
		if resp.Body.Close(); err != nil || string(got) != c.want {
			t.Errorf("%s: %s, %v; want %s", c.query, got, err, c.want)
		}
	}
}

package main

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	driver "go.mongodb.org/mongo-driver/v2/mongo"
	driveroptions "go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/nekoctl/neko/api/store/mongo/mongotest"
)

// A MongoDB that is restored, into an empty database and over the one that workers serve: all is answered as before the
// backup, no index is missing, users and keys are there, and what was kept of before is purged. mongodump and
// mongorestore do it if they are installed and there is a real MongoDB (NEKO_TEST_MONGODB); else the test copies all
// documents and indexes as they do.
func TestMongoRestore(t *testing.T) {
	home := filepath.Join(t.TempDir(), "home")
	from, to := mongotest.URL(t), mongotest.URL(t)
	settings := sharedSecret(t)
	on := func(url string, args ...string) []string { return append(append(args, "--store", url), settings...) }
	run := func(in string, args ...string) string {
		t.Helper()
		t.Setenv("NEKO_HOME", home)
		var out, errs bytes.Buffer
		if code := run(args, streams{strings.NewReader(in), &out, &errs}); code != 0 {
			t.Fatalf("%v: %d %s", args, code, &errs)
		}
		return strings.TrimSpace(out.String())
	}
	url, _, _ := startServer(t, home, on(from)...)
	key := run("", "key", "add", "k", "--role", "analyst", "--store", from)
	run("an honest password", "user", "add", "mia", "--role", "admin", "--password-stdin", "--store", from)
	const report = `mutation { reportSighting(input: {of: "G9001"}) { sighting { count } } }`
	if status, body := post(t, url, key, report); status != 200 || strings.Contains(body, "errors") {
		t.Fatal(status, body)
	}
	queries := []string{
		`{threatActors(first: 50) {totalCount nodes {name techniques(first: 50) {totalCount nodes {attackId}} campaigns {nodes {name}}}}}`,
		`{techniques(first: 50, filter: {tactic: "TA9001"}) {totalCount nodes {name mitigations {nodes {name}}}}}`,
		`{campaigns(first: 50) {totalCount nodes {name techniques(first: 50) {totalCount nodes {attackId}}}}}`,
		`{indicators(first: 50) {totalCount nodes {id name}} sightings(first: 50) {totalCount nodes {id}}}`,
	}
	answers := func(url string) (all []string) {
		for _, q := range queries {
			_, body := post(t, url, "", q)
			all = append(all, body)
		}
		return all
	}
	same := func(what, url string, want []string) {
		t.Helper()
		wait(t, what, time.Minute, func() bool { return strings.Join(answers(url), "\n") == strings.Join(want, "\n") })
	}
	before := answers(url)
	if strings.Contains(strings.Join(before, ""), `"errors"`) {
		t.Fatal(before)
	}
	dump := dumpMongo(t, from)

	// Into an empty database, as after the loss of all.
	dump.restore(t, to)
	if out := run("", "migrate", "--dry-run", "--store", to); !strings.HasSuffix(out, "nothing to do") {
		t.Error(out)
	}
	restored, _, _ := startServer(t, home, on(to)...)
	same("the restored database answers as the one before", restored, before)
	if status, body := post(t, restored, key, report); status != 200 || strings.Contains(body, "errors") {
		t.Error(status, body)
	}
	if users := run("", "user", "list", "--store", to); !strings.Contains(users, "mia") {
		t.Error(users)
	}

	// Over the database, while its workers serve and keep answers of it.
	if status, body := post(t, url, key, report); status != 200 || strings.Contains(body, "errors") {
		t.Fatal(status, body)
	}
	if strings.Join(answers(url), "\n") == strings.Join(before, "\n") {
		t.Fatal("what was changed is not seen")
	}
	dump.restore(t, from)
	run("", "purge", "--all", "--store", from)
	same("the workers answer from what was restored", url, before)
	if status, body := post(t, url, key, report); status != 200 || strings.Contains(body, "errors") {
		t.Error(status, body)
	}
}

// mongoDump is what a database had.
type mongoDump struct {
	archive   string // of mongodump
	documents map[string][]any
	indexes   map[string][]any
}

func connectMongo(t *testing.T, url string) (*driver.Client, *driver.Database) {
	t.Helper()
	client, err := driver.Connect(driveroptions.Client().ApplyURI(url))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Disconnect(context.Background()) })
	return client, client.Database(databaseOf(url))
}

func databaseOf(url string) string {
	name, _, _ := strings.Cut(url[strings.LastIndex(url, "/")+1:], "?")
	return name
}

func mongoTool(name string) string {
	path, err := exec.LookPath(name)
	if err != nil || !mongotest.Real() {
		return ""
	}
	return path
}

func dumpMongo(t *testing.T, url string) *mongoDump {
	t.Helper()
	d := &mongoDump{documents: map[string][]any{}, indexes: map[string][]any{}}
	if tool := mongoTool("mongodump"); tool != "" {
		d.archive = filepath.Join(t.TempDir(), "neko.archive")
		if out, err := exec.Command(tool, "--config", mongoConfig(t, url), "--archive="+d.archive, "--gzip").CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		return d
	}
	_, db := connectMongo(t, url)
	names, err := db.ListCollectionNames(t.Context(), bson.D{})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		documents, err := db.Collection(name).Find(t.Context(), bson.D{})
		if err != nil {
			t.Fatal(err)
		}
		var list []bson.D
		if err := documents.All(t.Context(), &list); err != nil {
			t.Fatal(err)
		}
		for _, doc := range list {
			d.documents[name] = append(d.documents[name], doc)
		}
		indexes, err := db.Collection(name).Indexes().List(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		list = nil
		if err := indexes.All(t.Context(), &list); err != nil {
			t.Fatal(err)
		}
		for _, i := range list {
			i = slices.DeleteFunc(i, func(e bson.E) bool { return e.Key == "v" }) // FerretDB does not know it
			d.indexes[name] = append(d.indexes[name], i)
		}
	}
	if len(d.documents["objects"]) == 0 || len(d.documents["meta"]) == 0 {
		t.Fatalf("nothing to dump in %v", names)
	}
	return d
}

// restore is mongorestore --drop.
func (d *mongoDump) restore(t *testing.T, url string) {
	t.Helper()
	if d.archive != "" {
		args := []string{"--config", mongoConfig(t, url), "--archive=" + d.archive, "--gzip", "--drop", "--nsFrom", "*.$c$", "--nsTo", databaseOf(url) + ".$c$"}
		if out, err := exec.Command(mongoTool("mongorestore"), args...).CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		return
	}
	_, db := connectMongo(t, url)
	for name, documents := range d.documents {
		if err := db.Collection(name).Drop(t.Context()); err != nil {
			t.Fatal(err)
		}
		if _, err := db.Collection(name).InsertMany(t.Context(), documents); err != nil {
			t.Fatal(err)
		}
	}
	for name, indexes := range d.indexes {
		if len(indexes) < 2 { // that of _id is always there
			continue
		}
		err := db.RunCommand(t.Context(), bson.D{{Key: "createIndexes", Value: name}, {Key: "indexes", Value: indexes[1:]}}).Err()
		// FerretDB has now and then still the index of a collection that was dropped while others read it. What
		// the indexes are is looked at in the empty database.
		if err != nil && !strings.Contains(err.Error(), "already exists") {
			t.Fatal(err)
		}
	}
}

// mongoConfig is the file that has the URL, for programs whose command line everybody can read.
func mongoConfig(t *testing.T, url string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "mongo.yaml")
	if err := os.WriteFile(file, []byte("uri: "+url+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

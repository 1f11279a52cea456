package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/vektah/gqlparser/v2"
	"github.com/vektah/gqlparser/v2/ast"

	"github.com/nekoctl/neko/api"
	"github.com/nekoctl/neko/api/store"
	"github.com/nekoctl/neko/api/store/mongo"
	"github.com/nekoctl/neko/cache"
	"github.com/nekoctl/neko/logtext"
	"github.com/nekoctl/neko/worker"
	"github.com/nekoctl/neko/worker/settings"
)

const purgeUsage = `neko-api purge has all workers forget answers that they keep, see docs/caching.md.

Usage:
  neko-api purge TAG... [--store STORE] [--redis URL] [--json]
  neko-api purge --all

A tag is a type of the schema, a type and "list", or a type and an id: what the header
Cache-Tag of an answer has. Capitals do not matter. With --cloudflare-zone it waits
until the CDN was purged, too, and exits with 1 if it could not be.

Examples:
  neko-api purge ThreatActor             # whatever shows a threat actor
  neko-api purge ThreatActor:list        # what shows some that are not named by an id
  neko-api purge ThreatActor:G0034       # what was asked for by this id
  neko-api purge Tactic Technique:T1059
  neko-api purge --all
`

// purge invalidates tags. They go into the log of the store, which all workers follow, and to
// the Redis of the settings, by which all hosts know at once.
func purge(o *options, args []string, s streams) error {
	tags, err := purgeTags(o, args)
	if err != nil {
		return err
	}
	ctx, stop := untilSignal()
	defer stop()
	if err := wantStore(o); err != nil {
		return err
	}
	if _, err := o.cdn.open(); err != nil {
		return err
	}
	st, err := openStore(ctx, o)
	if err != nil {
		return err
	}
	defer st.Close()
	if err := st.Invalidate(ctx, tags...); err != nil {
		return hinted{"nothing is purged: " + err.Error(), "see whether the store is up and its disk has room, and try again"}
	}
	told, err := tellRedis(ctx, o, st, logtext.Logger(s.err))
	within := followFile
	if _, isServer := st.(server); isServer {
		within = followServer
	}
	if err != nil {
		fmt.Fprintf(s.err, "warning: Redis could not be told: %v\n", err)
		fmt.Fprintf(s.err, "hint: nothing needs to be done: workers read it in the store within %v, and tell Redis as soon as it answers\n", within)
	}
	edge, edgeErr := tellEdge(ctx, o, st, logtext.Logger(s.err))
	if o.json {
		err := json.NewEncoder(s.out).Encode(struct {
			Tags  []string `json:"tags"`
			Redis bool     `json:"redis"`
			Edge  string   `json:"edge,omitempty"` // purged, waiting; "": there is no CDN
		}{tags, told, edge})
		return errors.Join(edgeErr, err)
	}
	what := strings.Join(tags, ", ")
	if o.all {
		what = "everything"
	}
	who := fmt.Sprintf("all workers of this store know within %v", within)
	if told {
		who = "all hosts know"
	}
	if edge == edgePurged {
		who += ", and the CDN knows"
	}
	fmt.Fprintf(s.out, "purged %s: %s\n", what, who)
	return edgeErr
}

// What is said of a CDN.
const (
	edgePurged  = "purged"
	edgeWaiting = "waiting"
)

// tellEdge waits until the CDN of the settings was purged: by a worker, or by this process, if none
// does. It is "" if there is none.
func tellEdge(ctx context.Context, o *options, st database, logger *slog.Logger) (state string, err error) {
	f, err := o.openFront(st, logger)
	if f == nil || err != nil {
		return "", err
	}
	in, err := st.Invalidated(ctx, -1)
	if err != nil {
		return edgeWaiting, errors.Join(err, f.close())
	}
	ctx, cancel := context.WithTimeout(ctx, edgeWithin)
	defer cancel()
	f.changed(in.Last)
	waited := make(chan struct{})
	go func() { // what is refused is so the next time, too
		defer close(waited)
		tick := time.NewTicker(100 * time.Millisecond)
		defer tick.Stop()
		for ctx.Err() == nil {
			if f.Counts().Refused > 0 {
				cancel()
			}
			select {
			case <-tick.C:
			case <-ctx.Done():
			}
		}
	}()
	err = f.Wait(ctx, in.Last)
	cancel()
	<-waited
	ended := f.close()
	if err != nil {
		return edgeWaiting, hinted{"the CDN was not purged yet", "workers with --cloudflare-zone go on trying; neko_edge_oldest_waiting_seconds and their log tell"}
	}
	return edgePurged, ended
}

// edgeWithin is how long a command waits for a CDN: also for one that has to be taken over from a worker
// that has died.
const edgeWithin = 20 * time.Second

// wantStore refuses a SQLite file that is not there: to make one would purge nothing.
func wantStore(o *options) error {
	name, err := storeName(o)
	if err != nil || mongo.Is(name) {
		return err
	}
	if _, err := os.Stat(name); errors.Is(err, fs.ErrNotExist) {
		return hinted{"there is no store " + name, "name the one that the workers have: --store STORE"}
	}
	return nil
}

// purgeTags are the tags that args mean, as the schema has them. A type that there is not is an
// error: nothing would be purged.
func purgeTags(o *options, args []string) (tags []string, err error) {
	switch {
	case o.all && len(args) > 0:
		return nil, usageError{"both --all and tags are given", "give one of them"}
	case o.all:
		return []string{store.Everything}, nil
	case len(args) == 0:
		return nil, usageError{"purge wants tags", "neko-api purge ThreatActor:G0034, or --all"}
	}
	types, err := taggedTypes(api.Schema)
	if err != nil {
		return nil, err
	}
	for _, arg := range args {
		for word := range strings.FieldsFuncSeq(arg, func(r rune) bool { return r == ',' || r == ' ' }) {
			typ, id, named := strings.Cut(word, ":")
			name, ok := types[strings.ToLower(typ)]
			if !ok {
				hint := "the types that have tags: " + strings.Join(slices.Sorted(maps.Values(types)), ", ")
				if near := settings.Nearest(slices.Collect(maps.Values(types)), typ); near != "" {
					hint = fmt.Sprintf("did you mean %s?", near)
				}
				return nil, usageError{fmt.Sprintf("%q: no answers are kept under the type %q", word, typ), hint}
			}
			switch {
			case !named:
				tags = append(tags, name)
			case id == "":
				return nil, usageError{fmt.Sprintf("%q has no id", word), fmt.Sprintf("write %s for all of that type, or %s:ID", name, name)}
			case strings.EqualFold(id, "list"):
				tags = append(tags, name+":list")
			case strings.Contains(id, "%"): // as it stands in the header
				tags = append(tags, name+":"+id)
			default:
				tags = append(tags, worker.CacheTag(name, id))
			}
		}
	}
	slices.SortFunc(tags, func(a, b string) int { return strings.Compare(strings.ToLower(a), strings.ToLower(b)) })
	return slices.CompactFunc(tags, strings.EqualFold), nil
}

// taggedTypes are the types of a schema under which answers are kept, by their names in small
// letters: those with an id, and those that @cacheTag names.
func taggedTypes(sdl string) (map[string]string, error) {
	schema, err := gqlparser.LoadSchema(&ast.Source{Name: "schema.graphql", Input: sdl})
	if err != nil {
		return nil, err
	}
	types := map[string]string{}
	for name, def := range schema.Types {
		if def.Kind != ast.Object || strings.HasPrefix(name, "__") {
			continue
		}
		if id := def.Fields.ForName("id"); id != nil && id.Type.String() == "ID!" {
			types[strings.ToLower(name)] = name
		}
		for _, f := range def.Fields {
			for _, d := range f.Directives.ForNames("cacheTag") {
				if a := d.Arguments.ForName("format"); a != nil {
					if typ, _, ok := strings.Cut(a.Value.Raw, ":"); ok && schema.Types[typ] != nil {
						types[strings.ToLower(typ)] = typ
					}
				}
			}
		}
	}
	return types, nil
}

// tellRedis has all hosts know of what is in the log of the store and they do not know of yet. It is
// false if they share nothing.
func tellRedis(ctx context.Context, o *options, st database, logger *slog.Logger) (told bool, err error) {
	c, isServer := st.(server)
	if !isServer {
		return false, nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), tellWithin)
	defer cancel()
	shared, err := o.connectAnswers(ctx, c, logger)
	if shared == nil || err != nil {
		return false, err
	}
	hosts, err := cache.New(cache.Options{Bytes: cache.MinBytes, Shared: shared})
	if err != nil {
		shared.Close()
		return false, err
	}
	from, err := shared.Confirmed(ctx)
	for ; err != nil && ctx.Err() == nil; from, err = shared.Confirmed(ctx) { // it connects in the background
		time.Sleep(10 * time.Millisecond)
	}
	var in store.Invalidated
	if err == nil {
		in, err = st.Invalidated(ctx, from)
	}
	if err == nil && len(in.Tags) > 0 {
		err = hosts.Invalidate(ctx, in.Tags...)
		for errors.Is(err, cache.ErrLater) && ctx.Err() == nil {
			if time.Sleep(10 * time.Millisecond); hosts.Stats().Waiting == 0 {
				err = nil
			}
		}
	}
	if err == nil {
		err = shared.Confirm(ctx, in.Last)
	}
	if ended := hosts.Close(ctx); err == nil {
		err = ended
	}
	return err == nil, err
}

// tellWithin is how long a command waits for Redis.
const tellWithin = 3 * time.Second

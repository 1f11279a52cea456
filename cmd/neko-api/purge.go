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
Cache-Tag of an answer has. Capitals do not matter.

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
	if _, isServer := st.(confirmer); isServer {
		within = followServer
	}
	if err != nil {
		fmt.Fprintf(s.err, "warning: Redis could not be told: %v\n", err)
		fmt.Fprintf(s.err, "hint: nothing needs to be done: workers read it in the store within %v, and tell Redis as soon as it answers\n", within)
	}
	if o.json {
		return json.NewEncoder(s.out).Encode(struct {
			Tags  []string `json:"tags"`
			Redis bool     `json:"redis"`
		}{tags, told})
	}
	what := strings.Join(tags, ", ")
	if o.all {
		what = "everything"
	}
	if told {
		fmt.Fprintf(s.out, "purged %s: all hosts know\n", what)
	} else {
		fmt.Fprintf(s.out, "purged %s: all workers of this store know within %v\n", what, within)
	}
	return nil
}

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
	c, isServer := st.(confirmer)
	if !isServer {
		return false, nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), tellWithin)
	defer cancel()
	from, err := c.Confirmed(ctx)
	if err != nil {
		return false, err
	}
	in, err := st.Invalidated(ctx, from)
	if err != nil || len(in.Tags) == 0 {
		return false, err
	}
	shared, err := o.connectAnswers(ctx, c, logger)
	if shared == nil || err != nil {
		return false, err
	}
	hosts, err := cache.New(cache.Options{Bytes: cache.MinBytes, Shared: shared})
	if err != nil {
		shared.Close()
		return false, err
	}
	err = hosts.Invalidate(ctx, in.Tags...)
	if ended := hosts.Close(ctx); err == nil || errors.Is(err, cache.ErrLater) {
		err = ended // an error if Redis was not told meanwhile
	}
	if err != nil {
		return false, err
	}
	return true, c.Confirm(ctx, in.Last)
}

// tellWithin is how long a command waits for Redis.
const tellWithin = 3 * time.Second

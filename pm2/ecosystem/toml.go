package ecosystem

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/pelletier/go-toml/v2"
	"github.com/pelletier/go-toml/v2/unstable"

	"github.com/nekoctl/neko/supervisor/spec"
)

// readTOML reads a file with go-toml, and once more for the order and the places of its
// keys, which that does not tell.
func readTOML(data []byte) (*tree, *spec.Error) {
	var values map[string]any
	if err := toml.Unmarshal(data, &values); err != nil {
		e := &spec.Error{Message: "not TOML: " + strings.TrimPrefix(err.Error(), "toml: ")}
		if decode, ok := errors.AsType[*toml.DecodeError](err); ok {
			e.Pos.Line, e.Pos.Column = decode.Position()
		}
		return nil, e
	}
	places := tomlPlaces(data)
	return tomlTree(values, "", places), nil
}

// place is where a key is, and how many came before it.
type place struct{ line, column, order int }

// tomlPlaces are those of keys, by their path: apps.0.name.
func tomlPlaces(data []byte) map[string]place {
	places := map[string]place{}
	arrays := map[string]int{} // how many elements a [[table]] has by now
	under := ""
	var p unstable.Parser
	p.Reset(data)
	// resolve is a path in which the arrays of tables have their last index.
	resolve := func(path string, keys []*unstable.Node, array bool) string {
		for i, key := range keys {
			path = join(path, string(key.Data))
			shape := p.Shape(p.Range(key.Data))
			if _, known := places[path]; !known {
				places[path] = place{shape.Start.Line, shape.Start.Column, len(places)}
			}
			if n := arrays[path]; array && i == len(keys)-1 {
				arrays[path] = n + 1
				path = join(path, index(n))
				places[path] = place{shape.Start.Line, shape.Start.Column, len(places)}
			} else if n > 0 {
				path = join(path, index(n-1))
			}
		}
		return path
	}
	for p.NextExpression() {
		e := p.Expression()
		var keys []*unstable.Node
		for it := e.Key(); it.Next(); {
			key := *it.Node()
			keys = append(keys, &key)
		}
		switch e.Kind {
		case unstable.Table:
			under = resolve("", keys, false)
		case unstable.ArrayTable:
			under = resolve("", keys, true)
		case unstable.KeyValue:
			path := resolve(under, keys, false)
			inlinePlaces(&p, path, e.Value(), places)
		}
	}
	return places
}

// inlinePlaces are those in { } and [ ].
func inlinePlaces(p *unstable.Parser, path string, n *unstable.Node, places map[string]place) {
	switch n.Kind {
	case unstable.InlineTable:
		for it := n.Children(); it.Next(); {
			to := path
			for key := it.Node().Key(); key.Next(); {
				to = join(to, string(key.Node().Data))
				shape := p.Shape(p.Range(key.Node().Data))
				if _, known := places[to]; !known {
					places[to] = place{shape.Start.Line, shape.Start.Column, len(places)}
				}
			}
			inlinePlaces(p, to, it.Node().Value(), places)
		}
	case unstable.Array:
		i := 0
		for it := n.Children(); it.Next(); i++ {
			inlinePlaces(p, join(path, index(i)), it.Node(), places)
		}
	}
}

func join(path, name string) string {
	name = strings.ReplaceAll(strings.ReplaceAll(name, `\`, `\\`), ".", `\.`)
	if path == "" {
		return name
	}
	return path + "." + name
}

func index(i int) string { return strconv.Itoa(i) }

func tomlTree(value any, path string, places map[string]place) *tree {
	t := &tree{line: places[path].line, column: places[path].column}
	switch v := value.(type) {
	case map[string]any:
		t.kind = mapping
		names := sortedKeys(v)
		slices.SortStableFunc(names, func(a, b string) int { return places[join(path, a)].order - places[join(path, b)].order })
		for _, name := range names {
			t.set(name, tomlTree(v[name], join(path, name), places))
		}
	case []any:
		t.kind = list
		for i, item := range v {
			t.items = append(t.items, tomlTree(item, join(path, index(i)), places))
		}
	case time.Time:
		t.kind, t.value = text, v.UTC().Format("2006-01-02T15:04:05.000Z")
	case fmt.Stringer: // a local date or time
		t.kind, t.value = text, v.String()
	default:
		t.value = plain(v)
		t.kind = kindOf(t.value)
	}
	return t
}

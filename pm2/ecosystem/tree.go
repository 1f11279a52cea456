package ecosystem

import (
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/nekoctl/neko/pm2/object"
	"github.com/nekoctl/neko/supervisor/spec"
)

// The most that one file may have.
const (
	maxFile   = 1 << 20
	maxDepth  = 100
	maxValues = 100_000 // aliases followed
	maxApps   = 500
)

// tree is a value of a file with its place. Items are those of a list; names and fields
// those of an object.
type tree struct {
	kind         kind
	value        any // of what is neither
	items        []*tree
	names        []string
	fields       map[string]*tree
	line, column int // 0: not known
}

func (t *tree) field(name string) *tree {
	if t == nil || t.kind != mapping {
		return nil
	}
	return t.fields[name]
}

// set gives an object a field. One that is there already gets the new value, as in
// JavaScript.
func (t *tree) set(name string, value *tree) {
	if t.fields == nil {
		t.fields = map[string]*tree{}
	}
	if t.fields[name] == nil {
		t.names = append(t.names, name)
	}
	t.fields[name] = value
}

// plain is the value as package object has it.
func (t *tree) plain() any {
	switch t.kind {
	case list:
		values := make([]any, len(t.items))
		for i, item := range t.items {
			values[i] = item.plain()
		}
		return values
	case mapping:
		o := &object.Object{}
		for _, name := range t.names {
			o.Set(name, t.fields[name].plain())
		}
		return o
	}
	return t.value
}

// treeOf has no places.
func treeOf(value any) *tree {
	t := &tree{kind: kindOf(value)}
	switch v := value.(type) {
	case []any:
		for _, item := range v {
			t.items = append(t.items, treeOf(item))
		}
	case *object.Object:
		for name, value := range v.All() {
			t.set(name, treeOf(value))
		}
	default:
		t.value = value
	}
	return t
}

// placeAt is the line and column of a byte, both from 1.
func placeAt(data []byte, index int) (line, column int) {
	before := string(data[:min(max(index, 0), len(data))])
	return 1 + strings.Count(before, "\n"), 1 + utf8.RuneCountInString(before[strings.LastIndexByte(before, '\n')+1:])
}

// read is the tree of a file that is not a program.
func read(name string, data []byte, f format) (*tree, error) {
	fail := func(message string) error {
		return spec.Errors{{Pos: spec.Pos{File: name}, Message: message}}
	}
	if len(data) > maxFile {
		return nil, fail("is larger than 1 MiB")
	}
	data = []byte(strings.TrimPrefix(string(data), "\ufeff"))
	if i := badText(data); i >= 0 {
		line, column := placeAt(data, i)
		return nil, spec.Errors{{Pos: spec.Pos{File: name, Line: line, Column: column}, Message: "is not UTF-8 text"}}
	}
	if strings.TrimSpace(string(data)) == "" {
		return nil, fail("is empty")
	}
	var (
		t   *tree
		err *spec.Error
	)
	switch f {
	case formatYAML:
		t, err = readYAML(data)
	case formatTOML:
		t, err = readTOML(data)
	default:
		t, err = readJSON(data)
	}
	if err != nil {
		err.Pos.File = name
		return nil, spec.Errors{err}
	}
	return t, nil
}

func badText(data []byte) int {
	if utf8.Valid(data) {
		return slices.Index(data, 0)
	}
	for i := 0; i < len(data); {
		r, size := utf8.DecodeRune(data[i:])
		if r == utf8.RuneError && size == 1 {
			return i
		}
		i += size
	}
	return -1
}

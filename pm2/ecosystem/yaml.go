package ecosystem

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"time"

	"go.yaml.in/yaml/v4"

	"github.com/nekoctl/neko/supervisor/spec"
)

// readYAML reads the one document of a file.
func readYAML(data []byte) (*tree, *spec.Error) {
	loader, err := yaml.NewLoader(bytes.NewReader(data))
	var doc yaml.Node
	if err == nil {
		err = loader.Load(&doc)
	}
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, yamlError(data, err)
	}
	if len(doc.Content) == 0 {
		return nil, &spec.Error{Message: "is empty"}
	}
	y := &yamlReader{}
	t := y.tree(doc.Content[0], 0)
	if y.err == nil {
		var more yaml.Node
		if err := loader.Load(&more); err == nil && len(more.Content) > 0 {
			return nil, &spec.Error{Pos: spec.Pos{Line: more.Content[0].Line, Column: more.Content[0].Column}, Message: "a second document begins here",
				Hint: "one file is one document: list all apps under one apps:"}
		} else if err != nil && !errors.Is(err, io.EOF) {
			return nil, yamlError(data, err)
		}
	}
	return t, y.err
}

func yamlError(data []byte, err error) *spec.Error {
	e := &spec.Error{Message: "not YAML: " + strings.TrimPrefix(err.Error(), "yaml: ")}
	if le, ok := errors.AsType[*yaml.LoadError](err); ok {
		e.Message = "not YAML: " + le.Message
		mark := le.Mark
		if le.ContextMsg != "" {
			e.Message += ", " + le.ContextMsg
		}
		if le.ContextMark.Line > 0 {
			mark = le.ContextMark // where what is not closed begins
		}
		if e.Pos.Line, e.Pos.Column = mark.Line, mark.Column; mark.Line == 0 {
			e.Pos.Line, e.Pos.Column = placeAt(data, mark.Index)
		}
		if lines := strings.Split(string(data), "\n"); e.Pos.Line <= len(lines) && strings.HasPrefix(strings.TrimLeft(lines[e.Pos.Line-1], " "), "\t") {
			e.Hint = "YAML is indented with spaces, not with tabs"
		}
	}
	return e
}

type yamlReader struct {
	nodes int
	err   *spec.Error
}

func (y *yamlReader) fail(n *yaml.Node, message string) *tree {
	if y.err == nil {
		y.err = &spec.Error{Pos: spec.Pos{Line: n.Line, Column: n.Column}, Message: message}
	}
	return &tree{kind: "null"}
}

func (y *yamlReader) tree(n *yaml.Node, depth int) *tree {
	for n.Kind == yaml.AliasNode && n.Alias != nil && depth < maxDepth {
		n = n.Alias
		depth++
	}
	if y.nodes++; y.nodes > maxValues || depth >= maxDepth || y.err != nil {
		return y.fail(n, "the file is too large or too deep with all its aliases followed")
	}
	t := &tree{line: n.Line, column: n.Column}
	switch n.Kind {
	case yaml.SequenceNode:
		t.kind = list
		for _, item := range n.Content {
			t.items = append(t.items, y.tree(item, depth+1))
		}
	case yaml.MappingNode:
		t.kind = mapping
		y.fields(t, n, depth, map[string]bool{})
	default:
		y.scalar(t, n)
	}
	return t
}

// fields reads a mapping, the merged ones (<<) last and only where it does not have
// a key itself.
func (y *yamlReader) fields(t *tree, n *yaml.Node, depth int, own map[string]bool) {
	var merged []*yaml.Node
	for i := 0; i+1 < len(n.Content) && y.err == nil; i += 2 {
		k, v := n.Content[i], n.Content[i+1]
		for k.Kind == yaml.AliasNode && k.Alias != nil {
			k = k.Alias
		}
		switch {
		case k.Kind != yaml.ScalarNode:
			y.fail(k, "expected a key that is a text")
		case k.Value == "<<" && k.ShortTag() == "!!merge":
			for v.Kind == yaml.AliasNode && v.Alias != nil {
				v = v.Alias
			}
			if v.Kind == yaml.SequenceNode {
				merged = append(merged, v.Content...)
			} else {
				merged = append(merged, v)
			}
		case own[k.Value]:
			if depth == 0 || t.line == n.Line && t.column == n.Column {
				y.fail(k, "the key "+clip(k.Value)+" is here twice")
			}
		default:
			own[k.Value] = true
			value := *y.tree(v, depth+1)
			value.line, value.column = k.Line, k.Column
			t.set(k.Value, &value)
		}
	}
	for _, m := range merged {
		for m.Kind == yaml.AliasNode && m.Alias != nil {
			m = m.Alias
		}
		if y.nodes++; m.Kind != yaml.MappingNode || depth >= maxDepth || y.nodes > maxValues {
			y.fail(m, "<<: expected keys and values to merge")
			return
		}
		y.fields(t, m, depth+1, own)
	}
}

func (y *yamlReader) scalar(t *tree, n *yaml.Node) {
	t.kind, t.value = text, n.Value
	var err error
	switch n.ShortTag() {
	case "!!null":
		t.kind, t.value = "null", nil
	case "!!bool":
		var b bool
		err = n.Decode(&b)
		t.kind, t.value = boolean, b
	case "!!int", "!!float":
		var f float64
		if err = n.Decode(&f); err == nil {
			t.kind, t.value = number, numberOf(f)
		}
		if t.value == nil {
			t.kind = "null"
		}
	case "!!timestamp": // what JavaScript makes of a date
		var date time.Time
		if err = n.Decode(&date); err == nil {
			t.value = date.UTC().Format("2006-01-02T15:04:05.000Z")
		}
	}
	if err != nil {
		t.kind, t.value = text, n.Value
	}
}

package settings

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"go.yaml.in/yaml/v4"
)

// loadFile reads a YAML file: one mapping from keys to plain values.
func (s *Set) loadFile(path string) error {
	data, err := os.ReadFile(path)
	if err != nil {
		var pe *fs.PathError
		if errors.As(err, &pe) {
			err = pe.Err
		}
		return &Error{message: fmt.Sprintf("cannot read %s: %v", path, err), hint: "--config names the file with the settings"}
	}
	var doc yaml.Node
	if err := yaml.Unmarshal(data, &doc); err != nil {
		return &Error{message: fmt.Sprintf("%s: %v", path, err), hint: "it must be YAML: one \"key: value\" a line"}
	}
	if len(doc.Content) == 0 {
		return nil // empty
	}
	at := func(n *yaml.Node, format string, args ...any) *Error {
		return &Error{message: fmt.Sprintf("%s:%d:%d: ", path, n.Line, n.Column) + fmt.Sprintf(format, args...)}
	}
	root := doc.Content[0]
	if root.Kind == yaml.ScalarNode && root.Tag == "!!null" {
		return nil // only comments
	}
	if root.Kind != yaml.MappingNode {
		return at(root, "it must be one mapping of keys to values")
	}
	first := map[string]int{} // line of each key
	for i := 0; i+1 < len(root.Content); i += 2 {
		key, value := root.Content[i], root.Content[i+1]
		d := s.byKey(key.Value)
		if d == nil {
			e := at(key, "unknown key %q", key.Value)
			e.hint = "see --help for what can be set"
			if near := nearest(s.list[1:], key.Value, (*setting).key); near != "" {
				e.hint = fmt.Sprintf("did you mean %q?", near)
			}
			return e
		}
		if line := first[key.Value]; line > 0 {
			return at(key, "%q is already set in line %d", key.Value, line)
		}
		first[key.Value] = key.Line
		if value.Kind != yaml.ScalarNode || value.Tag == "!!null" {
			return at(value, "%s wants one value", key.Value)
		}
		if err := d.set(value.Value); err != nil {
			return at(value, "%s: %v", key.Value, err)
		}
	}
	return nil
}

// byKey finds what a file may set: all but where the file is.
func (s *Set) byKey(key string) *setting {
	for _, d := range s.list[1:] {
		if d.key() == key {
			return d
		}
	}
	return nil
}

package settings

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"go.yaml.in/yaml/v4"
)

const oneALine = `it must be YAML: one "key: value" a line`

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
	documents := yaml.NewDecoder(bytes.NewReader(data))
	switch err := documents.Decode(&doc); {
	case err == io.EOF:
		return nil // empty
	case err != nil:
		return &Error{message: fmt.Sprintf("%s: %v", path, err), hint: oneALine}
	}
	var second yaml.Node
	if err := documents.Decode(&second); err != io.EOF {
		return &Error{message: path + ": it has more than one YAML document", hint: "take out the line ---, or make two files of it"}
	}
	place := func(n *yaml.Node) string { return fmt.Sprintf("%s:%d:%d", path, n.Line, n.Column) }
	fail := func(n *yaml.Node, hint, format string, args ...any) *Error {
		return &Error{message: place(n) + ": " + fmt.Sprintf(format, args...), hint: hint}
	}
	root := doc.Content[0]
	if root.Kind == yaml.ScalarNode && root.Tag == "!!null" {
		return nil // only comments
	}
	if root.Kind != yaml.MappingNode {
		return fail(root, oneALine, "it must be one mapping of keys to values")
	}
	first := map[string]int{} // line of each key
	for i := 0; i+1 < len(root.Content); i += 2 {
		key, value := root.Content[i], root.Content[i+1]
		d := s.byKey(key.Value)
		if d == nil {
			e := fail(key, "see --help for what can be set", "unknown key %q", key.Value)
			if near := Nearest(names(s.inFile(), (*setting).key), key.Value); near != "" {
				e.hint = fmt.Sprintf("did you mean %q?", near)
			}
			return e
		}
		if line := first[key.Value]; line > 0 {
			return fail(key, "keep one of them", "%q is already set in line %d", key.Value, line)
		}
		first[key.Value] = key.Line
		if value.Kind != yaml.ScalarNode || value.Tag == "!!null" {
			return fail(value, oneALine, "%s wants one value", key.Value)
		}
		if err := d.set(value.Value); err != nil {
			return at(place(value)+": "+key.Value, err)
		}
	}
	return nil
}

// byKey finds what a file may set.
func (s *Set) byKey(key string) *setting {
	for _, d := range s.inFile() {
		if d.key() == key {
			return d
		}
	}
	return nil
}

// inFile is what a file may set: all but where the file is, and options.
func (s *Set) inFile() (list []*setting) {
	for _, d := range s.list[1:] {
		if !d.option {
			list = append(list, d)
		}
	}
	return list
}

package k8s

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"go.yaml.in/yaml/v4"

	"github.com/nekoctl/neko/scripts/source"
)

// object is one that kustomize has made.
type object map[string]any

func (o object) text(path ...string) string {
	s, _ := at(map[string]any(o), path...).(string)
	return s
}

func (o object) kind() string { return o.text("kind") }
func (o object) name() string { return o.text("metadata", "name") }

// String is Deployment/neko-api.
func (o object) String() string { return o.kind() + "/" + o.name() }

// at is what is at a path, nil if nothing.
func at(v any, path ...string) any {
	for _, key := range path {
		m, ok := v.(map[string]any)
		if !ok {
			return nil
		}
		v = m[key]
	}
	return v
}

// as has a part of an object in a Go type.
func as[T any](v any) (out T, err error) {
	text, err := yaml.Marshal(v)
	if err == nil {
		err = yaml.Unmarshal(text, &out)
	}
	return out, err
}

// stack is all that one kustomization makes.
type stack struct {
	name    string
	objects []object
	made    []*workload // of these
}

func (s *stack) of(kind string) (all []object) {
	for _, o := range s.objects {
		if o.kind() == kind {
			all = append(all, o)
		}
	}
	return all
}

// overlays and components are all that there are.
func overlays(t testing.TB) []string   { return folders(t, "overlays") }
func components(t testing.TB) []string { return folders(t, "components") }

func folders(t testing.TB, in string) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(in)
	must(t, err)
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// stacks are all overlays, and all components on the base, each alone and built once.
func stacks(t testing.TB) []*stack {
	t.Helper()
	built.Do(func() { all, errStacks = buildAll(t) })
	must(t, errStacks)
	return all
}

var (
	built     sync.Once
	all       []*stack
	errStacks error
)

func buildAll(t testing.TB) (all []*stack, err error) {
	for _, name := range overlays(t) {
		s, err := build(t, filepath.Join("overlays", name))
		if err != nil {
			return nil, err
		}
		all = append(all, &stack{name: "overlay " + name, objects: s})
	}
	for _, name := range components(t) {
		s, err := buildText(t, fmt.Sprintf("resources: [%s]\ncomponents: [%s]\n", relative("base"), relative(filepath.Join("components", name))))
		if err != nil {
			return nil, err
		}
		all = append(all, &stack{name: "component " + name, objects: s})
	}
	return all, nil
}

// relative stands for a folder here in a kustomization elsewhere, which cannot have absolute paths.
func relative(dir string) string { return "HERE/" + dir }

// buildText builds a kustomization of a test's own.
func buildText(t testing.TB, text string) ([]object, error) {
	t.Helper()
	dir, err := filepath.EvalSymlinks(t.TempDir())
	must(t, err)
	here, err := os.Getwd()
	must(t, err)
	here, err = filepath.EvalSymlinks(here)
	must(t, err)
	rel, err := filepath.Rel(dir, here)
	must(t, err)
	must(t, os.WriteFile(filepath.Join(dir, "kustomization.yaml"), []byte(strings.ReplaceAll(text, "HERE", rel)), 0o600))
	return build(t, dir)
}

// build has kustomize make the objects of a folder: that of kubectl, as `kubectl apply -k` would, or one that is
// built from scripts/k8s.
func build(t testing.TB, dir string) ([]object, error) {
	t.Helper()
	args := []string{"kubectl", "kustomize", dir}
	if _, err := exec.LookPath("kubectl"); err != nil {
		path, err := source.Tool("../scripts/k8s", "kustomize")
		if err != nil {
			return nil, err
		}
		args = []string{path, dir}
	}
	cmd := exec.Command(args[0], args[1:]...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil || stderr.Len() > 0 { // what is deprecated is said there, too
		return nil, fmt.Errorf("%s: %v\n%s", dir, err, &stderr)
	}
	return decode(out)
}

// decode reads YAML documents as the API server would: nothing twice, and no word that it takes for a
// boolean and YAML 1.2 for a text.
func decode(text []byte) (objects []object, err error) {
	d := yaml.NewDecoder(bytes.NewReader(text))
	for {
		var node yaml.Node
		if err := d.Decode(&node); errors.Is(err, io.EOF) {
			return objects, nil
		} else if err != nil {
			return nil, err
		}
		if err := unambiguous(&node); err != nil {
			return nil, err
		}
		var o map[string]any
		if err := node.Decode(&o); err != nil {
			return nil, err
		}
		if o != nil {
			objects = append(objects, o)
		}
	}
}

func unambiguous(n *yaml.Node) error {
	if n.Kind == yaml.ScalarNode && n.Style == 0 && slices.Contains([]string{"y", "n", "yes", "no", "on", "off"}, strings.ToLower(n.Value)) {
		return fmt.Errorf("line %d: %s is a boolean to Kubernetes: quote it", n.Line, n.Value)
	}
	for _, c := range n.Content {
		if err := unambiguous(c); err != nil {
			return err
		}
	}
	return nil
}

package ecosystem

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/nekoctl/neko/pm2/object"
	"github.com/nekoctl/neko/supervisor/spec"
)

// Load reads a process file; what is a program is evaluated. Apps that are not among
// o.Only are left out. An error is [spec.Errors], or a [*NoRuntime].
func Load(ctx context.Context, file string, o Options) ([]*Config, error) {
	path := file
	if !filepath.IsAbs(path) {
		path = filepath.Join(o.Cwd, path)
	}
	data, err := readFile(path)
	if err != nil {
		what := err.Error()
		if pe, ok := errors.AsType[*fs.PathError](err); ok {
			if what = pe.Err.Error(); errors.Is(err, fs.ErrNotExist) {
				what = "no such file"
			}
		}
		return nil, spec.Errors{{Message: file + ": " + what}}
	}
	return parse(ctx, file, path, data, o)
}

func readFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, maxFile+1))
}

// Parse is [Load] of what comes by way of standard input, which is JSON as JavaScript
// allows it, unless name is that of another kind of file.
func Parse(ctx context.Context, name string, data []byte, o Options) ([]*Config, error) {
	return parse(ctx, name, "", data, o)
}

// parse reads a file's text. Path is where it is, "" for none.
func parse(ctx context.Context, name, path string, data []byte, o Options) ([]*Config, error) {
	var (
		t   *tree
		err error
	)
	if f := formatOf(name); f == formatProgram && path != "" {
		t, err = evaluate(ctx, name, path, data, o)
	} else if t, err = read(name, data, f); err != nil && o.PM2 && (f == formatJSON || f == formatNone) {
		// PM2 evaluates such a file as an expression, and some are more than JSON.
		if evaluated, bad := evaluateExpression(ctx, name, data, o); bad == nil {
			t, err = evaluated, nil
		}
	}
	if err != nil {
		return nil, err
	}
	return configs(name, path, t, o)
}

// configs finds the apps in a file: under apps or pm2, or it is one itself, or a list.
func configs(name, path string, t *tree, o Options) ([]*Config, error) {
	fail := func(at *tree, format string, args ...any) error {
		return spec.Errors{{Pos: spec.Pos{File: name, Line: at.line, Column: at.column}, Message: fmt.Sprintf(format, args...)}}
	}
	const layout = "expected apps: a list of apps"
	apps, under := t, ""
	for _, key := range []string{"apps", "pm2"} {
		if f := t.field(key); f != nil && (f.kind == mapping || f.kind == list || truthy(f.value)) {
			apps, under = f, key
			break
		}
	}
	entries := apps.items
	if apps.kind == mapping {
		if entries = []*tree{apps}; under == "" && !slices.ContainsFunc(apps.names, func(name string) bool { return Canonical(name) == "script" }) {
			entries = nil
		}
	} else if apps.kind != list {
		return nil, fail(apps, "%s, not %s", layout, shown(apps.plain()))
	}
	if len(entries) == 0 && under == "" {
		return nil, fail(t, "there are no apps in it")
	}
	if len(entries) > maxApps {
		return nil, fail(apps, "there are %d apps, and a file has at most %d", len(entries), maxApps)
	}
	if t.field("static") != nil {
		o.note(name + ": static: nothing is served by neko itself yet")
	}
	var (
		list []*Config
		errs spec.Errors
	)
	deploy, _ := t.field("deploy").orNothing().plain().(*object.Object)
	for i, entry := range entries {
		path_ := ""
		if entry.line == 0 {
			path_ = under
			if apps.kind != mapping {
				path_ += fmt.Sprintf("[%d]", i)
			}
		}
		if entry.kind != mapping {
			e := fail(entry, "%s: expected an app: keys and values, not %s", strings.TrimPrefix(fmt.Sprintf("%s[%d]", under, i), "."), shown(entry.plain()))
			list_, _ := errors.AsType[spec.Errors](e)
			errs = append(errs, list_...)
			continue
		}
		c := newConfig(name, path, path_, entry, deploy, o)
		errs = append(errs, c.check()...)
		list = append(list, c)
	}
	if len(errs) > 0 {
		return nil, errs
	}
	return only(name, list, o)
}

// only leaves out what --only does not name.
func only(name string, list []*Config, o Options) ([]*Config, error) {
	if len(o.Only) == 0 {
		return list, nil
	}
	return slices.DeleteFunc(list, func(c *Config) bool { return !slices.Contains(o.Only, c.Name()) }), nil
}

func (t *tree) orNothing() *tree {
	if t == nil {
		return &tree{kind: "null"}
	}
	return t
}

// newConfig takes an app of a file, with its keys under their canonical names. Of
// several names of a key the strongest that has a value counts.
func newConfig(name, source, path string, entry *tree, deploy *object.Object, o Options) *Config {
	c := &Config{file: name, source: source, path: path, places: map[string]spec.Pos{}, deploy: deploy,
		at: spec.Pos{File: name, Line: entry.line, Column: entry.column}}
	rank := map[string]int{} // of the name that a key was taken from
	for _, written := range entry.names {
		value := entry.fields[written].plain()
		if value == nil {
			continue // as if it were not there
		}
		key, r := Canonical(written), 0
		if k := named()[key]; k != nil {
			r = slices.Index(k.names(), written) + 1
		} else if !isEnvironment(written) {
			c.unknown(written, o)
		}
		if c.Object.Has(key) && (rank[key] <= r && truthy(c.Object.Get(key)) || !truthy(value) && rank[key] < r) {
			continue
		}
		rank[key] = r
		c.Object.Set(key, value)
		c.places[key] = spec.Pos{File: name, Line: entry.fields[written].line, Column: entry.fields[written].column}
	}
	return c
}

// unknown warns of a key that is probably a slip. All others are legal.
func (c *Config) unknown(key string, o Options) {
	var known []string
	for _, k := range Keys {
		known = append(append(known, k.Name), k.names()...)
	}
	if near := spec.Nearest(key, known); near != "" {
		o.warn(fmt.Sprintf("%s: there is no key %q, and it does nothing: did you mean %q?", c.place(), c.named(key), near))
	}
}

// place is where the app is, for a message.
func (c *Config) place() string { return c.at.String() }

// check says all that is wrong with the values.
func (c *Config) check() (errs spec.Errors) {
	for key, value := range c.All() {
		if k := keyOf(key); k != nil {
			if _, err := k.check(value); err != nil {
				errs = append(errs, c.fail(key, err))
			}
		}
	}
	if !truthy(c.Get("script")) {
		where := c.path
		if where != "" {
			where += ": "
		}
		errs = append(errs, &spec.Error{Pos: c.at, Key: "script", Message: where + "there is no script to run", Hint: "script: ./server.js, say"})
	}
	return errs
}

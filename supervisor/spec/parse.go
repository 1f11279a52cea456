package spec

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"
)

// Options are what [Parse] is told beside the file.
type Options struct {
	// Environ is the environment that the apps inherit, as os.Environ gives it.
	Environ []string
	// NamesOnly reads nothing but the file itself: neither env files nor whether
	// programs are there. For commands that only want to know which apps a file
	// is about.
	NamesOnly bool
	// NodeVersion asks a program node for its version, as `node --version` prints it;
	// nil: no version is known.
	NodeVersion func(node string) string
	// Note is told what is worth to be known about how an app is run; nil: nobody.
	Note func(text string)
}

// The most of everything that one file may have.
const (
	maxApps      = 500
	maxListeners = 1000
	maxNodes     = 100_000 // visited, aliases followed
	maxErrors    = 20
)

// Read is [Parse] of a file on disk.
func Read(file string, opts Options) ([]App, Daemon, error) {
	data, err := readBounded(file)
	if err != nil {
		e := &Error{Message: errorText(err), Hint: "give the path of a neko.yaml"}
		if near := nearFile(file); near != "" && near != file {
			e.Hint = "there is " + near
		}
		return nil, Daemon{}, Errors{e}
	}
	return Parse(file, data, opts)
}

// Parse reads the text of a neko.yaml: its apps, which are complete and checked, and what
// it says of the daemon.
//
// The environment of an app is, the strongest first: its env, its env_file
// (the last of a list), a file .env beside the file, opts.Environ.
//
// An error is [Errors]: all that is wrong with the file, and where.
func Parse(file string, data []byte, opts Options) ([]App, Daemon, error) {
	p := &parser{file: file, opts: opts, seen: map[string]*yaml.Node{}}
	abs, err := filepath.Abs(file)
	if err != nil {
		return nil, Daemon{}, Errors{{Message: err.Error()}}
	}
	p.abs, p.base = abs, filepath.Dir(abs)
	root := p.load(data)
	if root == nil {
		return nil, Daemon{}, p.errs
	}
	apps := p.apps(root)
	if len(p.errs) > 0 {
		return nil, Daemon{}, p.errs
	}
	return apps, p.daemon, nil
}

type parser struct {
	file string // as messages show it
	abs  string
	base string // its folder
	opts Options

	dotenv map[string]string // of the file .env beside it
	key    string            // whose value is being read
	nodes  int               // visited so far
	daemon Daemon
	seen   map[string]*yaml.Node // names of apps
	errs   Errors
}

// draft is an app on its way: what the file says, before it is completed.
type draft struct {
	App
	Run
	node     *yaml.Node
	at       map[string]*yaml.Node // where each key's value is
	settings map[string]string     // env
	envFiles []*yaml.Node
	needs    []*yaml.Node // where each of DependsOn is
}

func (p *parser) fail(n *yaml.Node, key, message, hint string) {
	pos := Pos{File: p.file}
	if n != nil {
		pos.Line, pos.Column = n.Line, n.Column
	}
	p.add(&Error{Pos: pos, Key: key, Message: message, Hint: hint})
}

func (p *parser) add(e *Error) {
	said := slices.ContainsFunc(p.errs, func(x *Error) bool { return x.Pos == e.Pos && x.Message == e.Message }) // by way of an alias
	if len(p.errs) < maxErrors && !said {
		p.errs = append(p.errs, e)
	}
}

// failValue reports an error of a value, whatever made it, with its key.
func (p *parser) failValue(n *yaml.Node, key string, err error) {
	message, hint := err.Error(), ""
	if e, ok := errors.AsType[*Error](err); ok {
		message, hint = e.Message, e.Hint
	}
	if key != "" {
		message = key + ": " + message
	}
	p.fail(n, key, message, hint)
}

const firstApp = "a first app is:  apps: [{name: web, command: ./server}]"

// load is the tree of the one document in data, or nil.
func (p *parser) load(data []byte) *yaml.Node {
	if len(data) > MaxFile {
		p.fail(nil, "", fmt.Sprintf("is larger than %d KiB", MaxFile>>10), "")
		return nil
	}
	if i := badText(data); i >= 0 {
		p.add(&Error{Pos: p.position(data, i), Message: "is not UTF-8 text"})
		return nil
	}
	loader, err := yaml.NewLoader(strings.NewReader(string(data)))
	var doc yaml.Node
	if err == nil {
		err = loader.Load(&doc)
	}
	if err != nil && !errors.Is(err, io.EOF) {
		p.failYAML(data, err)
		return nil
	}
	if len(doc.Content) == 0 || isNull(doc.Content[0]) {
		p.fail(nil, "", "is empty", firstApp)
		return nil
	}
	var more yaml.Node
	if err := loader.Load(&more); err == nil && len(more.Content) > 0 {
		p.fail(more.Content[0], "", "a second document begins here", "one file is one document: list all apps under one apps:")
		return nil
	} else if err != nil && !errors.Is(err, io.EOF) {
		p.failYAML(data, err)
		return nil
	}
	return doc.Content[0]
}

// failYAML reports an error of the YAML itself.
func (p *parser) failYAML(data []byte, err error) {
	e := &Error{Pos: Pos{File: p.file}, Message: err.Error()}
	if le, ok := errors.AsType[*yaml.LoadError](err); ok {
		mark := le.Mark
		e.Message = "not YAML: " + le.Message
		if le.ContextMsg != "" {
			e.Message += ", " + le.ContextMsg
		}
		if le.ContextMark.Line > 0 {
			mark = le.ContextMark // where what is not closed begins
		}
		if mark.Line > 0 {
			e.Pos.Line, e.Pos.Column = mark.Line, mark.Column
		} else {
			e.Pos = p.position(data, mark.Index)
		}
		if lines := strings.Split(string(data), "\n"); e.Pos.Line <= len(lines) && e.Pos.Line > 0 {
			line := lines[e.Pos.Line-1]
			switch {
			case strings.HasPrefix(strings.TrimLeft(line, " "), "\t"):
				e.Hint = "YAML is indented with spaces, not with tabs"
			case strings.Contains(line, "[::"):
				e.Hint = `an IPv6 address goes in quotes: "[::1]:80"`
			}
		}
	}
	p.add(e)
}

func (p *parser) position(data []byte, index int) Pos {
	before := string(data[:min(max(index, 0), len(data))])
	return Pos{p.file, 1 + strings.Count(before, "\n"), len(before) - strings.LastIndexByte(before, '\n')}
}

// apps reads the whole file.
func (p *parser) apps(root *yaml.Node) []App {
	var list *yaml.Node
	ok := p.each(root, "the file", func(k, v *yaml.Node) {
		switch {
		case k.Value == "apps":
			list = p.follow(v)
		case strings.HasPrefix(k.Value, "x-"): // a place for anchors
		case !p.daemonKey(k, v):
			p.unknown(k, append([]string{"apps"}, DaemonKeys()...), "a file has apps, and "+strings.Join(DaemonKeys(), " and "))
		}
	})
	if !ok || list == nil {
		if ok && len(p.errs) == 0 {
			p.fail(root, "", "there is no key apps", firstApp)
		}
		return nil
	}
	if list.Kind != yaml.SequenceNode {
		p.fail(list, "apps", "apps: expected a list, each of whose entries begins with a dash, not "+kindOf(list), firstApp)
		return nil
	}
	if len(list.Content) == 0 {
		p.fail(list, "apps", "apps: the list is empty", firstApp)
	}
	if len(list.Content) > maxApps {
		p.fail(list, "apps", fmt.Sprintf("apps: there are %d, and a file has at most %d", len(list.Content), maxApps), "")
		return nil
	}
	if !p.opts.NamesOnly {
		p.readDotenv()
	}
	drafts := make([]*draft, 0, len(list.Content))
	for _, n := range list.Content {
		if d := p.app(p.follow(n)); d != nil {
			drafts = append(drafts, d)
		}
	}
	p.checkAcross(drafts)
	slices.SortStableFunc(p.errs, func(a, b *Error) int { return comparePos(a.Pos, b.Pos) })
	apps := make([]App, len(drafts))
	for i, d := range drafts {
		apps[i] = d.App
	}
	return apps
}

func comparePos(a, b Pos) int {
	if a.File != b.File {
		return 0
	}
	if a.Line != b.Line {
		return a.Line - b.Line
	}
	return a.Column - b.Column
}

func (p *parser) readDotenv() {
	file := filepath.Join(filepath.Dir(p.file), ".env")
	if _, err := os.Lstat(file); err != nil {
		return // most have none
	}
	var err error
	if p.dotenv, err = ReadEnv(file); err != nil {
		p.addEnvErrors(err)
	}
}

func (p *parser) addEnvErrors(err error) {
	list, _ := errors.AsType[Errors](err)
	for _, e := range list {
		p.add(e)
	}
}

// app reads one entry of the list.
func (p *parser) app(n *yaml.Node) *draft {
	d := &draft{App: Defaults(), node: n, at: map[string]*yaml.Node{}, settings: map[string]string{}}
	d.Source = p.abs
	d.Cwd = p.base
	before := len(p.errs)
	if !p.each(n, "an app", func(k, v *yaml.Node) {
		name := k.Value
		for _, known := range nekoKeys {
			if known.name == name {
				v = p.follow(v)
				d.at[name], p.key = v, name
				if isNull(v) {
					p.fail(v, name, k.Value+": there is no value", "")
					return
				}
				known.read(p, d, v)
				return
			}
		}
		p.unknown(k, Keys(), "https://github.com/nekoctl/neko/blob/main/docs/configuration.md has all keys")
	}) {
		return nil
	}
	d.Env = p.environment(d)
	if !filepath.IsAbs(d.Cwd) {
		d.Cwd = filepath.Join(p.base, d.Cwd)
	}
	// What is relative in listen is so to cwd, which may come after it.
	if l := d.at["listen"]; l != nil {
		p.listeners(d, l)
	}
	for _, path := range []*string{&d.OutFile, &d.ErrorFile, &d.AllFile, &d.PIDFile} {
		if *path != "" && !filepath.IsAbs(*path) {
			*path = filepath.Join(d.Cwd, *path)
		}
	}
	if d.Type == Task && d.at["autorestart"] == nil {
		d.Autorestart = false
	}
	resolved := p.resolve(d, before)
	d.Complete(p.base)
	failed := map[string]bool{} // what is wrong is said already; the check would say it again
	for _, e := range p.errs[before:] {
		failed[e.Key] = true
	}
	if !resolved {
		failed["command"] = true
	}
	errs := d.checkValues()
	if !p.opts.NamesOnly && !failed["command"] && !failed["cwd"] && !failed["env"] && !failed["env_file"] {
		errs = append(errs, d.checkFiles()...)
		errs = append(errs, d.checkSystem()...)
	}
	for _, e := range errs {
		if failed[e.Key] || e.Key == "name" && d.Name == "" && failed["command"] {
			continue // a name would have come from the command
		}
		e.Pos, e.Message = p.placeOf(d, e.Key), withKey(e.Key, e.Message)
		p.add(e)
	}
	return d
}

// resolve finds out how the app is run, false if it cannot and has said so; errors from
// before on are the app's.
func (p *parser) resolve(d *draft, before int) bool {
	command, script := d.at["command"], d.at["script"]
	switch {
	case command != nil && script != nil:
		p.fail(script, "script", "script: there is a command already, which is the same", "leave one of them out")
		return false
	case command == nil && script == nil:
		return true // the check says it, unless a key was misspelt
	}
	needed := []string{"command", "script", "args", "interpreter", "interpreter_args", "node_args", "exec_mode", "cwd", "env", "env_file", "listen"}
	for _, e := range p.errs[before:] {
		if slices.Contains(needed, e.Key) {
			return false
		}
	}
	err := d.Resolve(d.Run, p.opts)
	e, failed := errors.AsType[*Error](err)
	if failed {
		e.Pos = p.placeOf(d, e.Key)
		e.Message = withKey(e.Key, e.Message)
		p.add(e)
	}
	return !failed
}

// placeOf is where a key of an app has its value, or where the app begins.
func (p *parser) placeOf(d *draft, key string) Pos {
	at := d.at[key]
	for _, other := range [][2]string{{"command", "script"}, {"interpreter_args", "node_args"}} {
		if at == nil && key == other[0] {
			at = d.at[other[1]]
		}
	}
	if at == nil {
		at = d.node
	}
	return Pos{p.file, at.Line, at.Column}
}

// withKey names the key that a message is about, where it does not say so itself.
func withKey(key, message string) string {
	if slices.Contains([]string{"command", "script", "cwd", "name"}, key) {
		return message
	}
	return key + ": " + message
}

// environment puts together all that an app's environment comes from.
func (p *parser) environment(d *draft) map[string]string {
	env := Inherit(p.opts.Environ)
	if d.UID != "" {
		ForgetUser(env)
	}
	maps.Copy(env, p.dotenv)
	if !p.opts.NamesOnly {
		for _, n := range d.envFiles {
			file := n.Value
			if !filepath.IsAbs(file) {
				file = filepath.Join(filepath.Dir(p.file), file)
			}
			data, err := readBounded(file)
			if err != nil {
				p.fail(n, "env_file", "env_file: "+errorText(err), "")
				continue
			}
			values, err := ParseEnv(file, data)
			if err != nil {
				p.addEnvErrors(err)
			}
			maps.Copy(env, values)
		}
	}
	maps.Copy(env, d.settings)
	return env
}

// checkAcross finds what no app can see alone.
func (p *parser) checkAcross(drafts []*draft) {
	type bound struct {
		Listener
		app string
	}
	var all []bound
	for _, d := range drafts {
		at := d.at["name"]
		if at == nil {
			at = d.node
		}
		if first := p.seen[d.Name]; d.Name != "" && first != nil {
			p.fail(at, "name", fmt.Sprintf("there are two apps with the name %q, the first on line %d", clip(d.Name), first.Line), "give each a name of its own")
		} else {
			p.seen[d.Name] = at
		}
		if len(all) > maxListeners {
			p.fail(d.at["listen"], "listen", fmt.Sprintf("listen: a file has at most %d addresses", maxListeners), "")
			return
		}
		for _, l := range d.Listen {
			for _, other := range all {
				if clash(l, other.Listener) {
					p.fail(d.at["listen"], "listen", fmt.Sprintf("listen: %s is taken by %s on %s", l, other.app, other.Listener),
						"give each app an address of its own")
				}
			}
		}
		for _, l := range d.Listen {
			all = append(all, bound{l, d.Name})
		}
	}
	p.checkDependencies(drafts)
}

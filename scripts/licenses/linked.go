package main

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"debug/buildinfo"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime/debug"
	"slices"
	"strings"
)

// program is a binary, and what is linked into it.
type program struct {
	name   string
	sha256 [sha256.Size]byte
	main   debug.Module
	parts  map[string]*part // by key
}

const (
	module = "golang"  // a Go module, or the standard library
	npm    = "npm"     // a package that is bundled with GraphiQL's page
	files  = "generic" // data
)

// part is something that others have made.
type part struct {
	kind, name, version string
	texts               []text   // its licences and notices, in the order of their names
	licenses            []string // SPDX's identifiers, once classified
}

type text struct {
	name string // in its module
	body string
}

func (p *part) key() string { return p.kind + ":" + p.name + "@" + p.version }

// readProgram finds what is in a program by what the linker has written into it, and holds that to the sources at
// root: they say which of a module's packages are linked, and so which of its licences count.
func readProgram(root, path string) (*program, error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	info, err := buildinfo.Read(bytes.NewReader(raw))
	if err != nil {
		return nil, err
	}
	p := &program{name: filepath.Base(info.Path), sha256: sha256.Sum256(raw), main: info.Main, parts: map[string]*part{}}
	environ := os.Environ()
	for _, s := range info.Settings {
		switch s.Key {
		case "GOOS", "GOARCH", "CGO_ENABLED":
			environ = append(environ, s.Key+"="+s.Value)
		}
	}
	packages, err := list(root, info.Path, environ)
	if err != nil {
		return nil, err
	}
	for _, one := range packages {
		switch {
		case one.Standard:
			err = p.add(module, "std", strings.TrimPrefix(info.GoVersion, "go"), one.Root, "")
		case one.Module == nil:
			err = fmt.Errorf("the package %s is of no module", one.ImportPath)
		case one.Module.Main:
			if one.ImportPath == info.Main.Path+"/worker/graphiql" {
				err = p.addGraphiQL(one.Dir)
			}
		default:
			err = p.add(module, one.Module.Path, one.Module.Version, one.Module.Dir, one.Dir)
		}
		if err != nil {
			return nil, err
		}
	}
	return p, p.holdTo(info)
}

// listed is of go list what counts here.
type listed struct {
	ImportPath, Dir, Root string
	Standard              bool
	Module                *struct {
		Path, Version, Dir string
		Main               bool
		Replace            *struct{ Path string }
	}
}

func list(root, path string, environ []string) (packages []listed, err error) {
	cmd := exec.Command("go", "list", "-deps", "-json=ImportPath,Dir,Root,Standard,Module", path)
	cmd.Dir, cmd.Env, cmd.Stderr = root, append(environ, "GOWORK=off"), os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("go list in %s: %w", root, err)
	}
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		var one listed
		if err := d.Decode(&one); errors.Is(err, io.EOF) {
			return packages, nil
		} else if err != nil {
			return nil, err
		}
		if one.Module != nil && one.Module.Replace != nil {
			return nil, fmt.Errorf("%s is replaced by %s, of which nothing is known here", one.Module.Path, one.Module.Replace.Path)
		}
		packages = append(packages, one)
	}
}

// holdTo is an error if the program was built from other sources.
func (p *program) holdTo(info *buildinfo.BuildInfo) error {
	var has, says []string
	for _, one := range p.parts {
		if one.kind == module && one.name != "std" {
			has = append(has, one.name+"@"+one.version)
		}
	}
	for _, dep := range info.Deps {
		says = append(says, dep.Path+"@"+dep.Version)
	}
	slices.Sort(has)
	slices.Sort(says)
	if !slices.Equal(has, says) {
		return fmt.Errorf("it was built from other sources than those here: it has %d modules, %v, and they need %d, %v: build it again", len(says), says, len(has), has)
	}
	return nil
}

var telling = regexp.MustCompile(`(?i)^((un)?licen[cs]e|copying|notice|patents|third-party|3rd-party)`)

// add takes the licences in a package's folder and in those above it, up to its module's.
func (p *program) add(kind, name, version, top, dir string) error {
	one := &part{kind: kind, name: name, version: version}
	if there := p.parts[one.key()]; there != nil {
		one = there
	}
	p.parts[one.key()] = one
	for dir = filepath.Join(top, strings.TrimPrefix(dir, top)); ; dir = filepath.Dir(dir) {
		entries, err := os.ReadDir(dir)
		if err != nil {
			return err
		}
		for _, entry := range entries {
			ext := filepath.Ext(entry.Name())
			if !entry.Type().IsRegular() || !telling.MatchString(entry.Name()) || ext == ".go" || ext == ".html" {
				continue
			}
			path := filepath.Join(dir, entry.Name())
			relative, err := filepath.Rel(top, path)
			if err != nil {
				return err
			}
			if slices.ContainsFunc(one.texts, func(t text) bool { return t.name == relative }) {
				continue
			}
			body, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			one.texts = append(one.texts, text{relative, string(body)})
		}
		if dir == top {
			break
		}
	}
	slices.SortFunc(one.texts, func(a, b text) int { return strings.Compare(a.name, b.name) })
	return nil
}

// addGraphiQL takes the packages of npm from the file of licences that worker/graphiql embeds.
func (p *program) addGraphiQL(dir string) error {
	found, err := filepath.Glob(filepath.Join(dir, "dist", "LICENSES-*.txt.gz"))
	if err != nil || len(found) != 1 {
		return fmt.Errorf("%s has %d files of licences, and should have one (%v)", dir, len(found), err)
	}
	file, err := os.Open(found[0])
	if err != nil {
		return err
	}
	defer file.Close()
	plain, err := gzip.NewReader(file)
	if err != nil {
		return err
	}
	all, err := io.ReadAll(plain)
	if err != nil {
		return err
	}
	_, all, ok := bytes.Cut(all, []byte("\n\n"))
	if !ok {
		return fmt.Errorf("%s: it is not as worker/graphiql/build.js writes it", found[0])
	}
	for _, section := range strings.Split(string(all), "\n"+strings.Repeat("-", 72)+"\n\n") {
		head, body, _ := strings.Cut(section, "\n\n")
		name, version, ok := strings.Cut(head, " ")
		if !ok || strings.ContainsAny(version, " \n") || body == "" {
			return fmt.Errorf("%s: %q is no name with a version", found[0], head)
		}
		one := &part{kind: npm, name: name, version: version, texts: []text{{"LICENSE", body}}}
		p.parts[one.key()] = one
	}
	return nil
}

// together are the parts of all programs, each once, by name.
func together(programs []*program) (all []*part) {
	seen := map[string]bool{}
	for _, p := range programs {
		for key, one := range p.parts {
			if !seen[key] {
				seen[key] = true
				all = append(all, one)
			}
		}
	}
	slices.SortFunc(all, func(a, b *part) int { return strings.Compare(a.key(), b.key()) })
	return all
}

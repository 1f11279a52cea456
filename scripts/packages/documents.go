package main

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"
)

// licenseFile is the name of a file in the folder of a module by which others may, and must, be told of its terms.
var licenseFile = regexp.MustCompile(`(?i)(licen[sc]e|copying|notice|patents)`)

// thirdParties are the terms of everything that is in the programs and is not ours: most of these licenses ask for their
// text to go along with the binary. A module without such a file is an error, and somebody has to look at it.
func thirdParties(root string) ([]byte, error) {
	list := exec.Command("go", "list", "-deps", "-f", "{{with .Module}}{{if not .Main}}{{.Path}} {{.Version}} {{.Dir}}{{end}}{{end}}",
		"./cmd/nekoctl", "./cmd/neko-api")
	list.Dir, list.Stderr = root, os.Stderr
	list.Env = append(os.Environ(), "GOOS=linux", "CGO_ENABLED=0", "GOWORK=off")
	out, err := list.Output()
	if err != nil {
		return nil, fmt.Errorf("go list: %w", err)
	}
	modules := strings.Split(strings.TrimSpace(string(out)), "\n")
	slices.Sort(modules)
	goroot, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		return nil, fmt.Errorf("go env: %w", err)
	}
	modules = append([]string{"Go's standard library " + strings.TrimSpace(string(goroot))}, slices.Compact(modules)...)

	var b bytes.Buffer
	fmt.Fprintln(&b, "nekoctl and neko-api contain the following, under these terms.")
	for _, module := range modules {
		i := strings.LastIndexByte(module, ' ')
		name, dir := module[:i], module[i+1:]
		entries, err := os.ReadDir(dir)
		if err != nil {
			return nil, fmt.Errorf("the sources of %s: %w", name, err)
		}
		n := 0
		for _, entry := range entries {
			if !entry.Type().IsRegular() || !licenseFile.MatchString(entry.Name()) || strings.HasSuffix(entry.Name(), ".go") {
				continue
			}
			text, err := os.ReadFile(filepath.Join(dir, entry.Name()))
			if err != nil {
				return nil, err
			}
			fmt.Fprintf(&b, "\n%s\n%s: %s\n\n%s\n", strings.Repeat("=", 78), name, entry.Name(), bytes.TrimSpace(text))
			n++
		}
		if n == 0 {
			return nil, fmt.Errorf("%s has no license in %s: see under what terms it may be passed on", name, dir)
		}
	}

	// GraphiQL's page is built by npm, which has written down the terms of what is in it.
	pages, err := filepath.Glob(filepath.Join(root, "worker/graphiql/dist/LICENSES-*.txt.gz"))
	if err != nil || len(pages) != 1 {
		return nil, fmt.Errorf("one file with the licenses of GraphiQL's page was to be in worker/graphiql/dist, and there are %d (%v)", len(pages), err)
	}
	file, err := os.Open(pages[0])
	if err != nil {
		return nil, err
	}
	defer file.Close()
	r, err := gzip.NewReader(file)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", pages[0], err)
	}
	fmt.Fprintf(&b, "\n%s\nGraphiQL's page, which neko-api serves\n\n", strings.Repeat("=", 78))
	if _, err := io.Copy(&b, r); err != nil {
		return nil, fmt.Errorf("%s: %w", pages[0], err)
	}
	return b.Bytes(), nil
}

// copyright is LICENSE in the form that Debian's packages have (DEP-5).
func copyright(license []byte) []byte {
	var b bytes.Buffer
	fmt.Fprint(&b, "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\n",
		"Upstream-Name: neko\nSource: https://github.com/nekoctl/neko\n",
		"Comment: The programs are linked statically. What they contain of others, and under\n",
		" what terms, is in /usr/share/doc/neko/THIRD-PARTY-LICENSES.gz.\n\nFiles: *\n")
	for line := range strings.Lines(string(license)) {
		if line := strings.TrimSpace(line); strings.HasPrefix(line, "Copyright (c) ") {
			fmt.Fprintf(&b, "Copyright: %s\n", strings.TrimPrefix(line, "Copyright (c) "))
		}
	}
	fmt.Fprintln(&b, "License: Expat")
	_, terms, _ := strings.Cut(string(license), "\n\nPermission")
	for line := range strings.Lines("Permission" + terms) {
		if line = strings.TrimSpace(line); line == "" {
			line = "."
		}
		fmt.Fprintln(&b, " "+line)
	}
	return b.Bytes()
}

// debianChangelog is of one entry: what has changed is in CHANGELOG.md, which is the changelog of the package beside it.
func debianChangelog(version, maintainer string, at time.Time) []byte {
	return fmt.Appendf(nil, "neko (%s-1) stable; urgency=medium\n\n  * See changelog.gz, and https://github.com/nekoctl/neko.\n\n -- %s  %s\n",
		version, maintainer, at.UTC().Format(time.RFC1123Z))
}

// compressed is gzip -9n.
func compressed(data []byte) ([]byte, error) {
	var b bytes.Buffer
	w, err := gzip.NewWriterLevel(&b, gzip.BestCompression)
	if err != nil {
		return nil, err
	}
	if _, err := w.Write(data); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

package main

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"strings"
	"time"
)

// copyright is LICENSE in the form that Debian's packages have (DEP-5).
func copyright(license []byte) []byte {
	var b bytes.Buffer
	fmt.Fprint(&b, "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\n",
		"Upstream-Name: neko\nSource: https://github.com/nekoctl/neko\n",
		"Comment: The programs are linked statically. What they contain of others, and under\n",
		" what terms, is in /usr/share/doc/neko/THIRD_PARTY_NOTICES.gz.\n\nFiles: *\n")
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

package main

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"encoding/pem"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/crypto/x509roots/fallback/bundle"
)

// entry is a file or a folder of the image; its path is that of a tar, without a slash in front, and with one behind
// if it is a folder.
type entry struct {
	path string
	mode int64
	user int
	body []byte
}

func folder(path string, mode int64) entry         { return entry{path: path + "/", mode: mode} }
func file(path string, mode int64, b []byte) entry { return entry{path: path, mode: mode, body: b} }
func (e entry) isFolder() bool                     { return strings.HasSuffix(e.path, "/") }

// then is the time of all files: one that never changes lets a layer stay what it is from release to release.
var then = time.Unix(0, 0)

// ground is what changes rarely: folders, certificates of authorities and time zones. zones is Go's zoneinfo.zip.
func ground(zones string) ([]entry, error) {
	own := folder("var/lib/neko", 0o700)
	own.user = user
	entries := []entry{
		folder("etc", 0o755), folder("etc/ssl", 0o755), folder("etc/ssl/certs", 0o755),
		// For TLS to MongoDB, Redis, webhooks and collectors: Mozilla's roots, from a module that go.sum pins.
		file("etc/ssl/certs/ca-certificates.crt", 0o644, roots()),
		folder("tmp", 0o1777),
		folder("usr", 0o755), folder("usr/share", 0o755), folder("usr/share/doc", 0o755), folder("usr/share/doc/neko", 0o755),
		folder("usr/share/zoneinfo", 0o755),
	}
	// For TZ=Europe/Berlin, which cron_restart and timestamps go by.
	z, err := zip.OpenReader(zones)
	if err != nil {
		return nil, err
	}
	defer z.Close()
	made := map[string]bool{"usr/share/zoneinfo": true}
	for _, f := range z.File { // sorted, and of files alone
		name := path.Join("usr/share/zoneinfo", path.Clean("/"+f.Name))
		if strings.HasSuffix(f.Name, "/") {
			continue
		}
		for _, above := range foldersAbove(name) {
			if strings.HasPrefix(above, "usr/share/zoneinfo") && !made[above] {
				made[above] = true
				entries = append(entries, folder(above, 0o755))
			}
		}
		r, err := f.Open()
		if err != nil {
			return nil, err
		}
		body, err := io.ReadAll(r)
		r.Close()
		if err != nil {
			return nil, fmt.Errorf("%s: %s: %w", zones, f.Name, err)
		}
		entries = append(entries, file(name, 0o644, body))
	}
	return append(entries, folder("var", 0o755), folder("var/lib", 0o755), own), nil
}

// foldersAbove are those that a file lies in, from the top.
func foldersAbove(name string) (all []string) {
	for i, c := range name {
		if c == '/' {
			all = append(all, name[:i])
		}
	}
	return all
}

// roots are the authorities in PEM. What they may not sign any more (a date after which Mozilla trusts none of their
// certificates) such a file cannot say; Debian's cannot either.
func roots() []byte {
	var out bytes.Buffer
	for root := range bundle.Roots() {
		_ = pem.Encode(&out, &pem.Block{Type: "CERTIFICATE", Bytes: root.Certificate}) // to memory
	}
	return out.Bytes()
}

// programs are two layers: what the supervisor is, with the licences of all, and the API.
func programs(binaries, license, notices string) (nekoctl, api []entry, err error) {
	read := func(from, to string, mode int64) entry {
		body, failed := os.ReadFile(from)
		if failed != nil && err == nil {
			err = failed
		}
		return file(to, mode, body)
	}
	nekoctl = []entry{
		read(filepath.Join(binaries, "nekoctl"), "nekoctl", 0o755),
		read(license, "usr/share/doc/neko/LICENSE", 0o644),
		read(notices, "usr/share/doc/neko/THIRD_PARTY_NOTICES", 0o644),
	}
	return nekoctl, []entry{read(filepath.Join(binaries, "neko-api"), "neko-api", 0o755)}, err
}

// layer is a tar of them, the same bytes wherever and whenever it is made.
func layer(entries []entry) ([]byte, error) {
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, e := range entries {
		h := &tar.Header{Name: e.path, Mode: e.mode, Uid: e.user, Gid: e.user, ModTime: then, Format: tar.FormatUSTAR, Typeflag: tar.TypeReg, Size: int64(len(e.body))}
		if e.isFolder() {
			h.Typeflag = tar.TypeDir
		}
		if err := w.WriteHeader(h); err != nil {
			return nil, fmt.Errorf("%s: %w", e.path, err)
		}
		if _, err := w.Write(e.body); err != nil {
			return nil, fmt.Errorf("%s: %w", e.path, err)
		}
	}
	err := w.Close()
	return out.Bytes(), err
}

// lay makes the files in a folder, for the Dockerfile. The owner is set only by root.
func lay(root string, entries []entry) error {
	for _, e := range entries {
		to := filepath.Join(root, e.path)
		var err error
		if e.isFolder() {
			err = os.MkdirAll(to, 0o755)
		} else {
			err = os.WriteFile(to, e.body, 0o644)
		}
		if err != nil {
			return err
		}
		if os.Geteuid() == 0 {
			if err := os.Lchown(to, e.user, e.user); err != nil {
				return err
			}
		}
		mode := os.FileMode(e.mode & 0o777)
		if e.mode&0o1000 != 0 {
			mode |= os.ModeSticky
		}
		if err := os.Chmod(to, mode); err != nil {
			return err
		}
	}
	for i := len(entries) - 1; i >= 0; i-- { // a folder's time changes with what is in it
		if err := os.Chtimes(filepath.Join(root, entries[i].path), then, then); err != nil {
			return err
		}
	}
	return nil
}

package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// sources are the repository's, and what is made of them goes below scratch.
type sources struct {
	root, scratch string
	version       string // what the binaries say: v1.0.0
	toolchain     string // a go, or "" for the one that there is
}

// environ is that of a go command.
func (s sources) environ(more ...string) []string {
	environ := append(os.Environ(), "GOFLAGS=-mod=readonly", "GOWORK=off")
	if s.toolchain != "" {
		environ = append(environ, "GOTOOLCHAIN="+s.toolchain)
	}
	return append(environ, more...)
}

// compile builds both binaries for an architecture, and returns their folder. Nothing of the machine goes into them:
// no path, no state of a checkout (the revision is a label), no flag or processor level of the environment.
func (s sources) compile(arch string) (string, error) {
	out := filepath.Join(s.scratch, arch)
	cmd := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w -X main.Version="+s.version, "-o", out+"/", "./cmd/nekoctl", "./cmd/neko-api")
	cmd.Dir = s.root
	cmd.Env = s.environ("CGO_ENABLED=0", "GOOS=linux", "GOARCH="+arch, "GOAMD64=v1", "GOARM64=v8.0", "GOEXPERIMENT=", "GOFIPS140=off")
	if err := run(cmd); err != nil {
		return "", err
	}
	return out, nil
}

// bill writes THIRD_PARTY_NOTICES and LICENSE below scratch, and the bill of materials to a file, if it is given.
func (s sources) bill(binaries, version, to string) (licences string, err error) {
	licences = filepath.Join(s.scratch, "licences-"+filepath.Base(binaries))
	if err := os.MkdirAll(licences, 0o755); err != nil {
		return "", err
	}
	own, err := os.ReadFile(filepath.Join(s.root, "LICENSE"))
	if err != nil {
		return "", err
	}
	if err := os.WriteFile(filepath.Join(licences, "LICENSE"), own, 0o644); err != nil {
		return "", err
	}
	args := []string{"run", ".", "-root", s.root, "-kind", "container", "-version", version, "-notices", filepath.Join(licences, "THIRD_PARTY_NOTICES")}
	if to != "" {
		zones, err := s.zonesVersion()
		if err != nil {
			return "", err
		}
		authorities, err := authoritiesVersion()
		if err != nil {
			return "", err
		}
		args = append(args, "-sbom", to, "-data", "tzdata@"+zones+"=Public Domain", "-data", "mozilla-ca-certificates@"+authorities+"=MPL-2.0")
	}
	cmd := exec.Command("go", append(args, filepath.Join(binaries, "nekoctl"), filepath.Join(binaries, "neko-api"))...)
	cmd.Dir, cmd.Env = filepath.Join(s.root, "scripts", "licenses"), s.environ()
	return licences, run(cmd)
}

func run(cmd *exec.Cmd) error {
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s: %w", strings.Join(cmd.Args[:2], " "), err)
	}
	return nil
}

// goRoot is where the toolchain is, whose zoneinfo.zip the image has.
func (s sources) goRoot() (string, error) {
	cmd := exec.Command("go", "env", "GOROOT")
	cmd.Dir, cmd.Env = s.root, s.environ()
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("go env GOROOT: %w", err)
	}
	return string(bytes.TrimSpace(out)), nil
}

// Package release is what the packages and the image have in common: how a version is written, how the programs are
// compiled so that both have the same bits, and what is told of those who made their parts.
package release

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// Toolchain compiles the programs, whichever go there is: the same bits need the same compiler. The Dockerfile's base
// has it, too.
const Toolchain = "go1.26.8"

// Sources are those of a release.
type Sources struct {
	Root      string // the repository's folder, absolute
	Version   string // as Version writes it; the programs say it with a v in front
	Toolchain string // Toolchain, or "" for the one that there is, where nothing is compiled
}

// Environ is that of a go command.
func (s Sources) Environ(more ...string) []string {
	environ := append(os.Environ(), "GOFLAGS=-mod=readonly", "GOWORK=off")
	if s.Toolchain != "" {
		environ = append(environ, "GOTOOLCHAIN="+s.Toolchain)
	}
	return append(environ, more...)
}

// Compile builds nekoctl and neko-api for an architecture into a folder. Nothing of the machine goes into them: no path,
// no state of a checkout, no flag or processor level of the environment.
func (s Sources) Compile(arch, folder string) error {
	cmd := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w -X main.Version=v"+s.Version, "-o", folder+"/", "./cmd/nekoctl", "./cmd/neko-api")
	cmd.Dir = s.Root
	cmd.Env = s.Environ("CGO_ENABLED=0", "GOOS=linux", "GOARCH="+arch, "GOAMD64=v1", "GOARM64=v8.0", "GOEXPERIMENT=", "GOFIPS140=off")
	return run(cmd)
}

// Licenses has scripts/licenses write down, as its arguments say, what is linked into both programs of a folder. It
// fails at a licence that nobody has read yet.
func (s Sources) Licenses(folder string, args ...string) error {
	cmd := exec.Command("go", "run", ".", "-root", s.Root, "-version", s.Version)
	cmd.Args = append(append(cmd.Args, args...), filepath.Join(folder, "nekoctl"), filepath.Join(folder, "neko-api"))
	cmd.Dir, cmd.Env = filepath.Join(s.Root, "scripts", "licenses"), s.Environ()
	return run(cmd)
}

func run(cmd *exec.Cmd) error {
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s: %w", strings.Join(cmd.Args[:2], " "), err)
	}
	return nil
}

// GoRoot is where the toolchain is.
func (s Sources) GoRoot() (string, error) {
	cmd := exec.Command("go", "env", "GOROOT")
	cmd.Dir, cmd.Env = s.Root, s.Environ()
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("go env GOROOT: %w", err)
	}
	return string(bytes.TrimSpace(out)), nil
}

// Epoch is the time that all of a release has: SOURCE_DATE_EPOCH (reproducible-builds.org), else the commit's, and never
// that of a clock. The environment has it from then on, for who is called from here.
func (s Sources) Epoch() (time.Time, error) {
	text := os.Getenv("SOURCE_DATE_EPOCH")
	if text == "" {
		git := exec.Command("git", "log", "-1", "--format=%ct")
		git.Dir = s.Root
		out, err := git.Output()
		if err != nil {
			return time.Time{}, fmt.Errorf("git does not say of when the commit is (%w): set SOURCE_DATE_EPOCH", err)
		}
		text = strings.TrimSpace(string(out))
	}
	seconds, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return time.Time{}, fmt.Errorf("SOURCE_DATE_EPOCH is to be seconds since 1970: %w", err)
	}
	return time.Unix(seconds, 0).UTC(), os.Setenv("SOURCE_DATE_EPOCH", text)
}

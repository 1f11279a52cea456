// Package source builds programs of this repository for tests.
package source

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// Build is go build, without cgo, of what the last argument names.
func Build(binary string, args ...string) error {
	out, err := Fetching(func() ([]byte, error) {
		build := exec.Command("go", append([]string{"build", "-o", binary}, args...)...)
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
		return build.CombinedOutput()
	})
	if err != nil {
		return fmt.Errorf("go build %s: %w\n%s", args[len(args)-1], err, out)
	}
	return nil
}

// Fetching runs a command that may download modules of Go's, and returns what it prints. Go does not try again what fails
// on the way: this does, twice.
func Fetching(run func() (out []byte, err error)) (out []byte, err error) {
	for pause := time.Second; ; pause *= 3 {
		// Where it comes from is in what is said of each download that fails.
		if out, err = run(); err == nil || !bytes.Contains(out, []byte("://")) || pause > 5*time.Second {
			return out, err
		}
		time.Sleep(pause)
	}
}

// LookAt opens the folders of what is built, so that go test does not show a result from
// its cache when something in them has changed. It takes notice only while a test runs.
func LookAt(t *testing.T, folders ...string) {
	t.Helper()
	for _, folder := range folders {
		err := filepath.WalkDir(folder, func(_ string, _ fs.DirEntry, err error) error { return err })
		if err != nil {
			t.Fatal(err)
		}
	}
}

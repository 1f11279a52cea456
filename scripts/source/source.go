// Package source builds programs of this repository for tests.
package source

import (
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// Build is go build, without cgo, of what the last argument names.
func Build(binary string, args ...string) error {
	build := exec.Command("go", append([]string{"build", "-o", binary}, args...)...)
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("go build %s: %w\n%s", args[len(args)-1], err, out)
	}
	return nil
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

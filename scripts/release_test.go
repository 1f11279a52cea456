package scripts

import (
	"os"
	"os/exec"
	"testing"

	"github.com/nekoctl/neko/scripts/source"
)

// It is a module of its own, for the sake of those of packages and image, and go test ./... does not see it.
func TestTheModuleOfReleases(t *testing.T) {
	source.LookAt(t, "release")
	cmd := exec.Command("go", "test", "-count=1", "./...")
	cmd.Dir, cmd.Env = "release", append(os.Environ(), "GOWORK=off", "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

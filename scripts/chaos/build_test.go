package chaos

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/nekoctl/neko/scripts/source"
)

// The binaries under test, as they are shipped, and two for an upgrade: the same
// with another version, and one whose checks all pass and whose master dies.
var bin, nekoctlA, nekoctlB, nekoctlDying, nekoAPI, foreign string

func TestMain(m *testing.M) {
	os.Exit(func() int {
		var err error
		if bin, err = os.MkdirTemp("", "neko-chaos"); err == nil {
			defer os.RemoveAll(bin)
			err = buildAll()
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, "error:", err)
			return 1
		}
		code := m.Run()
		printMatrix()
		return code
	}())
}

// lookAtSources has go test notice a change of what is built.
func lookAtSources(t *testing.T) {
	t.Helper()
	source.LookAt(t, "../../api", "../../cmd", "../../supervisor", "../../worker", "foreign")
}

func buildAll() error {
	nekoctlA, nekoctlB, nekoctlDying = bin+"/nekoctl-a", bin+"/nekoctl-b", bin+"/nekoctl-dying"
	nekoAPI, foreign = bin+"/neko-api", bin+"/foreign"
	overlay, err := dyingMaster()
	if err != nil {
		return err
	}
	for _, b := range [][]string{
		{nekoctlA, "-ldflags", "-X main.Version=a", "../../cmd/nekoctl"},
		{nekoctlB, "-ldflags", "-X main.Version=b", "../../cmd/nekoctl"},
		{nekoctlDying, "-ldflags", "-X main.Version=dying", "-overlay", overlay, "../../cmd/nekoctl"},
		{nekoAPI, "../../cmd/neko-api"},
		{foreign, "./foreign"},
	} {
		if err := source.Build(b[0], b[1:]...); err != nil {
			return err
		}
	}
	return fillStore()
}

// dyingMaster is nekoctl with one file more, so that it stays the real one in
// whatever is checked before it is trusted.
func dyingMaster() (overlay string, err error) {
	const text = `package main

import (
	"os"

	"github.com/nekoctl/neko/supervisor/keeper"
)

func init() {
	if len(os.Args) > 1 && os.Args[1] == keeper.MasterMode {
		os.Exit(1)
	}
}
`
	folder, err := filepath.Abs("../../cmd/nekoctl")
	if err != nil {
		return "", err
	}
	source := filepath.Join(bin, "dying.go")
	if err := os.WriteFile(source, []byte(text), 0o600); err != nil {
		return "", err
	}
	replace, err := json.Marshal(map[string]map[string]string{"Replace": {filepath.Join(folder, "dying.go"): source}})
	if err != nil {
		return "", err
	}
	overlay = filepath.Join(bin, "overlay.json")
	return overlay, os.WriteFile(overlay, replace, 0o600)
}

// bundles are the ATT&CK bundles to serve and to import, if there are any.
func bundles() ([]string, error) {
	folder := os.Getenv("NEKO_TEST_ATTACK")
	if folder == "" {
		return nil, nil
	}
	list, err := filepath.Glob(filepath.Join(folder, "*.json"))
	if err == nil && len(list) == 0 {
		err = fmt.Errorf("no bundles in NEKO_TEST_ATTACK=%s", folder)
	}
	return list, err
}

// store is a store with the bundles in it, of which each daemon gets a copy; it
// does not exist without bundles, and neko-api loads its sample data then.
func store() string { return filepath.Join(bin, "api.db") }

func fillStore() error {
	list, err := bundles()
	if err != nil {
		return err
	}
	for _, bundle := range list {
		load := exec.Command(nekoAPI, "--store", store(), "import", bundle)
		if out, err := load.CombinedOutput(); err != nil {
			return fmt.Errorf("import %s: %w\n%s", bundle, err, out)
		}
	}
	return nil
}

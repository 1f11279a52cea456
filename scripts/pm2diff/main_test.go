// Package pm2diff runs the same command lines with PM2 and with nekoctl called as
// pm2, and compares what they print, their exit codes, their files, and what the
// programs see that they start.
package pm2diff

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/nekoctl/neko/scripts/npm"
	"github.com/nekoctl/neko/scripts/source"
)

const pm2Package = "pm2@7.0.4"

// The modes, as NEKO_PM2DIFF says them. Without one, scenarios marked core run.
const (
	whole  = "whole"  // every scenario
	itself = "itself" // every scenario, with PM2 on both sides: whatever differs, differs by chance
)

var mode = os.Getenv("NEKO_PM2DIFF")

// nekoctl is the binary under test, as it is shipped.
var nekoctl string

func TestMain(m *testing.M) {
	os.Exit(func() int {
		folder, err := os.MkdirTemp("", "neko-pm2diff")
		if err == nil {
			defer os.RemoveAll(folder)
			nekoctl = filepath.Join(folder, "nekoctl")
			err = source.Build(nekoctl, "../../cmd/nekoctl")
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, "error:", err)
			return 1
		}
		return m.Run()
	}())
}

// pm2Bin is the folder of PM2's own commands.
func pm2Bin(t *testing.T) string {
	t.Helper()
	return filepath.Join(npm.Need(t, pm2Package), "node_modules", "pm2", "bin")
}

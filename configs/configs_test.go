// Package configs has no code: its tests keep the files here in step with what
// reads them.
package configs

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// systemd only warns of keys that it does not know, so any word from it fails.
func TestUnitIsOneThatSystemdUnderstands(t *testing.T) {
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Skip("systemd-analyze is not there")
	}
	unit, err := os.ReadFile("systemd/neko.service")
	if err != nil {
		t.Fatal(err)
	}
	// verify wants the programs to be there, and this machine need not have neko.
	text := strings.ReplaceAll(string(unit), "/usr/bin/nekoctl", "/bin/true")
	file := filepath.Join(t.TempDir(), "neko.service")
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(analyze, "verify", "--man=no", file).CombinedOutput()
	if err != nil || strings.Contains(string(out), "neko.service") {
		t.Errorf("systemd-analyze verify: %v\n%s", err, out)
	}
	out, err = exec.Command(analyze, "security", "--offline=true", "--threshold=50", "--no-pager", file).CombinedOutput()
	if err != nil {
		t.Errorf("the unit is less closed than it was: %v\n%s", err, out)
	}
}

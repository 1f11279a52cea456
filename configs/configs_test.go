// Package configs has no code: its tests keep the files here in step with what
// reads them.
package configs

import (
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/nekoctl/neko/supervisor/spec"
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

func TestExampleIsOneThatNekoUnderstands(t *testing.T) {
	text, err := os.ReadFile("neko.example.yaml")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for _, program := range []string{"neko-api", "shop"} {
		if err := os.WriteFile(filepath.Join(dir, program), []byte("#!/bin/sh\n"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "shop.env"), []byte("COLOR=red\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	read := func(text string) []spec.App {
		t.Helper()
		file := filepath.Join(dir, "neko.yaml")
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		apps, err := spec.Read(file, spec.Options{Environ: []string{"PATH=" + dir}})
		if err != nil {
			t.Fatalf("%v\n%s", err, text)
		}
		return apps
	}
	if apps := read(string(text)); len(apps) != 1 || apps[0].Instances != spec.Max {
		t.Errorf("as it is: %+v", apps)
	}

	// The app that is commented out, with one of its two forms of listen.
	above, below, _ := strings.Cut(string(text), "# A program of your own.\n")
	below = strings.ReplaceAll(below, "\n  # ", "\n  ")
	below = strings.Replace("\n"+below, "\n  # ", "\n  ", 1)
	var lines []string
	for line := range strings.Lines(below) {
		if !strings.HasPrefix(strings.TrimSpace(line), "listen: [") {
			lines = append(lines, line)
		}
	}
	apps := read(above + "\n" + strings.Join(lines, ""))
	if len(apps) != 2 {
		t.Fatalf("with the comments taken away: %+v", apps)
	}
	shop := apps[1]
	if len(shop.Listen) != 2 || shop.Env["COLOR"] != "red" || shop.Env["SHOP_MODE"] != "production" || shop.URLPath != "/admin" {
		t.Errorf("%+v", shop)
	}
	// What it shows as defaults are the defaults.
	want := spec.Defaults()
	want.Name, want.Command, want.Cwd, want.Source = shop.Name, shop.Command, shop.Cwd, shop.Source
	want.Env, want.Listen, want.URLPath = shop.Env, shop.Listen, shop.URLPath
	probe := spec.DefaultProbe()
	probe.HTTP = "/livez"
	want.Spare, want.Watchdog, want.Liveness = 1, shop.Watchdog, &probe // of which the default is none
	if !reflect.DeepEqual(shop, want) {
		t.Errorf("shown are other defaults:\n%+v\n%+v", shop, want)
	}
	for _, key := range spec.Keys() {
		if !strings.Contains(below, " "+key+":") {
			t.Errorf("the example does not show %s", key)
		}
	}
}

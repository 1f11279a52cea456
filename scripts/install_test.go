// Package scripts is tests of install.sh, and of what it shares with the packages.
package scripts

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"go.yaml.in/yaml/v4"

	"github.com/nekoctl/neko/scripts/source"
)

// nekoctl is built once: it says the manual pages and the completions itself.
var nekoctl = sync.OnceValues(func() ([]byte, error) {
	dir, err := os.MkdirTemp("", "neko-install")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	file := filepath.Join(dir, "nekoctl")
	if err := source.Build(file, "../cmd/nekoctl"); err != nil {
		return nil, err
	}
	return os.ReadFile(file)
})

// A release is a folder that can be installed from. Its neko-api is a program that sleeps.
type release string

func newRelease(t *testing.T) release {
	t.Helper()
	source.LookAt(t, "../cmd/nekoctl", "../supervisor", "../pm2", "../configs", "packages")
	dir := release(t.TempDir())
	program, err := nekoctl()
	if err != nil {
		t.Fatal(err)
	}
	sleep, err := exec.LookPath("sleep")
	if err != nil {
		t.Fatal(err)
	}
	api, err := os.ReadFile(sleep)
	if err != nil {
		t.Fatal(err)
	}
	dir.has(t, "bin/nekoctl", program, 0o755)
	dir.has(t, "bin/neko-api", api, 0o755)
	for from, to := range map[string]string{"install.sh": "install.sh", "packages/upgrade-running": "upgrade-running", "../LICENSE": "LICENSE"} {
		text, err := os.ReadFile(from)
		if err != nil {
			t.Fatal(err)
		}
		dir.has(t, to, text, 0o755)
	}
	for _, folder := range []string{"configs/systemd", "configs/etc"} {
		if err := os.CopyFS(filepath.Join(string(dir), folder), os.DirFS(filepath.Join("..", folder))); err != nil {
			t.Fatal(err)
		}
	}
	dir.has(t, "configs/neko.example.yaml", []byte("apps: []\n"), 0o644)
	dir.has(t, "THIRD_PARTY_NOTICES", []byte("terms\n"), 0o644)
	return dir
}

func (r release) has(t *testing.T, name string, data []byte, mode fs.FileMode) {
	t.Helper()
	file := filepath.Join(string(r), name)
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, data, mode); err != nil {
		t.Fatal(err)
	}
}

// run is install.sh with arguments; out is all that it says.
func (r release) run(t *testing.T, args ...string) (out string, code int) {
	t.Helper()
	cmd := exec.Command("sh", append([]string{filepath.Join(string(r), "install.sh")}, args...)...)
	cmd.Env = append(os.Environ(), "DESTDIR=")
	text, err := cmd.CombinedOutput()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return string(text), exit.ExitCode()
	}
	if err != nil {
		t.Fatal(err)
	}
	return string(text), 0
}

func (r release) install(t *testing.T, args ...string) string {
	t.Helper()
	out, code := r.run(t, args...)
	if code != 0 {
		t.Fatalf("install.sh %s ended with %d:\n%s", strings.Join(args, " "), code, out)
	}
	return out
}

// tree tells of each file below a folder all that would change if it were touched.
func tree(t *testing.T, dir string) map[string]string {
	t.Helper()
	files := map[string]string{}
	err := filepath.WalkDir(dir, func(file string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		data, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		stat := info.Sys().(*syscall.Stat_t)
		files[strings.TrimPrefix(file, dir)] = fmt.Sprintf("%v inode %d, changed %v, %x", info.Mode(), stat.Ino, stat.Ctim, sha256.Sum256(data))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func names(files map[string]string) []string {
	var list []string
	for name := range files {
		list = append(list, name)
	}
	slices.Sort(list)
	return list
}

func differ(t *testing.T, before, after map[string]string) {
	t.Helper()
	for _, name := range slices.Compact(slices.Sorted(slices.Values(append(names(before), names(after)...)))) {
		if before[name] != after[name] {
			t.Errorf("%s was %q and is %q", name, before[name], after[name])
		}
	}
}

func TestInstalledAgainTouchesNothing(t *testing.T) {
	r, dest := newRelease(t), filepath.Join(t.TempDir(), "root")
	r.install(t, "--destdir", dest, "--dry-run")
	if _, err := os.Stat(dest); err == nil {
		t.Errorf("a dry run has written %v", names(tree(t, dest)))
	}
	r.install(t, "--destdir", dest)
	before := tree(t, dest)
	for _, name := range []string{
		"/usr/local/bin/nekoctl", "/usr/local/bin/neko-api", "/usr/local/share/man/man1/nekoctl.1", "/usr/local/share/man/man1/nekoctl-reload.1",
		"/usr/local/share/bash-completion/completions/nekoctl", "/usr/local/share/zsh/site-functions/_nekoctl",
		"/etc/fish/completions/nekoctl.fish", "/usr/local/lib/systemd/system/neko.service",
		"/usr/local/lib/sysusers.d/neko.conf", "/etc/neko/neko.yaml", "/etc/neko/api.env",
	} {
		if before[name] == "" {
			t.Errorf("%s was not installed", name)
		}
	}
	if out := r.install(t, "--destdir", dest); !strings.Contains(out, "0 files installed, 0 replaced, 0 removed") {
		t.Errorf("the second time it says:\n%s", out)
	}
	differ(t, before, tree(t, dest))

	// Units and configuration name the programs where they are.
	for _, name := range []string{"/usr/local/lib/systemd/system/neko.service", "/usr/local/lib/systemd/system/neko-api.service", "/etc/neko/neko.yaml"} {
		text, err := os.ReadFile(dest + name)
		if err != nil || strings.Contains(string(text), " /usr/bin/neko") || !strings.Contains(string(text), "/usr/local/bin/neko") {
			t.Errorf("%s does not name the program in /usr/local/bin (%v):\n%s", name, err, text)
		}
	}
	if secret, err := os.Stat(dest + "/etc/neko/api.env"); err != nil || secret.Mode().Perm() != 0o600 {
		t.Errorf("others can read /etc/neko/api.env: %v, %v", secret, err)
	}
}

func TestConfigurationStaysAndWhatIsNoLongerThereGoes(t *testing.T) {
	r, dest := newRelease(t), t.TempDir()
	r.has(t, "man/nekoctl.1", []byte("old\n"), 0o644)
	r.has(t, "man/nekoctl-gone.1", []byte("of a command that there is no more\n"), 0o644)
	for _, shell := range []string{"bash", "zsh", "fish"} {
		r.has(t, "completions/nekoctl."+shell, []byte(shell+"\n"), 0o644)
	}
	r.install(t, "--destdir", dest, "--prefix", "/opt/neko")
	mine := []byte("apps: []   # mine\n")
	if err := os.WriteFile(dest+"/etc/neko/neko.yaml", mine, 0o640); err != nil {
		t.Fatal(err)
	}
	before := tree(t, dest)

	// The next version has another page, and none of that command.
	r.has(t, "man/nekoctl.1", []byte("new\n"), 0o644)
	if err := os.Remove(filepath.Join(string(r), "man/nekoctl-gone.1")); err != nil {
		t.Fatal(err)
	}
	r.has(t, "configs/etc/neko.yaml", []byte("# an example of the next version\n"), 0o644)
	r.install(t, "--destdir", dest, "--prefix", "/opt/neko")
	after := tree(t, dest)
	for _, name := range []string{"/opt/neko/share/man/man1/nekoctl.1", "/opt/neko/share/man/man1/nekoctl-gone.1", "/opt/neko/lib/neko/manifest"} {
		if before[name] == after[name] {
			t.Errorf("%s is what it was", name)
		}
		before[name], after[name] = "", ""
	}
	differ(t, before, after)
	if _, err := os.Stat(dest + "/opt/neko/share/man/man1/nekoctl-gone.1"); err == nil {
		t.Error("the page of a command that is no more is still there")
	}

	r.install(t, "--destdir", dest, "--prefix", "/opt/neko", "--uninstall")
	if left := names(tree(t, dest)); !slices.Equal(left, []string{"/etc/neko/api.env", "/etc/neko/neko.yaml"}) {
		t.Errorf("an uninstall leaves %v", left)
	}
	if text, err := os.ReadFile(dest + "/etc/neko/neko.yaml"); err != nil || string(text) != string(mine) {
		t.Errorf("neko.yaml is now %q, %v", text, err)
	}
}

// What runs goes on with the file that it has, and can be replaced all the same: nothing is written into it (ETXTBSY).
func TestAProgramThatRunsIsReplaced(t *testing.T) {
	r, dest := newRelease(t), t.TempDir()
	r.install(t, "--destdir", dest)
	running := exec.Command(dest+"/usr/local/bin/neko-api", "1000")
	if err := running.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := running.Process.Kill(); err != nil {
			t.Error("the program has ended meanwhile: ", err)
		}
		running.Wait()
	}()
	next := []byte("#!/bin/sh\nexit 0\n")
	r.has(t, "bin/neko-api", next, 0o755)
	if out := r.install(t, "--destdir", dest); !strings.Contains(out, "replaced   /usr/local/bin/neko-api") {
		t.Errorf("it says:\n%s", out)
	}
	if text, err := os.ReadFile(dest + "/usr/local/bin/neko-api"); err != nil || string(text) != string(next) {
		t.Errorf("neko-api is %.40q, %v", text, err)
	}
	if left, err := filepath.Glob(dest + "/usr/local/bin/*.new*"); err != nil || left != nil {
		t.Errorf("left over: %v, %v", left, err)
	}
}

func TestMistakesAreTold(t *testing.T) {
	r, empty := newRelease(t), t.TempDir()
	for _, test := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"--frobnicate"}, 2, "error: install.sh knows no --frobnicate\nhint: install.sh --help"},
		{[]string{"--prefix"}, 2, "error: --prefix needs a folder"},
		{[]string{"--prefix", "here"}, 2, "error: here is no absolute path"},
		{[]string{"--prefix", "/opt/../etc"}, 2, "no .."},
		{[]string{"--destdir", empty, "--upgrade"}, 2, "nothing to upgrade"},
		{[]string{"--destdir", empty, "--upgrade", "--uninstall"}, 2, "either"},
		{[]string{"--destdir", empty, "--uninstall"}, 1, "error: nothing of this script's is in " + empty},
	} {
		if out, code := r.run(t, test.args...); code != test.code || !strings.Contains(out, test.want) {
			t.Errorf("install.sh %s ended with %d:\n%s\nwant %d and %q", strings.Join(test.args, " "), code, out, test.code, test.want)
		}
	}
	if err := os.Remove(filepath.Join(string(r), "bin/neko-api")); err != nil {
		t.Fatal(err)
	}
	if out, code := r.run(t, "--destdir", empty); code != 1 || !strings.Contains(out, "error: there is no ") || !strings.Contains(out, "hint: make build") {
		t.Errorf("without a neko-api it ended with %d:\n%s", code, out)
	}
	if left := names(tree(t, empty)); left != nil {
		t.Errorf("mistakes have written %v", left)
	}
	if out, code := r.run(t, "--help"); code != 0 || !strings.Contains(out, "Examples:") {
		t.Errorf("--help ended with %d:\n%s", code, out)
	}
}

// The deb and the rpm have in them what install.sh installs, no more and no less.
func TestPackagesHaveWhatIsInstalled(t *testing.T) {
	text, err := os.ReadFile("packages/nfpm.yaml")
	if err != nil {
		t.Fatal(err)
	}
	type scripts map[string]string
	var config struct {
		Contents  []struct{ Src, Dst, Type, Packager string }
		Overrides map[string]struct {
			Scripts scripts
			RPM     struct{ Scripts scripts }
		}
	}
	if err := yaml.Unmarshal(text, &config); err != nil {
		t.Fatal(err)
	}
	maker, err := os.ReadFile("packages/main.go")
	if err != nil {
		t.Fatal(err)
	}
	dest := t.TempDir()
	newRelease(t).install(t, "--destdir", dest, "--prefix", "/usr")

	for _, format := range []string{"deb", "rpm"} {
		missing := tree(t, dest)
		// Those are of who installs without a package.
		delete(missing, "/usr/lib/neko/manifest")
		delete(missing, "/usr/lib/neko/install.sh")
		if format == "deb" {
			delete(missing, "/usr/share/doc/neko/LICENSE") // copyright has it
		}
		for _, c := range config.Contents {
			if c.Packager != "" && c.Packager != format || c.Src == "" {
				continue
			}
			if name, made := strings.CutPrefix(c.Src, "made/"); made {
				if !strings.Contains(string(maker), `"`+name+`"`) {
					t.Errorf("%s: nothing makes %s", format, c.Src)
				}
				delete(missing, "/usr/share/doc/neko/"+strings.TrimSuffix(name, ".gz"))
				continue
			}
			pattern := "/" + strings.TrimSuffix(c.Src, ".gz") // pages are compressed later
			n := 0
			for name := range missing {
				if ok, err := path.Match(pattern, name); err != nil {
					t.Fatal(err)
				} else if ok {
					delete(missing, name)
					n++
				}
			}
			if n == 0 {
				t.Errorf("%s: there is no %s", format, c.Src)
			}
			if isConfig := c.Type == "config|noreplace"; isConfig != strings.HasPrefix(c.Dst, "/etc/") {
				t.Errorf("%s: %s has the type %q", format, c.Dst, c.Type)
			}
		}
		if len(missing) > 0 {
			t.Errorf("the %s lacks %v", format, names(missing))
		}
		all := config.Overrides[format].Scripts
		if format == "rpm" {
			all = scripts{"posttrans": config.Overrides[format].RPM.Scripts["posttrans"]}
			for when, script := range config.Overrides[format].Scripts {
				all[when] = script
			}
		}
		for when, script := range all {
			if _, err := os.Stat(filepath.Join("packages", script)); err != nil || script == "" {
				t.Errorf("the script %s of the %s: %v", when, format, err)
			}
		}
		if len(all) < 3 {
			t.Errorf("the %s has only %v", format, all)
		}
	}
}

func TestShellcheckHasNothingToSay(t *testing.T) {
	shellcheck, err := exec.LookPath("shellcheck")
	if err != nil {
		t.Skip("shellcheck is not there: apt-get install shellcheck")
	}
	// Lines for a shell in the container stand in single quotes (SC2016), and what a script reads and what reads it is elsewhere (SC1091, SC2154, SC2034).
	args := []string{"--shell=sh", "--exclude=SC2016,SC1091,SC2154,SC2034", "install.sh", "prerequisites",
		"packages/upgrade-running", "packages/try", "systemd/try", "systemd/container.sh"}
	for _, pattern := range []string{"packages/deb/p*", "packages/rpm/*"} {
		files, err := filepath.Glob(pattern)
		if err != nil || len(files) < 3 {
			t.Fatal(files, err)
		}
		args = append(args, files...)
	}
	if out, err := exec.Command(shellcheck, args...).CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

package main

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nekoctl/neko/configs"
)

// booted is a machine that systemd has booted, in a folder, with a user who is
// whoever runs this test.
type booted struct {
	machine
	t        *testing.T
	me       *account
	ran      []string // of systemctl
	breaks   string   // what it fails at
	stranger error    // why a user cannot run nekoctl
}

func newBooted(t *testing.T, uid int) *booted {
	me, err := accountOf("0")
	if uid != 0 {
		me, err = accountOf("nobody")
	}
	if err != nil {
		t.Skip("there is no user nobody")
	}
	b := &booted{t: t, me: me}
	b.machine = machine{
		root: t.TempDir(), uid: me.uid,
		systemctl: func(_ context.Context, args ...string) (string, error) {
			line := strings.Join(args, " ")
			if b.breaks != "" && strings.Contains(line, b.breaks) {
				return "Failed to connect to bus\nsecond line", errors.New("exit status 1")
			}
			b.ran = append(b.ran, line)
			return "", nil
		},
		runs: func(context.Context, *account, string) error { return b.stranger },
	}
	if err := os.MkdirAll(filepath.Join(b.root, "run/systemd/system"), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("NEKO_HOME", filepath.Join(b.root, "neko home"))
	t.Setenv("XDG_CONFIG_HOME", "/config")
	t.Setenv("SUDO_USER", "")
	return b
}

// nekoctl is one run on the machine.
func (b *booted) nekoctl(args ...string) (stdout, stderr string, code int) {
	var out, err bytes.Buffer
	c := &cli{out: newTerminal(&out), err: newTerminal(&err), machine: b.machine}
	root := c.command()
	root.SetArgs(args)
	if problem := root.ExecuteContext(b.t.Context()); problem != nil {
		code = c.report(problem)
	}
	return out.String(), err.String(), code
}

func (b *booted) has(file string) bool { return exists(filepath.Join(b.root, file)) }

func TestStartupInstallsAUnitOfTheSystemForAUser(t *testing.T) {
	b := newBooted(t, 0)
	if err := os.MkdirAll(filepath.Join(b.root, "etc/systemd/system"), 0o755); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(b.root, "etc/systemd/system/neko-nobody.service")
	out, errOut, code := b.nekoctl("startup", "systemd", "-u", "nobody")
	if want := "wrote " + file + "\nran systemctl daemon-reload\nran systemctl enable neko-nobody.service\n"; code != 0 || out != want {
		t.Errorf("code %d, %s%s", code, out, errOut)
	}
	if !strings.Contains(errOut, "hint: nothing is saved on ") || !strings.Contains(errOut, "start it now with: systemctl start neko-nobody.service") {
		t.Errorf("%s", errOut)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{"User=nobody", `Environment="NEKO_HOME=` + b.root + `/neko home"`, "Type=notify", "KillMode=mixed", "WantedBy=multi-user.target"} {
		if !strings.Contains(string(text), "\n"+line+"\n") {
			t.Errorf("no line %s in\n%s", line, text)
		}
	}
	if !strings.Contains(string(text), " resurrect --no-daemon\n") {
		t.Errorf("it starts something else:\n%s", text)
	}

	// Once more: the same. Then it is undone, twice.
	if _, errOut, code := b.nekoctl("startup", "-u", "nobody", "-q"); code != 0 || errOut != "" {
		t.Errorf("code %d, %s", code, errOut)
	}
	b.ran = nil
	out, _, code = b.nekoctl("unstartup", "-u", "nobody")
	if code != 0 || b.has("etc/systemd/system/neko-nobody.service") || strings.Join(b.ran, "; ") != "disable neko-nobody.service; daemon-reload" {
		t.Errorf("code %d, %s, ran %v", code, out, b.ran)
	}
	out, _, code = b.nekoctl("unstartup", "-u", "nobody")
	if code != 0 || out != "there is no "+file+"\n" {
		t.Errorf("code %d, %s", code, out)
	}
}

func TestStartupWithoutRootInstallsAUnitOfTheUsersOwn(t *testing.T) {
	b := newBooted(t, 1)
	out, errOut, code := b.nekoctl("startup")
	file := filepath.Join(b.root, "config/systemd/user/neko.service")
	if want := "wrote " + file + "\nran systemctl --user daemon-reload\nran systemctl --user enable neko.service\n"; code != 0 || out != want {
		t.Errorf("code %d, %s%s", code, out, errOut)
	}
	if !strings.Contains(errOut, "at boot with: loginctl enable-linger") {
		t.Errorf("%s", errOut)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"\nUser=", "network-online", "multi-user"} {
		if strings.Contains(string(text), key) {
			t.Errorf("%q is in\n%s", key, text)
		}
	}
	if !strings.Contains(string(text), "\nWantedBy=default.target\n") {
		t.Errorf("%s", text)
	}
	if err := os.MkdirAll(filepath.Join(b.root, "var/lib/systemd/linger", b.me.name), 0o755); err != nil {
		t.Fatal(err)
	}
	if _, errOut, _ := b.nekoctl("startup"); strings.Contains(errOut, "linger") {
		t.Errorf("%s", errOut)
	}
	_, errOut, code = b.nekoctl("startup", "-u", "root")
	if code != 1 || !strings.Contains(errOut, "error: the daemon of root is root's to install\nhint: sudo nekoctl startup -u root\n") {
		t.Errorf("code %d, %s", code, errOut)
	}
}

func TestStartupRefusesWhatCannotWorkAndLeavesNothing(t *testing.T) {
	b := newBooted(t, 0)
	unit := filepath.Join(b.root, "etc/systemd/system/nginx.service")
	if err := os.MkdirAll(filepath.Dir(unit), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(unit, []byte("[Unit]\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	refused := func(want string, args ...string) {
		t.Helper()
		if _, errOut, code := b.nekoctl(args...); code == 0 || !strings.Contains(errOut, want) {
			t.Errorf("%v: code %d, %s", args, code, errOut)
		}
		if left, _ := os.ReadDir(filepath.Dir(unit)); len(left) != 1 || len(b.ran) > 0 {
			t.Errorf("%v: there is %v, ran %v", args, left, b.ran)
		}
	}
	refused("nginx.service was not written by nekoctl startup\n", "startup", "--service-name", "nginx")
	refused("nginx.service was not written by nekoctl startup\n", "unstartup", "--service-name", "nginx.service")
	refused("--service-name: expected a name of letters", "startup", "--service-name", "../x")
	refused("--service-name: there is no value", "startup", "--service-name", "")
	refused("there is no user nosuchuser", "startup", "-u", "nosuchuser")
	refused(`systemd is all that startup knows, and here is "upstart"`, "startup", "upstart")
	b.breaks = "daemon-reload"
	refused("removed "+filepath.Dir(unit)+"/neko-root.service again\nerror: systemctl daemon-reload: exit status 1\n  | Failed to connect to bus\n  | second line\n", "startup")
	b.stranger = errors.New("permission denied")
	refused("nobody cannot run ", "startup", "-u", "nobody")
	b.stranger = nil
	if os.Geteuid() == 0 { // else it is not root who makes it
		if err := os.MkdirAll(os.Getenv("NEKO_HOME"), 0o700); err != nil {
			t.Fatal(err)
		}
		refused("neko home belongs to uid 0, and nobody is uid ", "startup", "-u", "nobody")
	}
	if err := os.RemoveAll(filepath.Join(b.root, "run")); err != nil {
		t.Fatal(err)
	}
	refused("error: this machine was not booted by systemd\nhint: where there is cron: ", "startup")
}

// What the daemon needs of systemd is said in one place.
func TestUnitOfStartupIsOneThatSystemdUnderstands(t *testing.T) {
	for _, key := range []string{"Type", "KillMode", "Restart", "OOMPolicy"} {
		if !strings.Contains(configs.Unit, "\n"+key+"=") {
			t.Errorf("configs/systemd/neko.service has no %s", key)
		}
	}
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Skip("systemd-analyze is not there")
	}
	for _, system := range []bool{true, false} {
		dir := filepath.Join(t.TempDir(), `a folder of 100 %`)
		u := &unit{as: asNeko, name: "neko-x.service", user: "root", system: system, home: `/var/lib/it's "100 %" \\ neko`, program: filepath.Join(dir, "nekoctl")}
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(u.program, []byte("#!/bin/sh\n"), 0o755); err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(t.TempDir(), u.name)
		if err := os.WriteFile(file, []byte(u.text()), 0o644); err != nil {
			t.Fatal(err)
		}
		args := []string{"verify", "--man=no", file}
		if !system {
			args = append([]string{"--user"}, args...)
		}
		cmd := exec.Command(analyze, args...)
		cmd.Env = append(os.Environ(), "XDG_RUNTIME_DIR="+t.TempDir())
		out, err := cmd.CombinedOutput()
		if err != nil || strings.Contains(string(out), u.name) {
			t.Errorf("systemd-analyze %v: %v\n%s%s", args, err, out, u.text())
		}
	}
}

package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

func TestEachCommandHasAManualPage(t *testing.T) {
	dir := t.TempDir()
	var out, errs strings.Builder
	if code := run([]string{"man", dir}, &out, &errs); code != exitOK {
		t.Fatalf("it ended with %d: %s", code, &errs)
	}
	c := &cli{out: newTerminal(&out), err: newTerminal(&errs)}
	names := []string{"nekoctl", "pm2"}
	for _, cmd := range c.command().Commands() {
		names = append(names, "nekoctl-"+cmd.Name())
	}
	groff, lookErr := exec.LookPath("groff")
	for _, name := range names {
		file := filepath.Join(dir, name+".1")
		text, err := os.ReadFile(file)
		if err != nil {
			t.Errorf("%v", err)
			continue
		}
		for _, part := range []string{".TH " + strings.ToUpper(name) + " 1 ", ".SH NAME\n" + name + ` \- `} {
			if !strings.Contains(string(text), part) {
				t.Errorf("%s does not have %q", name, part)
			}
		}
		if lookErr != nil {
			continue
		}
		complaints, err := exec.Command(groff, "-man", "-Tutf8", "-ww", "-z", file).CombinedOutput()
		if err != nil || len(complaints) > 0 {
			t.Errorf("groff says of %s: %s (%v)", name, complaints, err)
		}
	}
}

// What begins with a dot or an apostrophe is a request to roff, and a backslash
// begins an escape.
func TestHelpCannotBeTakenForRequests(t *testing.T) {
	page := manPage("x", "Do it. More.\n\nUsage:\n    x .profile\n\n.so /etc/passwd\n'it is\na\\fB\n")
	for _, line := range strings.Split(page, "\n") {
		if strings.HasPrefix(line, ".so") || strings.HasPrefix(line, "'") || strings.Contains(line, `\f`) {
			t.Errorf("there is the line %q", line)
		}
	}
}

package docs

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var (
	span = regexp.MustCompile("`([^`\n]+)`")
	// before is what may stand in a line before a command.
	before = regexp.MustCompile(`^(?:\$ +|sudo +|exec +|[A-Z_]+=(?:'[^']*'|"[^"]*"|\S*) +)*`)
	// inside is what another program starts elsewhere.
	inside    = regexp.MustCompile(`^(?:kubectl|docker|podman|nerdctl|ssh)\s.*\s((?:nekoctl|neko-api) .*)$`)
	after     = regexp.MustCompile(`\s(?:#|--\s|[|;&>]|\\$).*$`)
	variable  = regexp.MustCompile(`\b[A-Z_]+=(?:'[^']*'|"[^"]*"|\S*)`)
	isCommand = regexp.MustCompile(`^[a-zA-Z][a-zA-Z-]*$`)
	option    = regexp.MustCompile(`^--?[A-Za-z][A-Za-z-]*`)
)

// Commands and options that pages speak of are there, in blocks that cannot run here, for systemd or
// a cluster, and in the text as well.
func TestCommandsAreKnown(t *testing.T) {
	bin := binaries(t)
	help := map[string]string{}
	helpOf := func(words ...string) string {
		name := strings.Join(words, " ")
		if _, ok := help[name]; !ok {
			cmd := exec.CommandContext(t.Context(), filepath.Join(bin, words[0]), append(slices.Clone(words[1:]), "--help")...)
			cmd.Env = append(os.Environ(), "NEKO_HOME="+t.TempDir())
			out, err := cmd.CombinedOutput()
			if err != nil {
				out = nil
			}
			help[name] = string(out)
		}
		return help[name]
	}
	makefile, err := os.ReadFile("../Makefile")
	if err != nil {
		t.Fatal(err)
	}

	n := 0
	check := func(where, line string) {
		if m := inside.FindStringSubmatch(line); m != nil {
			line = m[1]
		}
		words := strings.Fields(variable.ReplaceAllString(after.ReplaceAllString(line, ""), ""))
		if len(words) < 2 {
			return
		}
		program := strings.TrimPrefix(words[0], "bin/")
		words = words[1:]
		switch program {
		case "make":
			for _, target := range words {
				if isCommand.MatchString(target) && !strings.Contains(string(makefile), "\n"+target+":") {
					t.Errorf("%s: make has no %s: %s", where, target, line)
				}
			}
			return
		case "nekoctl", "neko-api":
		default:
			return
		}
		n++
		command := []string{program}
		if isCommand.MatchString(words[0]) && words[0] != "help" && words[0] != strings.ToUpper(words[0]) {
			command = append(command, words[0])
			if !known(program, words[0], helpOf(program), helpOf(command...)) {
				t.Errorf("%s: there is no such command: %s", where, line)
				return
			}
		}
		for _, word := range words {
			if o := option.FindString(word); o != "" && !has(helpOf(command...), o) && !has(helpOf(program), o) {
				t.Errorf("%s: %s has no %s: %s", where, strings.Join(command, " "), o, line)
			}
		}
	}
	for _, page := range pages(t) {
		text := read(t, page)
		for _, b := range blocks(page, text) {
			if b.lang == "sh" || b.lang == "" {
				for line := range strings.Lines(b.text) {
					check(page, strings.TrimSpace(before.ReplaceAllString(strings.TrimSpace(line), "")))
				}
			}
		}
		for _, m := range span.FindAllStringSubmatch(fenced.ReplaceAllString(text, ""), -1) {
			check(page, before.ReplaceAllString(m[1], ""))
		}
	}
	if n < 100 {
		t.Errorf("only %d commands were found", n)
	}
}

// has tells whether a help text knows an option.
func has(help, option string) bool {
	return regexp.MustCompile(`(?m)(?:^|[\s,\[(|/])` + regexp.QuoteMeta(option) + `(?:$|[\s,=\[\])|.;:/])`).MatchString(help)
}

// known tells whether a program has a command: it has a help text of its own, or is in that of the program.
func known(program, command, all, own string) bool {
	return own != "" && own != all || regexp.MustCompile(`(?m)^ +`+program+` \[?`+regexp.QuoteMeta(command)+`\b`).MatchString(all)
}

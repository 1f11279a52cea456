package main

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/nekoctl/neko/pm2/ecosystem"
)

const migratingGuide = "../../docs/migrating-from-pm2.md"

// keyTable is the table of PM2's keys as the guide is to have it.
func keyTable() string {
	var b strings.Builder
	b.WriteString("| key | also | |\n|---|---|---|\n")
	row := func(name string, aliases []string, about string) {
		var also []string
		for _, alias := range aliases {
			also = append(also, "`"+alias+"`")
		}
		b.WriteString("| `" + name + "` | " + strings.Join(also, " ") + " | " + about + " |\n")
	}
	for _, k := range ecosystem.Keys {
		row(k.Name, k.Aliases, k.About)
		if k.Name == "env" {
			row("env_NAME", nil, "Put over env by --env NAME; a null there takes a variable away.")
		}
	}
	return b.String()
}

// NEKO_UPDATE=1 writes the table anew.
func TestTheGuideHasEachKeyOfPM2s(t *testing.T) {
	text, err := os.ReadFile(migratingGuide)
	if err != nil {
		t.Fatal(err)
	}
	const begin, end = "<!-- keys: a test compares this table with the code -->\n", "\n## Variables"
	before, rest, found := strings.Cut(string(text), begin)
	table, after, also := strings.Cut(rest, end)
	if !found || !also {
		t.Fatal("the guide has no place for the table")
	}
	if table == keyTable() {
		return
	}
	if os.Getenv("NEKO_UPDATE") == "" {
		t.Fatal("the table of keys is another than the code has; NEKO_UPDATE=1 go test ./cmd/nekoctl -run Guide writes it anew")
	}
	if err := os.WriteFile(migratingGuide, []byte(before+begin+keyTable()+end+after), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestTheGuideHasEachCommandAndOptionOfPM2s(t *testing.T) {
	text, err := os.ReadFile(migratingGuide)
	if err != nil {
		t.Fatal(err)
	}
	prose := regexp.MustCompile("(?s)```.*?```").ReplaceAllString(string(text), "")
	quoted := map[string]bool{}
	for _, m := range regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(prose, -1) {
		quoted[m[1]] = true
		for _, word := range strings.Fields(m[1]) {
			quoted[strings.TrimSuffix(word, ",")] = true
		}
	}
	for _, c := range pm2Commands() {
		for _, name := range append([]string{c.name}, c.aliases...) {
			if !quoted[name] {
				t.Errorf("the command %s is not there", name)
			}
		}
	}
	for _, o := range pm2Options {
		if _, long := o.names(); !quoted[long] {
			t.Errorf("the option %s is not there", long)
		}
	}
}

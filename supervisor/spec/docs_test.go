package spec

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// docs/configuration.md has a line for each key, with its default, and none for
// a key that does not exist.
func TestConfigurationIsDocumented(t *testing.T) {
	text, err := os.ReadFile("../../docs/configuration.md")
	if err != nil {
		t.Fatal(err)
	}
	documented := map[string]string{}
	for _, m := range regexp.MustCompile("(?m)^\\| `([a-z_]+)` \\|.*\\| ([^|]*) \\|$").FindAllStringSubmatch(string(text), -1) {
		documented[m[1]] = strings.Trim(m[2], "`")
	}
	app := Defaults()
	encoded, err := json.Marshal(app)
	if err != nil {
		t.Fatal(err)
	}
	var defaults map[string]any
	if err := json.Unmarshal(encoded, &defaults); err != nil {
		t.Fatal(err)
	}
	for _, key := range Keys() {
		doc, ok := documented[key]
		if !ok {
			t.Errorf("docs/configuration.md has no line for %s", key)
		}
		delete(documented, key)
		switch want := defaults[key].(type) {
		case string:
			if want = strings.TrimSuffix(want, "0s"); want != "" && doc != want && doc != want+"0s" {
				t.Errorf("%s: its default is %v, and documented is %q", key, defaults[key], doc)
			}
		case bool:
			if doc == "true" != want {
				t.Errorf("%s: its default is %v, and documented is %q", key, want, doc)
			}
		}
	}
	for _, key := range DaemonKeys() {
		if _, ok := documented[key]; !ok {
			t.Errorf("docs/configuration.md has no line for %s", key)
		}
		delete(documented, key)
	}
	for key := range documented {
		t.Errorf("docs/configuration.md has %s, and there is no such key", key)
	}
}

// The table of endings is the one that files are run by.
func TestEndingsAreDocumented(t *testing.T) {
	text, err := os.ReadFile("../../docs/configuration.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, _ := strings.Cut(string(text), "| ending | runs by |")
	table, _, _ = strings.Cut(table, "\n\n")
	documented := regexp.MustCompile("`\\.[a-z]+`").FindAllString(table, -1)
	for ending, with := range interpreters {
		if !slices.Contains(documented, "`"+ending+"`") || !strings.Contains(table, "`"+with[0]) {
			t.Errorf("the table has no %s, run by %s", ending, with[0])
		}
	}
	for _, ending := range documented {
		if interpreters[strings.Trim(ending, "`")] == nil {
			t.Errorf("the table has %s, which nothing runs", ending)
		}
	}
}

// The examples of the page and of configs/ are what they pretend to be.
func TestExamplesParse(t *testing.T) {
	page, err := os.ReadFile("../../docs/configuration.md")
	if err != nil {
		t.Fatal(err)
	}
	examples := regexp.MustCompile("(?s)```yaml\n(.*?)```").FindAllStringSubmatch(string(page), -1)
	if len(examples) == 0 {
		t.Error("docs/configuration.md has no example")
	}
	for _, m := range examples {
		if _, _, err := Parse("neko.yaml", []byte(m[1]), Options{NamesOnly: true}); err != nil {
			t.Errorf("%v in\n%s", err, m[1])
		}
	}
	files, _ := filepath.Glob("../../configs/*.yaml")
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := Parse(file, text, Options{NamesOnly: true}); err != nil {
			t.Error(err)
		}
		for _, key := range append(Keys(), DaemonKeys()...) {
			if !strings.Contains(string(text), key+":") {
				t.Errorf("%s does not show %s", file, key)
			}
		}
	}
}

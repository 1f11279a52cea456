package container

import (
	"bytes"
	"debug/buildinfo"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// The schemas are those that come with the library that writes the bill.
func TestTheBillOfMaterialsIsValidAndWhole(t *testing.T) {
	mustBeRoot(t)
	find := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/CycloneDX/cyclonedx-go")
	find.Dir = "../licenses"
	find.Env = append(os.Environ(), "GOWORK=off")
	out, err := find.Output()
	if err != nil {
		t.Fatal(err)
	}
	schemas := filepath.Join(strings.TrimSpace(string(out)), "schema")
	compiler := jsonschema.NewCompiler()
	compiler.AssertFormat()
	for url, name := range map[string]string{
		"http://cyclonedx.org/schema/bom-1.6.schema.json":  "bom-1.6.schema.json",
		"http://cyclonedx.org/schema/spdx.schema.json":     "spdx.schema.json",
		"http://cyclonedx.org/schema/jsf-0.82.schema.json": "jsf-0.82.schemax.json",
	} {
		text, err := os.ReadFile(filepath.Join(schemas, name))
		if err != nil {
			t.Fatal(err)
		}
		document, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		if err := compiler.AddResource(url, document); err != nil {
			t.Fatal(err)
		}
	}
	schema, err := compiler.Compile("http://cyclonedx.org/schema/bom-1.6.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(bill(dist))
	if err != nil {
		t.Fatal(err)
	}
	document, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	if err := schema.Validate(document); err != nil {
		t.Error(err)
	}

	var says struct {
		Components []struct {
			Name, Version, PURL string
			Licenses            []struct {
				License struct{ ID, Name string }
			}
		}
	}
	if err := json.Unmarshal(text, &says); err != nil {
		t.Fatal(err)
	}
	has := map[string]bool{}
	for _, c := range says.Components {
		has[c.PURL] = true
		if len(c.Licenses) == 0 {
			t.Errorf("%s has no licence", c.PURL)
		}
	}
	notices, err := os.ReadFile(filepath.Join(image, "usr/share/doc/neko/THIRD_PARTY_NOTICES"))
	if err != nil {
		t.Fatal(err)
	}
	for _, program := range []string{"nekoctl", "neko-api"} {
		info, err := buildinfo.ReadFile(filepath.Join(image, program))
		if err != nil {
			t.Fatal(err)
		}
		for _, dep := range info.Deps {
			if !has["pkg:golang/"+dep.Path+"@"+dep.Version] {
				t.Errorf("%s is linked into %s, and the bill does not have it", dep.Path, program)
			}
			if !bytes.Contains(notices, []byte("\ngolang "+dep.Path+", "+dep.Version+": ")) {
				t.Errorf("%s is linked into %s, and its licence is not passed on", dep.Path, program)
			}
		}
	}
	for _, purl := range []string{"pkg:golang/std@", "pkg:npm/graphiql@", "pkg:npm/%40graphiql/react@", "pkg:generic/tzdata@", "pkg:generic/mozilla-ca-certificates@"} {
		if !strings.Contains(string(text), `"purl": "`+purl) {
			t.Errorf("the bill has no %s", purl)
		}
	}
}

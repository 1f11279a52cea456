package k8s

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.yaml.in/yaml/v4"

	"github.com/nekoctl/neko/scripts/source"
)

// What the API server would say of each object is asked of its own descriptions, offline: the OpenAPI documents of
// Kubernetes and the CustomResourceDefinitions of the others, as the modules carry them that these are published as. They
// are downloaded and never compiled. A field that is not described is an error here, as by kubectl's --validate=strict.
//
// What a schema cannot say (the rules of CEL in CRDs, words of an enumeration, what does not go together) asks
// `make k8s`, with the API server's own code.

// kubernetes are the oldest and the newest minor version that are supported in November 2026.
var kubernetes = []module{
	{"k8s.io/kubernetes", "v1.35.4", "h1:o/8dBC/pHVpYoGV4OAIytAlNPZbdYVTXJHoYvXC4qzM="},
	{"k8s.io/kubernetes", "v1.37.2", "h1:A2VDEiObzkYqFTKhSsn0ZEb0RlLEXpHWj93gi2HqEwE="},
}

// definitions are where the CRDs are.
var definitions = []struct {
	module
	files []string
}{
	{module{"sigs.k8s.io/gateway-api", "v1.6.3", "h1:lKpJa5bGlraC/QeACvCpsHLdmO6y0iKfzVl6gzaFEYc="},
		[]string{"config/crd/standard/gateway.networking.k8s.io_gateways.yaml", "config/crd/standard/gateway.networking.k8s.io_httproutes.yaml"}},
	{module{"k8s.io/autoscaler/vertical-pod-autoscaler", "v1.8.1", "h1:Pe8bV1wozN4gOKO1rleiIY5alIyAXN+DnXDbXQcL4fI="},
		[]string{"deploy/vpa-v1-crd-gen.yaml"}},
	{module{"github.com/cert-manager/cert-manager", "v1.21.2", "h1:UWgoYM+KLNtRlqmoWOKjKBOBUPVHeepQ6/ac3ERJW68="},
		[]string{"deploy/crds/cert-manager.io_certificates.yaml", "deploy/crds/cert-manager.io_issuers.yaml"}},
	{module{"github.com/prometheus-operator/prometheus-operator", "v0.85.0", "h1:M5xLCLEoaW2IJfnuCwFzzpL+jSVQu3KGT84Pye+fW8s="},
		[]string{"example/prometheus-operator-crd/monitoring.coreos.com_servicemonitors.yaml", "example/prometheus-operator-crd/monitoring.coreos.com_prometheusrules.yaml"}},
	{module{"github.com/external-secrets/external-secrets", "v1.3.2", "h1:u2J8RjlHIeF0oZCqtl92adI/uZWUwOesJIDkfql6LqQ="},
		[]string{"config/crds/bases/external-secrets.io_externalsecrets.yaml"}},
}

// module is one of Go's, by its version and its checksum.
type module struct{ path, version, sum string }

// folder is where it is, after a download if it was not there.
func (m module) folder(t testing.TB) (string, error) {
	t.Helper()
	dir := t.TempDir() // what this module needs is another matter
	out, err := source.Fetching(func() ([]byte, error) {
		cmd := exec.Command("go", "mod", "download", "-json", m.path+"@"+m.version)
		cmd.Dir, cmd.Env = dir, append(os.Environ(), "GOWORK=off", "GOFLAGS=-mod=mod")
		return cmd.Output()
	})
	var got struct{ Dir, Sum, Error string }
	if e := json.Unmarshal(out, &got); e != nil {
		return "", errors.Join(err, e)
	}
	if got.Error != "" {
		return "", errors.New(got.Error)
	}
	if got.Sum != m.sum {
		return "", fmt.Errorf("%s %s has the checksum %s, and not %s", m.path, m.version, got.Sum, m.sum)
	}
	return got.Dir, nil
}

// schemas are what a cluster of a version knows.
type schemas struct {
	version  string
	folder   string // of OpenAPI documents
	compiler *jsonschema.Compiler
	loaded   map[string]map[string]string // document → kind → where it is in there; nil: there is none
	custom   map[string]*jsonschema.Schema
}

// clusters are one of each version, each with all CRDs.
func clusters(t testing.TB) []*schemas {
	t.Helper()
	readSchemas.Do(func() { theSchemas, errSchemas = readAllSchemas(t) })
	switch {
	case errSchemas == nil:
	case os.Getenv("CI") == "true":
		t.Fatal(errSchemas)
	default:
		t.Skip("no schemas to validate with: ", errSchemas)
	}
	return theSchemas
}

var (
	readSchemas sync.Once
	theSchemas  []*schemas
	errSchemas  error
)

func readAllSchemas(t testing.TB) (list []*schemas, err error) {
	t.Helper()
	crds := map[string]*jsonschema.Schema{}
	for _, d := range definitions {
		dir, err := d.folder(t)
		if err != nil {
			return nil, err
		}
		for _, file := range d.files {
			text, err := os.ReadFile(filepath.Join(dir, file))
			if err != nil {
				return nil, err
			}
			if err := readCRDs(text, crds); err != nil {
				return nil, fmt.Errorf("%s: %w", file, err)
			}
		}
	}
	for _, m := range kubernetes {
		dir, err := m.folder(t)
		if err != nil {
			return nil, err
		}
		list = append(list, &schemas{
			version: m.version, folder: filepath.Join(dir, "api/openapi-spec/v3"), compiler: jsonschema.NewCompiler(),
			loaded: map[string]map[string]string{}, custom: crds,
		})
	}
	return list, nil
}

// strict has a schema of OpenAPI's say no to what it does not describe, and in the words of JSON Schema. open is for what
// may have more: metadata, which is judged by itself.
func strict(v any) {
	switch v := v.(type) {
	case []any:
		for _, each := range v {
			strict(each)
		}
	case map[string]any:
		if _, more := v["additionalProperties"]; v["type"] == "object" && !more && v["x-kubernetes-preserve-unknown-fields"] != true {
			v["additionalProperties"] = false
		}
		if v["nullable"] == true && v["type"] != nil {
			v["type"] = []any{v["type"], "null"}
		}
		for key, each := range v {
			switch key {
			case "properties": // whose names are not words of a schema
				for _, p := range each.(map[string]any) {
					strict(p)
				}
			case "default", "example", "enum":
			default:
				strict(each)
			}
		}
	}
}

func readCRDs(text []byte, into map[string]*jsonschema.Schema) error {
	d := yaml.NewDecoder(bytes.NewReader(text))
	for {
		var crd struct {
			Kind string
			Spec struct {
				Group    string
				Names    struct{ Kind string }
				Versions []struct {
					Name   string
					Served bool
					Schema struct {
						OpenAPIV3Schema map[string]any `yaml:"openAPIV3Schema"`
					}
				}
			}
		}
		if err := d.Decode(&crd); err != nil {
			if len(into) > 0 && err.Error() == "EOF" {
				return nil
			}
			return err
		}
		if crd.Kind != "CustomResourceDefinition" {
			return fmt.Errorf("a %s, and no CustomResourceDefinition", crd.Kind)
		}
		for _, v := range crd.Spec.Versions {
			if !v.Served {
				continue
			}
			root := v.Schema.OpenAPIV3Schema
			strict(root)
			// metadata is the API server's own business: see check.
			root["properties"].(map[string]any)["metadata"] = true
			gvk := crd.Spec.Group + "/" + v.Name + "/" + crd.Spec.Names.Kind
			c := jsonschema.NewCompiler()
			url := "crd:///" + gvk
			if err := c.AddResource(url, root); err != nil {
				return err
			}
			s, err := c.Compile(url)
			if err != nil {
				return err
			}
			into[gvk] = s
		}
	}
}

// document loads the schemas of an API group and version, and says what kinds it has.
func (s *schemas) document(apiVersion string) (kinds map[string]string, err error) {
	name := "api__v1_openapi.json"
	if group, version, ok := strings.Cut(apiVersion, "/"); ok {
		name = "apis__" + group + "__" + version + "_openapi.json"
	} else if apiVersion != "v1" {
		return nil, fmt.Errorf("no API is called %q", apiVersion)
	}
	if kinds, ok := s.loaded[name]; ok {
		return kinds, nil
	}
	text, err := os.ReadFile(filepath.Join(s.folder, name))
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("no API is called %q", apiVersion)
	} else if err != nil {
		return nil, err
	}
	tree, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		return nil, err
	}
	root := map[string]any{"components": at(tree, "components")}
	all := at(tree, "components", "schemas").(map[string]any)
	for name, schema := range all {
		strict(schema)
		// Neither says so of itself: it is what Go reads in both forms.
		if strings.HasSuffix(name, ".Quantity") {
			all[name] = map[string]any{"type": []any{"string", "number"}, "pattern": `^[+-]?[0-9]*\.?[0-9]+([eE][+-]?[0-9]+|[numkMGTPE]|[KMGTPE]i)?$`}
		}
	}
	if err := s.compiler.AddResource("api:///"+name, root); err != nil {
		return nil, err
	}
	kinds = map[string]string{}
	for schema, v := range all {
		list, _ := at(v, "x-kubernetes-group-version-kind").([]any)
		for _, gvk := range list {
			group, version := at(gvk, "group").(string), at(gvk, "version").(string)
			if group != "" {
				version = group + "/" + version
			}
			if version == apiVersion {
				kinds[at(gvk, "kind").(string)] = "api:///" + name + "#/components/schemas/" + schema
			}
		}
	}
	s.loaded[name] = kinds
	return kinds, nil
}

// check says what a cluster would say of an object.
func (s *schemas) check(o object) error {
	apiVersion := o.text("apiVersion")
	if schema, ok := s.custom[apiVersion+"/"+o.kind()]; ok {
		if err := schema.Validate(map[string]any(o)); err != nil {
			return err
		}
		if _, err := s.document("v1"); err != nil {
			return err
		}
		meta, err := s.compiler.Compile("api:///api__v1_openapi.json#/components/schemas/io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta")
		if err != nil {
			return err
		}
		return meta.Validate(o["metadata"])
	}
	kinds, err := s.document(apiVersion)
	if err != nil {
		return fmt.Errorf("%s: %w, and no CustomResourceDefinition is known for it", o, err)
	}
	where, ok := kinds[o.kind()]
	if !ok {
		return fmt.Errorf("%s has no kind %q", apiVersion, o.kind())
	}
	schema, err := s.compiler.Compile(where)
	if err != nil {
		return err
	}
	return schema.Validate(map[string]any(o))
}

func TestEveryObjectIsWhatKubernetesDescribes(t *testing.T) {
	for _, cluster := range clusters(t) {
		for _, s := range stacks(t) {
			for _, o := range s.objects {
				if err := cluster.check(o); err != nil {
					t.Errorf("Kubernetes %s, %s, %s: %v", cluster.version, s.name, o, err)
				}
			}
		}
	}
}

func TestWhatIsWrongIsRefused(t *testing.T) {
	find := func(t *testing.T, stack, name string) object {
		t.Helper()
		for _, s := range stacks(t) {
			for _, o := range s.objects {
				if s.name == stack && o.String() == name {
					return clone(o).(object)
				}
			}
		}
		t.Fatalf("%s has no %s", stack, name)
		return nil
	}
	for name, c := range map[string]struct {
		object string
		path   string
		value  any
		want   string
	}{
		"a field is misspelt":                  {"Deployment/neko-api", "spec.template.spec.terminationGracePeriod", 1, "terminationGracePeriod"},
		"deep below":                           {"Deployment/neko-api", "spec.template.spec.containers.0.livenessProbe.httpGet.pth", "/", "pth"},
		"a text for a number":                  {"Deployment/neko-api", "spec.replicas", "3", "got string, want integer"},
		"a number for a text":                  {"Service/neko-api", "metadata.name", 1, "want string"},
		"a fraction":                           {"Deployment/neko-api", "spec.minReadySeconds", 0.5, "want integer"},
		"a list for an object":                 {"Deployment/neko-api", "spec.selector", []any{}, "want object"},
		"not what memory is measured in":       {"Deployment/neko-api", "spec.template.spec.containers.0.resources.limits.memory", "1 GB", "pattern"},
		"what is required is not there":        {"StatefulSet/neko-redis", "spec.selector", nil, "selector"},
		"a kind that there is not":             {"Service/neko-api", "kind", "Servce", `no kind "Servce"`},
		"an API that there is not any more":    {"HorizontalPodAutoscaler/neko-api", "apiVersion", "autoscaling/v2beta2", `no API is called "autoscaling/v2beta2"`},
		"an API without a CRD":                 {"Gateway/neko-api", "apiVersion", "gateway.example.com/v1", "no CustomResourceDefinition is known"},
		"a version that a CRD has not":         {"Certificate/neko-api", "apiVersion", "cert-manager.io/v1alpha2", "no CustomResourceDefinition is known"},
		"a kind without a CRD":                 {"Certificate/neko-api", "kind", "Certficate", "no CustomResourceDefinition is known"},
		"a field of a CRD is misspelt":         {"HTTPRoute/neko-api", "spec.rules.0.backendRefs.0.prot", 1, "prot"},
		"a wrong type in a CRD":                {"HTTPRoute/neko-api", "spec.rules.0.backendRefs.0.port", "http", "want integer"},
		"a word that a CRD has not":            {"VerticalPodAutoscaler/neko-api", "spec.updatePolicy.updateMode", "Always", "must be one of"},
		"beyond the bounds of a CRD":           {"HTTPRoute/neko-api", "spec.rules.0.backendRefs.0.port", 70000, "maximum"},
		"not the pattern of a CRD":             {"ServiceMonitor/neko-api", "spec.endpoints.0.interval", "fifteen", "pattern"},
		"metadata of a custom resource":        {"Gateway/neko-api", "metadata.lables", map[string]any{}, "lables"},
		"a label of a custom resource":         {"Gateway/neko-api", "metadata.labels.a", 1, "want string"},
		"status of what has none, a ConfigMap": {"ServiceAccount/neko-api", "spec", map[string]any{}, "spec"},
	} {
		t.Run(name, func(t *testing.T) {
			o := find(t, "overlay us-east-1", c.object)
			set(o, c.path, c.value)
			for _, cluster := range clusters(t) {
				if err := cluster.check(o); err == nil || !strings.Contains(err.Error(), c.want) {
					t.Errorf("Kubernetes %s: %v, and not %q", cluster.version, err, c.want)
				}
			}
		})
	}
	for name, text := range map[string]string{
		"a key that is there twice":                "kind: A\nspec: {a: 1, a: 2}\n",
		"a word that YAML 1.1 takes for a boolean": "kind: A\nspec: {a: no}\n",
	} {
		if got, err := decode([]byte(text)); err == nil {
			t.Errorf("%s: %v", name, got)
		}
	}
	for name, text := range map[string]string{
		"a field of kustomize's that there is not": "resources: [HERE/base]\nimage: []\n",
		"a file that is not there":                 "resources: [HERE/base, HERE/nothing]\n",
		"a word that is deprecated":                "bases: [HERE/base]\n",
	} {
		if _, err := buildText(t, text); err == nil {
			t.Errorf("%s is built", name)
		}
	}
}

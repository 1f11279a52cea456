package k8s

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"

	"go.yaml.in/yaml/v4"
)

func names(s *stack) (against []string) {
	no := func(o object, text string) { against = append(against, fmt.Sprint(o, ": ", text)) }
	seen := map[string]bool{}
	for _, o := range s.objects {
		if o.kind() == "Namespace" {
			if o.name() != "production" {
				no(o, "it is another one")
			}
			continue
		}
		if o.text("metadata", "namespace") != "production" {
			no(o, "it is not in the namespace production")
		}
		// Those of configs/grafana say what they are to Grafana, and Secrets nothing.
		if o.kind() != "ConfigMap" && o.kind() != "Secret" && o.text("metadata", "labels", "app.kubernetes.io/part-of") != "neko" {
			no(o, "it is not labelled as a part of neko")
		}
		id := o.text("apiVersion") + o.String()
		if seen[id] {
			no(o, "it is there twice")
		}
		seen[id] = true
	}
	for _, w := range s.workloads() {
		for _, key := range []string{"name", "part-of", "component"} {
			key = "app.kubernetes.io/" + key
			if w.labels[key] == "" || w.labels[key] != w.text("metadata", "labels", key) {
				no(w.object, "its pods are not labelled as it is: "+key)
			}
		}
	}
	return against
}

// What regions may differ in: their name, and the host that is theirs alone. Each has a Redis of its own, and a store that
// it does not bring along.
func TestRegionsDifferInTheirNameAlone(t *testing.T) {
	var first, firstName string
	regions := 0
	for _, s := range stacks(t) {
		name, ok := strings.CutPrefix(s.name, "overlay ")
		if !ok || name == "local" {
			continue
		}
		regions++
		if s.workload("StatefulSet", "neko-redis") == nil {
			t.Errorf("%s has no Redis of its own", name)
		}
		if s.workload("StatefulSet", "neko-mongodb") != nil || len(s.of("Secret")) > 0 {
			t.Errorf("%s brings along what is for a machine of one's own", name)
		}
		for _, w := range s.workloads() {
			if w.labels["topology.kubernetes.io/region"] != name {
				t.Errorf("%s: %s is of the region %q", name, w, w.labels["topology.kubernetes.io/region"])
			}
		}
		text, err := yaml.Marshal(s.objects)
		must(t, err)
		normal := strings.ReplaceAll(string(text), name, "REGION")
		if first == "" {
			first, firstName = normal, name
		}
		if normal != first {
			a, b := strings.Split(first, "\n"), strings.Split(normal, "\n")
			for i := range min(len(a), len(b)) {
				if a[i] != b[i] {
					t.Errorf("%s and %s differ in more than their names:\n%s\n%s", firstName, name, a[i], b[i])
					break
				}
			}
		}
	}
	if regions != 3 {
		t.Errorf("%d regions", regions)
	}
	for _, s := range stacks(t) {
		if s.name == "overlay local" && s.workload("StatefulSet", "neko-redis") == nil {
			t.Error("local has no Redis")
		}
	}
}

// compose.yaml is for who has no Kubernetes, and runs the same version.
func TestComposeRunsTheSameVersion(t *testing.T) {
	text, err := os.ReadFile("../compose.yaml")
	must(t, err)
	found := regexp.MustCompile(`ghcr\.io/nekoctl/neko:(\S+)`).FindAllSubmatch(text, -1)
	if len(found) == 0 {
		t.Error("compose.yaml runs no neko")
	}
	for _, m := range found {
		if string(m[1]) != released() {
			t.Errorf("compose.yaml runs %s, and released is %s", m[1], released())
		}
	}
}

package k8s

import (
	"cmp"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"
)

// documented are the keys of the Secrets in the examples: those of the base, and of a component in their place.
func documented(s *stack) (map[string][]string, error) {
	files := []string{"base/secrets.example.yaml"}
	if name, ok := strings.CutPrefix(s.name, "component "); ok {
		files = append(files, filepath.Join("components", name, "secrets.example.yaml"))
	}
	if name, ok := strings.CutPrefix(s.name, "overlay "); ok {
		text, err := os.ReadFile(filepath.Join("overlays", name, "kustomization.yaml"))
		if err != nil {
			return nil, err
		}
		var overlay struct{ Components []string }
		if err := yaml.Unmarshal(text, &overlay); err != nil {
			return nil, err
		}
		for _, component := range overlay.Components {
			files = append(files, filepath.Join("overlays", name, component, "secrets.example.yaml"))
		}
	}
	keys := map[string][]string{}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if os.IsNotExist(err) && file != files[0] {
			continue
		}
		if err != nil {
			return nil, err
		}
		objects, err := decode(text)
		if err != nil {
			return nil, err
		}
		for _, o := range objects {
			keys[o.name()] = slices.Sorted(maps.Keys(at(map[string]any(o), "stringData").(map[string]any)))
		}
	}
	return keys, nil
}

// secretsOf are the Secrets of a pod, each with the keys that it takes.
func secretsOf(w *workload) (list []secretRef) {
	for _, v := range w.pod.Volumes {
		if v["secret"] != nil {
			list = append(list, decodeTo[secretRef](v["secret"]))
		}
		sources, _ := at(v, "projected", "sources").([]any)
		for _, s := range sources {
			if at(s, "secret") != nil {
				list = append(list, decodeTo[secretRef](at(s, "secret")))
			}
		}
	}
	return list
}

func secretKeys(s *stack) (against []string) {
	keys, err := documented(s)
	if err != nil {
		return []string{err.Error()}
	}
	no := func(format string, args ...any) { against = append(against, fmt.Sprintf(format, args...)) }
	// Names of what kustomize generates end in a hash.
	known := func(name string) string {
		for each := range keys {
			if name == each || regexp.MustCompile("^"+regexp.QuoteMeta(each)+"-[a-z0-9]{10}$").MatchString(name) {
				return each
			}
		}
		return ""
	}
	used := map[string]bool{}
	for _, w := range s.workloads() {
		for _, c := range w.containers() {
			for _, from := range c.EnvFrom {
				if from.SecretRef != nil {
					no("%s has a Secret in its environment", w)
				}
			}
			for _, e := range c.Env {
				if at(e.ValueFrom, "secretKeyRef") != nil {
					no("%s has a Secret in its environment", w)
				}
			}
		}
		for _, ref := range secretsOf(w) {
			name := known(cmp.Or(ref.Name, ref.SecretName))
			if name == "" {
				no("%s takes a Secret that no example has: %+v", w, ref)
			}
			if len(ref.Items) == 0 {
				no("%s takes all of %s, and not what it needs", w, name)
			}
			for _, item := range ref.Items {
				used[name+"/"+item.Key] = true
				if !slices.Contains(keys[name], item.Key) {
					no("%s takes %s of %s, which no example has", w, item.Key, name)
				}
			}
		}
	}
	redis := s.workload("StatefulSet", "neko-redis") != nil
	for name, list := range keys {
		for _, key := range list {
			// users.acl is of the Redis that is a component.
			if !used[name+"/"+key] && (redis || key != "users.acl") {
				no("%s of %s is documented, and nobody takes it", key, name)
			}
		}
	}
	for _, o := range s.of("Secret") {
		have := slices.Sorted(maps.Keys(at(map[string]any(o), "data").(map[string]any)))
		if name := known(o.name()); !slices.Equal(have, keys[name]) {
			no("%s has %q, and documented are %q", o, have, keys[name])
		}
	}
	for _, o := range s.of("ExternalSecret") {
		var have []string
		data, _ := at(map[string]any(o), "spec", "data").([]any)
		for _, d := range data {
			have = append(have, fmt.Sprint(at(d, "secretKey")))
		}
		slices.Sort(have)
		if name := o.text("spec", "target", "name"); !slices.Equal(have, keys[name]) {
			no("%s has %q, and documented are %q", o, have, keys[name])
		}
	}
	return against
}

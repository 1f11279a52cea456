package k8s

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nekoctl/neko/supervisor/spec"
)

// one is the name of the only workload that is selected.
func (s *stack) one(l selector) string {
	var names []string
	for _, w := range s.selected(l) {
		names = append(names, w.String())
	}
	if len(names) == 0 {
		return "nothing"
	}
	return strings.Join(names, " and ")
}

func selectors(s *stack) (against []string) {
	no := func(o object, format string, args ...any) {
		against = append(against, fmt.Sprintf("%s: "+format, append([]any{o}, args...)...))
	}
	controlled := func(name string) string {
		for _, w := range s.workloads() {
			if w.name() == name {
				return w.String()
			}
		}
		return "what there is not"
	}
	for _, o := range s.objects {
		switch o.kind() {
		case "Service":
			// neko-redis-pods is of neko-redis.
			want := controlled(strings.TrimSuffix(o.name(), "-pods"))
			if got := s.one(selector{MatchLabels: decodeTo[labels](at(map[string]any(o), "spec", "selector"))}); got != want {
				no(o, "it selects %s, and not %s", got, want)
			}
		case "PodDisruptionBudget":
			if got, want := s.one(decodeTo[selector](at(map[string]any(o), "spec", "selector"))), controlled(o.name()); got != want {
				no(o, "it selects %s, and not %s", got, want)
			}
		case "HorizontalPodAutoscaler", "VerticalPodAutoscaler":
			field := map[string]string{"HorizontalPodAutoscaler": "scaleTargetRef", "VerticalPodAutoscaler": "targetRef"}[o.kind()]
			w := s.workload(o.text("spec", field, "kind"), o.text("spec", field, "name"))
			if w == nil || w.text("apiVersion") != o.text("spec", field, "apiVersion") {
				no(o, "there is nothing that it scales")
				continue
			}
			has := func(name string) bool {
				return name == "" || name == "*" || slices.ContainsFunc(w.pod.Containers, func(c container) bool { return c.Name == name })
			}
			metrics, _ := at(map[string]any(o), "spec", "metrics").([]any)
			policies, _ := at(map[string]any(o), "spec", "resourcePolicy", "containerPolicies").([]any)
			for _, m := range metrics {
				if name, _ := at(m, "containerResource", "container").(string); !has(name) {
					no(o, "there is no container %s", name)
				}
			}
			for _, p := range policies {
				if name, _ := at(p, "containerName").(string); !has(name) {
					no(o, "there is no container %s", name)
				}
			}
		case "ServiceMonitor":
			l := decodeTo[selector](at(map[string]any(o), "spec", "selector"))
			found := 0
			for _, service := range s.of("Service") {
				if l.MatchLabels.within(decodeTo[labels](at(map[string]any(service), "metadata", "labels"))) {
					found++
				}
			}
			if found != 1 {
				no(o, "it selects %d Services", found)
			}
		case "NetworkPolicy":
			l := decodeTo[selector](at(map[string]any(o), "spec", "podSelector"))
			if len(l.MatchLabels) > 0 && len(s.selected(l)) == 0 {
				no(o, "it selects no pod")
			}
		}
	}
	for _, w := range s.workloads() {
		self := func(l selector, what string) {
			if !l.MatchLabels.within(w.labels) || len(l.MatchExpressions) > 0 {
				no(w.object, "%s does not select its own pods", what)
			}
		}
		if w.kind() == "Deployment" || w.kind() == "StatefulSet" {
			self(w.selector, "it")
			if got := s.one(w.selector); got != w.String() {
				no(w.object, "it selects %s", got)
			}
		}
		for _, c := range w.pod.Spread {
			self(c.LabelSelector, "a topology spread")
		}
		for _, a := range w.pod.Affinity.PodAntiAffinity.Required {
			self(a.LabelSelector, "an anti-affinity")
		}
		for _, a := range w.pod.Affinity.PodAntiAffinity.Preferred {
			self(a.Term.LabelSelector, "an anti-affinity")
		}
		if name := w.text("spec", "serviceName"); w.kind() == "StatefulSet" {
			service := s.find("Service", name)
			if service == nil || service.text("spec", "clusterIP") != "None" {
				no(w.object, "there is no headless Service %s", name)
			}
		}
	}
	return against
}

// number is of a port by its name, or by its number; 0 if there is none.
func (w *workload) number(port string) int {
	for _, c := range w.pod.Containers {
		for _, p := range c.Ports {
			if p.Name == port || strconv.Itoa(p.ContainerPort) == port {
				return p.ContainerPort
			}
		}
	}
	return 0
}

// known are the ports at which others look for something.
var known = map[string]map[string]int{
	"neko-api":     {"http": 4000, "metrics": 9464},
	"neko-redis":   {"redis": 6379, "bus": 16379},
	"neko-mongodb": {"mongodb": 27017},
}

func ports(s *stack) (against []string) {
	no := func(o object, format string, args ...any) {
		against = append(against, fmt.Sprintf("%s: "+format, append([]any{o}, args...)...))
	}
	for _, w := range s.workloads() {
		for _, c := range w.pod.Containers {
			for _, p := range c.Ports {
				if known[w.name()][p.Name] != p.ContainerPort {
					no(w.object, "its port %s is %d, and not %d", p.Name, p.ContainerPort, known[w.name()][p.Name])
				}
			}
			for _, probe := range []*probe{c.StartupProbe, c.ReadinessProbe, c.LivenessProbe} {
				port := ""
				switch {
				case probe == nil || probe.Exec != nil:
					continue
				case probe.HTTPGet != nil:
					port = probe.HTTPGet.Port
				case probe.TCP != nil:
					port = probe.TCP.Port
				}
				if w.number(port) == 0 {
					no(w.object, "a probe asks at %q, which is no port of it", port)
				}
			}
			if (w.kind() == "Deployment" || w.kind() == "StatefulSet") && (c.StartupProbe == nil || c.ReadinessProbe == nil) {
				no(w.object, "%s has no startup or no readiness probe", c.Name)
			}
		}
	}
	// offers is whether a Service has a port, by its name or its number.
	offers := func(service, port string) bool {
		o := s.find("Service", service)
		list, _ := at(map[string]any(o), "spec", "ports").([]any)
		return slices.ContainsFunc(list, func(p any) bool { return at(p, "name") == port || fmt.Sprint(at(p, "port")) == port })
	}
	for _, o := range s.objects {
		switch o.kind() {
		case "Service":
			list, _ := at(map[string]any(o), "spec", "ports").([]any)
			for _, p := range list {
				for _, w := range s.selected(selector{MatchLabels: decodeTo[labels](at(map[string]any(o), "spec", "selector"))}) {
					if n := w.number(fmt.Sprint(at(p, "targetPort"))); n == 0 || n != at(p, "port") {
						no(o, "%v leads to %v, and the pods have %d", at(p, "port"), at(p, "targetPort"), n)
					}
				}
			}
		case "HTTPRoute":
			rules, _ := at(map[string]any(o), "spec", "rules").([]any)
			for _, r := range rules {
				backends, _ := at(r, "backendRefs").([]any)
				for _, b := range backends {
					if !offers(fmt.Sprint(at(b, "name")), fmt.Sprint(at(b, "port"))) {
						no(o, "no Service %v has a port %v", at(b, "name"), at(b, "port"))
					}
				}
			}
			parents, _ := at(map[string]any(o), "spec", "parentRefs").([]any)
			for _, p := range parents {
				listeners, _ := at(map[string]any(s.find("Gateway", fmt.Sprint(at(p, "name")))), "spec", "listeners").([]any)
				if !slices.ContainsFunc(listeners, func(l any) bool { return at(l, "name") == at(p, "sectionName") }) {
					no(o, "no Gateway %v has a listener %v", at(p, "name"), at(p, "sectionName"))
				}
			}
		case "Ingress":
			rules, _ := at(map[string]any(o), "spec", "rules").([]any)
			for _, r := range rules {
				paths, _ := at(r, "http", "paths").([]any)
				for _, p := range paths {
					port := at(p, "backend", "service", "port", "name")
					if port == nil {
						port = at(p, "backend", "service", "port", "number")
					}
					if !offers(fmt.Sprint(at(p, "backend", "service", "name")), fmt.Sprint(port)) {
						no(o, "no Service %v has a port %v", at(p, "backend", "service", "name"), port)
					}
				}
			}
		case "ServiceMonitor":
			endpoints, _ := at(map[string]any(o), "spec", "endpoints").([]any)
			for _, e := range endpoints {
				if !offers("neko-api", fmt.Sprint(at(e, "port"))) {
					no(o, "its Service has no port %v", at(e, "port"))
				}
			}
		}
	}
	return against
}

func nekoYAML(s *stack) (against []string) {
	w := s.workload("Deployment", "neko-api")
	if w == nil {
		return []string{"there is no neko-api"}
	}
	no := func(format string, args ...any) { against = append(against, fmt.Sprintf(format, args...)) }
	var text string
	for _, v := range w.pod.Volumes {
		if v["name"] == "config" {
			text = s.find("ConfigMap", fmt.Sprint(at(v, "configMap", "name"))).text("data", "neko.yaml")
		}
	}
	dir, err := os.MkdirTemp("", "neko-k8s")
	if err != nil {
		return []string{err.Error()}
	}
	defer os.RemoveAll(dir)
	apps, daemon, err := spec.Parse(filepath.Join(dir, "neko.yaml"), []byte(text), spec.Options{NamesOnly: true})
	if err != nil || len(apps) != 1 {
		return []string{fmt.Sprintf("neko.yaml has %d apps: %v", len(apps), err)}
	}
	end := func(address string) string { return address[strings.LastIndexByte(address, ':')+1:] }
	app := apps[0]
	if len(app.Listen) == 0 {
		return []string{"neko.yaml listens nowhere"}
	}
	if len(app.Listen) != 1 || end(app.Listen[0].Address) != fmt.Sprint(w.number("http")) {
		no("neko.yaml listens at %q, and http is %d", app.Listen, w.number("http"))
	}
	if end(daemon.Metrics) != fmt.Sprint(w.number("metrics")) {
		no("neko.yaml has metrics at %q, and metrics is %d", daemon.Metrics, w.number("metrics"))
	}
	// A pod may be resized in place, and an overlay may have another limit.
	if !app.FollowsCPUs() {
		no("neko.yaml has %d instances, whatever CPUs a pod may use", app.Instances)
	}
	for _, address := range []string{app.Listen[0].Address, daemon.Metrics} {
		if host := address[:strings.LastIndexByte(address, ':')]; host != "" && host != "0.0.0.0" && host != "[::]" {
			no("neko.yaml listens at %s, where nobody else can reach it", address)
		}
	}
	all := time.Duration(app.ShutdownDelay + app.DrainTimeout + app.KillTimeout)
	if grace := time.Duration(w.pod.TerminationGracePeriodSeconds) * time.Second; grace <= all {
		no("kubelet kills after %v, and neko.yaml needs %v", grace, all)
	}
	if app.ShutdownDelay < spec.Duration(5*time.Second) {
		no("a shutdown_delay of %v is too short for all to hear of it", time.Duration(app.ShutdownDelay))
	}
	return against
}

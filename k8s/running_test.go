package k8s

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v4"
)

// Policies of how pods live: when kubelet ends them, where they are put, what changes them while they run, and what of
// them can never be changed.

func patient(s *stack) (against []string) {
	for _, w := range s.workloads() {
		if w.kind() == "CronJob" {
			continue
		}
		no := func(format string, args ...any) {
			against = append(against, fmt.Sprintf("%s: "+format, append([]any{w}, args...)...))
		}
		for _, c := range w.pod.Containers {
			lasts := func(p *probe) int { return max(p.PeriodSeconds, 1) * max(p.FailureThreshold, 1) }
			if p := c.StartupProbe; p != nil && lasts(p) < 120 {
				no("kubelet ends it %d s after its start, if it waits for something", lasts(p))
			}
			if p := c.LivenessProbe; p != nil && lasts(p) < 60 {
				no("kubelet ends it after %d s in which it is slow", lasts(p))
			}
			if w.name() != "neko-api" {
				continue
			}
			// A store that is away makes /readyz fail while a process starts or ends: kubelet would end all pods for it.
			asks := func(p *probe, path string) {
				if p == nil || p.HTTPGet == nil || p.HTTPGet.Path != path {
					no("a probe does not ask for %s", path)
				}
			}
			asks(c.StartupProbe, "/readyz")
			asks(c.ReadinessProbe, "/readyz")
			asks(c.LivenessProbe, "/livez")
		}
	}
	return against
}

func spread(s *stack) (against []string) {
	for _, w := range s.workloads() {
		if w.kind() != "Deployment" {
			continue
		}
		no := func(text string) { against = append(against, fmt.Sprint(w, ": ", text)) }
		zones := 0
		for _, c := range w.pod.Spread {
			if c.TopologyKey != "topology.kubernetes.io/zone" {
				continue
			}
			zones++
			if c.WhenUnsatisfiable != "DoNotSchedule" && s.name != "overlay local" {
				no("all of it may be in one zone")
			}
			if c.NodeTaintsPolicy != "Honor" {
				no("what was in a lost zone waits for its nodes")
			}
			if !slices.Contains(c.MatchLabelKeys, "pod-template-hash") {
				no("pods that are about to go decide where new ones may be")
			}
		}
		if zones != 1 {
			no("nothing says how it is spread over zones")
		}
		// A node that is lost has the same taint as NoSchedule, too. Who tolerates that, as one without an effect does,
		// counts it among those where a pod could be.
		for _, t := range w.pod.Tolerations {
			if t.Effect != "NoExecute" || t.TolerationSeconds == nil {
				no("it tolerates a lost node for good")
			}
		}
	}
	return against
}

func vertical(s *stack) (against []string) {
	for _, v := range s.of("VerticalPodAutoscaler") {
		no := func(format string, args ...any) {
			against = append(against, fmt.Sprintf("%s: "+format, append([]any{v}, args...)...))
		}
		if mode := v.text("spec", "updatePolicy", "updateMode"); mode != "InPlaceOrRecreate" {
			no("each change is a new pod: %q", mode)
		}
		w := s.workload(v.text("spec", "targetRef", "kind"), v.text("spec", "targetRef", "name"))
		policies, _ := at(map[string]any(v), "spec", "resourcePolicy", "containerPolicies").([]any)
		for _, p := range policies {
			for _, c := range w.pod.Containers {
				if at(p, "containerName") != c.Name {
					continue
				}
				least, most := size(fmt.Sprint(at(p, "minAllowed", "memory"))), size(fmt.Sprint(at(p, "maxAllowed", "memory")))
				if asked := size(c.Resources.Requests["memory"]); least == 0 || asked < least || asked > most {
					no("%s begins with %s, and may have %v to %v", c.Name, c.Resources.Requests["memory"], at(p, "minAllowed"), at(p, "maxAllowed"))
				}
				if len(c.ResizePolicy) != 2 || slices.ContainsFunc(c.ResizePolicy, func(r struct {
					RestartPolicy string `yaml:"restartPolicy"`
				}) bool {
					return r.RestartPolicy != "NotRequired"
				}) {
					no("a change in place starts %s again", c.Name)
				}
			}
		}
	}
	return against
}

// reached says whether each number that the HPA waits for can come to be.
func reached(s *stack) (against []string) {
	adapter, err := os.ReadFile("components/hpa-in-flight/prometheus-adapter.yaml")
	if err != nil {
		return []string{err.Error()}
	}
	for _, h := range s.of("HorizontalPodAutoscaler") {
		no := func(format string, args ...any) {
			against = append(against, fmt.Sprintf("%s: "+format, append([]any{h}, args...)...))
		}
		w := s.workload("Deployment", h.text("spec", "scaleTargetRef", "name"))
		metrics, _ := at(map[string]any(h), "spec", "metrics").([]any)
		for _, m := range metrics {
			switch at(m, "type") {
			case "ContainerResource":
				want, _ := at(m, "containerResource", "target", "averageUtilization").(int)
				for _, c := range w.pod.Containers {
					// In parts of the request: at the limit it is throttled, and there is no more.
					if most := 100 * millis(c.Resources.Limits["cpu"]) / millis(c.Resources.Requests["cpu"]); c.Name == at(m, "containerResource", "container") && (want == 0 || want > most*9/10) {
						no("it waits for %d %% of a request of which %d %% can be used", want, most)
					}
				}
			case "Pods":
				if name := fmt.Sprint(at(m, "pods", "metric", "name")); !strings.Contains(string(adapter), "as: "+name+"\n") {
					no("nobody makes the metric %s", name)
				}
			default:
				no("a metric is of the type %v", at(m, "type"))
			}
		}
		if len(metrics) == 0 {
			no("it goes by nothing")
		}
	}
	return against
}

// lasting is what Kubernetes refuses to change in what there is: whoever has applied it once gets an error from each later
// apply. docs/deployment/kubernetes.md ("Other volumes") has the way; it costs the Redis of each installation a restart.
// Not in here is the label of the region.
var lasting = map[string]string{
	"Deployment/neko-api": `selector: {matchLabels: {app.kubernetes.io/component: api, app.kubernetes.io/name: neko-api}}`,
	"StatefulSet/neko-redis of 1": `
podManagementPolicy: Parallel
serviceName: neko-redis-pods
selector: {matchLabels: {app.kubernetes.io/component: redis, app.kubernetes.io/name: neko-redis}}
volumeClaimTemplates:
- metadata: {name: data, labels: {app.kubernetes.io/component: redis, app.kubernetes.io/name: neko-redis, app.kubernetes.io/part-of: neko}}
  spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 4Gi}}}`,
	"StatefulSet/neko-redis of 6": `
podManagementPolicy: Parallel
serviceName: neko-redis-pods
selector: {matchLabels: {app.kubernetes.io/component: redis, app.kubernetes.io/name: neko-redis}}
volumeClaimTemplates:
- metadata: {name: data, labels: {app.kubernetes.io/component: redis, app.kubernetes.io/name: neko-redis, app.kubernetes.io/part-of: neko}}
  spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 2Gi}}}`,
}

func fixed(s *stack) (against []string) {
	if s.name == "overlay local" { // which is thrown away
		return nil
	}
	for _, w := range s.workloads() {
		name := w.String()
		if w.kind() == "StatefulSet" {
			name = fmt.Sprintf("%s of %d", w, w.replicas)
		}
		text, ok := lasting[name]
		if !ok {
			if w.name() == "neko-redis" {
				against = append(against, name+": there is no such layout")
			}
			continue
		}
		var want map[string]any
		if err := yaml.Unmarshal([]byte(text), &want); err != nil {
			return []string{err.Error()}
		}
		spec := clone(at(map[string]any(w.object), "spec")).(map[string]any)
		claims, _ := spec["volumeClaimTemplates"].([]any)
		for _, c := range claims {
			l, _ := at(c, "metadata", "labels").(map[string]any)
			delete(l, "topology.kubernetes.io/region")
		}
		for _, key := range []string{"selector", "serviceName", "podManagementPolicy", "volumeClaimTemplates"} {
			if got, want := fmt.Sprint(spec[key]), fmt.Sprint(want[key]); got != want {
				against = append(against, fmt.Sprintf("%s: %s is %s, and was %s", w, key, got, want))
			}
		}
	}
	return against
}

// named holds the list of the Cluster's nodes to how many pods there are, and what they are called.
func named(s *stack) (against []string) {
	w := s.workload("StatefulSet", "neko-redis")
	if w == nil {
		return nil
	}
	nodes := strings.Fields(s.settings(w.pod.Containers[0])["NEKO_REDIS_NODES"])
	if w.replicas == 1 && len(nodes) == 0 {
		return nil
	}
	if len(nodes) != w.replicas {
		against = append(against, fmt.Sprintf("%s has %d pods, and knows of %d", w, w.replicas, len(nodes)))
	}
	for i, node := range nodes {
		if want := fmt.Sprintf("%s-%d.%s:6379", w.name(), i, w.text("spec", "serviceName")); node != want {
			against = append(against, fmt.Sprintf("%s calls %s what is %s", w, node, want))
		}
	}
	return against
}

// twice is the room for Redis: a snapshot, or a copy for a replica, may hold every page twice, and on the disk the next one is beside the
// last.
func twice(s *stack) (against []string) {
	w := s.workload("StatefulSet", "neko-redis")
	if w == nil {
		return nil
	}
	m := regexp.MustCompile(`(?m)^maxmemory (\d+)mb$`).FindStringSubmatch(s.mounted(w, "redis.conf"))
	if m == nil {
		return []string{"redis.conf has no maxmemory in mb"}
	}
	mb, _ := strconv.Atoi(m[1])
	if limit := size(w.pod.Containers[0].Resources.Limits["memory"]); limit < 2*mb<<20 {
		against = append(against, fmt.Sprintf("maxmemory is %d MB, and the limit %d", mb, limit>>20))
	}
	claims, _ := at(map[string]any(w.object), "spec", "volumeClaimTemplates").([]any)
	for _, c := range claims {
		disk := size(fmt.Sprint(at(c, "spec", "resources", "requests", "storage")))
		if saves := !strings.Contains(s.mounted(w, "redis.conf"), `save ""`); saves && s.name != "overlay local" && disk < 2*mb<<20 {
			against = append(against, fmt.Sprintf("maxmemory is %d MB, and the volume %d", mb, disk>>20))
		}
	}
	return against
}

// mounted is a file of a ConfigMap that a pod has.
func (s *stack) mounted(w *workload, file string) string {
	for _, v := range w.pod.Volumes {
		if name, ok := at(v, "configMap", "name").(string); ok {
			if text := s.find("ConfigMap", name).text("data", file); text != "" {
				return text
			}
		}
	}
	return ""
}

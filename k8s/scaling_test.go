package k8s

import (
	"fmt"
	"slices"
	"strings"
)

func room(s *stack) (against []string) {
	no := func(format string, args ...any) { against = append(against, fmt.Sprintf(format, args...)) }
	budgets := map[string]bool{}
	for _, b := range s.of("PodDisruptionBudget") {
		for _, w := range s.selected(decodeTo[selector](at(map[string]any(b), "spec", "selector"))) {
			budgets[w.String()] = true
			least := max(w.replicas, 1)
			for _, h := range s.of("HorizontalPodAutoscaler") {
				if h.text("spec", "scaleTargetRef", "name") != w.name() {
					continue
				}
				lowest, _ := at(map[string]any(h), "spec", "minReplicas").(int)
				highest, _ := at(map[string]any(h), "spec", "maxReplicas").(int)
				least = lowest
				if highest <= lowest {
					no("%s has no room", h)
				}
				if w.replicas != 0 && strings.HasPrefix(s.name, "overlay ") {
					no("%s says how many there are, and so does %s", w, h)
				}
			}
			if b.text("spec", "unhealthyPodEvictionPolicy") != "AlwaysAllow" {
				no("%s: a pod that does not come up keeps its node from being drained", b)
			}
			available, okA := at(map[string]any(b), "spec", "minAvailable").(int)
			unavailable, okU := at(map[string]any(b), "spec", "maxUnavailable").(int)
			switch {
			case okA == okU:
				no("%s: one of minAvailable and maxUnavailable has to be a number", b)
			case okA && available >= least, okU && unavailable < 1:
				no("%s lets none of %d be drained", b, least)
			case okA && available < least-1:
				no("%s lets more than one of %d go", b, least)
			}
		}
	}
	for _, w := range s.workloads() {
		if strings.HasPrefix(w.name(), "neko-mongodb") || w.kind() == "CronJob" {
			continue
		}
		if !budgets[w.String()] {
			no("%s has no budget", w)
		}
		if w.kind() != "Deployment" {
			continue
		}
		r := at(map[string]any(w.object), "spec", "strategy", "rollingUpdate")
		if surge, _ := at(r, "maxSurge").(int); w.text("spec", "strategy", "type") != "RollingUpdate" || at(r, "maxUnavailable") != 0 || surge < 1 {
			no("%s: a rollout takes pods away before others serve", w)
		}
	}
	return against
}

func oneScaler(s *stack) (against []string) {
	for _, v := range s.of("VerticalPodAutoscaler") {
		vertical := map[string][]any{}
		policies, _ := at(map[string]any(v), "spec", "resourcePolicy", "containerPolicies").([]any)
		rest := false
		for _, p := range policies {
			name := at(p, "containerName").(string)
			if at(p, "mode") == "Off" {
				rest = rest || name == "*"
				continue
			}
			vertical[name], _ = at(p, "controlledResources").([]any)
			if len(vertical[name]) == 0 {
				vertical[name] = []any{"cpu", "memory"}
			}
		}
		if !rest {
			against = append(against, fmt.Sprintf("%s: containers that it does not name are its business, too", v))
		}
		for _, h := range s.of("HorizontalPodAutoscaler") {
			metrics, _ := at(map[string]any(h), "spec", "metrics").([]any)
			for _, m := range metrics {
				kind := at(m, "type")
				name, container := at(m, "containerResource", "name"), fmt.Sprint(at(m, "containerResource", "container"))
				if kind == "Resource" || kind == "ContainerResource" && slices.Contains(vertical[container], name) {
					against = append(against, fmt.Sprintf("%s and %s both go by %v", h, v, name))
				}
			}
		}
	}
	return against
}

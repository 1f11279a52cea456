package k8s

import (
	"cmp"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

var imageForm = regexp.MustCompile(`^([a-z0-9./:-]+?[a-z0-9])(?::([A-Za-z0-9_][A-Za-z0-9_.-]*))?(@sha256:[0-9a-f]{64})?$`)

// released is the newest version of CHANGELOG.md.
func released() string {
	text, err := os.ReadFile("../CHANGELOG.md")
	if err != nil {
		return err.Error()
	}
	m := regexp.MustCompile(`(?m)^## \[(\d[^\]]*)\]`).FindSubmatch(text)
	if m == nil {
		return "CHANGELOG.md has no version"
	}
	return string(m[1])
}

func images(s *stack) (against []string) {
	versions := map[string]string{}
	for _, w := range s.workloads() {
		for _, c := range w.containers() {
			m := imageForm.FindStringSubmatch(c.Image)
			last := m != nil && !strings.Contains(m[2], "/")
			if !last || m[2] == "" || m[2] == "latest" || !strings.ContainsAny(m[2], "0123456789") {
				against = append(against, fmt.Sprintf("%s: the image %q has no version", w, c.Image))
				continue
			}
			if v, ok := versions[m[1]]; ok && v != m[2]+m[3] {
				against = append(against, fmt.Sprintf("%s: %s is %s, and elsewhere %s", w, m[1], m[2]+m[3], v))
			}
			versions[m[1]] = m[2] + m[3]
			if m[1] == "ghcr.io/nekoctl/neko" && m[2] != released() {
				against = append(against, fmt.Sprintf("%s: %s is %s, and released is %s", w, m[1], m[2], released()))
			}
		}
	}
	return against
}

// restricted are the controls of the Pod Security Standards, "restricted", of those fields that a pod has here; what
// else a pod may have is refused. `make k8s` asks Kubernetes' own admission.
func restricted(s *stack) (against []string) {
	for _, w := range s.workloads() {
		no := func(format string, args ...any) {
			against = append(against, fmt.Sprintf("%s: "+format, append([]any{w}, args...)...))
		}
		p := w.pod
		if p.HostNetwork || p.HostPID || p.HostIPC {
			no("it shares a namespace of the host")
		}
		if p.Security.RunAsUser != nil && *p.Security.RunAsUser == 0 {
			no("it is root")
		}
		for _, v := range p.Volumes {
			for kind := range v {
				if !slices.Contains([]string{"name", "configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"}, kind) {
					no("a volume is a %s", kind)
				}
			}
		}
		for _, c := range w.containers() {
			sc := c.Security
			nonRoot := cmp.Or(sc.RunAsNonRoot, p.Security.RunAsNonRoot)
			seccomp := cmp.Or(sc.SeccompProfile, p.Security.SeccompProfile)
			if sc.AllowPrivilegeEscalation == nil || *sc.AllowPrivilegeEscalation {
				no("%s may get privileges", c.Name)
			}
			if sc.Privileged || sc.ProcMount != "" {
				no("%s is privileged", c.Name)
			}
			if !slices.Equal(sc.Capabilities.Drop, []string{"ALL"}) || len(sc.Capabilities.Add) > 0 {
				no("%s has capabilities", c.Name)
			}
			if nonRoot == nil || !*nonRoot || sc.RunAsUser != nil && *sc.RunAsUser == 0 {
				no("%s may be root", c.Name)
			}
			if seccomp == nil || seccomp.Type != "RuntimeDefault" && seccomp.Type != "Localhost" {
				no("%s has no seccomp profile", c.Name)
			}
		}
	}
	for _, n := range s.of("Namespace") {
		for _, mode := range []string{"enforce", "audit", "warn"} {
			if n.text("metadata", "labels", "pod-security.kubernetes.io/"+mode) != "restricted" {
				against = append(against, fmt.Sprintf("%s does not %s restricted", n, mode))
			}
		}
	}
	return against
}

func closed(s *stack) (against []string) {
	for _, w := range s.workloads() {
		p := w.pod
		no := func(text string) { against = append(against, fmt.Sprint(w, ": ", text)) }
		if p.AutomountServiceAccountToken == nil || *p.AutomountServiceAccountToken {
			no("a token is mounted")
		}
		if strings.Contains(fmt.Sprint(p.Volumes), "serviceAccountToken") {
			no("a volume has a token")
		}
		if p.EnableServiceLinks == nil || *p.EnableServiceLinks {
			no("Services are in its environment")
		}
		if account := p.ServiceAccountName; account != "" && s.find("ServiceAccount", account) == nil {
			no("there is no ServiceAccount " + account)
		}
		for _, c := range w.containers() {
			if !c.Security.ReadOnlyRootFilesystem {
				no("the root of " + c.Name + " can be written")
			}
		}
	}
	for _, a := range s.of("ServiceAccount") {
		if a["automountServiceAccountToken"] != false {
			against = append(against, fmt.Sprint(a, " gives out a token"))
		}
	}
	return against
}

func resources(s *stack) (against []string) {
	for _, w := range s.workloads() {
		for _, c := range w.containers() {
			for _, name := range []string{"cpu", "memory"} {
				if c.Resources.Requests[name] == "" || c.Resources.Limits[name] == "" {
					against = append(against, fmt.Sprintf("%s: %s has no request or no limit of %s", w, c.Name, name))
				}
			}
			if size(c.Resources.Requests["memory"]) == 0 || size(c.Resources.Requests["memory"]) > size(c.Resources.Limits["memory"]) ||
				millis(c.Resources.Requests["cpu"]) == 0 || millis(c.Resources.Requests["cpu"]) > millis(c.Resources.Limits["cpu"]) {
				against = append(against, fmt.Sprintf("%s: %s asks for more than it may have, or for nothing: %v", w, c.Name, c.Resources))
			}
			// What is used beyond the request others may need: then the kernel ends somebody.
			if s.name != "overlay local" && c.Resources.Requests["memory"] != c.Resources.Limits["memory"] {
				against = append(against, fmt.Sprintf("%s: request and limit of memory differ", w))
			}
		}
	}
	return against
}

// size is bytes of memory, in whole Mi or Gi, and millis thousandths of a CPU. What is said otherwise is 0.
func size(quantity string) int {
	for unit, shift := range map[string]int{"Mi": 20, "Gi": 30} {
		if n, err := strconv.Atoi(strings.TrimSuffix(quantity, unit)); err == nil && strings.HasSuffix(quantity, unit) {
			return n << shift
		}
	}
	return 0
}

func millis(quantity string) int {
	if text, ok := strings.CutSuffix(quantity, "m"); ok {
		n, _ := strconv.Atoi(text)
		return n
	}
	n, _ := strconv.ParseFloat(quantity, 64)
	return int(n * 1000)
}

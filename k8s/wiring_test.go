package k8s

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"net/netip"
	"path"
	"regexp"
	"slices"
	"strings"
	"time"
)

// Policies of what has to fit together though no object says so: settings and mounts, certificates and routes, what
// Prometheus is told and what its rules look for.

// settings is the environment of a container, as far as it is not taken from the pod.
func (s *stack) settings(c container) map[string]string {
	all := map[string]string{}
	for _, from := range c.EnvFrom {
		data, _ := at(map[string]any(s.find("ConfigMap", from.ConfigMapRef.Name)), "data").(map[string]any)
		for name, value := range data {
			all[name] = fmt.Sprint(value)
		}
	}
	for _, e := range c.Env {
		all[e.Name] = e.Value
	}
	return all
}

// files are those that a volume makes of ConfigMaps and Secrets.
func (s *stack) files(volume map[string]any) (names []string) {
	if name, ok := at(volume, "configMap", "name").(string); ok {
		data, _ := at(map[string]any(s.find("ConfigMap", name)), "data").(map[string]any)
		return slices.Sorted(maps.Keys(data))
	}
	for _, ref := range secretsOf(&workload{pod: podSpec{Volumes: []map[string]any{volume}}}) {
		for _, item := range ref.Items {
			names = append(names, item.Path)
		}
	}
	return names
}

func mounts(s *stack) (against []string) {
	for _, w := range s.workloads() {
		no := func(format string, args ...any) {
			against = append(against, fmt.Sprintf("%s: "+format, append([]any{w}, args...)...))
		}
		// What changes in a ConfigMap is another name, and so another pod. Under one name running pods would go on with
		// what they have read, and those that start later have something else.
		hashed := func(name string) {
			if !regexp.MustCompile(`-[a-z0-9]{10}$`).MatchString(name) {
				no("what changes in the ConfigMap %q is not a rollout", name)
			}
		}
		volumes := map[string]map[string]any{}
		for _, v := range w.pod.Volumes {
			volumes[fmt.Sprint(v["name"])] = v
			if name, ok := at(v, "configMap", "name").(string); ok {
				hashed(name)
			}
			for _, kind := range []string{"secret", "projected"} {
				if v[kind] == nil {
					continue
				}
				// Without a mode it is 0644, and neko-api takes no secret that everybody may read. Root owns the files:
				// who runs there reads them as the group that fsGroup makes.
				if mode, ok := at(v, kind, "defaultMode").(int); !ok || mode&0o337 != 0 {
					no("others may read the secrets of volume %v, or change them", v["name"])
				}
				if g := w.pod.Security.FSGroup; g == nil || *g == 0 {
					no("it cannot read the secrets of volume %v", v["name"])
				}
			}
		}
		claims, _ := at(map[string]any(w.object), "spec", "volumeClaimTemplates").([]any)
		for _, c := range claims {
			volumes[fmt.Sprint(at(c, "metadata", "name"))] = map[string]any{}
		}
		mounted := map[string]bool{}
		for _, c := range w.containers() {
			for _, from := range c.EnvFrom {
				hashed(from.ConfigMapRef.Name)
			}
			there, writable := []string{}, []string{}
			for _, m := range c.VolumeMounts {
				v, ok := volumes[m.Name]
				if !ok {
					no("there is no volume %s", m.Name)
				}
				mounted[m.Name] = true
				for _, name := range s.files(v) {
					there = append(there, path.Join(m.MountPath, name))
				}
				if v["emptyDir"] != nil {
					writable = append(writable, m.MountPath)
				}
			}
			for name, value := range s.settings(c) {
				if strings.HasSuffix(name, "_FILE") && !slices.Contains(there, value) {
					no("%s is %s, where no volume has a file: there are %q", name, value, there)
				}
				// Below it: the volume itself is everybody's, and no home to nekoctl.
				if name == "NEKO_HOME" && !slices.ContainsFunc(writable, func(dir string) bool { return strings.HasPrefix(value, dir+"/") }) {
					no("NEKO_HOME is %s, which is no folder in a volume that can be written", value)
				}
			}
			if w.String() == "Deployment/neko-api" && s.settings(c)["NEKO_HOME"] == "" {
				no("NEKO_HOME is not set")
			}
			for _, word := range slices.Concat(c.Command, c.Args) {
				if strings.HasPrefix(word, "/etc/") && !slices.Contains(there, word) {
					no("%s is started, where no volume has a file: there are %q", word, there)
				}
			}
		}
		for name := range volumes {
			if !mounted[name] {
				no("nobody mounts %s", name)
			}
		}
	}
	return against
}

func production(s *stack) (against []string) {
	no := func(format string, args ...any) { against = append(against, fmt.Sprintf(format, args...)) }
	for _, w := range s.workloads() {
		if w.kind() == "CronJob" && at(map[string]any(w.object), "spec", "suspend") != true {
			no("%s runs by itself", w)
		}
	}
	have := s.settings(s.workload("Deployment", "neko-api").pod.Containers[0])
	if s.name == "overlay local" {
		return against
	}
	if have["NEKO_API_PRODUCTION"] != "true" || have["NEKO_API_LOAD_SAMPLE"] != "false" {
		no("it is not set up for production")
	}
	if strings.HasPrefix(s.name, "overlay ") && have["NEKO_API_REGIONS"] != "true" {
		no("regions do not hear of each other")
	}
	if len(s.of("Gateway"))+len(s.of("Ingress")) == 0 {
		return against
	}
	var trusted []netip.Prefix
	for _, text := range strings.Split(have["NEKO_API_TRUSTED_PROXIES"], ",") {
		p, err := netip.ParsePrefix(strings.TrimSpace(text))
		if err != nil || p.Bits() < 8 {
			no("NEKO_API_TRUSTED_PROXIES has %q", text)
			continue
		}
		trusted = append(trusted, p)
	}
	if idle, _ := time.ParseDuration(have["NEKO_API_IDLE_TIMEOUT"]); len(s.of("Gateway")) > 0 && idle <= time.Hour {
		no("NEKO_API_IDLE_TIMEOUT is %v, and Envoy sends requests over connections that are an hour old", idle)
	}
	if have["NEKO_API_CLOUDFLARE_ZONE"] == "" {
		return against
	}
	// Cloudflare calls from where it is called. If its component is named before the gateway's, that one's list replaces
	// this, and all clients have a few addresses.
	if !slices.ContainsFunc(trusted, func(p netip.Prefix) bool { return p.Addr().IsPrivate() }) {
		no("the pods of the gateway are not trusted")
	}
	rules, _ := at(map[string]any(s.find("NetworkPolicy", "neko-api-to-cloudflare")), "spec", "egress").([]any)
	for _, r := range rules {
		to, _ := at(r, "to").([]any)
		for _, peer := range to {
			cidr := fmt.Sprint(at(peer, "ipBlock", "cidr"))
			if p, err := netip.ParsePrefix(cidr); err != nil || !slices.Contains(trusted, p) {
				no("NEKO_API_TRUSTED_PROXIES is without Cloudflare's %s", cidr)
			}
		}
	}
	return against
}

// public is what may be seen from outside: /health and /metrics tell how things are inside.
var public = []string{"/graphql", "/.well-known/jwks.json", "/readyz"}

func wayIn(s *stack) (against []string) {
	no := func(format string, args ...any) { against = append(against, fmt.Sprintf(format, args...)) }
	texts := func(v any, path ...string) (list []string) {
		all, _ := at(v, path...).([]any)
		for _, each := range all {
			list = append(list, fmt.Sprint(each))
		}
		return list
	}
	// made says whether the Certificate of a Secret is for these names. Without cert-manager the Secret is somebody else's.
	made := func(secret string, names []string) {
		certificates := s.of("Certificate")
		for _, c := range certificates {
			if s.find(c.text("spec", "issuerRef", "kind"), c.text("spec", "issuerRef", "name")) == nil {
				no("%s: there is no such issuer", c)
			}
			if c.text("spec", "secretName") != secret {
				continue
			}
			for _, name := range names {
				if !slices.Contains(texts(map[string]any(c), "spec", "dnsNames"), name) {
					no("%s is not for %s", c, name)
				}
			}
			return
		}
		if len(certificates) > 0 {
			no("nobody makes the certificate in %s", secret)
		}
	}
	for _, g := range s.of("Gateway") {
		protocols := map[string]string{}
		listeners, _ := at(map[string]any(g), "spec", "listeners").([]any)
		for _, l := range listeners {
			protocols[fmt.Sprint(at(l, "name"))] = fmt.Sprint(at(l, "protocol"))
		}
		var hosts []string
		served := false
		for _, r := range s.of("HTTPRoute") {
			rules, _ := at(map[string]any(r), "spec", "rules").([]any)
			parents, _ := at(map[string]any(r), "spec", "parentRefs").([]any)
			redirects := strings.Contains(fmt.Sprint(rules), "RequestRedirect")
			for _, p := range parents {
				switch protocol := protocols[fmt.Sprint(at(p, "sectionName"))]; {
				case redirects && protocol != "HTTP":
					no("%s leads in a circle: it is at a listener for %s", r, protocol)
				case !redirects && protocol != "HTTPS":
					no("%s is at a listener for %s", r, protocol)
				}
			}
			if redirects {
				continue
			}
			served = true
			names := texts(map[string]any(r), "spec", "hostnames")
			if len(names) == 0 {
				no("%s is for whatever name", r)
			}
			hosts = append(hosts, names...)
			for _, rule := range rules {
				matches, _ := at(rule, "matches").([]any)
				for _, m := range matches {
					if value := fmt.Sprint(at(m, "path", "value")); !slices.Contains(public, value) {
						no("%s shows %s to all", r, value)
					}
				}
				if len(matches) == 0 {
					no("%s shows everything to all", r)
				}
				// A request has 30 s to arrive and an operation 10: neko-api is to be the one who says that it was too long.
				for _, name := range []string{"request", "backendRequest"} {
					if d, err := time.ParseDuration(fmt.Sprint(at(rule, "timeouts", name))); err != nil || d <= 40*time.Second {
						no("%s: its timeout %s is %v", r, name, at(rule, "timeouts", name))
					}
				}
			}
		}
		if !served {
			no("%s leads nowhere", g)
		}
		for _, l := range listeners {
			refs, _ := at(l, "tls", "certificateRefs").([]any)
			for _, ref := range refs {
				// Another namespace would have to allow it by a ReferenceGrant.
				if ns := at(ref, "namespace"); ns != nil && ns != "production" {
					no("%s has a certificate of the namespace %v", g, ns)
				}
				made(fmt.Sprint(at(ref, "name")), hosts)
			}
			if at(l, "protocol") == "HTTPS" && len(refs) == 0 {
				no("%s has no certificate", g)
			}
		}
	}
	for _, i := range s.of("Ingress") {
		secured := map[string]bool{}
		tls, _ := at(map[string]any(i), "spec", "tls").([]any)
		for _, t := range tls {
			for _, name := range texts(t, "hosts") {
				secured[name] = true
			}
			made(fmt.Sprint(at(t, "secretName")), texts(t, "hosts"))
		}
		rules, _ := at(map[string]any(i), "spec", "rules").([]any)
		for _, r := range rules {
			if host, _ := at(r, "host").(string); !secured[host] {
				no("%s has no certificate for %q", i, host)
			}
			paths, _ := at(r, "http", "paths").([]any)
			for _, p := range paths {
				if value := fmt.Sprint(at(p, "path")); !slices.Contains(public, value) {
					no("%s shows %s to all", i, value)
				}
			}
		}
	}
	return against
}

func monitored(s *stack) (against []string) {
	no := func(format string, args ...any) { against = append(against, fmt.Sprintf(format, args...)) }
	for _, m := range s.of("ServiceMonitor") {
		l := decodeTo[selector](at(map[string]any(m), "spec", "selector"))
		for _, service := range s.of("Service") {
			have := decodeTo[labels](at(map[string]any(service), "metadata", "labels"))
			// The name of the Service, without a jobLabel.
			if job := cmp.Or(have[m.text("spec", "jobLabel")], service.name()); l.MatchLabels.within(have) && job != "neko" {
				no("%s: the job is called %s, and no rule and no dashboard looks for that", m, job)
			}
		}
		endpoints, _ := at(map[string]any(m), "spec", "endpoints").([]any)
		for _, e := range endpoints {
			interval, err := time.ParseDuration(fmt.Sprint(at(e, "interval")))
			timeout, errTimeout := time.ParseDuration(fmt.Sprint(at(e, "scrapeTimeout")))
			// The operator ignores a ServiceMonitor of which this is not true; rate(…[1m]) of the rules wants four scrapes.
			if err != nil || errTimeout != nil || timeout > interval || interval > 15*time.Second {
				no("%s: a scrape each %v, of %v at most", m, at(e, "interval"), at(e, "scrapeTimeout"))
			}
			if strings.Contains(fmt.Sprint(at(e, "relabelings")), "pod_label_topology") {
				no("%s: the region is the node's, and not the overlay's", m)
			}
		}
		dashboards := 0
		for _, c := range s.of("ConfigMap") {
			if c.text("metadata", "labels", "grafana_dashboard") == "1" {
				dashboards++
			}
		}
		if dashboards != 3 || len(s.of("PrometheusRule")) != 1 {
			no("%s: there are %d dashboards that Grafana's sidecar finds, and %d lots of rules", m, dashboards, len(s.of("PrometheusRule")))
		}
	}
	return against
}

// annotation is how much `kubectl apply` may keep of an object in an annotation, which all together have 256 KiB: what is
// larger is refused. A quarter is for what others write there.
const annotation = 192 << 10

func small(s *stack) (against []string) {
	for _, o := range s.objects {
		text, err := json.Marshal(map[string]any(o)) // with \u003c for <, as kubectl does
		if err != nil || len(text) > annotation {
			against = append(against, fmt.Sprintf("%s has %d bytes, more than an annotation may: %v", o, len(text), err))
		}
	}
	return against
}

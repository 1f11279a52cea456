package k8s

import (
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

type peers struct {
	From, To []peer
	Ports    []struct {
		Protocol string
		Port     string
		EndPort  int `yaml:"endPort"`
	}
}

type peer struct {
	PodSelector       *selector `yaml:"podSelector"`
	NamespaceSelector *selector `yaml:"namespaceSelector"`
	IPBlock           *struct {
		CIDR   string `yaml:"cidr"`
		Except []string
	} `yaml:"ipBlock"`
}

type networkPolicy struct {
	PodSelector     selector `yaml:"podSelector"`
	PolicyTypes     []string `yaml:"policyTypes"`
	Ingress, Egress []peers
}

// flow is what has to come through: at a port of pods, or from them to a port elsewhere.
type flow struct {
	of      string // the name of the pods
	egress  bool
	peer    labels // of the other pods; nil: anybody by an address
	port    int
	foreign string // the namespace of the others
	udp     bool
}

func (s *stack) flows() (needed []flow) {
	api := s.workload("Deployment", "neko-api")
	mongo, redis := s.workload("StatefulSet", "neko-mongodb"), s.workload("StatefulSet", "neko-redis")
	if redis != nil {
		needed = append(needed, flow{"neko-api", true, redis.labels, 6379, "", false}, flow{"neko-redis", false, api.labels, 6379, "", false})
		if redis.replicas > 1 {
			for _, port := range []int{6379, 16379} {
				needed = append(needed, flow{"neko-redis", true, redis.labels, port, "", false}, flow{"neko-redis", false, redis.labels, port, "", false})
			}
		}
	}
	if s.name == "component redis-external" {
		needed = append(needed, flow{"neko-api", true, nil, 6379, "", false})
	}
	if mongo != nil {
		needed = append(needed, flow{"neko-api", true, mongo.labels, 27017, "", false}, flow{"neko-mongodb", false, api.labels, 27017, "", false})
	} else {
		needed = append(needed, flow{"neko-api", true, nil, 27017, "", false}, flow{"neko-api-migrate", true, nil, 27017, "", false})
	}
	if len(s.of("Gateway")) > 0 {
		needed = append(needed, flow{"neko-api", false, labels{"gateway.envoyproxy.io/owning-gateway-name": "neko-api", "gateway.envoyproxy.io/owning-gateway-namespace": "production"}, 4000, "envoy-gateway-system", false})
	}
	if len(s.of("Ingress")) > 0 {
		needed = append(needed, flow{"neko-api", false, labels{"app.kubernetes.io/name": "ingress-nginx", "app.kubernetes.io/component": "controller"}, 4000, "ingress-nginx", false})
	}
	if len(s.of("ServiceMonitor")) > 0 {
		needed = append(needed, flow{"neko-api", false, labels{"app.kubernetes.io/name": "prometheus"}, 9464, "monitoring", false})
	}
	for _, c := range api.pod.Containers {
		for _, from := range c.EnvFrom {
			u, _ := url.Parse(s.find("ConfigMap", from.ConfigMapRef.Name).text("data", "OTEL_EXPORTER_OTLP_ENDPOINT"))
			if u.Host != "" {
				name, namespace, _ := strings.Cut(strings.TrimSuffix(u.Hostname(), ".svc"), ".")
				port, _ := strconv.Atoi(u.Port())
				needed = append(needed, flow{"neko-api", true, labels{"app.kubernetes.io/name": name}, port, namespace, false})
			}
		}
	}
	for _, w := range s.workloads() {
		for _, udp := range []bool{false, true} {
			needed = append(needed, flow{w.name(), true, nil, 53, "kube-system", udp})
		}
	}
	return needed
}

// admits says whether one of the rules lets a flow through.
func (f flow) admits(rules []peers, w *workload, other func(string) int) bool {
	for _, r := range rules {
		port := false
		for _, p := range r.Ports {
			port = port || other(p.Port) == f.port && (p.Protocol == "UDP") == f.udp
		}
		if !port {
			continue
		}
		for _, p := range slices.Concat(r.From, r.To) {
			switch {
			case p.IPBlock != nil:
				if f.peer == nil && f.foreign == "" && p.IPBlock.CIDR == "0.0.0.0/0" {
					return true
				}
			case (p.NamespaceSelector == nil) != (f.foreign == ""):
			case p.NamespaceSelector != nil && !p.NamespaceSelector.MatchLabels.within(labels{"kubernetes.io/metadata.name": f.foreign}):
			case p.PodSelector == nil && f.peer == nil, p.PodSelector != nil && f.peer != nil && p.PodSelector.MatchLabels.within(f.peer):
				return true
			}
		}
	}
	return false
}

func flows(s *stack) (against []string) {
	no := func(format string, args ...any) { against = append(against, fmt.Sprintf(format, args...)) }
	policies := map[string]networkPolicy{}
	for _, o := range s.of("NetworkPolicy") {
		policies[o.name()] = decodeTo[networkPolicy](o["spec"])
	}
	deny := policies["default-deny"]
	if len(deny.PodSelector.MatchLabels)+len(deny.PodSelector.MatchExpressions)+len(deny.Ingress)+len(deny.Egress) > 0 || !slices.Equal(deny.PolicyTypes, []string{"Ingress", "Egress"}) {
		no("default-deny does not deny all to all")
	}
	for name, p := range policies {
		for _, r := range slices.Concat(p.Ingress, p.Egress) {
			for _, port := range r.Ports {
				if port.Port == "" || port.EndPort != 0 {
					no("%s names no port", name)
				}
			}
			if len(r.From)+len(r.To) == 0 || len(r.Ports) == 0 {
				no("%s lets all of somebody through", name)
			}
			for _, peer := range slices.Concat(r.From, r.To) {
				if peer.IPBlock == nil && (peer.PodSelector == nil || len(peer.PodSelector.MatchLabels) == 0) && name != "all-to-dns" {
					no("%s lets any pod through", name)
				}
				// Where clouds give out credentials to whoever asks.
				if b := peer.IPBlock; b != nil && (b.CIDR == "0.0.0.0/0" && !slices.Contains(b.Except, "169.254.0.0/16") || b.CIDR == "::/0" && !slices.Contains(b.Except, "fd00:ec2::/32")) {
					no("%s leads to the metadata of the node", name)
				}
			}
		}
		if len(p.Ingress) > 0 && !slices.Contains(p.PolicyTypes, "Ingress") || len(p.Egress) > 0 && !slices.Contains(p.PolicyTypes, "Egress") {
			no("%s has rules of a type that it does not name", name)
		}
	}
	for _, f := range s.flows() {
		var w *workload
		for _, each := range s.workloads() {
			if each.name() == f.of {
				w = each
			}
		}
		ok := false
		for _, p := range policies {
			if len(p.PodSelector.MatchLabels) > 0 && !p.PodSelector.MatchLabels.within(w.labels) {
				continue
			}
			rules, named := p.Ingress, w.number
			if f.egress {
				// The name of a port is that of who is called.
				rules, named = p.Egress, func(port string) int {
					for _, each := range s.workloads() {
						if f.peer.within(each.labels) && each.number(port) != 0 {
							return each.number(port)
						}
					}
					n, _ := strconv.Atoi(port)
					return n
				}
			}
			ok = ok || f.admits(rules, w, named)
		}
		if !ok {
			no("%s needs what no policy allows: %+v", f.of, f)
		}
	}
	return against
}

package k8s

import (
	"cmp"
	"fmt"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v4"

	"github.com/nekoctl/neko/supervisor/spec"
)

// What must hold of all that is built, and a schema does not know. Each policy says what is against it, and each has
// changes after which it must say something, so that none is a yes-man.

type labels map[string]string

// within says whether a selector, which is not empty, selects what has these.
func (l labels) within(have labels) bool {
	for key, value := range l {
		if have[key] != value {
			return false
		}
	}
	return len(l) > 0
}

type selector struct {
	MatchLabels      labels `yaml:"matchLabels"`
	MatchExpressions []any  `yaml:"matchExpressions"`
}

type probe struct {
	HTTPGet *struct{ Path, Port string } `yaml:"httpGet"`
	TCP     *struct{ Port string }       `yaml:"tcpSocket"`
	Exec    *struct{ Command []string }  `yaml:"exec"`

	PeriodSeconds    int `yaml:"periodSeconds"`
	FailureThreshold int `yaml:"failureThreshold"`
}

type container struct {
	Name, Image   string
	Command, Args []string
	Ports         []struct {
		Name          string
		ContainerPort int `yaml:"containerPort"`
	}
	Env []struct {
		Name, Value string
		ValueFrom   any `yaml:"valueFrom"`
	}
	EnvFrom []struct {
		ConfigMapRef struct{ Name string } `yaml:"configMapRef"`
		SecretRef    *struct{}             `yaml:"secretRef"`
	} `yaml:"envFrom"`
	Resources struct{ Requests, Limits map[string]string }
	Security  struct {
		AllowPrivilegeEscalation *bool `yaml:"allowPrivilegeEscalation"`
		Privileged               bool
		ReadOnlyRootFilesystem   bool  `yaml:"readOnlyRootFilesystem"`
		RunAsNonRoot             *bool `yaml:"runAsNonRoot"`
		RunAsUser                *int  `yaml:"runAsUser"`
		Capabilities             struct{ Add, Drop []string }
		SeccompProfile           *struct{ Type string } `yaml:"seccompProfile"`
		ProcMount                string                 `yaml:"procMount"`
	} `yaml:"securityContext"`
	StartupProbe   *probe `yaml:"startupProbe"`
	ReadinessProbe *probe `yaml:"readinessProbe"`
	LivenessProbe  *probe `yaml:"livenessProbe"`
	VolumeMounts   []struct {
		Name      string
		MountPath string `yaml:"mountPath"`
	} `yaml:"volumeMounts"`
	ResizePolicy []struct {
		RestartPolicy string `yaml:"restartPolicy"`
	} `yaml:"resizePolicy"`
}

type secretRef struct {
	Name       string
	SecretName string                       `yaml:"secretName"`
	Items      []struct{ Key, Path string } `yaml:"items"`
}

type podSpec struct {
	ServiceAccountName            string `yaml:"serviceAccountName"`
	AutomountServiceAccountToken  *bool  `yaml:"automountServiceAccountToken"`
	EnableServiceLinks            *bool  `yaml:"enableServiceLinks"`
	TerminationGracePeriodSeconds int    `yaml:"terminationGracePeriodSeconds"`
	HostNetwork                   bool   `yaml:"hostNetwork"`
	HostPID                       bool   `yaml:"hostPID"`
	HostIPC                       bool   `yaml:"hostIPC"`
	Security                      struct {
		RunAsNonRoot   *bool                  `yaml:"runAsNonRoot"`
		RunAsUser      *int                   `yaml:"runAsUser"`
		FSGroup        *int                   `yaml:"fsGroup"`
		SeccompProfile *struct{ Type string } `yaml:"seccompProfile"`
	} `yaml:"securityContext"`
	Tolerations []struct {
		Effect            string
		TolerationSeconds *int `yaml:"tolerationSeconds"`
	}
	InitContainers []container `yaml:"initContainers"`
	Containers     []container
	Volumes        []map[string]any
	Spread         []struct {
		LabelSelector     selector `yaml:"labelSelector"`
		TopologyKey       string   `yaml:"topologyKey"`
		WhenUnsatisfiable string   `yaml:"whenUnsatisfiable"`
		NodeTaintsPolicy  string   `yaml:"nodeTaintsPolicy"`
		MatchLabelKeys    []string `yaml:"matchLabelKeys"`
	} `yaml:"topologySpreadConstraints"`
	Affinity struct {
		PodAntiAffinity struct {
			Required []struct {
				LabelSelector selector `yaml:"labelSelector"`
			} `yaml:"requiredDuringSchedulingIgnoredDuringExecution"`
			Preferred []struct {
				Term struct {
					LabelSelector selector `yaml:"labelSelector"`
				} `yaml:"podAffinityTerm"`
			} `yaml:"preferredDuringSchedulingIgnoredDuringExecution"`
		} `yaml:"podAntiAffinity"`
	}
}

// workload is something that makes pods.
type workload struct {
	object
	labels   labels // of its pods
	selector selector
	pod      podSpec
	replicas int // 0: it does not say
}

func (w *workload) containers() []container {
	return slices.Concat(w.pod.InitContainers, w.pod.Containers)
}

func (s *stack) workloads() (list []*workload) {
	if s.made != nil {
		return s.made
	}
	defer func() { s.made = list }()
	for _, o := range s.objects {
		path := []string{"spec", "template"}
		switch o.kind() {
		case "Deployment", "StatefulSet", "DaemonSet", "Job":
		case "CronJob":
			path = []string{"spec", "jobTemplate", "spec", "template"}
		case "Pod":
			path = nil
		default:
			continue
		}
		t := at(map[string]any(o), path...)
		w := &workload{object: o}
		w.labels = decodeTo[labels](at(t, "metadata", "labels"))
		w.pod = decodeTo[podSpec](at(t, "spec"))
		w.selector = decodeTo[selector](at(map[string]any(o), "spec", "selector"))
		w.replicas, _ = at(map[string]any(o), "spec", "replicas").(int)
		list = append(list, w)
	}
	return list
}

// decodeTo has a part of an object in a Go type. That it is what it has to be the schemas have said.
func decodeTo[T any](v any) T {
	out, err := as[T](v)
	if err != nil {
		panic(err)
	}
	return out
}

func (s *stack) find(kind, name string) object {
	for _, o := range s.objects {
		if o.kind() == kind && o.name() == name {
			return o
		}
	}
	return nil
}

func (s *stack) workload(kind, name string) *workload {
	for _, w := range s.workloads() {
		if w.kind() == kind && w.name() == name {
			return w
		}
	}
	return nil
}

func (s *stack) selected(l selector) (list []*workload) {
	for _, w := range s.workloads() {
		if len(l.MatchExpressions) == 0 && l.MatchLabels.within(w.labels) {
			list = append(list, w)
		}
	}
	return list
}

// change is what has to be refused.
type change struct {
	stack, object, path string
	value               any
}

type policy struct {
	name    string
	against func(s *stack) []string
	changes []change
}

const region = "overlay us-east-1"

var policies = []policy{
	{"each image has a version, one name one version, and neko's is the newest of CHANGELOG.md", images, []change{
		{region, "Deployment/neko-api", "spec.template.spec.containers.0.image", "ghcr.io/nekoctl/neko:latest"},
		{region, "Deployment/neko-api", "spec.template.spec.containers.0.image", "ghcr.io/nekoctl/neko"},
		{region, "Deployment/neko-api", "spec.template.spec.containers.0.image", "ghcr.io/nekoctl/neko:0.9.0"},
		{region, "CronJob/neko-api-migrate", "spec.jobTemplate.spec.template.spec.containers.0.image", "ghcr.io/nekoctl/neko:0.9.0"},
		{region, "StatefulSet/neko-redis", "spec.template.spec.containers.0.image", "localhost:5000/redis"},
	}},
	{"pod security is restricted, by the rules of Kubernetes 1.37", restricted, []change{
		{region, "Deployment/neko-api", "spec.template.spec.containers.0.securityContext.allowPrivilegeEscalation", nil},
		{region, "Deployment/neko-api", "spec.template.spec.containers.0.securityContext.privileged", true},
		{region, "Deployment/neko-api", "spec.template.spec.containers.0.securityContext.capabilities.drop", []any{"NET_RAW"}},
		{region, "Deployment/neko-api", "spec.template.spec.containers.0.securityContext.capabilities.add", []any{"SYS_ADMIN"}},
		{region, "Deployment/neko-api", "spec.template.spec.containers.0.securityContext.runAsNonRoot", false},
		{region, "Deployment/neko-api", "spec.template.spec.securityContext.runAsUser", 0},
		{region, "Deployment/neko-api", "spec.template.spec.containers.0.securityContext.runAsUser", 0},
		{region, "Deployment/neko-api", "spec.template.spec.securityContext.seccompProfile", nil},
		{region, "Deployment/neko-api", "spec.template.spec.hostNetwork", true},
		{region, "Deployment/neko-api", "spec.template.spec.volumes.2.hostPath", map[string]any{"path": "/"}},
		{region, "StatefulSet/neko-redis", "spec.template.spec.containers.0.securityContext", nil},
		{region, "CronJob/neko-api-migrate", "spec.jobTemplate.spec.template.spec.securityContext", nil},
		{region, "Namespace/production", "metadata.labels.pod-security~kubernetes~io/enforce", "baseline"},
	}},
	{"roots are read-only, no token is mounted, no Service is in the environment", closed, []change{
		{region, "Deployment/neko-api", "spec.template.spec.containers.0.securityContext.readOnlyRootFilesystem", false},
		{region, "StatefulSet/neko-redis", "spec.template.spec.automountServiceAccountToken", nil},
		{region, "ServiceAccount/neko-api", "automountServiceAccountToken", true},
		{region, "Deployment/neko-api", "spec.template.spec.enableServiceLinks", true},
		{region, "Deployment/neko-api", "spec.template.spec.serviceAccountName", "other"},
		{region, "Deployment/neko-api", "spec.template.spec.volumes.2.projected.sources.0.serviceAccountToken", map[string]any{"path": "token"}},
	}},
	{"requests and limits are set, and memory's are one, but on a machine of one's own", resources, []change{
		{region, "Deployment/neko-api", "spec.template.spec.containers.0.resources.limits.cpu", nil},
		{region, "Deployment/neko-api", "spec.template.spec.containers.0.resources.requests", nil},
		{region, "StatefulSet/neko-redis", "spec.template.spec.containers.0.resources.requests.memory", "1Gi"},
		{region, "CronJob/neko-api-migrate", "spec.jobTemplate.spec.template.spec.containers.0.resources", nil},
		// Thousandths of a byte.
		{region, "Deployment/neko-api", "spec.template.spec.containers.0.resources", map[string]any{
			"requests": map[string]any{"cpu": "1", "memory": "1536m"}, "limits": map[string]any{"cpu": "2", "memory": "1536m"}}},
		{region, "Deployment/neko-api", "spec.template.spec.containers.0.resources.requests.cpu", "3"},
		{"overlay local", "Deployment/neko-api", "spec.template.spec.containers.0.resources.requests.memory", "1Gi"},
	}},
	{"selectors select what is meant", selectors, []change{
		{region, "Service/neko-api", "spec.selector.app~kubernetes~io/name", "neko"},
		{region, "Service/neko-api", "spec.selector", map[string]any{"app.kubernetes.io/part-of": "neko"}},
		{region, "Service/neko-redis", "spec.selector.app~kubernetes~io/component", "db"},
		{region, "Deployment/neko-api", "spec.selector.matchLabels.app~kubernetes~io/name", "other"},
		{region, "Deployment/neko-api", "spec.template.metadata.labels.app~kubernetes~io/name", "other"},
		{region, "PodDisruptionBudget/neko-api", "spec.selector.matchLabels.app~kubernetes~io/name", "other"},
		{region, "PodDisruptionBudget/neko-api", "metadata.name", "other"},
		{region, "HorizontalPodAutoscaler/neko-api", "spec.scaleTargetRef.name", "other"},
		{region, "HorizontalPodAutoscaler/neko-api", "spec.metrics.0.containerResource.container", "other"},
		{region, "VerticalPodAutoscaler/neko-api", "spec.targetRef.name", "other"},
		{region, "VerticalPodAutoscaler/neko-api", "spec.resourcePolicy.containerPolicies.0.containerName", "other"},
		{region, "ServiceMonitor/neko-api", "spec.selector.matchLabels.app~kubernetes~io/name", "other"},
		{region, "Deployment/neko-api", "spec.template.spec.topologySpreadConstraints.1.labelSelector.matchLabels.app~kubernetes~io/name", "other"},
		{region, "Deployment/neko-api", "spec.template.spec.affinity.podAntiAffinity.preferredDuringSchedulingIgnoredDuringExecution.0.podAffinityTerm.labelSelector.matchLabels.app~kubernetes~io/name", "other"},
		{region, "StatefulSet/neko-redis", "spec.serviceName", "other"},
		{region, "NetworkPolicy/neko-api-to-redis", "spec.podSelector.matchLabels.app~kubernetes~io/name", "other"},
		{"component redis-cluster", "StatefulSet/neko-redis", "spec.template.spec.affinity.podAntiAffinity.requiredDuringSchedulingIgnoredDuringExecution.0.labelSelector.matchLabels.app~kubernetes~io/name", "other"},
	}},
	{"ports match: containers, probes, Services, routes, monitors", ports, []change{
		{region, "Deployment/neko-api", "spec.template.spec.containers.0.ports.0.name", "web"},
		{region, "Deployment/neko-api", "spec.template.spec.containers.0.ports.0.containerPort", 4001},
		{region, "Deployment/neko-api", "spec.template.spec.containers.0.readinessProbe.httpGet.port", "htp"},
		{region, "Service/neko-api", "spec.ports.0.targetPort", "htp"},
		{region, "HTTPRoute/neko-api", "spec.rules.0.backendRefs.0.port", 4001},
		{region, "HTTPRoute/neko-api", "spec.rules.0.backendRefs.0.name", "other"},
		{region, "HTTPRoute/neko-api", "spec.parentRefs.0.sectionName", "htps"},
		{region, "ServiceMonitor/neko-api", "spec.endpoints.0.port", "metric"},
		{"component ingress-nginx", "Ingress/neko-api", "spec.rules.0.http.paths.0.backend.service.port.name", "htp"},
		{"overlay local", "StatefulSet/neko-mongodb", "spec.template.spec.containers.0.readinessProbe.tcpSocket.port", "mongo"},
	}},
	{"neko.yaml listens where the container says, and pods end later than it does", nekoYAML, []change{
		{region, "Deployment/neko-api", "spec.template.spec.containers.0.ports.1.containerPort", 9465},
		{region, "Deployment/neko-api", "spec.template.spec.terminationGracePeriodSeconds", 27},
		{region, "ConfigMap/neko-api", "data.neko~yaml", "metrics: \":9464\"\napps: [{name: neko-api, command: neko-api, instances: max, listen: \":4000\", shutdown_delay: 10s, drain_timeout: 28s, kill_timeout: 2s}]"},
		{region, "ConfigMap/neko-api", "data.neko~yaml", "metrics: \":9464\"\napps: [{name: neko-api, command: neko-api, instances: max, listen: \":4000\", shutdown_delay: 1s, drain_timeout: 5s, kill_timeout: 2s}]"},
		{region, "ConfigMap/neko-api", "data.neko~yaml", "metrics: \":9464\"\napps: [{name: neko-api, command: neko-api, instances: max, listen: \":4001\", shutdown_delay: 10s}]"},
		{region, "ConfigMap/neko-api", "data.neko~yaml", "metrics: \":9464\"\napps: [{name: neko-api, command: neko-api, instances: max, listen: \"127.0.0.1:4000\", shutdown_delay: 10s}]"},
		{region, "ConfigMap/neko-api", "data.neko~yaml", "metrics: \":9464\"\napps: [{name: neko-api, command: neko-api, instances: 8, listen: \":4000\", shutdown_delay: 10s}]"},
		{region, "ConfigMap/neko-api", "data.neko~yaml", "metrics: \"127.0.0.1:9464\"\napps: [{name: neko-api, command: neko-api, instances: max, listen: \":4000\", shutdown_delay: 10s}]"},
	}},
	{"no flow is open that is not named, and each that is needed is", flows, []change{
		{region, "NetworkPolicy/default-deny", "spec.podSelector", map[string]any{"matchLabels": map[string]any{"app.kubernetes.io/name": "neko-api"}}},
		{region, "NetworkPolicy/default-deny", "spec.policyTypes", []any{"Ingress"}},
		{region, "NetworkPolicy/default-deny", "spec.ingress", []any{map[string]any{}}},
		{region, "NetworkPolicy/all-to-dns", "spec.egress.0.ports.0.port", 54},
		{region, "NetworkPolicy/all-to-dns", "spec.egress.0.ports.1.port", 54},
		{region, "NetworkPolicy/neko-api-to-redis", "spec.egress.0.ports.0.port", 6380},
		{region, "NetworkPolicy/redis-from-neko-api", "spec.ingress.0.from.0.podSelector.matchLabels.app~kubernetes~io/name", "other"},
		{region, "NetworkPolicy/redis-from-neko-api", "spec.ingress.0.from", nil},
		{region, "NetworkPolicy/redis-from-neko-api", "spec.ingress.0.ports", nil},
		{region, "NetworkPolicy/gateway-to-neko-api", "spec.ingress.0.ports.0.port", "metrics"},
		{region, "NetworkPolicy/prometheus-to-neko-api", "spec.ingress.0.ports.0.port", "http"},
		{region, "NetworkPolicy/neko-api-to-mongodb", "spec.egress.0.ports.0.port", 27018},
		{region, "NetworkPolicy/neko-api-to-mongodb", "spec.egress.0.ports.0.port", nil},
		{region, "NetworkPolicy/neko-api-to-mongodb", "spec.egress.0.ports.0.endPort", 65535},
		{region, "NetworkPolicy/neko-api-to-mongodb", "spec.egress.0.to.0.ipBlock.except", nil},
		{region, "NetworkPolicy/neko-api-to-mongodb", "spec.egress.0.to.1.ipBlock.except", nil},
		{region, "NetworkPolicy/neko-api-to-mongodb", "spec.podSelector.matchLabels.app~kubernetes~io/component", "api"}, // and not the job that migrates
		{region, "NetworkPolicy/all-to-dns", "spec.egress.0.ports.1", nil},
		{region, "NetworkPolicy/all-to-dns", "spec.egress.0.to.0.namespaceSelector.matchLabels", map[string]any{"name": "kube-system"}},
		{region, "NetworkPolicy/all-to-dns", "spec.policyTypes", []any{"Ingress"}},
		// A dash too many: of a namespace, or of a label, and not of both.
		{region, "NetworkPolicy/gateway-to-neko-api", "spec.ingress.0.from", []any{
			map[string]any{"namespaceSelector": map[string]any{"matchLabels": map[string]any{"kubernetes.io/metadata.name": "envoy-gateway-system"}}},
			map[string]any{"podSelector": map[string]any{"matchLabels": map[string]any{"gateway.envoyproxy.io/owning-gateway-name": "neko-api"}}}}},
		{"component redis-cluster", "NetworkPolicy/redis-to-redis", "spec.ingress.0.ports.1", nil},
		{"component redis-cluster", "NetworkPolicy/redis-to-redis", "spec.egress", nil},
		{"component redis-external", "NetworkPolicy/neko-api-to-external-redis", "spec.egress", nil},
		{"overlay local", "NetworkPolicy/neko-api-to-mongodb-local", "spec.egress", nil},
	}},
	{"a budget leaves room for a drain, and a rollout for who is asked", room, []change{
		{region, "PodDisruptionBudget/neko-api", "spec.minAvailable", 3},
		{region, "PodDisruptionBudget/neko-api", "spec.minAvailable", "100%"},
		{region, "PodDisruptionBudget/neko-redis", "spec.maxUnavailable", 0},
		{region, "PodDisruptionBudget/neko-api", "spec.unhealthyPodEvictionPolicy", nil},
		{region, "HorizontalPodAutoscaler/neko-api", "spec.minReplicas", 2},
		{region, "HorizontalPodAutoscaler/neko-api", "spec.maxReplicas", 2},
		{region, "Deployment/neko-api", "spec.strategy.rollingUpdate.maxUnavailable", 1},
		{region, "Deployment/neko-api", "spec.strategy.rollingUpdate.maxSurge", 0},
		{region, "Deployment/neko-api", "spec.strategy.type", "Recreate"},
		{region, "Deployment/neko-api", "spec.replicas", 3},
		{"overlay local", "Deployment/neko-api", "spec.replicas", 1},
	}},
	{"no resource is both the HPA's and the VPA's", oneScaler, []change{
		{region, "VerticalPodAutoscaler/neko-api", "spec.resourcePolicy.containerPolicies.0.controlledResources", []any{"cpu", "memory"}},
		{region, "VerticalPodAutoscaler/neko-api", "spec.resourcePolicy", nil},
		{region, "HorizontalPodAutoscaler/neko-api", "spec.metrics.0.containerResource.name", "memory"},
		{region, "VerticalPodAutoscaler/neko-api", "spec.resourcePolicy.containerPolicies.1.mode", "Auto"},
	}},
	{"keys of Secrets are documented, and documented ones used", secretKeys, []change{
		{region, "Deployment/neko-api", "spec.template.spec.volumes.1.projected.sources.0.secret.items.0.key", "uri"},
		{region, "Deployment/neko-api", "spec.template.spec.volumes.1.projected.sources.1.secret.name", "redis"},
		{region, "StatefulSet/neko-redis", "spec.template.spec.volumes.1.secret.items.0.key", "acl"},
		{region, "StatefulSet/neko-redis", "spec.template.spec.volumes.1.secret.items", nil},
		{"component external-secrets", "ExternalSecret/neko-auth", "spec.data.0.secretKey", "key"},
		{"component redis-cluster", "StatefulSet/neko-redis", "spec.template.spec.volumes.1.secret.items.1", nil},
		{"overlay local", "Secret/neko-redis", "data.url", nil},
	}},
	{"all is in the namespace, labelled, and named once", names, []change{
		{region, "Service/neko-api", "metadata.namespace", "default"},
		{region, "Service/neko-api", "metadata.namespace", nil},
		{region, "Deployment/neko-api", "metadata.labels.app~kubernetes~io/part-of", nil},
		{region, "Deployment/neko-api", "metadata.labels.app~kubernetes~io/name", "neko"},
		{region, "Service/neko-redis", "metadata.name", "neko-redis-pods"},
	}},
	{"what settings name is mounted, and can be read or written", mounts, []change{
		{region, "Deployment/neko-api", "spec.template.spec.containers.0.volumeMounts.1.mountPath", "/run/secrets"},
		{region, "Deployment/neko-api", "spec.template.spec.containers.0.volumeMounts.2", nil},
		{region, "Deployment/neko-api", "spec.template.spec.volumes.0.configMap.name", "neko-api"},
		{region, "Deployment/neko-api", "spec.template.spec.containers.0.envFrom.0.configMapRef.name", "neko-api-env"},
		{region, "Deployment/neko-api", "spec.template.spec.containers.0.volumeMounts.0.mountPath", "/etc/neko.d"},
		{region, "Deployment/neko-api", "spec.template.spec.containers.0.env.0.value", "/var/lib/neko"},
		{region, "Deployment/neko-api", "spec.template.spec.containers.0.env.0", nil},
		{region, "Deployment/neko-api", "spec.template.spec.volumes.1.projected.defaultMode", 0o444},
		{region, "Deployment/neko-api", "spec.template.spec.volumes.1.projected.defaultMode", nil},
		{region, "Deployment/neko-api", "spec.template.spec.volumes.1.projected.sources.0.secret.items.0.path", "url"},
		{region, "Deployment/neko-api", "spec.template.spec.securityContext.fsGroup", nil},
		{region, "ConfigMap/neko-api-env", "data.NEKO_API_AUTH_SECRET_FILE", "/run/secrets/neko/auth"},
		{region, "CronJob/neko-api-migrate", "spec.jobTemplate.spec.template.spec.volumes.0.secret.items.0.path", "store"},
		{region, "StatefulSet/neko-redis", "spec.template.spec.volumes.1.secret.defaultMode", nil},
		{region, "StatefulSet/neko-redis", "spec.template.spec.containers.0.volumeMounts.3.name", "dat"},
	}},
	{"settings are those of production, and nothing runs by itself", production, []change{
		{region, "ConfigMap/neko-api-env", "data.NEKO_API_PRODUCTION", "false"},
		{region, "ConfigMap/neko-api-env", "data.NEKO_API_REGIONS", nil},
		{region, "ConfigMap/neko-api-env", "data.NEKO_API_IDLE_TIMEOUT", "75s"},
		{region, "ConfigMap/neko-api-env", "data.NEKO_API_TRUSTED_PROXIES", nil},
		{region, "ConfigMap/neko-api-env", "data.NEKO_API_TRUSTED_PROXIES", "10.0.0.0/8"}, // cloudflare before gateway
		{region, "ConfigMap/neko-api-env", "data.NEKO_API_TRUSTED_PROXIES", "0.0.0.0/0"},
		{"component ingress-nginx", "ConfigMap/neko-api-env", "data.NEKO_API_TRUSTED_PROXIES", nil},
		{region, "CronJob/neko-api-migrate", "spec.suspend", false},
		{region, "CronJob/neko-api-migrate", "spec.suspend", nil},
	}},
	{"certificates, listeners and routes belong together, and show what is public", wayIn, []change{
		{region, "Certificate/neko-api", "spec.secretName", "neko-tls"},
		{region, "Certificate/neko-api", "spec.dnsNames", []any{"api.example.com"}},
		{region, "Certificate/neko-api", "spec.issuerRef.name", "letsencrypt-staging"},
		{region, "Certificate/neko-api", "spec.issuerRef.kind", "ClusterIssuer"},
		{region, "HTTPRoute/neko-api", "spec.hostnames.+", "graphql.example.com"},
		{region, "HTTPRoute/neko-api", "spec.hostnames", nil},
		{region, "Gateway/neko-api", "spec.listeners.1.tls.certificateRefs.0.name", "neko-tls"},
		{region, "Gateway/neko-api", "spec.listeners.1.tls.certificateRefs.0.namespace", "cert-manager"},
		{region, "HTTPRoute/neko-api-https", "spec.parentRefs.0.sectionName", "https"},
		{region, "HTTPRoute/neko-api-https", "spec.parentRefs.0.sectionName", nil},
		{region, "HTTPRoute/neko-api", "spec.parentRefs.0.sectionName", "http"},
		{region, "HTTPRoute/neko-api", "spec.rules.0.matches.0.path.value", "/"},
		{region, "HTTPRoute/neko-api", "spec.rules.0.matches", nil},
		{region, "HTTPRoute/neko-api", "spec.rules.0.timeouts.request", "10s"},
		{region, "HTTPRoute/neko-api", "spec.rules.0.timeouts.backendRequest", nil},
		{"component ingress-nginx", "Ingress/neko-api", "spec.rules.0.host", "graphql.example.com"},
		{"component ingress-nginx", "Ingress/neko-api", "spec.rules.0.http.paths.0.path", "/"},
	}},
	{"rules and dashboards find what is scraped", monitored, []change{
		{region, "ServiceMonitor/neko-api", "spec.jobLabel", nil},
		{region, "ServiceMonitor/neko-api", "spec.jobLabel", "app.kubernetes.io/name"},
		{region, "ServiceMonitor/neko-api", "spec.endpoints.0.scrapeTimeout", "30s"},
		{region, "ServiceMonitor/neko-api", "spec.endpoints.0.interval", "1m"},
		{region, "ServiceMonitor/neko-api", "spec.endpoints.0.relabelings.1.sourceLabels", []any{"__meta_kubernetes_pod_label_topology_kubernetes_io_region"}},
		{region, "ConfigMap/neko-dashboard-api", "metadata.labels.grafana_dashboard", nil},
	}},
	{"each object is small enough for kubectl apply", small, []change{
		{region, "ConfigMap/neko-dashboard-api", "data.neko-api~json", strings.Repeat("\"expr\" ", annotation/8)},
	}},
	{"kubelet ends nobody who waits, or is slow", patient, []change{
		{region, "Deployment/neko-api", "spec.template.spec.containers.0.livenessProbe.httpGet.path", "/readyz"},
		{region, "Deployment/neko-api", "spec.template.spec.containers.0.livenessProbe.failureThreshold", nil},
		{region, "Deployment/neko-api", "spec.template.spec.containers.0.livenessProbe", nil},
		{region, "Deployment/neko-api", "spec.template.spec.containers.0.readinessProbe.httpGet.path", "/livez"},
		{region, "Deployment/neko-api", "spec.template.spec.containers.0.startupProbe.failureThreshold", 3},
		{region, "StatefulSet/neko-redis", "spec.template.spec.containers.0.livenessProbe.failureThreshold", 1},
		{region, "StatefulSet/neko-redis", "spec.template.spec.containers.0.startupProbe.failureThreshold", 3},
	}},
	{"a zone may be lost", spread, []change{
		{region, "Deployment/neko-api", "spec.template.spec.topologySpreadConstraints", nil},
		{region, "Deployment/neko-api", "spec.template.spec.topologySpreadConstraints.0.topologyKey", "topology.kubernetes.io/region"},
		{region, "Deployment/neko-api", "spec.template.spec.topologySpreadConstraints.0.whenUnsatisfiable", "ScheduleAnyway"},
		{region, "Deployment/neko-api", "spec.template.spec.topologySpreadConstraints.0.nodeTaintsPolicy", nil},
		{region, "Deployment/neko-api", "spec.template.spec.topologySpreadConstraints.0.matchLabelKeys", nil},
		{region, "Deployment/neko-api", "spec.template.spec.tolerations.1.effect", nil},
		{region, "Deployment/neko-api", "spec.template.spec.tolerations.0.tolerationSeconds", nil},
	}},
	{"the VPA changes memory in place, and within bounds that hold what is asked for", vertical, []change{
		{region, "VerticalPodAutoscaler/neko-api", "spec.updatePolicy.updateMode", "Recreate"},
		{region, "VerticalPodAutoscaler/neko-api", "spec.resourcePolicy.containerPolicies.0.minAllowed.memory", "2Gi"},
		{region, "VerticalPodAutoscaler/neko-api", "spec.resourcePolicy.containerPolicies.0.minAllowed", nil},
		{region, "VerticalPodAutoscaler/neko-api", "spec.resourcePolicy.containerPolicies.0.maxAllowed.memory", "1Gi"},
		{region, "Deployment/neko-api", "spec.template.spec.containers.0.resizePolicy.1.restartPolicy", "RestartContainer"},
		{region, "Deployment/neko-api", "spec.template.spec.containers.0.resizePolicy", nil},
	}},
	{"what the HPA waits for can come to be", reached, []change{
		{region, "HorizontalPodAutoscaler/neko-api", "spec.metrics.0.containerResource.target.averageUtilization", 200},
		{region, "HorizontalPodAutoscaler/neko-api", "spec.metrics", nil},
		{region, "HorizontalPodAutoscaler/neko-api", "spec.metrics.0.type", "Resource"},
		{"component hpa-in-flight", "HorizontalPodAutoscaler/neko-api", "spec.metrics.1.pods.metric.name", "neko_requests_in_flight"},
	}},
	{"what cannot be changed is as it was", fixed, []change{
		{region, "Deployment/neko-api", "spec.selector.matchLabels.app~kubernetes~io/part-of", "neko"},
		{region, "StatefulSet/neko-redis", "spec.volumeClaimTemplates.0.spec.resources.requests.storage", "8Gi"},
		{region, "StatefulSet/neko-redis", "spec.volumeClaimTemplates.0.spec.storageClassName", "gp3"},
		{region, "StatefulSet/neko-redis", "spec.podManagementPolicy", nil},
		{region, "StatefulSet/neko-redis", "spec.serviceName", "neko-redis"},
		{"component redis-cluster", "StatefulSet/neko-redis", "spec.volumeClaimTemplates.0.metadata.labels.app~kubernetes~io/name", nil},
	}},
	{"Redis has twice the room that it fills", twice, []change{
		{region, "ConfigMap/neko-redis", "data.redis~conf", "maxmemory 1100mb\n"},
		{region, "ConfigMap/neko-redis", "data.redis~conf", ""},
		{region, "StatefulSet/neko-redis", "spec.template.spec.containers.0.resources.limits.memory", "1Gi"},
		{region, "StatefulSet/neko-redis", "spec.volumeClaimTemplates.0.spec.resources.requests.storage", "1Gi"},
		{"component redis-cluster", "StatefulSet/neko-redis", "spec.template.spec.containers.0.resources.limits.memory", "1Gi"},
	}},
	{"there are as many Redis as know of each other", named, []change{
		{region, "StatefulSet/neko-redis", "spec.replicas", 2}, // two that know nothing of each other
		{"component redis-cluster", "StatefulSet/neko-redis", "spec.replicas", 5},
		{"component redis-cluster", "StatefulSet/neko-redis", "spec.serviceName", "neko-redis"},
		{"component redis-cluster", "StatefulSet/neko-redis", "spec.template.spec.containers.0.env.0.value", "neko-redis-0.neko-redis:6379"},
	}},
}

func TestPolicies(t *testing.T) {
	for _, p := range policies {
		t.Run(p.name, func(t *testing.T) {
			for _, s := range stacks(t) {
				for _, text := range p.against(s) {
					t.Errorf("%s: %s", s.name, text)
				}
			}
			if t.Failed() {
				return
			}
			for _, c := range p.changes {
				changed := c.make(t)
				if len(p.against(changed)) == 0 {
					t.Errorf("%s with %s: %s = %.200s is not refused", c.stack, c.object, c.path, fmt.Sprint(c.value))
				}
			}
		})
	}
}

// make has the stack with this change, and all others as they are.
func (c change) make(t *testing.T) *stack {
	t.Helper()
	for _, s := range stacks(t) {
		if s.name != c.stack {
			continue
		}
		changed := &stack{name: s.name}
		found := false
		for _, o := range s.objects {
			// A name may end in a hash.
			if o.String() == c.object || regexp.MustCompile("^"+regexp.QuoteMeta(c.object)+"-[a-z0-9]{10}$").MatchString(o.String()) {
				o = clone(o).(object)
				before := fmt.Sprint(map[string]any(o))
				set(o, c.path, c.value)
				if fmt.Sprint(map[string]any(o)) == before {
					t.Fatalf("%s: %s is %v already", c.object, c.path, c.value)
				}
				found = true
			}
			changed.objects = append(changed.objects, o)
		}
		if found {
			return changed
		}
	}
	t.Fatalf("no %s in %s", c.object, c.stack)
	return nil
}

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

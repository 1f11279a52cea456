package k8s

import (
	"fmt"
	"regexp"
	"strings"
	"testing"
)

// What must hold of all that is built, and a schema does not know. Each policy says what is against it, and each has
// changes after which it must say something, so that none is a yes-man.

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

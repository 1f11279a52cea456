package k8s

import (
	"slices"
)

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

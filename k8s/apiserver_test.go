package k8s

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"go.yaml.in/yaml/v4"

	"github.com/nekoctl/neko/scripts/source"
)

// apiServer asks scripts/k8s/validate, with all CRDs, and returns what is wrong. It links most of an API server and
// takes minutes to build, so it is for `make k8s`.
func apiServer(t *testing.T) func(objects []object) string {
	t.Helper()
	if os.Getenv("NEKO_K8S") != "whole" {
		t.Skip("NEKO_K8S=whole asks the API server's own code")
	}
	path, err := source.Tool("../scripts/k8s", "validate")
	must(t, err)
	var files []string
	for _, d := range definitions {
		dir, err := d.folder(t)
		must(t, err)
		for _, file := range d.files {
			files = append(files, filepath.Join(dir, file))
		}
	}
	return func(objects []object) string {
		t.Helper()
		var in bytes.Buffer
		for _, o := range objects {
			text, err := yaml.Marshal(map[string]any(o))
			must(t, err)
			in.WriteString("---\n")
			in.Write(text)
		}
		cmd := exec.Command(path, files...)
		cmd.Stdin = &in
		out, err := cmd.Output()
		if exit := (*exec.ExitError)(nil); errors.As(err, &exit) && exit.ExitCode() == 1 {
			return string(out)
		}
		must(t, err)
		return ""
	}
}

func TestAnAPIServerTakesEveryObject(t *testing.T) {
	ask := apiServer(t)
	for _, s := range stacks(t) {
		if wrong := ask(s.objects); wrong != "" {
			t.Errorf("%s:\n%s", s.name, wrong)
		}
	}
}

func TestAnAPIServerRefusesWhatIsWrong(t *testing.T) {
	ask := apiServer(t)
	for _, c := range []struct {
		change
		want string
	}{
		{change{region, "Deployment/neko-api", "spec.template.spec.containers.0.livnessProbe", map[string]any{}}, "unknown field"},
		{change{region, "Deployment/neko-api", "spec.replicas", "three"}, "cannot unmarshal"},
		{change{region, "Deployment/neko-api", "kind", "Deploiment"}, "no kind"},
		{change{region, "Deployment/neko-api", "spec.template.spec.containers.0.imagePullPolicy", "Sometimes"}, "Unsupported value"},
		{change{region, "Deployment/neko-api", "spec.template.spec.containers.0.resources.requests.cpu", "3"}, "must be less than or equal to cpu limit"},
		{change{region, "Deployment/neko-api", "spec.template.spec.containers.0.volumeMounts.0.name", "other"}, "Not found"},
		{change{region, "Deployment/neko-api", "spec.template.metadata.labels.app~kubernetes~io/name", "other"}, "does not match template"},
		{change{region, "Deployment/neko-api", "spec.template.spec.containers.0.securityContext.runAsNonRoot", false}, "not restricted"},
		{change{region, "Deployment/neko-api", "spec.template.spec.volumes.2", map[string]any{"name": "home", "hostPath": map[string]any{"path": "/"}}}, "not restricted"},
		{change{region, "PodDisruptionBudget/neko-api", "spec.maxUnavailable", 1}, "cannot be both set"},
		{change{region, "HorizontalPodAutoscaler/neko-api", "spec.maxReplicas", 1}, "must be greater than or equal to"},
		{change{region, "NetworkPolicy/neko-api-to-mongodb", "spec.egress.0.to.0.ipBlock.cidr", "10.0.0.0"}, "Invalid value"},
		{change{region, "Service/neko-api", "spec.ports.1.name", "http"}, "Duplicate value"},
		{change{region, "Gateway/neko-api", "spec.listeners.1.tls.mode", "Passthrough"}, "tls mode must be Terminate"}, // a rule in CEL
		{change{region, "Gateway/neko-api", "spec.listners", []any{}}, "unknown field"},
		{change{region, "Gateway/neko-api", "apiVersion", "gateway.example.com/v1"}, "no kind"},
		{change{region, "VerticalPodAutoscaler/neko-api", "spec.updatePolicy.updateMode", "Sometimes"}, "Unsupported value"},
		{change{region, "Certificate/neko-api", "metadata.name", "Not a name"}, "Invalid value"},
	} {
		t.Run(c.object+" "+c.path, func(t *testing.T) {
			if wrong := ask(c.make(t).objects); !strings.Contains(wrong, c.want) {
				t.Errorf("%q, and not %q", wrong, c.want)
			}
		})
	}
}

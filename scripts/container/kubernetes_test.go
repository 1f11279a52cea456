package container

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v4"
	"golang.org/x/sys/unix"

	"github.com/nekoctl/neko/supervisor/spec"
)

const (
	base       = "../../k8s/base/"
	components = "../../k8s/components/"
)

// pod is what k8s/base says of the pods of neko-api, as Kubernetes names it.
type pod struct {
	TerminationGracePeriodSeconds int
	Volumes                       []struct {
		Name     string
		EmptyDir *struct{}
	}
	Containers []struct {
		Args  []string
		Env   []struct{ Name, Value string }
		Ports []struct {
			Name          string
			ContainerPort int
		}
		StartupProbe, ReadinessProbe, LivenessProbe struct{ HTTPGet struct{ Path, Port string } }
		VolumeMounts                                []struct{ Name, MountPath string }
	}
}

func readPod(t *testing.T) pod {
	t.Helper()
	var deployment struct {
		Spec struct{ Template struct{ Spec pod } }
	}
	readYAML(t, base+"deployment.yaml", &deployment)
	return deployment.Spec.Template.Spec
}

func readYAML(t *testing.T, file string, v any) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var tree any
	if err := yaml.Unmarshal(text, &tree); err != nil {
		t.Fatal(err)
	}
	if text, err = json.Marshal(tree); err != nil { // which does not mind how names are spelled
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, v); err != nil {
		t.Fatal(err)
	}
}

// environment is that of the container: the image's, the ConfigMap's with all that components add, the
// Deployment's. What the Deployment takes from the pod (valueFrom) is empty.
func (p *pod) environment(t *testing.T) []string {
	t.Helper()
	settings, err := spec.ReadEnv(base + "neko-api.env")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"gateway", "cloudflare", "tracing"} {
		var component struct {
			ConfigMapGenerator []struct {
				Name           string
				Literals, Envs []string
			}
		}
		readYAML(t, components+name+"/kustomization.yaml", &component)
		for _, c := range component.ConfigMapGenerator {
			if c.Name != "neko-api-env" {
				continue
			}
			for _, literal := range c.Literals {
				name, value, _ := strings.Cut(literal, "=")
				settings[name] = value
			}
			for _, file := range c.Envs {
				more, err := spec.ReadEnv(components + name + "/" + file)
				if err != nil {
					t.Fatal(err)
				}
				maps.Copy(settings, more)
			}
		}
	}
	all := []string{"PATH=/"}
	for name, value := range settings {
		all = append(all, name+"="+value)
	}
	for _, v := range p.Containers[0].Env {
		all = append(all, v.Name+"="+regexp.MustCompile(`\$\(\w+\)`).ReplaceAllString(v.Value, ""))
	}
	return all
}

// emptyDirs are the places of those volumes.
func (p *pod) emptyDirs() (places []string) {
	for _, v := range p.Volumes {
		for _, m := range p.Containers[0].VolumeMounts {
			if v.EmptyDir != nil && v.Name == m.Name {
				places = append(places, m.MountPath)
			}
		}
	}
	return places
}

// url is what kubelet asks for: a path at a port that has a name.
func (p *pod) url(port, path string) string {
	for _, c := range p.Containers[0].Ports {
		if c.Name == port {
			return fmt.Sprintf("http://127.0.0.1:%d%s", c.ContainerPort, path)
		}
	}
	return "http://no-port-of-the-name-" + port
}

// folder makes one that the user of containers can read, as kubelet mounts ConfigMaps and Secrets.
func folder(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		name = filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o440); err != nil {
			t.Fatal(err)
		}
		if err := os.Chown(name, 0, user); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// kubelet asks by way of the container's own network. Each question has a connection of its own.
func (c *container) kubelet() *http.Client {
	dial := func(ctx context.Context, network, address string) (net.Conn, error) {
		runtime.LockOSThread() // never unlocked: the thread, which has the other network, ends with the goroutine
		there, err := os.Open(fmt.Sprintf("/proc/%d/ns/net", c.cmd.Process.Pid))
		if err != nil {
			return nil, err
		}
		defer there.Close()
		if err := unix.Setns(int(there.Fd()), unix.CLONE_NEWNET); err != nil {
			return nil, err
		}
		return (&net.Dialer{}).DialContext(ctx, network, address)
	}
	return &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true,
		DialContext: func(ctx context.Context, network, address string) (conn net.Conn, err error) {
			done := make(chan struct{})
			go func() {
				defer close(done)
				conn, err = dial(ctx, network, address)
			}()
			<-done
			return conn, err
		}}}
}

func loopbackUp() error {
	socket, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(socket)
	lo, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	lo.SetUint16(unix.IFF_UP)
	return unix.IoctlIfreq(socket, unix.SIOCSIFFLAGS, lo)
}

// What a cluster would do with k8s/base, as far as it can be done without one: the pod starts with
// its neko.yaml and its settings, as the user and with the volumes of the Deployment, answers the
// probes, and ends as it should. Its Redis does not answer, and its store is a file.
func TestThePodOfKubernetesAnswersItsProbesAndEndsInTime(t *testing.T) {
	t.Parallel()
	mustBeRoot(t)
	p := readPod(t)
	text, err := os.ReadFile(base + "neko.yaml")
	if err != nil {
		t.Fatal(err)
	}
	apps, _, err := spec.Parse("neko.yaml", text, spec.Options{Environ: []string{"PATH=" + image}})
	if err != nil {
		t.Fatal(err)
	}
	api := apps[0]
	stop := time.Duration(api.ShutdownDelay + api.DrainTimeout + api.KillTimeout)
	grace := time.Duration(p.TerminationGracePeriodSeconds) * time.Second
	if grace < stop+5*time.Second {
		t.Errorf("Kubernetes kills after %v, and a stop may take %v", grace, stop)
	}

	env := p.environment(t)
	home := ""
	for _, v := range env {
		if name, value, _ := strings.Cut(v, "="); name == "NEKO_HOME" {
			home = value
		}
	}
	c := launch(t, options{Args: start(p.Containers[0].Args...), Env: env, OwnNetwork: true, EmptyDirs: p.emptyDirs(), Binds: map[string]string{
		"/etc/neko": folder(t, map[string]string{"neko.yaml": string(text)}),
		"/run/secrets/neko": folder(t, map[string]string{
			"store/url":        home + "/api.db",
			"redis/url":        "redis://neko:not-the-password@127.0.0.1:6379",
			"auth/secret":      strings.Repeat("secret of this test ", 3),
			"cloudflare/token": "no token",
		}),
	}}, home)
	kubelet := c.kubelet()
	asks := func(url string) (int, string) {
		r, err := kubelet.Get(url)
		if err != nil {
			return 0, err.Error()
		}
		defer r.Body.Close()
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return 0, err.Error()
		}
		return r.StatusCode, string(body)
	}

	of := p.Containers[0]
	startup := p.url(of.StartupProbe.HTTPGet.Port, of.StartupProbe.HTTPGet.Path)
	readiness := p.url(of.ReadinessProbe.HTTPGet.Port, of.ReadinessProbe.HTTPGet.Path)
	liveness := p.url(of.LivenessProbe.HTTPGet.Port, of.LivenessProbe.HTTPGet.Path)
	query := p.url("http", "/graphql?query=%7B__typename%7D&extensions=%7B%7D")
	c.until("the startup probe passes", func() bool { code, _ := asks(startup); return code == http.StatusOK })
	for _, url := range []string{readiness, liveness} {
		if code, body := asks(url); code != http.StatusOK {
			t.Errorf("%s answers %d: %s", url, code, body)
		}
	}
	if code, body := asks(p.url("metrics", "/metrics")); code != http.StatusOK || !strings.Contains(body, `neko_app_instances{app="neko-api"}`) {
		t.Errorf("the metrics are %d: %.300s", code, body)
	}
	if out, err := c.inside("/neko-api", "migrate"); err != nil { // as the CronJob does
		t.Errorf("migrate: %v: %s", err, out)
	}

	c.term()
	told := time.Now()
	c.until("the readiness probe fails", func() bool { code, _ := asks(readiness); return code == http.StatusServiceUnavailable })
	// Balancers need to see it: until then everything is served, new connections too. The last
	// question of this loop is asked long before the delay is over.
	pace := time.NewTicker(50 * time.Millisecond) // more, and a rate limit would refuse some
	defer pace.Stop()
	answered := 0
	for ; time.Since(told) < time.Duration(api.ShutdownDelay)/2; answered++ {
		<-pace.C
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, query, nil)
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Apollo-Require-Preflight", "true")
		r, err := kubelet.Do(request)
		if err != nil {
			t.Fatalf("after %d answers, %v after SIGTERM: %v", answered, time.Since(told), err)
		}
		body, err := io.ReadAll(r.Body)
		r.Body.Close()
		if err != nil || r.StatusCode != http.StatusOK || !strings.Contains(string(body), `"__typename":"Query"`) {
			t.Fatalf("after %d answers, %v after SIGTERM: %d %s, %v", answered, time.Since(told), r.StatusCode, body, err)
		}
	}
	if answered == 0 {
		t.Error("readiness did not fail before half of the delay was over")
	}
	if code, body := asks(liveness); code != http.StatusOK {
		t.Errorf("while it stops liveness is %d: %s", code, body)
	}
	if code := c.wait(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	if took := time.Since(told); took > grace {
		t.Errorf("it took %v to end, and Kubernetes would have killed it after %v", took, grace)
	}
}

package container

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nekoctl/neko/api/store/mongo/mongotest"
	"github.com/nekoctl/neko/limiter/redis/redistest"
	"github.com/nekoctl/neko/scripts/debian"
	"github.com/nekoctl/neko/scripts/source"
)

// service is one of a compose file's, as Docker's library reads it.
type service struct {
	Image, User, Restart string
	Build                struct{ Args map[string]*string }
	Entrypoint, Command  []string
	Environment          map[string]*string
	ReadOnly             bool     `json:"read_only"`
	CapDrop              []string `json:"cap_drop"`
	CapAdd               []string `json:"cap_add"`
	SecurityOpt          []string `json:"security_opt"`
	MemLimit             string   `json:"mem_limit"`
	PidsLimit            int      `json:"pids_limit"`
	StopGracePeriod      string   `json:"stop_grace_period"`
	NetworkMode          string   `json:"network_mode"`
	Networks             map[string]any
	DependsOn            map[string]struct {
		Condition string
		Required  bool
	} `json:"depends_on"`
	Ports []struct {
		HostIP    string `json:"host_ip"`
		Published string
		Target    int
	}
	Healthcheck *struct {
		Test              []string
		Interval, Timeout string
		StartPeriod       string `json:"start_period"`
		Retries           int
	}
}

func compose(t *testing.T, file string, profiles ...string) (services map[string]service, err error) {
	t.Helper()
	reader, err := source.Tool("../compose", ".")
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(reader, append([]string{file}, profiles...)...)
	cmd.Dir = "../compose"
	var wrong strings.Builder
	cmd.Stderr = &wrong
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("%w: %s", err, &wrong)
	}
	var project struct{ Services map[string]service }
	return project.Services, json.Unmarshal(out, &project)
}

func composed(t *testing.T, profiles ...string) map[string]service {
	t.Helper()
	file, err := filepath.Abs("../../compose.yaml")
	if err != nil {
		t.Fatal(err)
	}
	services, err := compose(t, file, profiles...)
	if err != nil {
		t.Fatal(err)
	}
	return services
}

func TestComposeRunsWhatItShouldAsItShould(t *testing.T) {
	t.Parallel()
	all := composed(t, "mongodb")
	var plain []string
	for name := range composed(t) {
		plain = append(plain, name)
	}
	slices.Sort(plain)
	if want := []string{"api", "redis", "secrets"}; !slices.Equal(plain, want) {
		t.Errorf("without a profile there are %v", plain)
	}
	if len(all) != 5 {
		t.Errorf("with MongoDB there are %d services", len(all))
	}
	for name, s := range all {
		if !s.ReadOnly || !slices.Equal(s.CapDrop, []string{"ALL"}) || !slices.Contains(s.SecurityOpt, "no-new-privileges:true") {
			t.Errorf("%s may more than it needs: %+v", name, s)
		}
		if s.MemLimit == "" || s.PidsLimit == 0 {
			t.Errorf("%s has no limit", name)
		}
		if !regexp.MustCompile(`:[0-9]+\.[0-9]`).MatchString(s.Image) {
			t.Errorf("%s is of %s, which is another one each day", name, s.Image)
		}
		if runs := s.Restart != "no"; runs && (s.Healthcheck == nil || s.User == "" || strings.HasPrefix(s.User, "0") || s.CapAdd != nil || s.StopGracePeriod == "") {
			t.Errorf("%s has no health check or no time to stop, or is root: %+v", name, s)
		}
		for variable, value := range s.Environment {
			if value == nil || strings.Contains(strings.ToLower(*value), "password") || strings.Contains(*value, "@") {
				t.Errorf("%s has %s in its environment", name, variable)
			}
		}
		if name != "api" && s.Ports != nil {
			t.Errorf("%s can be reached from outside: %v", name, s.Ports)
		}
		if _, outside := s.Networks["front"]; outside && name != "api" {
			t.Errorf("%s can reach the outside", name)
		}
	}
	api := all["api"]
	if len(api.Ports) != 1 || api.Ports[0].HostIP != "127.0.0.1" || api.Ports[0].Published != "4000" || api.Ports[0].Target != 4000 {
		t.Errorf("the API is at %+v", api.Ports)
	}
	for on, condition := range map[string]string{"secrets": "service_completed_successfully", "redis": "service_healthy", "mongodb-init": "service_completed_successfully"} {
		if api.DependsOn[on].Condition != condition || api.DependsOn[on].Required != (on != "mongodb-init") {
			t.Errorf("the API waits for %s as %+v", on, api.DependsOn[on])
		}
	}
	if grace, err := time.ParseDuration(api.StopGracePeriod); err != nil || grace < 15*time.Second { // drain_timeout + kill_timeout are 12 s
		t.Errorf("the API has %v to drain (%v)", grace, err)
	}
	says := readConfig(t).Config
	if h, want := api.Healthcheck, says.Healthcheck; !slices.Equal(h.Test, want.Test) || h.Interval != want.Interval.String() || h.Timeout != want.Timeout.String() || h.StartPeriod != want.StartPeriod.String() || h.Retries != want.Retries {
		t.Errorf("its health check is %+v, and that of the image %+v", h, want)
	}
	if api.User != says.User {
		t.Errorf("it is %s, and in the image %s", api.User, says.User)
	}
}

func TestAMistakeInComposeIsSeen(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "compose.yaml")
	if err := os.WriteFile(file, []byte("name: x\nservices: {api: {image: x, read_onyl: true}}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := compose(t, file); err == nil || !strings.Contains(err.Error(), "read_onyl") {
		t.Errorf("it says %v", err)
	}
}

// What compose.yaml starts is started here by hand: its script for secrets, its Redis, and its API in the image.
func TestWhatComposeSaysWorks(t *testing.T) {
	t.Parallel()
	mustBeRoot(t)
	services := composed(t)
	secrets := t.TempDir()
	for dir := secrets; dir != os.TempDir(); dir = filepath.Dir(dir) { // for the container's user
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	here := func(text string) string { return strings.ReplaceAll(text, "/run/secrets", secrets) }
	for _, folder := range []string{"neko", "redis", "mongodb"} {
		if err := os.Mkdir(filepath.Join(secrets, folder), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	make := func() (files map[string]string) {
		t.Helper()
		s := services["secrets"]
		rights := "-all"
		for _, right := range s.CapAdd {
			rights += ",+" + strings.ToLower(right)
		}
		args := append([]string{"--bounding-set", rights, "--inh-caps", rights, "--no-new-privs"}, s.Entrypoint...)
		for _, c := range s.Command {
			args = append(args, here(strings.ReplaceAll(c, "$$", "$")))
		}
		if out, err := exec.Command("setpriv", args...).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		files = map[string]string{}
		found, err := filepath.Glob(filepath.Join(secrets, "*/*"))
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range found {
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			info, err := os.Stat(path)
			if err != nil {
				t.Fatal(err)
			}
			if info.Mode() != 0o400 || len(text) < 20 {
				t.Errorf("%s is %v, and has %d bytes", path, info.Mode(), len(text))
			}
			files[strings.TrimPrefix(path, secrets+"/")] = string(text)
		}
		return files
	}
	made := make()
	if again := make(); fmt.Sprint(again) != fmt.Sprint(made) || len(made) != 7 {
		t.Errorf("at the second start there are other secrets: %d and %d", len(again), len(made))
	}
	if made["mongodb/root"] == made["mongodb/key"] || made["neko/auth"] == made["mongodb/root"] {
		t.Error("two secrets are the same")
	}

	// An administrator of the test's own, to see what Redis has refused.
	acl := filepath.Join(secrets, "redis/users.acl")
	if err := os.WriteFile(acl, []byte(made["redis/users.acl"]+"user test on nopass ~* &* +@all\n"), 0); err != nil {
		t.Fatal(err)
	}
	var lines []string
	command := services["redis"].Command
	for i := 0; i+1 < len(command); i += 2 {
		value := here(command[i+1])
		if value == "" {
			value = `""`
		}
		lines = append(lines, strings.TrimPrefix(command[i], "--")+" "+value)
	}
	for _, must := range []string{`save ""`, "appendonly no", "maxmemory-policy allkeys-lru"} { // docs/caching.md
		if !slices.Contains(lines, must) {
			t.Errorf("Redis is not told %s: %v", must, lines)
		}
	}
	server := redistest.Start(t, lines...)
	port := server.Addr()[strings.LastIndexByte(server.Addr(), ':')+1:]
	cli := debian.Need(t, "redis-cli", "redis-tools")
	ask := func(args ...string) string {
		t.Helper()
		out, err := exec.Command(cli, append([]string{"-p", port, "--no-auth-warning"}, args...)...).CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		return strings.TrimSpace(string(out))
	}
	health := services["redis"].Healthcheck.Test[1]
	if out, err := exec.Command("sh", "-c", strings.Replace(health, "redis-cli ", cli+" -p "+port+" ", 1)).CombinedOutput(); err != nil {
		t.Errorf("Redis is not healthy: %v, %s", err, out)
	}
	for _, args := range [][]string{{"PING"}, {"--user", "health", "--pass", "any", "GET", "neko:x"}} {
		if out := ask(args...); !strings.Contains(out, "NOAUTH") && !strings.Contains(out, "NOPERM") {
			t.Errorf("anybody may ask Redis %v: %s", args, out)
		}
	}
	ask("--user", "test", "--pass", "x", "ACL", "LOG", "RESET")

	url := strings.Replace(made["neko/redis"], "@redis:6379", "@"+server.Addr(), 1)
	if err := os.WriteFile(filepath.Join(secrets, "neko/redis"), []byte(url), 0); err != nil {
		t.Fatal(err)
	}
	// As mongodb-init leaves it: what is in MongoDB hosts share in Redis.
	if err := os.WriteFile(filepath.Join(secrets, "neko/store"), []byte(mongotest.URL(t)+"\n"), 0); err != nil {
		t.Fatal(err)
	}
	env := append(readConfig(t).Config.Env, "NEKO_API_LISTEN=127.0.0.1:0")
	for name, value := range services["api"].Environment {
		env = append(env, name+"="+*value)
	}
	c := launch(t, options{Args: append(start(), services["api"].Command...), Env: env, NoShm: true, Volume: "/var/lib/neko", Binds: map[string]string{"/run/secrets/neko": filepath.Join(secrets, "neko")}}, "/var/lib/neko")
	address := c.untilOnline(2)[0].Listeners[0]
	// Again and again, and not too often: on a busy machine neither answers nor limits wait for Redis.
	looks := 0
	c.until("Redis has an answer, its tags and a bucket", func() bool {
		if looks++; looks%16 == 1 {
			query := fmt.Sprintf(`{"query":"{threatActors(first: %d) {nodes {name}}}"}`, 3+looks/16%50)
			r, err := http.Post("http://"+address+"/graphql", "application/json", strings.NewReader(query))
			if err != nil {
				t.Fatal(err)
			}
			defer r.Body.Close()
			if body, _ := io.ReadAll(r.Body); r.StatusCode != http.StatusOK || !strings.Contains(string(body), `"name"`) {
				t.Fatalf("it answers %s: %s", r.Status, body)
			}
		}
		keys := ask("--user", "test", "--pass", "x", "KEYS", "*")
		return strings.Contains(keys, ":cache:answer:") && strings.Contains(keys, "neko:limit:") && strings.Contains(keys, ":cache:tag:")
	})
	for _, refused := range regexp.MustCompile(`(?m)^object\n(.*)`).FindAllStringSubmatch(ask("--user", "test", "--pass", "x", "ACL", "LOG"), -1) {
		switch refused[1] {
		case "cluster|slots": // by which it is asked whether it is a Cluster; that it does not say is an answer
		case "ping": // of a connection that was silent for a second; that too is answered, by the refusal
		default:
			t.Errorf("Redis has refused what the API needs: %s", refused[1])
		}
	}
	if saved := ask("--user", "test", "--pass", "x", "CONFIG", "GET", "save"); strings.TrimSpace(strings.TrimPrefix(saved, "save")) != "" {
		t.Errorf("Redis keeps something on disk: %q", saved)
	}
	c.term()
	if code := c.wait(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	if log := c.stderr.String() + c.stdout.String(); strings.Contains(log, url) || regexp.MustCompile(`NOPERM|WRONGPASS`).MatchString(log) {
		t.Errorf("it says %s", log)
	}
}

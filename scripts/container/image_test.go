package container

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"debug/elf"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
)

// config is what an image says of how its containers start.
type config struct {
	Architecture, OS string
	Created          time.Time
	Config           struct {
		User, WorkingDir      string
		Env, Entrypoint, Cmd  []string
		Labels                map[string]string
		ExposedPorts, Volumes map[string]struct{}
		Healthcheck           struct {
			Test                           []string
			Interval, Timeout, StartPeriod time.Duration
			Retries                        int
		}
	} `json:"config"`
	RootFS struct {
		DiffIDs []string `json:"diff_ids"`
	} `json:"rootfs"`
}

func readConfig(t *testing.T) (c config) {
	t.Helper()
	mustBeRoot(t)
	files, err := readArchive(dockerArchive(dist))
	if err != nil {
		t.Fatal(err)
	}
	one, err := load1(files)
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"ghcr.io/nekoctl/neko:9.8.7"}; !slices.Equal(one.RepoTags, want) {
		t.Errorf("its names are %v", one.RepoTags)
	}
	if err := json.Unmarshal(files[one.Config], &c); err != nil {
		t.Fatal(err)
	}
	return c
}

func TestTheImageStartsAsItSaysAndServesTheAPI(t *testing.T) {
	t.Parallel()
	says := readConfig(t).Config
	if says.User != fmt.Sprintf("%d:%[1]d", user) || says.Entrypoint[0] != "/nekoctl" || says.Cmd != nil {
		t.Fatalf("%+v is not what launch does", says)
	}
	env := append(says.Env, "NEKO_API_LISTEN=127.0.0.1:0") // the tests have no network of their own
	c := launch(t, options{Args: append(says.Entrypoint[1:], "-i", "1"), Env: env, NoShm: true, Volume: "/var/lib/neko"}, "/var/lib/neko")
	list := c.untilOnline(1)
	r, err := http.Get("http://" + list[0].Listeners[0] + "/readyz")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	if body, _ := io.ReadAll(r.Body); r.StatusCode != http.StatusOK {
		t.Errorf("it answers %s: %s", r.Status, body)
	}
	if out, err := c.inside(says.Healthcheck.Test[1:]...); err != nil {
		t.Errorf("the health check says %q, %v", out, err)
	}
	c.term()
	if code := c.wait(); code != 0 {
		t.Errorf("exit code %d", code)
	}
}

// dockerfile is what the last stage of the Dockerfile says: each instruction with its text.
func dockerfile(t *testing.T, args map[string]string) (stage map[string][]string, whole string) {
	t.Helper()
	text, err := os.ReadFile("../../Dockerfile")
	if err != nil {
		t.Fatal(err)
	}
	whole = string(text)
	plain := regexp.MustCompile(`(?m)^\s*#.*\n`).ReplaceAllString(whole, "")
	plain = strings.ReplaceAll(plain, "\\\n", " ")
	stage = map[string][]string{}
	for line := range strings.Lines(plain[strings.LastIndex(plain, "\nFROM ")+1:]) {
		if instruction, rest, ok := strings.Cut(strings.TrimSpace(line), " "); ok {
			rest = os.Expand(strings.TrimSpace(rest), func(name string) string { return args[name] })
			stage[instruction] = append(stage[instruction], rest)
		}
	}
	return stage, whole
}

// pairs are NAME=VALUE, with or without quotes.
func pairs(text string) (all []string) {
	for _, m := range regexp.MustCompile(`(\S+?)=(?:"([^"]*)"|(\S*))`).FindAllStringSubmatch(text, -1) {
		all = append(all, m[1]+"="+m[2]+m[3])
	}
	return all
}

func TestTheDockerfileSaysTheSameAsTheImage(t *testing.T) {
	t.Parallel()
	says := readConfig(t).Config
	stage, whole := dockerfile(t, map[string]string{"VERSION": says.Labels["org.opencontainers.image.version"], "REVISION": says.Labels["org.opencontainers.image.revision"]})
	list := func(text string) (all []string) {
		if err := json.Unmarshal([]byte(text), &all); err != nil {
			t.Errorf("%s: %v", text, err)
		}
		return all
	}
	one := func(instruction string) string {
		t.Helper()
		if len(stage[instruction]) != 1 {
			t.Fatalf("the Dockerfile has %d %s", len(stage[instruction]), instruction)
		}
		return stage[instruction][0]
	}
	same := func(what string, got, want any) {
		t.Helper()
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%s: the Dockerfile has %v, the image %v", what, got, want)
		}
	}
	keys := func(set map[string]struct{}) (all []string) {
		for key := range set {
			all = append(all, key)
		}
		return all
	}
	labels := map[string]string{}
	for _, pair := range pairs(one("LABEL")) {
		name, value, _ := strings.Cut(pair, "=")
		labels[name] = value
	}
	same("FROM", one("FROM"), "scratch")
	same("USER", one("USER"), says.User)
	same("ENV", pairs(one("ENV")), says.Env)
	same("LABEL", labels, says.Labels)
	same("WORKDIR", one("WORKDIR"), says.WorkingDir)
	same("VOLUME", []string{one("VOLUME")}, keys(says.Volumes))
	same("EXPOSE", []string{one("EXPOSE") + "/tcp"}, keys(says.ExposedPorts))
	same("ENTRYPOINT", list(one("ENTRYPOINT")), says.Entrypoint)
	same("CMD", stage["CMD"], says.Cmd)
	flags, command, _ := strings.Cut(one("HEALTHCHECK"), " CMD ")
	h := says.Healthcheck
	same("HEALTHCHECK", append([]string{"CMD"}, list(command)...), h.Test)
	same("HEALTHCHECK", flags, fmt.Sprintf("--interval=%s --timeout=%s --start-period=%s --retries=%d", h.Interval, h.Timeout, h.StartPeriod, h.Retries))

	source, err := os.ReadFile("../release/compile.go")
	if err != nil {
		t.Fatal(err)
	}
	toolchain := regexp.MustCompile(`const Toolchain = "go(.*)"`).FindSubmatch(source)
	if toolchain == nil || !strings.Contains(whole, "library/golang:"+string(toolchain[1])+"-") {
		t.Errorf("the Dockerfile has another compiler than scripts/release, %s", toolchain)
	}
}

// A Dockerfile writes into the label what it is given, so it may be given a version in one form only.
func TestAVersionIsWrittenInOneWay(t *testing.T) {
	t.Parallel()
	if says := readConfig(t).Config.Labels["org.opencontainers.image.version"]; says != "9.8.7" {
		t.Errorf("the label of %s is %s", described, says)
	}
	tree := func(version string) (string, error) {
		cmd := exec.Command(tool, "-binaries", binaries, "-platforms", "linux/"+runtime.GOARCH, "-version", version, "-tree", t.TempDir())
		cmd.Dir = "../image"
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	if out, err := tree(described); err == nil || !strings.Contains(out, "hint: docker build --build-arg VERSION=9.8.7\n") {
		t.Errorf("with %s it says %q, %v", described, out, err)
	}
	api := composed(t)["api"]
	if version := api.Build.Args["VERSION"]; version == nil || !strings.HasSuffix(api.Image, ":"+*version) {
		t.Errorf("compose.yaml builds %s with another version than that", api.Image)
	}
	_, whole := dockerfile(t, nil)
	defaults := regexp.MustCompile(`(?m)^ARG VERSION=(.*)$`).FindAllStringSubmatch(whole, -1)
	if len(defaults) != 2 || defaults[0][1] != defaults[1][1] {
		t.Fatalf("its stages do not have one version if none is given: %v", defaults)
	}
	if out, err := tree(defaults[0][1]); err != nil {
		t.Errorf("with the default of the Dockerfile it says %q, %v", out, err)
	}
}

func TestWhatIsInTheImage(t *testing.T) {
	t.Parallel()
	mustBeRoot(t)
	root := map[string]string{} // mode and owner of what is no time zone
	var zones int
	err := eachFile(dockerArchive(dist), func(h *tar.Header, r io.Reader) error {
		if !h.ModTime.Equal(time.Unix(0, 0)) {
			t.Errorf("%s is of %v", h.Name, h.ModTime)
		}
		if strings.HasPrefix(h.Name, "usr/share/zoneinfo/") {
			zones++
			return nil
		}
		root[h.Name] = fmt.Sprintf("%o %d:%d", h.Mode, h.Uid, h.Gid)
		body, err := io.ReadAll(r)
		if err != nil || h.Mode&0o111 == 0 || h.Typeflag != tar.TypeReg {
			return err
		}
		program, err := elf.NewFile(bytes.NewReader(body))
		if err != nil {
			return fmt.Errorf("%s: %w", h.Name, err)
		}
		if slices.ContainsFunc(program.Progs, func(p *elf.Prog) bool { return p.Type == elf.PT_INTERP || p.Type == elf.PT_DYNAMIC }) {
			t.Errorf("%s is not static", h.Name)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		"nekoctl": "755 0:0", "neko-api": "755 0:0",
		"etc/": "755 0:0", "etc/ssl/": "755 0:0", "etc/ssl/certs/": "755 0:0", "etc/ssl/certs/ca-certificates.crt": "644 0:0",
		"tmp/": "1777 0:0",
		"usr/": "755 0:0", "usr/share/": "755 0:0", "usr/share/doc/": "755 0:0", "usr/share/doc/neko/": "755 0:0",
		"usr/share/doc/neko/LICENSE": "644 0:0", "usr/share/doc/neko/THIRD_PARTY_NOTICES": "644 0:0",
		"var/": "755 0:0", "var/lib/": "755 0:0", "var/lib/neko/": "700 65532:65532",
	}
	if fmt.Sprint(root) != fmt.Sprint(want) {
		t.Errorf("it has\n%v, and should have\n%v", root, want)
	}
	if zones < 400 {
		t.Errorf("it has %d time zones", zones)
	}
	zone, err := os.ReadFile(filepath.Join(image, "usr/share/zoneinfo/Europe/Berlin"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := time.LoadLocationFromTZData("Europe/Berlin", zone); err != nil {
		t.Error(err)
	}
	certificates, err := os.ReadFile(filepath.Join(image, "etc/ssl/certs/ca-certificates.crt"))
	if err != nil {
		t.Fatal(err)
	}
	if pool := x509.NewCertPool(); !pool.AppendCertsFromPEM(certificates) || bytes.Count(certificates, []byte("BEGIN CERTIFICATE")) < 100 {
		t.Error("there are no certificates of authorities")
	}
}

func TestTwoBuildsAreTheSameBits(t *testing.T) {
	t.Parallel()
	mustBeRoot(t)
	again := filepath.Join(t.TempDir(), "elsewhere")
	if err := writeImage(again); err != nil {
		t.Fatal(err)
	}
	for _, path := range []func(string) string{dockerArchive, ociArchive, bill} {
		a, err := os.ReadFile(path(dist))
		if err != nil {
			t.Fatal(err)
		}
		b, err := os.ReadFile(path(again))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(a, b) {
			t.Errorf("%s is another one each time", filepath.Base(path(dist)))
		}
	}
	if made := readConfig(t).Created; !made.Equal(time.Unix(1800000000, 0)) {
		t.Errorf("it is of %v, and SOURCE_DATE_EPOCH says otherwise", made)
	}
}

// The two archives are of one image: registries get the one, docker load and podman load the other.
func TestTheArchiveOfAllArchitecturesIsAnOCILayout(t *testing.T) {
	t.Parallel()
	says := readConfig(t)
	files, err := readArchive(ociArchive(dist))
	if err != nil {
		t.Fatal(err)
	}
	type descriptor struct {
		MediaType, Digest string
		Size              int
		Platform          *struct{ OS, Architecture string }
	}
	type manifest struct {
		MediaType         string
		Annotations       map[string]string
		Manifests, Layers []descriptor
		Config            descriptor
	}
	blob := func(d descriptor) []byte {
		t.Helper()
		body := files["blobs/sha256/"+strings.TrimPrefix(d.Digest, "sha256:")]
		if sum := sha256.Sum256(body); hex.EncodeToString(sum[:]) != strings.TrimPrefix(d.Digest, "sha256:") || len(body) != d.Size {
			t.Fatalf("%s is not there as it should be", d.Digest)
		}
		return body
	}
	read := func(body []byte) (m manifest) {
		t.Helper()
		if err := json.Unmarshal(body, &m); err != nil {
			t.Fatal(err)
		}
		return m
	}
	top := read(files["index.json"])
	if len(top.Manifests) != 1 { // podman load and skopeo would ask which
		t.Fatalf("the layout has %d images", len(top.Manifests))
	}
	index := read(blob(top.Manifests[0]))
	if len(index.Manifests) != 1 || index.Manifests[0].Platform == nil || index.Manifests[0].Platform.Architecture != runtime.GOARCH || index.Manifests[0].Platform.OS != "linux" {
		t.Fatalf("the index has %+v", index.Manifests)
	}
	one := read(blob(index.Manifests[0]))
	for _, m := range []manifest{index, one} {
		if !strings.HasPrefix(m.MediaType, "application/vnd.oci.image.") || fmt.Sprint(m.Annotations) != fmt.Sprint(says.Config.Labels) {
			t.Errorf("%s has the annotations %v", m.MediaType, m.Annotations)
		}
	}
	var same config
	if err := json.Unmarshal(blob(one.Config), &same); err != nil || fmt.Sprint(same) != fmt.Sprint(says) {
		t.Errorf("the two archives are of different images: %+v, %+v, %v", same, says, err)
	}
	for _, layer := range one.Layers {
		blob(layer)
	}
	if len(one.Layers) != len(says.RootFS.DiffIDs) {
		t.Errorf("%d layers are not %d", len(one.Layers), len(says.RootFS.DiffIDs))
	}
}

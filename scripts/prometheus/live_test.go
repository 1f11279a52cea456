package prometheus

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"math"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v4"

	"github.com/nekoctl/neko/limiter/redis/redistest"
	"github.com/nekoctl/neko/scripts/freeport"
	"github.com/nekoctl/neko/scripts/load"
	"github.com/nekoctl/neko/worker"
)

// What a host may run: an API with a Redis and limits, one with TLS, a program of Node's, a shell script that
// says nothing, one that crashes, and hooks, of which one fails.
func everything(t *testing.T) (d *daemon, api string) {
	t.Helper()
	redis := redistest.Start(t)
	token := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(token, []byte("a token\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	cert, key := certificate(t)
	api = freeport.Address(t)
	node := ""
	if _, err := exec.LookPath("node"); err == nil {
		server := filepath.Join(t.TempDir(), "server.js")
		if err := os.WriteFile(server, []byte("require('http').createServer((q, s) => s.end('node')).listen(0, '127.0.0.1')\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		node = fmt.Sprintf("  - {name: node, script: %s, instances: 2, exec_mode: cluster}\n", server)
	} else if os.Getenv("CI") == "true" {
		t.Fatal("node is not there")
	}
	d = startDaemon(t, fmt.Sprintf(`
on_event:
  - {event: crash, run: [/bin/true]}
  - {event: reload, run: [/bin/false], retries: 0}
apps:
  - name: api
    command: [%[1]s, --redis, %[2]q, --rate-limit, 100/1m, --max-batch, "4", --traces, "http://%[7]s/v1/traces", --cloudflare-zone, "0123456789abcdef0123456789abcdef", --cloudflare-token-file, %[8]q, --cloudflare-api, "http://%[7]s"]
    listen: %[3]s
    listen_pid: false
    wait_ready: true
    instances: 2
    max_memory_restart: 1G
  - name: tls
    command: [%[1]s, --tls-cert, %[4]q, --tls-key, %[5]q]
    listen: 127.0.0.1:0
    listen_pid: false
    wait_ready: true
  - {name: silent, command: sleep 1000}
  - {name: crashes, command: [sh, -c, "sleep 1.2; exit 3"], max_restarts: 3, min_uptime: 10s, restart_delay: 50ms}
%[6]s`, nekoAPI, "redis://"+redis.Addr(), api, cert, key, node, freeport.Address(t), token)) // nobody takes its spans
	return d, api
}

// certificate is one that nobody has signed but itself.
func certificate(t *testing.T) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	about := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(24 * time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}
	signed, err := x509.CreateCertificate(rand.Reader, about, about, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	text, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	for file, block := range map[string]*pem.Block{cert: {Type: "CERTIFICATE", Bytes: signed}, key: {Type: "PRIVATE KEY", Bytes: text}} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return cert, key
}

// Rules and dashboards are written for hours; here they look at seconds.
func shortRules(t *testing.T) string {
	t.Helper()
	f := readRules(t)
	for i := range f.Groups {
		f.Groups[i].Interval = scrapeEvery.String()
		for j := range f.Groups[i].Rules {
			r := &f.Groups[i].Rules[j]
			r.Expr, r.For = short(r.Expr), ""
		}
	}
	text, err := yaml.Dump(f)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// queries are what the clients send: what is kept, what is not, what is wrong, and lists.
var queries = []string{
	`{"query":"{ threatActors(first: 3) { nodes { attackId name } } }"}`,
	`{"query":"{ threatActors(first: 3) { nodes { attackId techniques(first: 2) { totalCount } } } }"}`,
	`{"query":"{ nothing }"}`,
	`[{"query":"{ __typename }"},{"query":"mutation { nothing }"}]`,
}

// Every expression of every rule and dashboard gives data, when all that there is runs: not one asks for a
// metric, a label or a value of a label that is not there.
func TestEveryExpressionGivesData(t *testing.T) {
	t.Parallel()
	d, api := everything(t)
	var asked []expression
	rules := readRules(t)
	asked = append(append(asked, rules.expressions()...), dashboards(t)...)
	for _, e := range asked { // of what is or-ed together each part
		for _, s := range selectors(e.text) {
			asked = append(asked, expression{e.where, s})
		}
	}

	p := startPrometheus(t, d, shortRules(t))
	for _, body := range queries {
		run, err := load.Start(t.Context(), load.Config{
			URL: "http://" + api + "/graphql", Mode: load.KeepAlive, Header: []string{"Content-Type: application/json"}, Body: []byte(body),
			Clients: 2, ThinkMin: 5 * time.Millisecond, ThinkMax: 20 * time.Millisecond,
		})
		if err != nil {
			t.Fatal(err)
		}
		defer run.Stop()
	}
	// A window here is a minute, and a machine with much to do may take longer: then all happens once more.
	var happened time.Time
	happens := func() {
		if time.Since(happened) < 40*time.Second {
			return
		}
		if _, err := d.try("restart", "crashes"); err != nil { // it may be ready for a moment, or not
			t.Log("it crashes again, and nekoctl says so")
		}
		d.nekoctl("reload", "api")
		happened = time.Now()
	}
	happens()
	d.nekoctl("upgrade", nekoctlB)

	left := map[string]expression{}
	for _, e := range asked {
		if !strings.Contains(e.text, "absent(") { // which gives something when there is nothing
			left[unfiltered(e.text)] = e
		}
	}
	t.Logf("%d expressions", len(left))
	eventually(t, 2*patience, func() error {
		happens()
		var missing []error
		for text, e := range left {
			found, err := p.query(text)
			if err != nil {
				missing = append(missing, fmt.Errorf("%s: %w\n  %s", e.where, err, text))
				continue
			}
			given := false
			for _, s := range found {
				given = given || !math.IsNaN(s.Value.value)
			}
			if !given {
				missing = append(missing, fmt.Errorf("%s: no data for\n  %s", e.where, text))
				continue
			}
			delete(left, text)
		}
		return errors.Join(missing...)
	})

	// And the alerts that should fire do, with sentences that are whole.
	var all struct {
		Groups []struct {
			Rules []struct {
				Name, Health, LastError, Type string
				Alerts                        []struct {
					State               string
					Labels, Annotations map[string]string
				}
			}
		}
	}
	want := map[string]string{"NekoCrashes": "crashes", "NekoWorkerErrored": "crashes", "NekoAppDown": "crashes", "NekoHooksFailing": "", "NekoDenials": "api", "NekoCertificateExpires": "tls"}
	eventually(t, 2*patience, func() error {
		happens()
		if err := p.get("rules", &all); err != nil {
			return err
		}
		var wrong []error
		firing := map[string]bool{}
		for _, g := range all.Groups {
			for _, r := range g.Rules {
				if r.Health != "ok" {
					wrong = append(wrong, fmt.Errorf("%s: %s %s", r.Name, r.Health, r.LastError))
				}
				for _, a := range r.Alerts {
					firing[r.Name+" "+a.Labels["app"]] = true
					for _, sentence := range a.Annotations {
						if strings.Contains(sentence, "<no value>") || strings.Contains(sentence, "<error") {
							t.Errorf("%s: %s", r.Name, sentence)
						}
					}
				}
			}
		}
		for name, app := range want {
			if !firing[name+" "+app] {
				wrong = append(wrong, fmt.Errorf("%s does not fire for %q", name, app))
			}
		}
		for _, name := range []string{"NekoAppDown", "NekoWorkersMissing", "NekoWorkerErrored", "NekoCrashes", "NekoDown", "NekoLogLinesLost", "NekoCollectFailing"} {
			for _, app := range []string{"api", "tls", "silent", "node"} {
				if firing[name+" "+app] {
					wrong = append(wrong, fmt.Errorf("%s fires for %s", name, app))
				}
			}
		}
		return errors.Join(wrong...)
	})
	var page string
	eventually(t, patience, func() error {
		page = d.page()
		for _, f := range worker.MetricFamilies() { // those of a worker that is late are not there
			if !strings.Contains(page, "# TYPE "+f.Name+" ") {
				return fmt.Errorf("no worker has told %s", f.Name)
			}
		}
		return nil
	})
	t.Run("page", func(t *testing.T) { lookAtPage(t, page) })
}

package worker

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nekoctl/neko/logtext"
	"github.com/nekoctl/neko/scripts/load"
)

// pair is a certificate for name, valid from and until so far from now, and its key.
func pair(t testing.TB, name string, from, until time.Duration) (cert, key []byte) {
	t.Helper()
	secret, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{name}, NotBefore: time.Now().Add(from), NotAfter: time.Now().Add(until)}
	public, err := x509.CreateCertificate(rand.Reader, &template, &template, secret.Public(), secret)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(secret)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: public}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})
}

func store(t testing.TB, path string, data []byte) {
	t.Helper()
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

// pairFiles is a pair for the name a, in files.
func pairFiles(t testing.TB) (certFile, keyFile string) {
	t.Helper()
	dir := t.TempDir()
	cert, key := pair(t, "a", -time.Hour, time.Hour)
	store(t, filepath.Join(dir, "cert"), cert)
	store(t, filepath.Join(dir, "key"), key)
	return filepath.Join(dir, "cert"), filepath.Join(dir, "key")
}

// servedName is whose certificate a server shows.
func servedName(t *testing.T, address string) string {
	t.Helper()
	c, err := tls.Dial("tcp", address, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2", "http/1.1"}})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if p := c.ConnectionState().NegotiatedProtocol; p != "http/1.1" {
		t.Errorf("ALPN: %q", p)
	}
	return c.ConnectionState().PeerCertificates[0].DNSNames[0]
}

func TestTLS(t *testing.T) {
	certFile, keyFile := pairFiles(t)
	var said printed
	w, address := startWorker(t, Config{TLSCert: certFile, TLSKey: keyFile, HSTS: time.Hour, Log: logtext.Logger(&said)})
	cert, err := os.ReadFile(certFile)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(cert)
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, ServerName: "a"}}, Timeout: 20 * time.Second}
	defer client.CloseIdleConnections()
	for range 2 { // the second on the same connection
		resp, err := client.Post("https://"+address+"/graphql", "application/json", strings.NewReader(`{"query":"{hello}"}`))
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if string(body) != `{"data":{"hello":"world"}}` || resp.Header.Get("Strict-Transport-Security") != "max-age=3600" || resp.TLS.Version != tls.VersionTLS13 {
			t.Errorf("%s %v", body, resp.Header)
		}
	}
	if w.scheme() != "https" {
		t.Error(w.scheme())
	}

	_, err = tls.Dial("tcp", address, &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11})
	if err == nil || !strings.Contains(err.Error(), "protocol version") {
		t.Error("TLS 1.1:", err)
	}
	// Who speaks plain HTTP is told, and what is no TLS at all gets nothing.
	for sent, want := range map[string]string{"GET / HTTP/1.1\r\nHost: x\r\n\r\n": "this port speaks HTTPS", "\x00\x01\x02\x03\x04\x05\x06": ""} {
		c, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		_ = c.SetDeadline(time.Now().Add(20 * time.Second))
		_, _ = io.WriteString(c, sent)
		got, _ := io.ReadAll(c)
		c.Close()
		if want == "" && bytes.Contains(got, []byte("HTTP")) || !strings.Contains(string(got), want) {
			t.Errorf("%q: %q", sent, got)
		}
	}
	if got := said.String(); got != "" { // anybody could fill the log
		t.Error(got)
	}
}

// A client that does not go on with its handshake keeps nobody from being served,
// and not its own connection for ever.
func TestTLSHandshakeThatHangs(t *testing.T) {
	certFile, keyFile := pairFiles(t)
	w := newTestWorker(t, Config{TLSCert: certFile, TLSKey: keyFile})
	w.server.ReadTimeout = 300 * time.Millisecond
	address := w.serveTest(t)
	var hanging []net.Conn
	for i := range 20 {
		c, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		_, _ = io.WriteString(c, "\x16\x03\x01\x02\x00\x01"[:i%7]) // nothing, or a part of a ClientHello
		hanging = append(hanging, c)
	}
	if name := servedName(t, address); name != "a" {
		t.Error(name)
	}
	for _, c := range hanging {
		_ = c.SetDeadline(time.Now().Add(20 * time.Second))
		if _, err := io.ReadAll(c); errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatal("the connection is kept")
		}
	}
	waitUntil(t, func() bool { return w.drainer.open.Load() == 0 })
}

// The pair is replaced as certbot, Kubernetes and people do it, and what is no pair
// leaves the one before in use.
func TestCertificateIsReplaced(t *testing.T) {
	dir := t.TempDir()
	path := func(name string) string { return filepath.Join(dir, name) }
	for _, name := range []string{"a", "b", "c"} {
		cert, key := pair(t, name, -time.Hour, time.Hour)
		if err := os.Mkdir(path(name), 0o700); err != nil {
			t.Fatal(err)
		}
		store(t, filepath.Join(path(name), "cert"), cert)
		store(t, filepath.Join(path(name), "key"), key)
	}
	point := func(to string) { // atomically, as Kubernetes does
		if err := os.Symlink(to, path("new")); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(path("new"), path("current")); err != nil {
			t.Fatal(err)
		}
	}
	point("a")
	var said printed
	w, address := startWorker(t, Config{TLSCert: path("current/cert"), TLSKey: path("current/key"), Log: logtext.Logger(&said)})
	kept, err := tls.Dial("tcp", address, &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		t.Fatal(err)
	}
	defer kept.Close()
	expect := func(name, line string) {
		t.Helper()
		before := said.String()
		w.cert.look(time.Now())
		if got := servedName(t, address); got != name {
			t.Errorf("the certificate of %s, want that of %s", got, name)
		}
		if got := strings.TrimPrefix(said.String(), before); !strings.Contains(got, line) || (line == "") != (got == "") {
			t.Errorf("said %q, want %q", got, line)
		}
	}
	expect("a", "")
	point("b")
	expect("b", "was replaced, by one that is good until")
	expect("b", "")

	read := func(name string) []byte {
		data, err := os.ReadFile(path(name))
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	certB, certC, keyC := read("b/cert"), read("c/cert"), read("c/key")
	store(t, path("b/cert"), certC)
	expect("b", "warning: the TLS certificate stays as it was: the TLS certificate "+path("current/cert")+" and the key "+path("current/key")+" are no pair")
	expect("b", "") // said once
	store(t, path("b/cert"), certC[:len(certC)/2])
	expect("b", "has no certificate in PEM")
	store(t, path("b/cert"), nil)
	expect("b", "") // the same
	if err := os.Remove(path("b/cert")); err != nil {
		t.Fatal(err)
	}
	expect("b", "cannot read the TLS certificate")
	store(t, path("b/cert"), certB)
	expect("b", "")
	store(t, path("b/cert"), certC)
	store(t, path("b/key"), keyC)
	expect("c", "was replaced")

	// Connections live on with what they began with.
	if _, err := io.WriteString(kept, "GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	if answer, err := io.ReadAll(kept); err != nil || !bytes.Contains(answer, []byte("200 OK")) {
		t.Errorf("%v: %s", err, answer)
	}
	if strings.Contains(said.String(), "PRIVATE") {
		t.Error(said.String())
	}
	w.cert.look(time.Now().Add(2 * time.Hour))
	if got := said.String(); !strings.Contains(got, "has expired") {
		t.Error(got)
	}
}

func TestCertificateThatCannotBe(t *testing.T) {
	dir := t.TempDir()
	path := func(name string) string { return filepath.Join(dir, name) }
	cert, key := pair(t, "a", -time.Hour, time.Hour)
	other, _ := pair(t, "b", -time.Hour, time.Hour)
	store(t, path("cert"), cert)
	store(t, path("key"), key)
	store(t, path("other"), other)
	store(t, path("both"), append(append([]byte{}, cert...), key...))
	store(t, path("broken"), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("x")}))
	store(t, path("locked"), pem.EncodeToMemory(&pem.Block{Type: "ENCRYPTED PRIVATE KEY", Bytes: []byte("x")}))
	for _, c := range []struct{ cert, key, err, hint string }{
		{"cert", "key", "", ""},
		{"both", "both", "", ""},
		{"cert", "", "is without its key", "name the key's file"},
		{"", "key", "is without its certificate", "name the certificate's file"},
		{"none", "key", "cannot read the TLS certificate DIR/none: no such file", "path of a PEM file"},
		{"cert", "none", "cannot read the TLS key DIR/none: no such file", "path of a PEM file"},
		{"key", "key", "DIR/key has no certificate in PEM", "-----BEGIN CERTIFICATE-----"},
		{"cert", "cert", "DIR/cert has no private key in PEM", "-----BEGIN PRIVATE KEY-----"},
		{"cert", "locked", "DIR/locked is locked by a passphrase", "openssl pkey"},
		{"broken", "key", "DIR/broken has a certificate that cannot be read", "anew"},
		{"other", "key", "the TLS certificate DIR/other and the key DIR/key are no pair", "the same issue"},
	} {
		config := Config{Schema: testSchema, Resolver: newTestRoot(), Log: logtext.Logger(io.Discard)}
		if c.cert != "" {
			config.TLSCert = path(c.cert)
		}
		if c.key != "" {
			config.TLSKey = path(c.key)
		}
		w, err := New(config)
		if c.err == "" {
			if err != nil {
				t.Error(err)
			} else {
				w.Close()
			}
			continue
		}
		var advice interface{ Hint() string }
		if err == nil || !strings.Contains(err.Error(), strings.ReplaceAll(c.err, "DIR", dir)) || !errors.As(err, &advice) || !strings.Contains(advice.Hint(), c.hint) {
			t.Errorf("%s, %s: %v", c.cert, c.key, err)
		}
	}
	for want, times := range map[string][2]time.Duration{
		"has expired at": {-2 * time.Hour, -time.Hour},
		"is good from":   {time.Hour, 2 * time.Hour},
		"expires at":     {-90 * 24 * time.Hour, time.Hour},
		"":               {-time.Hour, 90 * 24 * time.Hour},
	} {
		cert, key := pair(t, "a", times[0], times[1])
		store(t, path("cert"), cert)
		store(t, path("key"), key)
		var said bytes.Buffer
		newTestWorker(t, Config{TLSCert: path("cert"), TLSKey: path("key"), Log: logtext.Logger(&said)}).Close()
		if got := said.String(); !strings.Contains(got, want) || (want == "") != (got == "") {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

// A worker of TLS is replaced under load, as a reload does it, and no client sees
// an error, whether it keeps its connection or not.
func TestTLSReloadUnderLoad(t *testing.T) {
	certFile, keyFile := pairFiles(t)
	l, f := listenLocal(t)
	env := []string{"WORKER_TEST_CERT=" + certFile, "WORKER_TEST_KEY=" + keyFile, "NEKO_DRAIN_TIMEOUT=5s"}
	ready := func(p *process) {
		t.Helper()
		for !strings.Contains(p.told(t), "READY=1") {
		}
	}
	worker := start(t, true, env, f)
	ready(worker)
	var runs []*load.Run
	for _, mode := range []load.Mode{load.KeepAlive, load.NewConnection} {
		run, err := load.Start(context.Background(), load.Config{
			URL: "https://" + l.Addr().String() + "/graphql", Mode: mode, Clients: 4, Body: []byte(`{"query":"{hello}"}`),
			Header: []string{"Content-Type: application/json"}, ThinkMax: 5 * time.Millisecond,
			Check: func(r *load.Response) error {
				if string(r.Body) != `{"data":{"hello":"world"}}` {
					return fmt.Errorf("%s", r.Body)
				}
				return nil
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		runs = append(runs, run)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	defer cancel()
	more := func() {
		for _, run := range runs {
			if err := run.WaitRequests(ctx, 50); err != nil {
				t.Fatal(err)
			}
		}
	}
	more()
	for range 2 {
		next := start(t, true, env, f)
		ready(next)
		worker.signal(t, syscall.SIGTERM)
		if code := worker.end(t); code != 0 || worker.stderr.String() != "" {
			t.Errorf("exit code %d: %s", code, worker.stderr.String())
		}
		worker = next
		more()
	}
	for _, run := range runs {
		if report := run.Stop(); report.Failed() {
			t.Error(report)
		}
	}
}

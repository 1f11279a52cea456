package redistest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// StartTLS starts a server that takes TLS alone from clients, with certificates of a CA
// of the test's own on both sides. The URL names the files.
func StartTLS(t testing.TB) (s *Server, secureURL string) {
	t.Helper()
	dir := t.TempDir()
	ca, caKey := certificate(t, filepath.Join(dir, "ca"), nil, nil)
	certificate(t, filepath.Join(dir, "server"), ca, caKey)
	certificate(t, filepath.Join(dir, "client"), ca, caKey)
	var port string // the other one is for Do
	s = startAnew(t, func() []string {
		port = freePort(t)
		return []string{"tls-port " + port, "tls-auth-clients yes", "tls-ca-cert-file " + dir + "/ca.pem",
			"tls-cert-file " + dir + "/server.pem", "tls-key-file " + dir + "/server.key"}
	})
	q := url.Values{"ca": {dir + "/ca.pem"}, "cert": {dir + "/client.pem"}, "key": {dir + "/client.key"}}
	return s, "rediss://127.0.0.1:" + port + "?" + q.Encode()
}

// certificate writes path.pem and path.key; without a parent it is a CA.
func certificate(t testing.TB, path string, parent *x509.Certificate, parentKey *ecdsa.PrivateKey) (*x509.Certificate, *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: filepath.Base(path)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	if parent == nil {
		c.IsCA, c.BasicConstraintsValid, c.KeyUsage = true, true, x509.KeyUsageCertSign
		c.ExtKeyUsage, c.IPAddresses = nil, nil
		parent, parentKey = c, key
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent, &key.PublicKey, parentKey)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for name, block := range map[string]*pem.Block{
		path + ".pem": {Type: "CERTIFICATE", Bytes: der},
		path + ".key": {Type: "PRIVATE KEY", Bytes: secret},
	} {
		if err := os.WriteFile(name, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(fmt.Errorf("%s: %w", name, err))
		}
	}
	if c, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	return c, key
}

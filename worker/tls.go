package worker

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"sync/atomic"
	"time"
)

// certificate is a pair of files, loaded again when they change, without a restart:
// as certbot and Kubernetes replace them. A pair that cannot be used leaves the one
// before in use, and the log says so once.
type certificate struct {
	certFile, keyFile string
	log               *slog.Logger
	current           atomic.Pointer[tls.Certificate]

	// Of watch.
	cert, key []byte // what is in use
	trouble   string // what was said last
}

// certificateInterval is how often the files are read. They are small, and compared
// by content: neither a symlink swapped above them nor a clock can deceive that.
const certificateInterval = 5 * time.Second

// newCertificate loads Config.TLSCert and TLSKey, nil if there are none.
func newCertificate(c Config) (*certificate, error) {
	switch {
	case c.TLSCert == "" && c.TLSKey == "":
		return nil, nil
	case c.TLSCert == "":
		return nil, &adviceError{fmt.Errorf("the TLS key %s is without its certificate", c.TLSKey), "name the certificate's file, too"}
	case c.TLSKey == "":
		return nil, &adviceError{fmt.Errorf("the TLS certificate %s is without its key", c.TLSCert), "name the key's file, too"}
	}
	p := &certificate{certFile: c.TLSCert, keyFile: c.TLSKey, log: c.Log}
	if _, err := p.load(); err != nil {
		return nil, err
	}
	return p, nil
}

// load takes what is in the files into use, if that differs from what was there.
func (p *certificate) load() (changed bool, err error) {
	cert, err := readPEM(p.certFile, "certificate")
	if err != nil {
		return false, err
	}
	key, err := readPEM(p.keyFile, "key")
	if err != nil {
		return false, err
	}
	if p.current.Load() != nil && bytes.Equal(cert, p.cert) && bytes.Equal(key, p.key) {
		return false, nil
	}
	pair, err := parsePair(p.certFile, p.keyFile, cert, key)
	if err != nil {
		return false, err
	}
	p.cert, p.key = cert, key
	p.current.Store(pair)
	return true, nil
}

// maxPEM is more than any chain has.
const maxPEM = 1 << 20

func readPEM(path, what string) ([]byte, error) {
	f, err := os.Open(path)
	if err == nil {
		defer f.Close()
		var data []byte
		if data, err = io.ReadAll(io.LimitReader(f, maxPEM)); err == nil {
			return data, nil
		}
	}
	var op *fs.PathError
	if errors.As(err, &op) {
		err = op.Err
	}
	hint := "give the path of a PEM file"
	if errors.Is(err, fs.ErrPermission) {
		hint = "let the user of this process read it"
	}
	return nil, &adviceError{fmt.Errorf("cannot read the TLS %s %s: %w", what, path, err), hint}
}

// parsePair checks the two files, and says of which the fault is.
func parsePair(certFile, keyFile string, cert, key []byte) (*tls.Certificate, error) {
	if !hasBlock(cert, func(t string) bool { return t == "CERTIFICATE" }) {
		return nil, &adviceError{fmt.Errorf("%s has no certificate in PEM", certFile), "it must begin with -----BEGIN CERTIFICATE-----, the server's own first, then those between it and the root"}
	}
	if !hasBlock(key, func(t string) bool { return t == "PRIVATE KEY" || len(t) > 12 && t[len(t)-12:] == " PRIVATE KEY" }) {
		return nil, &adviceError{fmt.Errorf("%s has no private key in PEM", keyFile), "it must begin with -----BEGIN PRIVATE KEY-----"}
	}
	if hasBlock(key, func(t string) bool { return t == "ENCRYPTED PRIVATE KEY" }) || bytes.Contains(key, []byte("Proc-Type: 4,ENCRYPTED")) {
		return nil, &adviceError{fmt.Errorf("the key %s is locked by a passphrase", keyFile), "store it without one, in a file that only this user can read: openssl pkey -in KEY -out PLAINKEY"}
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err == nil {
		return &pair, nil
	}
	// What crypto/tls says holds no part of the key.
	for b, rest := pem.Decode(cert); b != nil; b, rest = pem.Decode(rest) {
		if b.Type != "CERTIFICATE" {
			continue
		}
		if _, e := x509.ParseCertificate(b.Bytes); e != nil {
			return nil, &adviceError{fmt.Errorf("%s has a certificate that cannot be read: %w", certFile, e), "write the whole file anew"}
		}
	}
	return nil, &adviceError{fmt.Errorf("the TLS certificate %s and the key %s are no pair: %w", certFile, keyFile, err), "take both from the same issue of the certificate"}
}

func hasBlock(data []byte, is func(string) bool) bool {
	for b, rest := pem.Decode(data); b != nil; b, rest = pem.Decode(rest) {
		if is(b.Type) {
			return true
		}
	}
	return false
}

// soon is when an end of the certificate is worth a warning: whoever renews them
// does so weeks before.
const soon = 3 * 24 * time.Hour

// validity is what is wrong with the time of the certificate in use, "" if nothing.
func (p *certificate) validity(now time.Time) string {
	leaf := p.current.Load().Leaf
	switch {
	case now.After(leaf.NotAfter):
		return fmt.Sprintf("the TLS certificate %s has expired at %s, and no client will trust it", p.certFile, leaf.NotAfter.UTC().Format(time.RFC3339))
	case now.Before(leaf.NotBefore):
		return fmt.Sprintf("the TLS certificate %s is good from %s on only", p.certFile, leaf.NotBefore.UTC().Format(time.RFC3339))
	case leaf.NotAfter.Sub(now) < soon && leaf.NotAfter.Sub(leaf.NotBefore) > 2*soon:
		return fmt.Sprintf("the TLS certificate %s expires at %s", p.certFile, leaf.NotAfter.UTC().Format(time.RFC3339))
	}
	return ""
}

// complain says what is wrong, once as long as it is the same.
func (p *certificate) complain(trouble string) {
	if trouble != "" && trouble != p.trouble {
		p.log.Warn(trouble)
	}
	p.trouble = trouble
}

// look takes a new pair into use, or complains.
func (p *certificate) look(now time.Time) {
	changed, err := p.load()
	switch {
	case err != nil:
		p.complain(fmt.Sprintf("the TLS certificate stays as it was: %v", err))
		return
	case changed:
		p.log.Info(fmt.Sprintf("the TLS certificate %s was replaced, by one that is good until %s", p.certFile, p.current.Load().Leaf.NotAfter.UTC().Format(time.RFC3339)))
	}
	p.complain(p.validity(now))
}

// watch looks every now and then, until ctx ends.
func (p *certificate) watch(ctx context.Context) {
	tick := time.NewTicker(certificateInterval)
	defer tick.Stop()
	for {
		select {
		case now := <-tick.C:
			p.look(now)
		case <-ctx.Done():
			return
		}
	}
}

// config is for servers: versions and suites are crypto/tls's, which are kept up
// to date, and 1.2 at least.
func (p *certificate) config() *tls.Config {
	return &tls.Config{
		MinVersion:     tls.VersionTLS12,
		NextProtos:     []string{"http/1.1"},
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return p.current.Load(), nil },
	}
}

func (w *Worker) scheme() string {
	if w.cert != nil {
		return "https"
	}
	return "http"
}

// tlsListener speaks TLS on what another accepts. The handshake is in the
// connection's own goroutine, within the time that a first request may take.
type tlsListener struct {
	net.Listener
	config *tls.Config
}

func (l *tlsListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return tls.Server(c, l.config), nil
}

// answerPlain tells a client that has spoken HTTP to a port of TLS, and returns
// whether err is of such a one.
func answerPlain(err error) bool {
	var header tls.RecordHeaderError
	if !errors.As(err, &header) || header.Conn == nil {
		return false
	}
	switch string(header.RecordHeader[:]) {
	case "GET /", "HEAD ", "POST ", "PUT /", "OPTIO":
		const body = "this port speaks HTTPS\n"
		_ = header.Conn.SetWriteDeadline(time.Now().Add(time.Second))
		_, _ = fmt.Fprintf(header.Conn, "HTTP/1.0 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
		return true
	}
	return false
}

package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/nekoctl/neko/scripts/load"
)

// serveTLS starts another app on the same store, that speaks TLS.
func serveTLS(ctx context.Context, s *stage) error {
	folder := filepath.Join(s.dir, "tls")
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return err
	}
	cert, key, err := load.Certificate(folder)
	if err != nil {
		return err
	}
	address, err := freeAddress()
	if err != nil {
		return err
	}
	app := s.appFile("tls", address, map[string]string{"NEKO_API_TLS_CERT": cert, "NEKO_API_TLS_KEY": key})
	if err := os.WriteFile(filepath.Join(s.dir, "tls.yaml"), app, 0o600); err != nil {
		return err
	}
	s.target = "https://" + address
	_, err = s.ctl(ctx, "start", filepath.Join(s.dir, "tls.yaml"))
	return err
}

// mixCertificate leaves a key that does not belong to the certificate, as when only one of two files was renewed.
func mixCertificate(_ context.Context, s *stage) error {
	folder := filepath.Join(s.dir, "other")
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return err
	}
	_, key, err := load.Certificate(folder)
	if err != nil {
		return err
	}
	return os.Rename(key, filepath.Join(s.dir, "tls", "key"))
}

// renewCertificate puts a new pair, and waits until it is served.
func renewCertificate(ctx context.Context, s *stage) error {
	before, err := s.certificate()
	if err != nil {
		return err
	}
	if _, _, err := load.Certificate(filepath.Join(s.dir, "tls")); err != nil {
		return err
	}
	return s.step("a new pair is served", func() error {
		return s.waitFor(ctx, "the new certificate is served", 10*time.Second, func() error {
			now, err := s.certificate()
			if err == nil && bytes.Equal(now, before) {
				err = errors.New("it is the one before")
			}
			return err
		})
	})
}

func (s *stage) certificate() ([]byte, error) {
	// It is signed by itself, and nothing is sent: only which one it is matters.
	conn, err := tls.Dial("tcp", strings.TrimPrefix(s.target, "https://"), &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	return conn.ConnectionState().PeerCertificates[0].Raw, nil
}

func endTLS(ctx context.Context, s *stage) error {
	s.probes.url = s.url // what is asked from now on
	_, err := s.ctl(ctx, "delete", "tls")
	return err
}

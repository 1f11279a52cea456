package auth

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// The secret is a file with at least 32 bytes of text.
const (
	minSecret = 32
	maxSecret = 4 << 10
)

// SecretError is a secret file that cannot be used, and what to do about it.
type SecretError struct{ message, hint string }

func (e *SecretError) Error() string { return e.message }

// Hint is what to do about it.
func (e *SecretError) Hint() string { return e.hint }

// ReadSecret reads the file. If create is set and there is none, it is made, for
// its owner alone; of many processes that do so at once one makes it, and all get
// the same.
func ReadSecret(path string, create bool) ([]byte, error) {
	secret, err := readSecret(path)
	if errors.Is(err, fs.ErrNotExist) && create {
		if err = makeSecret(path); err == nil {
			secret, err = readSecret(path)
		}
	}
	var known *SecretError
	if err == nil || errors.As(err, &known) {
		return secret, err
	}
	var pe *fs.PathError
	if errors.As(err, &pe) {
		err = pe.Err
	}
	e := &SecretError{fmt.Sprintf("cannot read the secret %s: %v", path, err), "give the file to the user that neko-api runs as, with mode 0600"}
	if errors.Is(err, fs.ErrNotExist) {
		e.hint = "make one with: (umask 077; head -c 32 /dev/urandom | base64 > " + path + "), and give the same to all hosts of this store"
	}
	return nil, e
}

func readSecret(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	// A secret that a platform mounts may belong to a group, but is nothing for others.
	if info.Mode().IsRegular() && info.Mode().Perm()&0o007 != 0 {
		return nil, &SecretError{fmt.Sprintf("%s can be used by everybody on this machine (mode %04o)", path, info.Mode().Perm()), "chmod 600 " + path + "; a volume of Kubernetes wants defaultMode: 0400"}
	}
	data, err := io.ReadAll(io.LimitReader(f, maxSecret+1))
	if err != nil {
		return nil, err
	}
	data = bytes.TrimSpace(data)
	if len(data) < minSecret || len(data) > maxSecret {
		return nil, &SecretError{fmt.Sprintf("%s has %d bytes, and a secret must have from %d to %d", path, len(data), minSecret, maxSecret),
			"make one with: (umask 077; head -c 32 /dev/urandom | base64 > " + path + ")"}
	}
	return data, nil
}

// makeSecret makes the file as a whole, or leaves the one that another process
// has made meanwhile.
func makeSecret(path string) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".auth.secret-*") // 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	text := rand.Text() + rand.Text() + "\n"
	_, err = f.WriteString(text)
	if err == nil {
		err = f.Sync()
	}
	if e := f.Close(); err == nil {
		err = e
	}
	if err != nil {
		return err
	}
	if err := os.Link(f.Name(), path); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return nil
}

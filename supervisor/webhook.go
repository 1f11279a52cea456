package supervisor

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nekoctl/neko/retryafter"
	"github.com/nekoctl/neko/supervisor/control"
	"github.com/nekoctl/neko/supervisor/spec"
)

// webhook posts events to the URL of a hook.
type webhook struct {
	*spec.Hook
	client *http.Client
}

// call posts an event once. Errors have nothing of the URL.
func (w *webhook) call(ctx context.Context, m *master, e *control.Event) error {
	body, err := deliveryOf(e)
	if err != nil {
		return err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, w.Webhook, bytes.NewReader(body))
	if err != nil {
		return errors.New("the URL is none")
	}
	request.Header.Set("User-Agent", "neko/"+m.version)
	for name, value := range w.Headers {
		if http.CanonicalHeaderKey(name) == "Host" {
			request.Host = value
		}
		request.Header.Set(name, value)
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("X-Neko-Event", string(e.Kind))
	request.Header.Set("X-Neko-Event-Id", strconv.FormatInt(e.ID, 10))
	secret, err := w.secret()
	if err != nil {
		return &retryError{err, 0}
	}
	if secret != "" {
		mac := hmac.New(sha256.New, []byte(secret))
		mac.Write(body)
		request.Header.Set("X-Hub-Signature-256", "sha256="+hex.EncodeToString(mac.Sum(nil)))
	}
	if w.client == nil {
		w.client = &http.Client{
			Transport: &http.Transport{Proxy: http.ProxyFromEnvironment, DisableKeepAlives: true, ForceAttemptHTTP2: false, MaxResponseHeaderBytes: 64 << 10},
			// What is to be told to one host is told to no other.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		}
	}
	response, err := w.client.Do(request)
	if err != nil {
		return &retryError{withoutURL(err), 0}
	}
	defer response.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(response.Body, 64<<10))
	switch code := response.StatusCode; {
	case code >= 200 && code < 300:
		return nil
	case code == http.StatusTooManyRequests || code >= 500 || code == http.StatusRequestTimeout:
		return &retryError{errors.New("it answered " + status(code)), retryafter.Parse(response.Header.Get("Retry-After"), time.Now())}
	case code >= 300 && code < 400:
		return fmt.Errorf("it answered %s: redirects are not followed, so give the URL that it leads to", status(code))
	default:
		return errors.New("it answered " + status(code))
	}
}

func status(code int) string {
	return strings.TrimSpace(fmt.Sprintf("%d %s", code, http.StatusText(code)))
}

func (w *webhook) close() {
	if w.client != nil {
		w.client.CloseIdleConnections()
	}
}

// secret is looked up for each call: the file may get another.
func (w *webhook) secret() (string, error) {
	if w.SecretFile == "" {
		return w.Secret, nil
	}
	fd, err := unix.Open(w.SecretFile, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", fmt.Errorf("secret_file %s: %w", w.SecretFile, err)
	}
	file := os.NewFile(uintptr(fd), w.SecretFile)
	defer file.Close()
	const most = 4 << 10
	text, err := io.ReadAll(io.LimitReader(file, most+1))
	if err != nil {
		return "", fmt.Errorf("secret_file: %w", err)
	}
	secret := strings.TrimSpace(string(text))
	if secret == "" || len(text) > most {
		return "", fmt.Errorf("secret_file %s: expected a secret of 1 to %d bytes", w.SecretFile, most)
	}
	return secret, nil
}

// withoutURL is what went wrong, in words that help.
func withoutURL(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		err = u.Err
	}
	if errors.As(err, new(x509.SystemRootsError)) || errors.As(err, new(x509.UnknownAuthorityError)) {
		return fmt.Errorf("%w: is there a list of certificate authorities (the package ca-certificates, or SSL_CERT_FILE)?", err)
	}
	return err
}

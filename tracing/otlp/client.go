package otlp

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strings"
	"time"

	"go.opentelemetry.io/otel/attribute"
	sdk "go.opentelemetry.io/otel/sdk/trace"

	"github.com/nekoctl/neko/logtext"
	"github.com/nekoctl/neko/retryafter"
)

// client makes the calls, as https://opentelemetry.io/docs/specs/otlp/ (OTLP/HTTP) has
// it: what is answered with 429, 502, 503 or 504, or not at all, is sent again, after
// Retry-After or ever longer waits; nothing else is.
type client struct {
	settings *settings
	resource []attribute.KeyValue
	http     http.Client
	body     encoder
	packed   bytes.Buffer
	gzip     *gzip.Writer
}

const (
	firstWait = time.Second
	maxWait   = 30 * time.Second
	// maxTime is for how long one batch is tried: what comes meanwhile has to wait.
	maxTime = time.Minute
	// maxAnswer is how much of an answer is read.
	maxAnswer = 64 << 10
)

func newClient(s *settings, resource []attribute.KeyValue) client {
	return client{
		settings: s, resource: resource,
		http: http.Client{
			Transport: &http.Transport{
				Proxy: http.ProxyFromEnvironment, TLSClientConfig: s.tls,
				MaxIdleConns: 1, MaxConnsPerHost: 1, IdleConnTimeout: 30 * time.Second, TLSHandshakeTimeout: s.timeout,
				DisableCompression: true, MaxResponseHeaderBytes: maxAnswer,
			},
			// Elsewhere the headers are nobody's business.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}
}

func (c *client) close() { c.http.CloseIdleConnections() }

// send sends spans until they are taken, or that is of no use, or ctx ends. When stop is
// closed nothing is sent again. It returns how many the receiver has not taken, and what it has said.
func (c *client) send(ctx context.Context, spans []sdk.ReadOnlySpan, stop <-chan struct{}, last bool) (rejected int, message string, err error) {
	c.body.b = c.body.b[:0]
	c.body.request(c.resource, spans)
	body := c.body.b
	if c.settings.gzip {
		if body, err = c.pack(body); err != nil {
			return 0, "", err
		}
	}
	began, wait := time.Now(), c.settings.wait
	for {
		var again time.Duration
		rejected, message, again, err = c.try(ctx, body)
		if err == nil || again < 0 || last || ctx.Err() != nil {
			return rejected, message, err
		}
		pause := max(again, wait/2+rand.N(wait))
		wait = min(2*wait, maxWait)
		if time.Since(began)+pause > maxTime {
			return 0, "", err
		}
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-stop:
			timer.Stop()
			last = true
		case <-ctx.Done():
			timer.Stop()
			return 0, "", err
		}
	}
}

func (c *client) pack(body []byte) ([]byte, error) {
	c.packed.Reset()
	if c.gzip == nil {
		c.gzip = gzip.NewWriter(&c.packed)
	} else {
		c.gzip.Reset(&c.packed)
	}
	if _, err := c.gzip.Write(body); err != nil {
		return nil, err
	}
	err := c.gzip.Close()
	return c.packed.Bytes(), err
}

// never is that a call is not to be made again.
const never = -1

// try makes one call. If it fails, again says after which time at least it may be made
// again, or never.
func (c *client) try(ctx context.Context, body []byte) (rejected int, message string, again time.Duration, err error) {
	ctx, cancel := context.WithTimeout(ctx, c.settings.timeout)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, c.settings.endpoint, bytes.NewReader(body))
	if err != nil {
		return 0, "", never, errors.New("the endpoint is no URL")
	}
	r.Header.Set("User-Agent", "OTel-OTLP-Exporter-neko")
	r.Header.Set("Content-Type", "application/x-protobuf")
	if c.settings.gzip {
		r.Header.Set("Content-Encoding", "gzip")
	}
	for _, h := range c.settings.headers {
		r.Header.Set(h[0], h[1])
		if strings.EqualFold(h[0], "host") {
			r.Host = h[1]
		}
	}
	response, err := c.http.Do(r)
	if err != nil {
		if e := (*url.Error)(nil); errors.As(err, &e) {
			err = e.Err // without the URL: it may have a password
		}
		return 0, "", 0, fmt.Errorf("the receiver cannot be asked: %w", err)
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	switch code := response.StatusCode; {
	case code >= 200 && code < 300:
		if err != nil {
			return 0, "", never, nil // it was taken
		}
		n, text, err := partial(answer)
		if err != nil {
			return 0, "", never, nil // it was taken, and what else is said is not for us
		}
		return int(n), logtext.Printable(text, 200), never, nil
	case code == http.StatusTooManyRequests || code == http.StatusBadGateway || code == http.StatusServiceUnavailable || code == http.StatusGatewayTimeout:
		again = retryafter.Parse(response.Header.Get("Retry-After"), time.Now())
	default:
		again = never
	}
	return 0, "", again, fmt.Errorf("the receiver answered %d", response.StatusCode)
}

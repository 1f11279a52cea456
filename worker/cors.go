package worker

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"

	"github.com/valyala/fasthttp"
)

// cors lets pages of other origins read answers: https://fetch.spec.whatwg.org/#http-cors-protocol.
// The nil one lets nobody.
type cors struct {
	any         bool
	origins     map[string]bool
	credentials bool
	headers     string // that a page may send
}

const (
	corsMaxAge  = "7200" // what browsers take at most
	corsExposed = "X-Request-Id, Retry-After, RateLimit-Policy, RateLimit"
)

// corsHeaders are those that clients of GraphQL send.
var corsHeaders = []string{
	"Authorization", "Content-Type", "X-API-Key", "X-Request-Id",
	"Apollographql-Client-Name", "Apollographql-Client-Version", "Traceparent", "Tracestate",
}

// newCORS reads Config.CORSOrigins and what belongs to it; nil if there are none.
func newCORS(c Config) (*cors, error) {
	if len(c.CORSOrigins) == 0 {
		return nil, nil
	}
	r := &cors{origins: map[string]bool{}, credentials: c.CORSCredentials}
	for _, text := range c.CORSOrigins {
		if text == "*" {
			r.any = true
			continue
		}
		origin, err := normalOrigin(text)
		if err != nil {
			return nil, &adviceError{
				fmt.Errorf("CORS origin %q: %w", text, err),
				"write it as a browser does, like https://app.example.org or http://localhost:3000, or * for everybody",
			}
		}
		r.origins[origin] = true
	}
	if r.any && r.credentials {
		return nil, &adviceError{
			errors.New("CORS for all origins cannot be with credentials"),
			"name the origins that may use the credentials of their users",
		}
	}
	csrfHeaders := c.CSRFHeaders
	if len(csrfHeaders) == 0 {
		csrfHeaders = apolloHeaders
	}
	all := append(append(append([]string{}, corsHeaders...), csrfHeaders...), c.CORSHeaders...)
	for _, h := range all {
		if !isToken(h) || h == "*" {
			return nil, &adviceError{fmt.Errorf("CORS: %q is no name of a header", h), "write names like X-Tenant"}
		}
	}
	r.headers = strings.Join(all, ", ")
	return r, nil
}

// normalOrigin is text as a browser writes it: lower case, no default port.
func normalOrigin(text string) (string, error) {
	u, err := url.Parse(text)
	if err != nil {
		return "", errors.New("it is no URL")
	}
	host := strings.ToLower(u.Host)
	switch {
	case u.Scheme == "" || host == "" || u.Hostname() == "":
		return "", errors.New("it is not of the form scheme://host")
	case u.User != nil || u.RawQuery != "" || u.Fragment != "" || u.Path != "" && u.Path != "/":
		return "", errors.New("an origin is scheme, host and port only")
	case strings.Contains(host, "*"):
		return "", errors.New("origins are compared as a whole, there are no patterns")
	}
	for i := range len(host) {
		if host[i] <= ' ' || host[i] >= 0x7f {
			return "", errors.New("the host must be written in ASCII, xn--…")
		}
	}
	if port := u.Port(); u.Scheme == "http" && port == "80" || u.Scheme == "https" && port == "443" {
		host, _, _ = net.SplitHostPort(host)
		if strings.Contains(host, ":") {
			host = "[" + host + "]"
		}
	}
	return u.Scheme + "://" + strings.TrimSuffix(host, ":"), nil
}

// allow says by headers who may read the answer. What is not allowed is served all
// the same: the browser keeps it from the page.
func (c *cors) allow(ctx *fasthttp.RequestCtx) (allowed bool) {
	if c == nil {
		return false
	}
	h := &ctx.Response.Header
	origin := ctx.Request.Header.Peek(fasthttp.HeaderOrigin)
	switch {
	case c.any:
		h.Set(fasthttp.HeaderAccessControlAllowOrigin, "*")
	default:
		h.Add(fasthttp.HeaderVary, fasthttp.HeaderOrigin)
		if !c.origins[string(origin)] { // "null" is never among them
			return false
		}
		h.SetBytesV(fasthttp.HeaderAccessControlAllowOrigin, origin)
	}
	if c.credentials {
		h.Set(fasthttp.HeaderAccessControlAllowCredentials, "true")
	}
	h.Set(fasthttp.HeaderAccessControlExposeHeaders, corsExposed)
	return true
}

// options answers OPTIONS for a path that has methods; false: there is no CORS.
func (c *cors) options(ctx *fasthttp.RequestCtx, methods []string) bool {
	if c == nil || string(ctx.Method()) != fasthttp.MethodOptions {
		return false
	}
	h := &ctx.Response.Header
	ctx.SetStatusCode(fasthttp.StatusNoContent)
	h.Set(fasthttp.HeaderAllow, strings.Join(methods, ", ")+", OPTIONS")
	if c.allow(ctx) && len(ctx.Request.Header.Peek(fasthttp.HeaderAccessControlRequestMethod)) > 0 {
		h.Del(fasthttp.HeaderAccessControlExposeHeaders)
		h.Set(fasthttp.HeaderAccessControlAllowMethods, strings.Join(methods, ", "))
		h.Set(fasthttp.HeaderAccessControlAllowHeaders, c.headers)
		h.Set(fasthttp.HeaderAccessControlMaxAge, corsMaxAge)
	}
	return true
}

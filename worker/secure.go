package worker

import (
	"strconv"
	"time"

	"github.com/valyala/fasthttp"
)

// The headers of every answer, in the form that needs no work.
var (
	nameRequestID   = []byte(requestIDHeader)
	nameNosniff     = []byte("X-Content-Type-Options")
	nameReferrer    = []byte("Referrer-Policy")
	nameResource    = []byte("Cross-Origin-Resource-Policy")
	namePolicy      = []byte("Content-Security-Policy")
	nameCache       = []byte("Cache-Control")
	nameTransport   = []byte("Strict-Transport-Security")
	valueNosniff    = []byte("nosniff")
	valueNoReferrer = []byte("no-referrer")
	valueSameOrigin = []byte("same-origin")
	valueNothing    = []byte("default-src 'none'; frame-ancestors 'none'")
	valueNoStore    = []byte("no-store")
)

// secure adds the headers that keep a browser from using an answer for anything
// but what it is. A handler that has set its own policy, as that of a page, or of
// what may be cached, keeps it.
//
// Cross-Origin-Resource-Policy stays same-origin where CORS is allowed: it is about
// requests without CORS, an <img> or <script>, for which no answer here is meant.
func (w *Worker) secure(ctx *fasthttp.RequestCtx, e *envelope) {
	ctx.Response.Header.SetCanonical(nameRequestID, e.id)
	w.guardHeaders(&ctx.Response.Header)
}

// guardHeaders adds those that are the same for all requests.
func (w *Worker) guardHeaders(h *fasthttp.ResponseHeader) {
	h.SetCanonical(nameNosniff, valueNosniff)
	h.SetCanonical(nameReferrer, valueNoReferrer)
	h.SetCanonical(nameResource, valueSameOrigin)
	if len(h.PeekBytes(namePolicy)) == 0 {
		h.SetCanonical(namePolicy, valueNothing)
	}
	if len(h.PeekBytes(nameCache)) == 0 {
		h.SetCanonical(nameCache, valueNoStore)
	}
	if w.hsts != nil {
		h.SetCanonical(nameTransport, w.hsts)
	}
}

// newHSTS is the value of Strict-Transport-Security, nil for none: a worker that
// does not speak TLS itself cannot know that its clients do.
func newHSTS(c Config) []byte {
	if c.HSTS < time.Second || c.TLSCert == "" {
		return nil
	}
	return strconv.AppendInt([]byte("max-age="), int64(c.HSTS/time.Second), 10)
}

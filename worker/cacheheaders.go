package worker

import (
	"bytes"
	"strconv"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/nekoctl/neko/cache"
)

// What an answer from the cache, or for it, says of itself in headers: RFC 9111, RFC 5861,
// RFC 9110, 8.8.3 and 13.1.2, and RFC 9213. All others are no-store, as secure.go has it.
//
// The ETag is a weak one. One that is strong would have to be another for each coding
// that compress.go may give the answer, while all that anybody asks by it here is whether
// the answer is still the same, for which weak ones are compared too; and what stands in
// front of a worker and compresses makes them weak anyway.
var (
	nameAge      = []byte(fasthttp.HeaderAge)
	nameETag     = []byte("Etag") // as fasthttp writes names
	nameVary     = []byte(fasthttp.HeaderVary)
	nameCacheTag = []byte("Cache-Tag")
	nameCDN      = []byte("Cdn-Cache-Control") // as fasthttp writes names
	valueVaryWho = []byte("Authorization, X-API-Key")
)

// control is what is said of how long an answer may be kept, and by whom.
type control struct {
	all []byte // Cache-Control
	cdn []byte // CDN-Cache-Control; nil: there is none, and a CDN goes by the other
}

// controlFor is what is said of an answer to somebody who must be alone in having it, or
// not: only then a CDN is told anything else than a browser, if browsers have a bound. It is written
// over b, which may be nil.
func controlFor(b []byte, p cache.Policy, browser time.Duration, somebody bool) (c control) {
	switch {
	case somebody:
		c.all = appendCacheControl(b[:0], p, "private")
	case browser > 0:
		b = appendCacheControl(b[:0], cache.Policy{MaxAge: min(p.MaxAge, browser)}, "public")
		n := len(b)
		b = appendCacheControl(b, p, "public")
		c.all, c.cdn = b[:n], b[n:]
	default:
		c.all = appendCacheControl(b[:0], p, "public")
	}
	return c
}

// controlOf is what is said of an answer to who shows credentials, or does not. It allocates
// nothing but for what has a policy of its own, as what says that there is nothing has.
func (cp *cachePlan) controlOf(p cache.Policy, credentials bool) control {
	switch {
	case p != cp.policy:
		return controlFor(nil, p, cp.browser, credentials || cp.whose)
	case credentials:
		return cp.own
	}
	return cp.public
}

func appendCacheControl(b []byte, p cache.Policy, scope string) []byte {
	b = strconv.AppendInt(append(b, "max-age="...), int64(p.MaxAge/time.Second), 10)
	b = append(append(b, ", "...), scope...)
	if s := int64(p.StaleWhileRevalidate / time.Second); s > 0 {
		b = strconv.AppendInt(append(b, ", stale-while-revalidate="...), s, 10)
	}
	if s := int64(p.StaleIfError / time.Second); s > 0 {
		b = strconv.AppendInt(append(b, ", stale-if-error="...), s, 10)
	}
	return b
}

// showsCredentials says whether a request has any, good or not: what it is answered may be
// for nobody else.
func showsCredentials(h *fasthttp.RequestHeader) bool {
	return len(h.PeekBytes(nameAuthorization)) > 0 || len(h.PeekBytes(nameAPIKey)) > 0
}

var (
	nameAuthorization = []byte(fasthttp.HeaderAuthorization)
	nameAPIKey        = []byte("X-Api-Key") // in the canonical form
)

// respondCached writes the answer of the one operation of x.
func (x *exchange) respondCached(ctx *fasthttp.RequestCtx) {
	op := &x.operations[0]
	a, cp := op.result.cached, op.plan.caching
	now := time.Now()
	h := &ctx.Response.Header
	policy := a.Policy
	if op.result.stale { // it is so old that nobody else may serve it without asking
		policy = cache.Policy{MaxAge: policy.MaxAge}
	}
	said := cp.controlOf(policy, showsCredentials(&ctx.Request.Header))
	if op.result.stale && said.cdn != nil {
		// A CDN may count the time from when it got the answer, whatever Age says: it would
		// keep a warning for an hour.
		said.cdn = valueNoStore
	}
	beginCached(ctx, x.media.success, cp, said)
	if line := a.TagLine(); line != "" {
		h.SetBytesK(nameCacheTag, line)
	}
	h.SetCanonical(nameAge, strconv.AppendInt(nil, int64(a.Age(now.UnixMilli())/time.Second), 10))
	if op.result.stale { // as it is said in it how old it is, it has no ETag
		ctx.Response.SetBodyRaw(op.result.cachedBody(now))
		return
	}
	h.SetCanonical(nameETag, appendWeak(nil, a.ETag))
	if !ctx.IsPost() && matches(ctx.Request.Header.PeekAll(fasthttp.HeaderIfNoneMatch), a.ETag) {
		notModified(ctx, len(a.Body))
		return
	}
	ctx.Response.SetBodyRaw(a.Body)
	envelopeOf(ctx).answer = a
}

// beginCached writes the header of an answer of the cache, as far as it is not this one's.
func beginCached(ctx *fasthttp.RequestCtx, media string, cp *cachePlan, said control) {
	begin(ctx, fasthttp.StatusOK, media)
	if cp.whose {
		ctx.Response.Header.AddBytesKV(nameVary, valueVaryWho)
	}
	said.tell(&ctx.Response.Header)
}

func (c control) tell(h *fasthttp.ResponseHeader) {
	h.SetCanonical(nameCache, c.all)
	if c.cdn != nil {
		h.SetCanonical(nameCDN, c.cdn)
	}
}

// notModified makes the answer in ctx, whose body would have this length, one without a
// body.
func notModified(ctx *fasthttp.RequestCtx, length int) {
	ctx.SetStatusCode(fasthttp.StatusNotModified)
	ctx.Response.Header.SetNoDefaultContentType(true)
	ctx.Response.Header.SetContentType("")
	if length >= minCompress { // as it would have had
		ctx.Response.Header.Add(fasthttp.HeaderVary, fasthttp.HeaderAcceptEncoding)
	}
}

// appendWeak appends the weak form of an entity tag.
func appendWeak(b, etag []byte) []byte {
	if !bytes.HasPrefix(etag, weakPrefix) {
		b = append(b, weakPrefix...)
	}
	return append(b, etag...)
}

var weakPrefix = []byte("W/")

// matches says whether one of the entity tags in the lines of If-None-Match is etag, in
// the weak comparison, or any.
func matches(lines [][]byte, etag []byte) bool {
	etag = bytes.TrimPrefix(etag, weakPrefix)
	for _, line := range lines {
		for line = bytes.TrimLeft(line, " \t,"); len(line) > 0; line = bytes.TrimLeft(line, " \t,") {
			if line[0] == '*' {
				return true
			}
			line = bytes.TrimPrefix(line, weakPrefix)
			if len(line) == 0 || line[0] != '"' {
				break // no entity tag
			}
			end := bytes.IndexByte(line[1:], '"') + 2
			if end < 2 {
				break
			}
			if bytes.Equal(line[:end], etag) {
				return true
			}
			line = line[end:]
		}
	}
	return false
}

package worker

import (
	"maps"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/nekoctl/neko/cache"
	"github.com/nekoctl/neko/limiter"
	"github.com/valyala/fasthttp"
)

// glance is what the headers of a request say, as far as a hit depends on it.
type glance struct {
	accept, authorization, apiKey, acceptEncoding []byte
	credentials                                   bool // there are some, good or not
	conditional                                   bool // If-None-Match
}

// glanceAt looks once through all headers. Not ok is what is not as it usually is.
func glanceAt(h *fasthttp.RequestHeader) (g glance, ok bool) {
	accepts, codings, tokens, keys := 0, 0, 0, 0
	for name, value := range h.All() {
		switch string(name) {
		case fasthttp.HeaderAccept:
			g.accept = value
			accepts++
		case fasthttp.HeaderAcceptEncoding:
			g.acceptEncoding = value
			codings++
		case fasthttp.HeaderAuthorization:
			g.authorization = value
			tokens++
		case canonicalAPIKey:
			g.apiKey = value
			keys++
		case fasthttp.HeaderContentEncoding:
			return g, false
		case fasthttp.HeaderIfNoneMatch:
			g.conditional = true
		}
	}
	g.credentials = tokens+keys > 0
	empty := tokens > 0 && len(g.authorization) == 0 || keys > 0 && len(g.apiKey) == 0 // which identify refuses
	return g, max(accepts, codings, tokens, keys) <= 1 && !empty
}

// canonicalAPIKey is X-API-Key as fasthttp has it.
const canonicalAPIKey = "X-Api-Key"

// isPlainJSON says whether a body of this type is read as JSON, of the types that nearly
// all clients send.
func isPlainJSON(contentType []byte) bool {
	switch string(contentType) {
	case "application/json", "application/json; charset=utf-8", "application/json;charset=utf-8", "application/json; charset=UTF-8", "application/json;charset=UTF-8":
		return true
	}
	return false
}

// serveHit answers a request for GraphQL that is known by its bytes and whose answer is in
// the cache, fresh. False is that it has done nothing, and the request goes its whole way.
func (w *Worker) serveHit(ctx *fasthttp.RequestCtx) bool {
	if w.known == nil || string(ctx.Path()) != graphqlPath {
		return false
	}
	e := envelopeOf(ctx)
	if e.warming {
		return false
	}
	text, get, ok := w.knownText(ctx, e)
	if !ok {
		return false
	}
	g, ok := glanceAt(&ctx.Request.Header)
	if !ok {
		return false
	}
	hash := w.known.hash(text, get)
	k := w.known.find(hash, text, get)
	if k == nil {
		e.sight = sight{hash, w.known.again(hash)}
		return false
	}
	media, ok := w.negotiated.of(g.accept)
	if !ok {
		return false
	}
	who := &anybody
	if g.credentials && w.config.Identify != nil {
		if w.config.IdentifyKnown == nil {
			return false
		}
		if who, ok = w.config.IdentifyKnown(g.authorization, g.apiKey); !ok {
			return false
		}
	}
	if w.planner.roles.authorize(k.plan, who) != nil {
		return false
	}
	key, ok := w.keyOf(k, who)
	if !ok {
		return false
	}
	now := e.began.UnixMilli()
	answer, state := w.config.Cache.Peek(key, now)
	if state != cache.Fresh {
		return false
	}
	// From here on it is answered.
	t, d := w.rates.charge(e, k, who)
	if !d.OK() {
		w.refuseKnown(ctx, e, k, who, t, d)
		return true
	}
	w.config.Cache.Count(key, answer)
	if !w.answers.take(ctx, len(answer.Body), false) {
		bad := noRoom()
		x := k.exchange()
		x.refused, x.status = bad.code, bad.status
		ctx.SetUserValue(exchangeKey{}, x)
		e.subject = who.Subject
		w.cors.allow(ctx)
		t.tell(&ctx.Response.Header)
		t.release()
		refuse(ctx, bad)
		return true
	}
	if k.named {
		w.documents.used(k.document)
	}
	e.known, e.subject = k, who.Subject
	h := &ctx.Response.Header
	k.heads[headIndex(media, g.credentials)].CopyTo(h)
	w.cors.allow(ctx)
	t.tell(h)
	t.release()
	h.SetCanonical(nameRequestID, e.id)
	if line := answer.TagLine(); line != "" {
		h.SetCanonical(nameCacheTag, asBytes(line))
	}
	if answer.Policy != k.policy { // it says that there is nothing
		said := controlFor(e.line, answer.Policy, w.planner.caching.browser, g.credentials || k.whose)
		said.tell(h)
		e.line = said.all
	}
	e.line = strconv.AppendInt(e.line[:0], int64(answer.Age(now)/time.Second), 10)
	h.SetCanonical(nameAge, e.line)
	e.line = appendWeak(e.line[:0], answer.ETag)
	h.SetCanonical(nameETag, e.line)
	e.finished = true
	if get && g.conditional && matches(ctx.Request.Header.PeekAll(fasthttp.HeaderIfNoneMatch), answer.ETag) {
		notModified(ctx, len(answer.Body))
		return true
	}
	ctx.Response.SetBodyRaw(answer.Body)
	if (len(answer.Body) >= minCompress || len(g.acceptEncoding) > 0) && !w.config.NoCompression {
		compress(ctx, answer)
	}
	return true
}

// anybody is who shows no credentials.
var anybody Identity

// knownText are the bytes of the request in ctx by which it may be known. What they are
// has no say in who may send it: what csrf.go refuses has none.
func (w *Worker) knownText(ctx *fasthttp.RequestCtx, e *envelope) (text []byte, get, ok bool) {
	switch {
	case ctx.IsPost():
		n := ctx.Request.Header.ContentLength()
		if !ctx.Request.IsBodyStream() { // a body without a network
			n = len(ctx.PostBody())
		}
		if n <= 0 || n > maxKnownText || !isPlainJSON(ctx.Request.Header.ContentType()) {
			return nil, false, false
		}
		body, bad := w.bodies.read(ctx, &e.arrival)
		e.arrived()
		return body, false, bad == nil
	case ctx.IsGet():
		query := ctx.URI().QueryString()
		if len(query) == 0 || len(query) > maxKnownText || ctx.Request.Header.ContentLength() > 0 || w.csrf.check(&ctx.Request.Header) != nil {
			return nil, true, false
		}
		e.arrived()
		return query, true, true
	}
	return nil, false, false
}

// keyOf is the key of the answer to k for who asks, which is not that of anybody who may
// have another.
func (w *Worker) keyOf(k *known, who *Identity) (cache.Key, bool) {
	switch len(k.keys) {
	case 0:
		return k.private.key(&k.input, who, 0)
	case 1:
		return k.keys[0], true
	}
	return k.keys[w.planner.roles.rank(who.Role)], true
}

// refuseKnown answers a request that is too much.
func (w *Worker) refuseKnown(ctx *fasthttp.RequestCtx, e *envelope, k *known, who *Identity, t *tally, d limiter.Decision) {
	defer t.release()
	x := k.exchange()
	ctx.SetUserValue(exchangeKey{}, x)
	caller := e.caller()
	caller.Identity, e.subject = *who, who.Subject
	over := w.rates.refuse(ctx, x, caller, nil, t, d)
	x.status = over.status
	w.cors.allow(ctx)
	refuseWith(ctx, over.status, x.over)
}

// exchange is k as if it had gone its whole way.
func (k *known) exchange() *exchange {
	x := new(exchange)
	x.operations = x.one[:]
	x.one[0] = operation{request: request{query: "-", get: k.get}, document: k.document, plan: k.plan, input: k.input}
	if k.persisted {
		x.one[0].request = request{documentID: "-", get: k.get}
	}
	return x
}

// headKey is what the headers depend on that are the same for many answers.
type headKey struct {
	control, cdn   string // of Cache-Control and CDN-Cache-Control
	whose, graphql bool
}

// headIndex is the place in known.heads.
func headIndex(m media, credentials bool) (i int) {
	if m.success == typeGraphQL {
		i = 1
	}
	if credentials {
		i += 2
	}
	return i
}

// maxHeads bounds the headers that are kept, in number. There are as many as there are
// policies in the schema.
const maxHeads = 256

// head are the headers of an answer that do not depend on what it is, nor on the request.
func (w *Worker) head(cp *cachePlan, i int) *fasthttp.ResponseHeader {
	key, media, said := headKey{whose: cp.whose}, typeJSON, cp.public
	if i%2 == 1 {
		key.graphql, media = true, typeGraphQL
	}
	if i >= 2 {
		said = cp.own
	}
	key.control, key.cdn = string(said.all), string(said.cdn)
	w.known.headMu.Lock()
	defer w.known.headMu.Unlock()
	if h := w.known.heads[key]; h != nil {
		return h
	}
	var ctx fasthttp.RequestCtx
	beginCached(&ctx, media, cp, said)
	w.guardHeaders(&ctx.Response.Header)
	h := new(fasthttp.ResponseHeader)
	ctx.Response.Header.CopyTo(h)
	if len(w.known.heads) < maxHeads {
		w.known.heads[key] = h
	}
	return h
}

// asBytes are the bytes of a string, which nobody changes.
func asBytes(s string) []byte { return unsafe.Slice(unsafe.StringData(s), len(s)) }

// negotiated remembers what Accept headers ask for: few are different, and to read one
// takes longer than all else that a hit does.
type negotiated struct {
	by atomic.Pointer[map[string]media]
	mu sync.Mutex
}

const (
	maxNegotiated     = 64
	maxNegotiatedText = 256
)

// of is negotiate.
func (n *negotiated) of(accept []byte) (m media, ok bool) {
	switch string(accept) {
	case "", "*/*", "application/json":
		return negotiate(accept)
	}
	if by := n.by.Load(); by != nil {
		if m, ok = (*by)[string(accept)]; ok {
			return m, true
		}
	}
	if m, ok = negotiate(accept); !ok || len(accept) > maxNegotiatedText {
		return m, ok
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	by := map[string]media{string(accept): m}
	if old := n.by.Load(); old != nil && len(*old) < maxNegotiated {
		maps.Copy(by, *old)
	}
	n.by.Store(&by)
	return m, true
}

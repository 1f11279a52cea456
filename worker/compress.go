package worker

import (
	"bytes"
	"strings"
	"sync"

	"github.com/nekoctl/neko/cache"
	"github.com/valyala/fasthttp"
)

// minCompress is the size from which an answer is compressed: what is shorter fits
// into the packet that is sent anyway.
const minCompress = 1 << 10

// coding is a content coding that answers can have.
type coding struct {
	place  int // in codings
	name   []byte
	append func(dst, src []byte) []byte
}

// codings are in the order in which they are chosen if the client has no
// preference. Their levels are those from which on a percent less costs a quarter
// more time. Of lists of techniques with descriptions, on one core of 2.5 GHz or so:
//
//	       19 kB           153 kB
//	zstd   36.4 %  50 µs   24.9 %  430 µs
//	br     35.2 %  60 µs   24.1 %  570 µs
//	gzip   35.7 %  50 µs   28.9 %  530 µs
//
// fasthttp lets as many compress at once as there are processors, so that their
// memory, about 10 MB each, is bounded; the others wait.
var codings = [cache.Codings]coding{
	{0, []byte("zstd"), func(dst, src []byte) []byte {
		return fasthttp.AppendZstdBytesLevel(dst, src, fasthttp.CompressZstdBestSpeed)
	}},
	{1, []byte("br"), func(dst, src []byte) []byte { return fasthttp.AppendBrotliBytesLevel(dst, src, 2) }},
	{2, []byte("gzip"), func(dst, src []byte) []byte { return fasthttp.AppendGzipBytesLevel(dst, src, 3) }},
}

// compressible are the media types that are.
var compressible = [][]byte{[]byte("application/json"), []byte("application/graphql-response+json"), []byte("application/jwk-set+json"), []byte("text/")}

var compressed = sync.Pool{New: func() any { return new([]byte) }}

// maxKeptBuffer is how large a buffer is kept for the next answer.
const maxKeptBuffer = 1 << 20

// compress gives the answer in ctx a coding that the client takes, if that makes
// it shorter. The caller leaves out answers that may hold a token, those of
// mutations: the length of a compressed answer tells something of its content to
// who can see it pass and has put something of his own beside it (BREACH). For all
// else that needs a page that can make a browser ask with its user's credentials;
// those are in headers here, never in cookies, and so only the user's own pages can.
//
// If the answer's body is one of the cache's, which answer is then, it is compressed once.
func compress(ctx *fasthttp.RequestCtx, answer *cache.Answer) {
	h := &ctx.Response.Header
	if ctx.Response.IsBodyStream() || len(h.ContentEncoding()) > 0 {
		return
	}
	body := ctx.Response.Body()
	if len(body) == 0 || !isCompressible(h.ContentType()) {
		return
	}
	for _, v := range h.PeekAll(fasthttp.HeaderVary) {
		if string(v) == fasthttp.HeaderAcceptEncoding {
			return // the handler has chosen by itself
		}
	}
	best, must := acceptedCoding(ctx.Request.Header.PeekAll(fasthttp.HeaderAcceptEncoding))
	if len(body) < minCompress && !must {
		return
	}
	h.Add(fasthttp.HeaderVary, fasthttp.HeaderAcceptEncoding)
	if best == nil {
		return
	}
	if answer != nil && !must {
		if coded := answer.Coded(best.place, best.append); coded != nil {
			h.SetContentEncodingBytes(best.name)
			ctx.Response.SetBodyRaw(coded)
		}
		return
	}
	buf := compressed.Get().(*[]byte)
	out := best.append((*buf)[:0], body)
	// Nothing comes out if too many wait.
	if len(out) > 0 && (len(out) < len(body) || must) {
		h.SetContentEncodingBytes(best.name)
		out = ctx.Response.SwapBody(out)
	}
	if *buf = out; cap(out) <= maxKeptBuffer {
		compressed.Put(buf)
	}
}

func isCompressible(media []byte) bool {
	for _, c := range compressible {
		if bytes.HasPrefix(media, c) {
			return true
		}
	}
	return false
}

// acceptedCoding chooses by Accept-Encoding (RFC 9110, 12.5.3): what the client
// weighs most, and ours among equals. Nil is the identity; must says that it does not
// take that. A client that takes nothing at all gets the identity.
func acceptedCoding(lines [][]byte) (best *coding, must bool) {
	if len(lines) == 0 {
		return nil, false
	}
	const unsaid = -1
	weights := [len(codings)]int{}
	for i := range weights {
		weights[i] = unsaid
	}
	identity, others := unsaid, unsaid
	for _, line := range lines {
		for len(line) > 0 {
			var entry []byte
			entry, line, _ = bytes.Cut(line, []byte(","))
			name, params, _ := bytes.Cut(entry, []byte(";"))
			name = bytes.TrimSpace(name)
			weight := weightOf(params)
			switch {
			case string(name) == "*":
				others = weight
			case bytes.EqualFold(name, []byte("identity")):
				identity = weight
			default:
				if bytes.EqualFold(name, []byte("x-gzip")) {
					name = name[2:]
				}
				for i := range codings {
					if bytes.EqualFold(name, codings[i].name) {
						weights[i] = max(weights[i], weight)
					}
				}
			}
		}
	}
	top := 0
	for i, weight := range weights {
		if weight == unsaid {
			weight = others
		}
		if weight > top {
			top, best = weight, &codings[i]
		}
	}
	refused := identity == 0 || identity == unsaid && others == 0
	if identity > top {
		return nil, false
	}
	return best, refused && best != nil
}

// weightOf is the weight in the parameters of an entry, in thousandths: all of it
// if there is none, nothing if it cannot be read.
func weightOf(params []byte) int {
	text := strings.TrimSpace(string(params))
	if text == "" {
		return 1000
	}
	if len(text) < 3 || text[0] != 'q' && text[0] != 'Q' || text[1] != '=' || text[2] != '0' && text[2] != '1' {
		return 0
	}
	weight := int(text[2]-'0') * 1000
	fraction, ok := strings.CutPrefix(text[3:], ".")
	if !ok && text[3:] != "" || len(fraction) > 3 {
		return 0
	}
	for i, unit := 0, 100; i < len(fraction); i, unit = i+1, unit/10 {
		if fraction[i] < '0' || fraction[i] > '9' {
			return 0
		}
		weight += int(fraction[i]-'0') * unit
	}
	if weight > 1000 {
		return 0
	}
	return weight
}

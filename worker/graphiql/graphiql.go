// Package graphiql is GraphiQL, the GraphQL client in a browser: one page that the
// program serves itself and that asks nothing of any other host.
//
// What is in dist is made by build.js, from packages of fixed versions, and
// committed, so that who builds neko needs no Node. `make graphiql` makes it again.
//
// It is GraphiQL 4, whose editor is CodeMirror. Version 5 has Monaco, which is
// four times as large, wants web workers and puts styles into the page as it
// runs: it cannot be had under [Policy].
package graphiql

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"io"
	"path"
	"strings"
	"sync"

	"github.com/valyala/fasthttp"
)

// Policy is the Content-Security-Policy of the page: it runs and shows only what
// its own origin has as files, speaks with nobody else, and is framed by nobody.
const Policy = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

//go:embed dist
var dist embed.FS

// Read when they are first asked for: most workers never are.
var (
	page = sync.OnceValue(func() (p struct {
		html []byte
		tag  string
	}) {
		p.html = read("page.html")
		sum := sha256.Sum256(p.html)
		p.tag = `"` + base64.RawURLEncoding.EncodeToString(sum[:12]) + `"`
		return p
	})
	assets = sync.OnceValue(func() map[string]*asset {
		all := map[string]*asset{}
		entries, err := dist.ReadDir("dist")
		if err != nil {
			panic(err) // it is part of the program
		}
		for _, e := range entries {
			if name, ok := strings.CutSuffix(e.Name(), ".gz"); ok {
				packed := read(e.Name())
				all[name] = &asset{packed, sync.OnceValue(func() []byte { return unpack(packed) })}
			}
		}
		return all
	})
)

// asset is a file that the page loads, as it is stored and without gzip. The
// second is made once and kept: few clients want it, but one could want it often.
type asset struct {
	packed []byte
	plain  func() []byte
}

var types = map[string]string{
	".css": "text/css; charset=utf-8",
	".js":  "text/javascript; charset=utf-8",
	".txt": "text/plain; charset=utf-8",
}

// ServePage answers with the page, whatever the path. It loads what it needs from
// paths relative to its own: that of /graphql from /graphql/assets/NAME. It says
// that the answer depends on Accept.
func ServePage(ctx *fasthttp.RequestCtx) {
	p, h := page(), &ctx.Response.Header
	h.Set("Content-Security-Policy", Policy)
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set(fasthttp.HeaderXContentTypeOptions, "nosniff")
	h.Set(fasthttp.HeaderCacheControl, "no-cache")
	h.Set(fasthttp.HeaderETag, p.tag)
	h.Add(fasthttp.HeaderVary, "Accept")
	for given := range strings.SplitSeq(string(ctx.Request.Header.Peek(fasthttp.HeaderIfNoneMatch)), ",") {
		if given = strings.TrimSpace(given); given == "*" || strings.TrimPrefix(given, "W/") == p.tag {
			ctx.SetStatusCode(fasthttp.StatusNotModified)
			return
		}
	}
	h.SetContentType("text/html; charset=utf-8")
	ctx.Response.SetBodyRaw(p.html)
}

// ServeAsset answers with what the page knows by that name, and returns whether
// there is such a thing. A name holds the hash of what it names, so that a client
// may keep it for ever.
func ServeAsset(ctx *fasthttp.RequestCtx, name string) bool {
	a := assets()[name]
	if a == nil {
		return false
	}
	h := &ctx.Response.Header
	h.SetContentType(types[path.Ext(name)])
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set(fasthttp.HeaderXContentTypeOptions, "nosniff")
	h.Set(fasthttp.HeaderCacheControl, "public, max-age=31536000, immutable")
	h.Add(fasthttp.HeaderVary, "Accept-Encoding")
	if ctx.Request.Header.HasAcceptEncoding("gzip") {
		h.SetContentEncoding("gzip")
		ctx.Response.SetBodyRaw(a.packed)
	} else {
		ctx.Response.SetBodyRaw(a.plain())
	}
	return true
}

func read(name string) []byte {
	data, err := dist.ReadFile("dist/" + name)
	if err != nil {
		panic(err)
	}
	return data
}

func unpack(packed []byte) []byte {
	z, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		panic(err)
	}
	data, err := io.ReadAll(z)
	if err != nil {
		panic(err)
	}
	return data
}

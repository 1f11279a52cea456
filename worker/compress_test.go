package worker

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"testing"

	"github.com/valyala/fasthttp"
	"pgregory.net/rapid"
)

func TestAcceptEncoding(t *testing.T) {
	for accept, want := range map[string]string{
		"":                                  "",
		"gzip":                              "gzip",
		"gzip, deflate, br, zstd":           "zstd",
		"gzip, deflate, br":                 "br",
		"GZIP":                              "gzip",
		"x-gzip":                            "gzip",
		"deflate":                           "",
		"br;q=0.5, gzip":                    "gzip",
		"br;q=0.5,gzip;q=0.8,zstd;q=0.7":    "gzip",
		"zstd;q=0, br;q=0, gzip":            "gzip",
		"br;q=0":                            "",
		"br;q=0.000":                        "",
		"br;q=0.001":                        "br",
		"br ; q=1.000":                      "br",
		"br;Q=1":                            "br",
		"*":                                 "zstd",
		"*;q=0":                             "",
		"zstd;q=0, *":                       "br",
		"gzip, *;q=0":                       "gzip!",
		"gzip;q=0.5, identity":              "",
		"gzip;q=0.5, identity;q=0.5":        "gzip",
		"identity;q=0, gzip;q=0.1":          "gzip!",
		"identity;q=0":                      "",
		"identity":                          "",
		"identity;q=0, *":                   "zstd!",
		"br;q=2, gzip":                      "gzip", // no weight
		"br;q=x, gzip":                      "gzip",
		"br;q=0.1234, gzip;q=0.1":           "gzip",
		"br;q=1.5, gzip":                    "gzip",
		"br;level=3, gzip":                  "gzip",
		", ,gzip,":                          "gzip",
		"brotli, gzipped, zst":              "",
		strings.Repeat("a,", 5000) + "gzip": "gzip",
		"gzip\nbr":                          "br", // two headers
	} {
		var lines [][]byte
		for line := range strings.SplitSeq(accept, "\n") {
			lines = append(lines, []byte(line))
		}
		c, must := acceptedCoding(lines)
		got := ""
		if c != nil {
			got = string(c.name)
		}
		if must {
			got += "!"
		}
		if got != want {
			t.Errorf("%.40q: %q, want %q", accept, got, want)
		}
	}
}

// long is an answer that is worth it.
const long = `{"query":"{nodes { id ... on Actor { name friends(first: 30) { id name } } } }"}`

func TestCompression(t *testing.T) {
	plain := string(newTestWorker(t, Config{}).ask("POST", "/graphql", asJSON, long).Response.Body())
	if len(plain) < minCompress {
		t.Fatal(len(plain))
	}
	token := strings.Repeat("token", 1000)
	mutation := `{"query":"mutation($t: String!) {touch(name: $t)}","variables":{"t":"` + token + `"}}`
	noise := make([]byte, 4000)
	for i := range noise {
		noise[i] = byte(rand.Uint32())
	}
	w := newTestWorker(t, Config{Handlers: map[string]fasthttp.RequestHandler{
		"/noise": func(ctx *fasthttp.RequestCtx) { ctx.SetContentType("text/plain"); ctx.SetBody(noise) },
		"/done": func(ctx *fasthttp.RequestCtx) {
			ctx.SetContentType("text/css")
			ctx.Response.Header.Set("Content-Encoding", "br")
			ctx.SetBody(noise)
		},
		"/chosen": func(ctx *fasthttp.RequestCtx) {
			ctx.SetContentType("text/css")
			ctx.Response.Header.Add("Vary", "Accept-Encoding")
			ctx.SetBodyString(plain)
		},
		"/image": func(ctx *fasthttp.RequestCtx) { ctx.SetContentType("image/png"); ctx.SetBodyString(plain) },
		"/empty": func(ctx *fasthttp.RequestCtx) { ctx.SetStatusCode(204) },
		"/same":  func(ctx *fasthttp.RequestCtx) { ctx.SetStatusCode(304) },
		"/text":  func(ctx *fasthttp.RequestCtx) { ctx.SetContentType("text/plain"); ctx.SetBodyString(plain) },
	}})
	for _, c := range []struct {
		what, method, target, accept, body string
		coding                             string
		varies                             bool
	}{
		{"zstd", "POST", "/graphql", "zstd", long, "zstd", true},
		{"br", "POST", "/graphql", "br", long, "br", true},
		{"gzip", "POST", "/graphql", "gzip", long, "gzip", true},
		{"not asked for", "POST", "/graphql", "", long, "", true},
		{"too short", "POST", "/graphql", "gzip", `{"query":"{hello}"}`, "", false},
		{"short, but nothing else is taken", "POST", "/graphql", "gzip, identity;q=0", `{"query":"{hello}"}`, "gzip", true},
		{"a mutation, whose answer may be a token", "POST", "/graphql", "gzip", mutation, "", false},
		{"what gets no shorter", "GET", "/noise", "gzip", "", "", true},
		{"what has a coding", "GET", "/done", "gzip", "", "br", false},
		{"what its handler has chosen to send as it is", "GET", "/chosen", "gzip", "", "", true},
		{"what is compressed in itself", "GET", "/image", "gzip", "", "", false},
		{"no content", "GET", "/empty", "gzip, identity;q=0", "", "", false},
		{"not modified", "GET", "/same", "gzip, identity;q=0", "", "", false},
		{"HEAD says what GET would", "HEAD", "/text", "gzip", "", "gzip", true},
	} {
		t.Run(c.what, func(t *testing.T) {
			header := "Accept-Encoding: " + c.accept
			if c.method == "POST" {
				header += "\n" + asJSON
			}
			ctx := w.ask(c.method, c.target, header, c.body)
			h := &ctx.Response.Header
			if got := string(h.ContentEncoding()); got != c.coding || varies(h, "Accept-Encoding") != c.varies {
				t.Errorf("%q, Vary: %q", got, h.PeekAll("Vary"))
			}
			if c.body == mutation && !strings.Contains(string(ctx.Response.Body()), token) {
				t.Errorf("%.100s", ctx.Response.Body())
			}
			if c.body == long {
				body, err := ctx.Response.BodyUncompressed()
				if err != nil || string(body) != plain {
					t.Errorf("%v, %.100s", err, body)
				}
				if size := len(ctx.Response.Body()); (size < len(plain)) != (c.coding != "") {
					t.Errorf("%d of %d bytes", size, len(plain))
				}
			}
		})
	}
	off := newTestWorker(t, Config{NoCompression: true}).ask("POST", "/graphql", asJSON+"\nAccept-Encoding: gzip", long)
	if h := &off.Response.Header; len(h.ContentEncoding()) > 0 || varies(h, "Accept-Encoding") {
		t.Errorf("off: %s", h)
	}
}

// On the wire a HEAD has no body, and the length that it says is that of the GET.
func TestCompressedHead(t *testing.T) {
	text := strings.Repeat("cat ", 1000)
	_, address := startWorker(t, Config{Handlers: map[string]fasthttp.RequestHandler{
		"/text": func(ctx *fasthttp.RequestCtx) { ctx.SetContentType("text/plain"); ctx.SetBodyString(text) },
	}})
	var lengths []int64
	c := dial(t, address)
	for _, method := range []string{"GET", "HEAD", "GET"} {
		if _, err := fmt.Fprintf(c, "%s /text HTTP/1.1\r\nHost: x\r\nAccept-Encoding: gzip\r\n\r\n", method); err != nil {
			t.Fatal(err)
		}
		resp, err := http.ReadResponse(c.r, &http.Request{Method: method})
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		if err != nil || resp.Header.Get("Content-Encoding") != "gzip" || (len(body) > 0) != (method == "GET") {
			t.Errorf("%s: %v, %d bytes, %v", method, resp.Header, len(body), err)
		}
		lengths = append(lengths, resp.ContentLength)
	}
	if lengths[0] != lengths[1] || lengths[0] <= 0 {
		t.Errorf("lengths %v", lengths)
	}
}

// Each coding gives back what went in, whatever it is.
func TestCodings(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		parts := rapid.SliceOfN(rapid.SliceOfN(rapid.Byte(), 1, 300), 1, 20).Draw(t, "parts")
		body := bytes.Repeat(bytes.Join(parts, nil), rapid.IntRange(1, 50).Draw(t, "times"))
		for _, c := range codings {
			var r fasthttp.Response
			r.Header.SetContentEncodingBytes(c.name)
			r.SetBody(c.append(nil, body))
			if got, err := r.BodyUncompressed(); err != nil || !bytes.Equal(got, body) {
				t.Fatalf("%s: %v, %d bytes of %d", c.name, err, len(got), len(body))
			}
		}
	})
}

// BenchmarkCompress is what a coding costs; the unit "%" is what is left of an
// answer with texts of words at random, which compress less well than real ones.
func BenchmarkCompress(b *testing.B) {
	words := strings.Fields("the of threat actor campaign uses valid account phishing mail remote service command script lateral movement exfiltration over channel persistence registry key credential dumping valid web shell encrypted archive scheduled task proxy")
	r := rand.New(rand.NewPCG(1, 2))
	for _, size := range []int{2_000, 20_000, 200_000} {
		var body bytes.Buffer
		for body.Len() < size {
			fmt.Fprintf(&body, `{"id":"attack-pattern--%016x","attackId":"T%04d","description":"`, r.Uint64(), r.IntN(10000))
			for range 30 {
				body.WriteString(words[r.IntN(len(words))] + " ")
			}
			body.WriteString(`"},`)
		}
		for _, c := range codings {
			b.Run(fmt.Sprintf("%s/%dkB", c.name, size/1000), func(b *testing.B) {
				var out []byte
				b.SetBytes(int64(body.Len()))
				b.ReportAllocs()
				for b.Loop() {
					out = c.append(out[:0], body.Bytes())
				}
				b.ReportMetric(100*float64(len(out))/float64(body.Len()), "%")
			})
		}
	}
}

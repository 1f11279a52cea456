package main

import (
	"encoding/json"
	"net"
	"os"

	"github.com/valyala/fasthttp"
)

// rawCommand makes of this program what a hit is measured beside: a server that answers
// each request from memory, with the headers that neko gives the first of them. If there
// is more than one it looks for the answer by the bytes of the request, as nothing less finds
// the right one. It gets its socket from neko as any worker does.
const rawCommand = "raw"

// rawAnswer is what it answers with.
type rawAnswer struct {
	Headers [][2]string       `json:"headers"`
	Bodies  map[string][]byte `json:"bodies"` // by those of requests
}

func serveRaw(file string) error {
	data, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	var a rawAnswer
	if err := json.Unmarshal(data, &a); err != nil {
		return err
	}
	l, err := net.FileListener(os.NewFile(3, "listener"))
	if err != nil {
		return err
	}
	var one []byte
	if len(a.Bodies) == 1 {
		for _, one = range a.Bodies {
		}
	}
	s := &fasthttp.Server{NoDefaultServerHeader: true, Handler: func(ctx *fasthttp.RequestCtx) {
		h := &ctx.Response.Header
		for i := range a.Headers {
			h.Set(a.Headers[i][0], a.Headers[i][1])
		}
		body := one
		if body == nil {
			body = a.Bodies[string(ctx.PostBody())]
		}
		ctx.Response.SetBodyRaw(body)
	}}
	return s.Serve(l)
}

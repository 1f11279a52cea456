package main

import (
	"encoding/json"
	"net"
	"os"

	"github.com/valyala/fasthttp"
)

// rawCommand makes of this program what a hit is measured beside: a server that gives one
// answer to every request, from memory, with the headers that neko gives it. It gets its
// socket from neko as any worker does.
const rawCommand = "raw"

// rawAnswer is what it answers with.
type rawAnswer struct {
	Headers [][2]string `json:"headers"`
	Body    []byte      `json:"body"`
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
	s := &fasthttp.Server{NoDefaultServerHeader: true, Handler: func(ctx *fasthttp.RequestCtx) {
		h := &ctx.Response.Header
		for i := range a.Headers {
			h.Set(a.Headers[i][0], a.Headers[i][1])
		}
		ctx.Response.SetBodyRaw(a.Body)
	}}
	return s.Serve(l)
}

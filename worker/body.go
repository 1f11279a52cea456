package worker

import (
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"sync/atomic"

	"github.com/valyala/fasthttp"
)

// bodies reads the bodies of requests. What a body takes in memory grows with what
// has come of it, and never with what was announced: fasthttp itself would allocate
// the announced length for each connection, and a thousand that send nothing more
// would have a gigabyte. So the server streams bodies (it waits for the first 8 KiB
// or all), and they are read here.
type bodies struct {
	max  int          // bytes of one
	room atomic.Int64 // bytes left for what is beyond smallBody in all of them
}

const (
	// firstRead is for how much of a body there is room at once.
	firstRead = 16 << 10
	// smallBody is what every connection may have read of a body.
	smallBody = 64 << 10
	// bodiesAtOnce is how many bodies of the largest size may be in memory at once.
	bodiesAtOnce = 64
)

func (b *bodies) init(max int) {
	b.max = max
	b.room.Store(int64(max) * bodiesAtOnce)
}

// announcedHeader is what a request has whose body is too large by what it says. A
// client that sends it by itself refuses itself.
const announcedHeader = "X-Neko-Announced-Body"

// received sees each header before the body. fasthttp would wait for some of a body
// that nobody wants: a request with one too large is made one without a body, after
// which nothing is read.
func (b *bodies) received(h *fasthttp.RequestHeader) (c fasthttp.RequestConfig) {
	if n := h.ContentLength(); n > b.max {
		h.SetContentLength(0)
		h.SetConnectionClose()
		h.Del(fasthttp.HeaderExpect) // of a client that asks first: this is refused as any
		h.Set(announcedHeader, strconv.Itoa(n))
	}
	return c
}

// announced says that a request has had a body that is too large.
func (b *bodies) announced(ctx *fasthttp.RequestCtx) bool {
	if ctx.Request.Header.ContentLength() != 0 || len(ctx.Request.Header.Peek(announcedHeader)) == 0 {
		return false
	}
	ctx.SetConnectionClose()
	return true
}

// read returns the body of a request, and done gives back what it holds. A body that
// is refused is not read to its end: the connection is closed.
func (b *bodies) read(ctx *fasthttp.RequestCtx) (body []byte, done func(), bad *badRequest) {
	if !ctx.Request.IsBodyStream() { // a body without a network
		return ctx.PostBody(), func() {}, nil
	}
	length, held := ctx.Request.Header.ContentLength(), int64(0)
	done = func() { b.room.Add(held) }
	refuse := func(bad *badRequest) ([]byte, func(), *badRequest) {
		ctx.SetConnectionClose()
		return nil, done, bad
	}
	if length < 0 { // in chunks
		length = 4 << 10
	}
	body = make([]byte, 0, min(length, firstRead)+1)
	for stream := ctx.RequestBodyStream(); ; {
		n, err := stream.Read(body[len(body):cap(body)])
		if body = body[:len(body)+n]; len(body) > b.max {
			return refuse(b.tooLarge())
		}
		switch {
		case err == io.EOF:
			_ = ctx.Request.CloseBodyStream() // nothing is unread, see endUnread
			return body, done, nil
		case err != nil:
			return refuse(unreadableBody(err))
		case len(body) < cap(body):
			continue
		}
		if more := int64(2 * cap(body)); more > smallBody {
			if b.room.Add(held-more) < 0 {
				b.room.Add(more - held)
				return refuse(&badRequest{fasthttp.StatusServiceUnavailable, CodeUnavailable, "too many large bodies are under way: send it again later"})
			}
			held = more
		}
		body = append(make([]byte, 0, min(2*cap(body), b.max+1)), body...)
	}
}

func (b *bodies) tooLarge() *badRequest {
	return &badRequest{fasthttp.StatusRequestEntityTooLarge, CodeTooLarge, fmt.Sprintf("the body is too large: it may have %d bytes", b.max)}
}

func unreadableBody(err error) *badRequest {
	var network net.Error
	if errors.As(err, &network) && network.Timeout() {
		return &badRequest{fasthttp.StatusRequestTimeout, CodeTimeout, "the request took too long to arrive"}
	}
	return illegible("the request could not be read")
}

package worker

import (
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"sync/atomic"
	"syscall"

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

// arrival is the body of one request, as far as it has been read. Its room is used
// again for the next.
type arrival struct {
	body []byte
	read bool        // to its end, or until it was refused
	bad  *badRequest // why it was refused
	held int64       // of bodies.room
	size int         // how much has been read
	gone bool        // the client has ended the connection meanwhile
}

// read returns the body of a request, which is good until done. What was read once is
// there again. A body that is refused is not read to its end: the connection is closed.
func (b *bodies) read(ctx *fasthttp.RequestCtx, a *arrival) ([]byte, *badRequest) {
	if !a.read {
		a.read = true
		if a.bad = b.fill(ctx, a); a.bad != nil {
			ctx.SetConnectionClose()
		}
		a.size = len(a.body)
	}
	return a.body, a.bad
}

func (b *bodies) fill(ctx *fasthttp.RequestCtx, a *arrival) *badRequest {
	if !ctx.Request.IsBodyStream() { // a body without a network
		a.body = append(a.body[:0], ctx.PostBody()...)
		return nil
	}
	length := ctx.Request.Header.ContentLength()
	if length < 0 { // in chunks
		length = 4 << 10
	}
	body := a.body[:0]
	if room := min(length, firstRead) + 1; cap(body) < room {
		body = make([]byte, 0, room)
	}
	for stream := ctx.RequestBodyStream(); ; {
		n, err := stream.Read(body[len(body):cap(body)])
		body = body[:len(body)+n]
		a.body = body
		if len(body) > b.max {
			return b.tooLarge()
		}
		switch {
		case err == io.EOF:
			_ = ctx.Request.CloseBodyStream() // nothing is unread, see endUnread
			return nil
		case err != nil:
			a.gone = errors.Is(err, syscall.ECONNRESET)
			return unreadableBody(err)
		case len(body) < cap(body):
			continue
		}
		if more := int64(2 * cap(body)); more > smallBody {
			if b.room.Add(a.held-more) < 0 {
				b.room.Add(more - a.held)
				return &badRequest{fasthttp.StatusServiceUnavailable, CodeUnavailable, "too many large bodies are under way: send it again later"}
			}
			a.held = more
		}
		body = append(make([]byte, 0, min(2*cap(body), b.max+1)), body...)
	}
}

// decoded is done, but for a small body: what it is known by is still needed.
func (b *bodies) decoded(a *arrival) {
	if a.held > 0 || cap(a.body) > firstRead+1 {
		b.done(a)
	}
}

// done gives back what a has taken, when nothing looks at the body any more.
func (b *bodies) done(a *arrival) {
	if a.held > 0 {
		b.room.Add(a.held)
	}
	if cap(a.body) > firstRead+1 {
		a.body = nil
	}
	*a = arrival{body: a.body, size: a.size, gone: a.gone}
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

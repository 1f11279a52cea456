package worker

import (
	"fmt"
	"os"
	"strconv"
	"syscall"

	"github.com/valyala/fasthttp"
)

// gate is where a spare waits until it is needed: NEKO_SPARE_FD of the worker
// contract. The zero value is open.
type gate struct{ pipe *os.File }

// gateFromEnv reads NEKO_SPARE_FD and removes it from the environment.
func gateFromEnv() (gate, error) {
	text := os.Getenv("NEKO_SPARE_FD")
	if err := os.Unsetenv("NEKO_SPARE_FD"); err != nil || text == "" {
		return gate{}, err
	}
	fd, err := strconv.Atoi(text)
	if err != nil || fd < firstFD {
		return gate{}, fmt.Errorf("NEKO_SPARE_FD is %q, not a descriptor", text)
	}
	syscall.CloseOnExec(fd)
	if err := syscall.SetNonblock(fd, true); err != nil { // so that it waits in the poller
		return gate{}, fmt.Errorf("descriptor %d (NEKO_SPARE_FD): %w", fd, err)
	}
	return gate{os.NewFile(uintptr(fd), "spare")}, nil
}

// closed says that there is somebody to wait for.
func (g gate) closed() bool { return g.pipe != nil }

// warmUp answers a question that nobody has asked: what a first request costs more
// than the second is paid before somebody waits for it.
func (w *Worker) warmUp() {
	var ctx fasthttp.RequestCtx
	ctx.Request.SetRequestURI(graphqlPath + "?query={__typename}")
	ctx.Request.Header.SetContentType("application/json") // it is not forged
	envelopeOf(&ctx).warming = true
	w.handle(&ctx)
}

// wait returns true when this process is to serve, false when nobody needs it any
// more.
func (g gate) wait() bool {
	defer g.pipe.Close()
	n, _ := g.pipe.Read(make([]byte, 1))
	return n == 1
}

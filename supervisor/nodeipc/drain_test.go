package nodeipc_test

import (
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// Deadlines that a test does not come to, and one that it waits for.
const (
	far  = 20 * time.Second
	near = 200 * time.Millisecond
)

// kinds are the servers that speak HTTP/1.
var kinds = []string{"http", "https", "http2"}

func TestAnIdleConnectionIsAnsweredOnceMoreAndThenClosed(t *testing.T) {
	t.Parallel()
	for _, kind := range append(kinds, "unix") {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			p, c := serve(t, kind)
			c.get("/")
			c.answer("hello", false)
			p.drain(far, far)
			c.get("/")
			c.answer("hello", true)
			c.closed()
			p.ends(0)
		})
	}
}

func TestAnAnswerUnderWaySaysThatItIsTheLast(t *testing.T) {
	t.Parallel()
	for _, kind := range kinds {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			p, c := serve(t, kind)
			c.get("/slow")
			p.says("waits")
			p.drain(near, far)
			p.send("go")
			c.answer("slow", true)
			c.closed()
			p.ends(0)
		})
	}
}

func TestIdleConnectionsAreClosedAtTheSoftDeadline(t *testing.T) {
	t.Parallel()
	for _, kind := range kinds {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			p, used := serve(t, kind)
			used.get("/")
			used.answer("hello", false)
			fresh := connect(t, "tcp", p.address(), kind != "http")
			mute := connect(t, "tcp", p.address(), false)
			used.get("/")
			used.answer("hello", false)
			p.drain(near, far)
			for _, c := range []*client{used, fresh, mute} {
				c.closed()
			}
			p.ends(0)
		})
	}
}

func TestAProgramWithoutServersEndsAtOnce(t *testing.T) {
	t.Parallel()
	for _, script := range []string{"nothing.cjs", "udp.cjs"} {
		p := launch(t, nil, script)
		p.says("runs")
		p.tell(far, far, "signal")
		p.ends(0)
	}
}

// serve starts a server, and connects to it.
func serve(t *testing.T, kind string, how ...string) (*program, *client) {
	t.Helper()
	if kind == "unix" {
		path := filepath.Join(t.TempDir(), "s")
		p := run(t, []string{"SOCKET=" + path}, "server.cjs", append([]string{"http"}, how...)...)
		return p, connect(t, "unix", path, false)
	}
	p := run(t, certificate(t), "server.cjs", append([]string{kind}, how...)...)
	return p, connect(t, "tcp", p.address(), strings.HasSuffix(kind, "s") || kind == "http2")
}

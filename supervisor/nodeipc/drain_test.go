package nodeipc_test

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nekoctl/neko/scripts/npm"
)

// Deadlines: one that a test does not come to, and one that it waits for.
const (
	far  = 20 * time.Second
	near = 200 * time.Millisecond
)

// serve starts a server of this kind, and connects to it.
func serve(t *testing.T, kind string, how ...string) (*program, *client) {
	t.Helper()
	args := append([]string{kind}, how...)
	if kind == "unix" {
		args[0] = "http"
		path := filepath.Join(t.TempDir(), "s")
		p := run(t, []string{"SOCKET=" + path}, "server.cjs", args...)
		return p, connect(t, "unix", path, false)
	}
	p := run(t, certificate(t), "server.cjs", args...)
	return p, connect(t, "tcp", p.address(), secure(kind))
}

func secure(kind string) bool { return kind == "https" || kind == "http2" }

// eachKind runs a test with every kind of server that speaks HTTP/1.
func eachKind(t *testing.T, test func(t *testing.T, kind string)) {
	t.Parallel()
	for _, kind := range []string{"http", "https", "http2", "unix"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			test(t, kind)
		})
	}
}

func TestAnIdleConnectionIsAnsweredOnceMoreAndThenClosed(t *testing.T) {
	eachKind(t, func(t *testing.T, kind string) {
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

func TestAnAnswerUnderWaySaysThatItIsTheLastAndMayTakeLongerThanSoft(t *testing.T) {
	eachKind(t, func(t *testing.T, kind string) {
		p, c := serve(t, kind)
		idle := another(c, p, kind)
		c.get("/slow")
		p.says("waits")
		p.drain(near, far)
		idle.closed() // soft has passed
		p.send("go")
		c.answer("slow", true)
		c.closed()
		p.ends(0)
	})
}

func TestIdleConnectionsAreClosedAtTheSoftDeadline(t *testing.T) {
	eachKind(t, func(t *testing.T, kind string) {
		p, used := serve(t, kind)
		used.get("/")
		used.answer("hello", false)
		fresh := another(used, p, kind)
		begun := time.Now()
		p.drain(near, far)
		used.closed()
		fresh.closed()
		p.ends(0)
		if d := time.Since(begun); d < near || d > far/2 {
			t.Errorf("they were closed after %v, and not at %v", d, near)
		}
	})
}

// another is one more connection to the same server, which the server has accepted.
func another(c *client, p *program, kind string) *client {
	c.t.Helper()
	n := connect(c.t, c.RemoteAddr().Network(), c.RemoteAddr().String(), secure(kind))
	c.get("/") // what came later is answered later, in a server of one thread
	c.answer("hello", false)
	return n
}

func TestATLSConnectionWithoutAHandshakeIsIdle(t *testing.T) {
	t.Parallel()
	p, c := serve(t, "https")
	mute := connect(t, "tcp", p.address(), false)
	c.get("/")
	c.answer("hello", false)
	p.drain(near, far)
	mute.closed()
	c.closed()
	p.ends(0)
}

func TestAConnectionMayBeIdleForAsLongAsTheServerHasPromised(t *testing.T) {
	t.Parallel()
	p := run(t, []string{"KEEP_ALIVE=1500"}, "server.cjs", "http")
	c := connect(t, "tcp", p.address(), false)
	asked := time.Now()
	c.get("/")
	c.answer("hello", false)
	p.drain(near, far)
	c.closed()
	if d := time.Since(asked); d < 1500*time.Millisecond {
		t.Errorf("closed after %v", d)
	}
	p.ends(0)
}

func TestAnAnswerWhoseHeadIsSentIsFinishedAndItsConnectionServesOnUntilSoft(t *testing.T) {
	eachKind(t, func(t *testing.T, kind string) {
		p, c := serve(t, kind)
		c.get("/stream")
		r := c.head(false)
		p.says("waits")
		p.drain(near, far)
		p.send("go")
		if body, err := io.ReadAll(r.Body); err != nil || string(body) != "first last" {
			t.Fatalf("%q, %v", body, err)
		}
		c.closed()
		p.ends(0)
	})
}

func TestAProgramThatSaysKeepAliveItselfIsNotBelieved(t *testing.T) {
	t.Parallel()
	p, c := serve(t, "http")
	held := connect(t, "tcp", p.address(), false)
	held.get("/slow")
	p.says("waits")
	paths := []string{"/set", "/object", "/list"}
	conns := []*client{c, connect(t, "tcp", p.address(), false), connect(t, "tcp", p.address(), false)}
	for i, path := range paths {
		conns[i].get(path)
		conns[i].answer("kept", false)
	}
	p.drain(far, far)
	for i, path := range paths {
		conns[i].get(path)
		conns[i].answer("kept", true)
		conns[i].closed()
	}
	p.send("go")
	held.answer("slow", true)
	p.ends(0)
}

func TestAfterAStreamTheConnectionServesOneMoreRequest(t *testing.T) {
	t.Parallel()
	p, c := serve(t, "http")
	c.get("/stream")
	r := c.head(false)
	p.says("waits")
	p.drain(far, far)
	p.send("go")
	if body, err := io.ReadAll(r.Body); err != nil || string(body) != "first last" {
		t.Fatalf("%q, %v", body, err)
	}
	c.get("/")
	c.answer("hello", true)
	c.closed()
	p.ends(0)
}

func TestOnlyTheLastOfRequestsThatWereSentAtOnceSaysConnectionClose(t *testing.T) {
	eachKind(t, func(t *testing.T, kind string) {
		p, c := serve(t, kind)
		c.get("/slow")
		c.get("/slow")
		c.get("/")
		p.says("waits")
		p.says("waits")
		p.drain(far, far)
		c.get("/slow")
		c.get("/slow")
		p.says("waits")
		p.says("waits")
		p.send("go")
		c.answer("slow", false)
		c.answer("slow", false)
		c.answer("hello", false)
		c.answer("slow", false)
		c.answer("slow", true)
		c.closed()
		p.ends(0)
	})
}

func TestABodyThatIsStillArrivingIsReadAndAnswered(t *testing.T) {
	eachKind(t, func(t *testing.T, kind string) {
		p, c := serve(t, kind)
		idle := another(c, p, kind)
		c.write("POST /body HTTP/1.1\r\nHost: neko\r\nContent-Length: 8\r\n\r\nabcd")
		p.says("reads")
		p.drain(near, far)
		idle.closed()
		c.write("efgh")
		c.answer("8", true)
		c.closed()
		p.ends(0)
	})
}

func TestAnAnswerThatDoesNotWaitForTheBodyIsNotOvertakenByAReset(t *testing.T) {
	eachKind(t, func(t *testing.T, kind string) {
		p, c := serve(t, kind)
		c.get("/")
		c.answer("hello", false)
		p.drain(far, far)
		c.write("POST /early HTTP/1.1\r\nHost: neko\r\nContent-Length: 1048576\r\n\r\n")
		r := c.head(true)
		c.write(strings.Repeat("x", 1<<20))
		if body, err := io.ReadAll(r.Body); err != nil || string(body) != "early" {
			t.Fatalf("%q, %v", body, err)
		}
		c.Close()
		p.ends(0)
	})
}

func TestAHeadThatArrivesInPiecesIsAnswered(t *testing.T) {
	t.Parallel()
	p, c := serve(t, "http")
	c.get("/")
	c.answer("hello", false)
	c.write("GET / HT")
	p.drain(far, far)
	c.write("TP/1.1\r\nHost: neko\r\n\r\n")
	c.answer("hello", true)
	c.closed()
	p.ends(0)
}

func TestAnAnswerThatIsReadSlowlyOutlivesTheSoftDeadline(t *testing.T) {
	eachKind(t, func(t *testing.T, kind string) {
		p, c := serve(t, kind)
		idle := another(c, p, kind)
		c.get("/large")
		r := c.head(false)
		p.drain(near, far)
		idle.closed()
		if n, err := io.Copy(io.Discard, r.Body); n != 16<<20 || err != nil {
			t.Fatalf("%d bytes, %v", n, err)
		}
		c.closed()
		p.ends(0)
	})
}

func TestAStreamWithoutEndLivesUntilTheHardDeadline(t *testing.T) {
	eachKind(t, func(t *testing.T, kind string) {
		p, c := serve(t, kind)
		c.get("/endless")
		r := c.head(false)
		begun := time.Now()
		p.drain(near, 3*near)
		if body, err := io.ReadAll(r.Body); !errors.Is(err, io.ErrUnexpectedEOF) || string(body) != "first " {
			t.Fatalf("%q, %v", body, err)
		}
		if d := time.Since(begun); d < 3*near {
			t.Errorf("it lived for %v", d)
		}
		c.Close()
		p.ends(0)
	})
}

func TestTheSecondServerOfAProgramAndOneThatIsMadeWhileItDrainsAreDrainedToo(t *testing.T) {
	t.Parallel()
	p, c := serve(t, "http")
	c.get("/listen")
	second := connect(t, "tcp", fmt.Sprintf("127.0.0.1:%d", p.next("listening").Port), false)
	c.answer("listens", false)
	second.get("/")
	second.answer("hello", false)
	p.drain(far, far)
	second.get("/listen")
	p.next("listening")
	second.answer("listens", true)
	second.closed()
	c.get("/")
	c.answer("hello", true)
	c.closed()
	p.ends(0)
}

// http2Client speaks nothing but HTTP/2.
func http2Client() *http.Client {
	tr := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, Protocols: new(http.Protocols)}
	tr.Protocols.SetHTTP2(true)
	tr.Protocols.SetUnencryptedHTTP2(true)
	return &http.Client{Transport: tr, Timeout: patience}
}

func TestHTTP2FinishesItsStreamsAndSendsTheClientElsewhere(t *testing.T) {
	t.Parallel()
	for kind, scheme := range map[string]string{"http2": "https", "h2c": "http"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			p := run(t, certificate(t), "server.cjs", kind)
			client := http2Client()
			get := func(path string) string {
				r, err := client.Get(scheme + "://" + p.address() + path)
				if err != nil {
					return err.Error()
				}
				defer r.Body.Close()
				body, err := io.ReadAll(r.Body)
				return fmt.Sprint(r.Proto, " ", string(body), " ", err)
			}
			if got := get("/"); got != "HTTP/2.0 hello <nil>" {
				t.Fatal(got)
			}
			slow := make(chan string, 3)
			for range cap(slow) {
				go func() { slow <- get("/slow") }()
				p.says("waits")
			}
			p.drain(near, far)
			p.send("go")
			for range cap(slow) {
				if got := <-slow; got != "HTTP/2.0 slow <nil>" {
					t.Error(got)
				}
			}
			p.ends(0) // though the client keeps its connection
		})
	}
}

func TestAnEndlessStreamOfHTTP2LivesUntilTheHardDeadline(t *testing.T) {
	t.Parallel()
	p := run(t, nil, "server.cjs", "h2c", "closes")
	r, err := http2Client().Get("http://" + p.address() + "/endless")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	begun := time.Now()
	p.drain(near, 3*near)
	if body, err := io.ReadAll(r.Body); err == nil || string(body) != "first " {
		t.Fatalf("%q, %v", body, err)
	}
	if d := time.Since(begun); d < 3*near {
		t.Errorf("it lived for %v", d)
	}
	p.ends(0)
}

func TestAPlainConnectionLivesUntilItEndsOrTheHardDeadline(t *testing.T) {
	t.Parallel()
	p, ends := serve(t, "net")
	stays := connect(t, "tcp", p.address(), false)
	ends.reads("hello\n")
	stays.reads("hello\n")
	p.drain(near, 10*near)
	for _, c := range []*client{ends, stays} {
		c.write("still there?")
		c.reads("still there?")
	}
	ends.Close()
	stays.closed()
	p.ends(0)
}

func TestAnUpgradedConnectionIsEndedAtTheHardDeadline(t *testing.T) {
	t.Parallel()
	p, c := serve(t, "upgrade")
	c.write("GET / HTTP/1.1\r\nHost: neko\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
	c.head(false)
	p.drain(near, 10*near)
	c.write("still there?")
	c.reads("still there?")
	c.closed()
	p.ends(0)
}

func TestAPlainSocketThatDoesNotEndIsDestroyedInTheEnd(t *testing.T) {
	t.Parallel()
	p, c := serve(t, "net", "closes")
	c.reads("hello\n")
	p.drain(near, near)
	c.closed() // and does not close its own side
	p.ends(0)
}

func TestAWebSocketIsToldThatTheServerGoesAway(t *testing.T) {
	t.Parallel()
	dir := npm.Need(t, "ws@8.18.3")
	p := run(t, []string{"WS=" + filepath.Join(dir, "node_modules", "ws")}, "server.cjs", "ws")
	c := connect(t, "tcp", p.address(), false)
	c.write("GET / HTTP/1.1\r\nHost: neko\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" +
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n")
	c.head(false)
	begun := time.Now()
	p.drain(near, 10*near)
	c.write("\x81\x84\x00\x00\x00\x00neko") // a text, masked with zeros
	c.reads("\x82\x04neko")
	c.reads("\x88\x02\x03\xe9") // 1001
	if d := time.Since(begun); d < 10*near {
		t.Errorf("it lived for %v", d)
	}
	c.write("\x88\x82\x00\x00\x00\x00\x03\xe9")
	c.closed()
	c.Close()
	p.ends(0)
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

func TestAProgramEndsItsOwnWay(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		how, end string
		code     int
	}{
		{"", "signal", 0},
		{"closes", "signal", 0}, // its server.close(callback) is told of no error
		{"event", "signal", 3},
		{"message", "message", 5},
	} {
		t.Run(c.how+" "+c.end, func(t *testing.T) {
			t.Parallel()
			p, conn := serve(t, "http", c.how)
			conn.get("/slow")
			p.says("waits")
			p.tell(far, far, c.end)
			p.send("drains")
			p.says("drains")
			p.send("go")
			conn.answer("slow", true)
			p.ends(c.code)
		})
	}
}

package nodeipc_test

import (
	"encoding/binary"
	"io"
	"testing"
)

// Frames of HTTP/2 (RFC 9113, section 6), as far as this test needs them.
const (
	dataFrame     = 0
	headersFrame  = 1
	settingsFrame = 4
	goAwayFrame   = 7

	endStream  = 1
	endHeaders = 4
)

func (c *client) writeFrame(kind, flags byte, stream uint32, payload string) {
	c.t.Helper()
	head := []byte{0, 0, byte(len(payload)), kind, flags}
	c.write(string(binary.BigEndian.AppendUint32(head, stream)) + payload)
}

// frame reads up to the next frame of this kind that has something in it.
func (c *client) frame(want byte) (payload []byte) {
	c.t.Helper()
	for {
		head := make([]byte, 9)
		if _, err := io.ReadFull(c.in, head); err != nil {
			c.t.Fatalf("no frame of kind %d: %v", want, err)
		}
		payload = make([]byte, int(head[0])<<16|int(head[1])<<8|int(head[2]))
		if _, err := io.ReadFull(c.in, payload); err != nil {
			c.t.Fatal(err)
		}
		if head[3] == want && len(payload) > 0 {
			return payload
		}
	}
}

// getFrame asks for a path in a stream of its own: GET, http, path and authority.
func (c *client) getFrame(stream uint32, path string) {
	c.t.Helper()
	c.writeFrame(headersFrame, endHeaders|endStream, stream, "\x82\x86\x04"+string(rune(len(path)))+path+"\x41\x04neko")
}

// What the client sends after its last stream that was heard of it may send
// again elsewhere: the protocol says so, and clients do.
func TestGoAwayNamesTheLastStreamThatIsAnswered(t *testing.T) {
	t.Parallel()
	p, c := serve(t, "h2c")
	c.write("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
	c.writeFrame(settingsFrame, 0, 0, "")
	c.getFrame(1, "/")
	if body := c.frame(dataFrame); string(body) != "hello" {
		t.Fatalf("%q", body)
	}
	c.getFrame(3, "/slow")
	p.says("waits")
	p.drain(far, far)
	if last := binary.BigEndian.Uint32(c.frame(goAwayFrame)); last != 3 {
		t.Fatalf("GOAWAY names stream %d", last)
	}
	p.send("go")
	if body := c.frame(dataFrame); string(body) != "slow" {
		t.Fatalf("%q", body)
	}
	c.Close()
	p.ends(0)
}

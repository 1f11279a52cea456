package redisconn

import (
	"bytes"
	"errors"
	"strconv"
)

// guard looks at what a server sends before the client does. That believes every length: one
// that is negative, or larger than memory, would end the process, as would an answer to
// nothing. A server that is none, or a connection that others write to, is to be an outage and no more.
//
// It follows the protocol, RESP 2 and 3, as far as lengths go; what Redis does not send to
// us (streams, attributes) it refuses.
type guard struct {
	state guardState
	typ   byte   // of the value that is being read
	left  int    // bytes of it
	text  []byte // of a length, so far
	open  []int  // how many values are still to come of each list, from the outermost

	push   bool  // what is being read answers no command
	values int64 // that have ended, lists with all that is in them, without pushes
}

type guardState byte

const (
	atType guardState = iota
	inLine
	inLength
	inBytes
)

// What answers to our calls may have at most, and what is told without a call: the longest lists are keys
// that have changed in one round of a server's event loop. More of them end the connection, which
// is what one that was flushed would do.
const (
	maxLine  = 64 << 10  // bytes
	maxBulk  = 16 << 20  // bytes
	maxList  = 256 << 10 // values
	maxLists = 16        // in each other
)

// ErrNoRedis is of a server that is none.
var ErrNoRedis = errors.New("what answers there sends what no Redis does")

// check follows p, the next bytes that have come.
func (g *guard) check(p []byte) error {
	for len(p) > 0 {
		switch g.state {
		case atType:
			g.typ, g.left = p[0], 0
			if len(g.open) == 0 {
				g.push = g.typ == '>'
			}
			p = p[1:]
			switch g.typ {
			case '+', '-', ':', ',', '(':
				g.state, g.left = inLine, maxLine
			case '_':
				g.state, g.left = inBytes, len("\r\n")
			case '#':
				g.state, g.left = inBytes, len("t\r\n")
			case '$', '!', '=', '*', '~', '>', '%':
				g.state, g.text = inLength, g.text[:0]
			default:
				return ErrNoRedis
			}
		case inLine:
			n := bytes.IndexByte(p, '\n')
			if n < 0 {
				n = len(p)
			}
			if g.left -= n; g.left < 0 {
				return ErrNoRedis
			}
			if p = p[n:]; len(p) > 0 {
				p = p[1:]
				g.value()
			}
		case inLength:
			c := p[0]
			p = p[1:]
			if g.text = append(g.text, c); c != '\n' {
				if len(g.text) > len("-2147483648\r") {
					return ErrNoRedis
				}
				continue
			}
			if err := g.length(); err != nil {
				return err
			}
		case inBytes:
			n := min(g.left, len(p))
			p = p[n:]
			if g.left -= n; g.left == 0 {
				g.value()
			}
		}
	}
	return nil
}

// length is of what follows its line: of bytes, or how many values.
func (g *guard) length() error {
	digits, ok := bytes.CutSuffix(g.text, []byte("\r\n"))
	n, err := strconv.Atoi(string(digits))
	list := g.typ != '$' && g.typ != '!' && g.typ != '='
	switch {
	case !ok || err != nil, n < -1, n == -1 && g.typ == '%', n > maxBulk, list && n > maxList:
		return ErrNoRedis
	case n == -1: // null, as RESP 2 has it
		g.value()
	case !list:
		g.state, g.left = inBytes, n+len("\r\n")
	case n == 0:
		g.value()
	default:
		if g.typ == '%' {
			n *= 2
		}
		if g.open = append(g.open, n); len(g.open) > maxLists {
			return ErrNoRedis
		}
		g.state = atType
	}
	return nil
}

// value notes that one has ended, and with it perhaps the lists that it is the last of.
func (g *guard) value() {
	g.state = atType
	for last := len(g.open) - 1; last >= 0; last-- {
		if g.open[last]--; g.open[last] > 0 {
			return
		}
		g.open = g.open[:last]
	}
	if !g.push {
		g.values++
	}
}

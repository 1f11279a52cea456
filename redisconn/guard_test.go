package redisconn

import (
	"bytes"
	"errors"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nekoctl/neko/logtext"
	"pgregory.net/rapid"
)

// What the guard lets through and what it does not, in whatever pieces it comes.
func TestGuard(t *testing.T) {
	for text, good := range map[string]bool{
		"+OK\r\n":                                                    true,
		"-ERR no\r\n:-5\r\n_\r\n#t\r\n":                              true,
		",1.5\r\n(99999999999999999\r\n":                             true,
		"$3\r\n*-5\r\n$0\r\n\r\n$-1\r\n":                             true,
		"*-1\r\n*0\r\n~2\r\n:1\r\n:2\r\n":                            true,
		"*3\r\n:1\r\n:2\r\n*2\r\n$1\r\na\r\n*1\r\n:3\r\n+OK\r\n":     true,
		"%1\r\n+a\r\n*2\r\n:1\r\n:2\r\n>2\r\n+x\r\n:1\r\n=4\r\ntxt:": true,
		"*65536\r\n": true,
		strings.Repeat("*1\r\n", maxLists) + ":1\r\n+OK\r\n": true,
		strings.Repeat("*2\r\n:1\r\n", maxLists):             true,

		"*-5\r\n":                            false,
		"$-2\r\n":                            false,
		"%-1\r\n":                            false,
		"*1000000000\r\n":                    false,
		"$2147483647\r\n":                    false,
		"$99999999999999999999\r\n":          false,
		"*" + strings.Repeat("0", 100):       false,
		"*\r\n":                              false,
		"*5\n":                               false,
		"*?\r\n":                             false,
		"$?\r\n":                             false,
		"|1\r\n+a\r\n+b\r\n+c\r\n":           false,
		"HTTP/1.1 400 Bad Request\r\n":       false,
		"_\r\n*-5\r\n":                       false,
		"#t\r\n*-5\r\n":                      false,
		"*2\r\n$1\r\na\r\n*-5\r\n":           false,
		"+" + strings.Repeat("x", maxLine+1): false,
		strings.Repeat("*1\r\n", maxLists+1): false,
		strings.Repeat("*2\r\n:1\r\n", maxLists+1): false,
	} {
		rapid.Check(t, func(t *rapid.T) {
			g, rest, err := guard{}, text, error(nil)
			for rest != "" && err == nil {
				n := rapid.IntRange(1, len(rest)).Draw(t, "piece")
				err, rest = g.check([]byte(rest[:n])), rest[n:]
			}
			if (err == nil) != good {
				t.Fatalf("%.80q: %v", text, err)
			}
		})
	}
}

// Pushes answer nothing, and what is in a list is no answer by itself.
func TestGuardCountsAnswers(t *testing.T) {
	var g guard
	if err := g.check([]byte("+OK\r\n*2\r\n:1\r\n*1\r\n:2\r\n>2\r\n+message\r\n*1\r\n+x\r\n%1\r\n+a\r\n+b\r\n>0\r\n*0\r\n$-1\r\n*3\r\n:1\r\n")); err != nil || g.values != 5 {
		t.Errorf("%d answers, %v", g.values, err)
	}
}

// A server that is no Redis is an outage: the process goes on, and its log says what it is.
func TestServerThatIsNoRedis(t *testing.T) {
	for _, answer := range []string{"*-5\r\n", "$-7\r\n", "*1000000000\r\n", "%-1\r\n", strings.Repeat("*1\r\n", 1000), strings.Repeat("+OK\r\n", 50)} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		var serving sync.WaitGroup
		serving.Go(func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				serving.Go(func() {
					defer c.Close()
					buffer := make([]byte, 4096)
					for {
						if _, err := c.Read(buffer); err != nil {
							return
						}
						if _, err := c.Write([]byte(answer)); err != nil {
							return
						}
					}
				})
			}
		})
		var said bytes.Buffer
		s, err := New(t.Context(), "redis://"+l.Addr().String(), Options{Who: "rate limits", Log: logtext.Logger(&said)})
		if err != nil {
			t.Fatal(err)
		}
		var last error
		for end := time.Now().Add(10 * time.Second); time.Now().Before(end) && !errors.Is(last, ErrNoRedis); time.Sleep(time.Millisecond) {
			last = ping(t.Context(), s)
		}
		if !errors.Is(last, ErrNoRedis) {
			t.Errorf("%.20q: %v", answer, last)
		}
		s.Close()
		if want := "warning: rate limits: Redis cannot be used: " + ErrNoRedis.Error() + "\nhint: is it a Redis, at that port? "; !strings.HasPrefix(said.String(), want) {
			t.Errorf("%.20q: the log has %q", answer, said.String())
		}
		l.Close()
		serving.Wait()
	}
}

// Redis tells of keys that have changed between answers, and of a flush.
func TestGuardLetsInvalidationsThrough(t *testing.T) {
	var g guard
	err := g.check([]byte("+OK\r\n>2\r\n$10\r\ninvalidate\r\n*2\r\n$3\r\nn:a\r\n$3\r\nn:b\r\n>2\r\n$10\r\ninvalidate\r\n_\r\n$1\r\nx\r\n"))
	if err != nil || g.values != 2 {
		t.Errorf("%d answers, %v", g.values, err)
	}
}

package node

import (
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// A client of HTTP/2 that is told to go away (GOAWAY) sends its next request on
// another connection; what it has sent before is answered.
func TestHTTP2IsReloadedUnderLoadAndLosesNothing(t *testing.T) {
	eachNode(t, func(t *testing.T, n node) {
		for _, folder := range []string{"http2", "h2c"} {
			t.Run(folder, func(t *testing.T) {
				t.Parallel()
				a := prepare(t, n, folder)
				a.env = append(a.env, certificate(t)...)
				a.start("server.js")
				scheme := "https://"
				if folder == "h2c" {
					scheme = "http://"
				}
				l := multiplex(t, scheme+a.address())
				l.pass(pids(a))
				a.reload()
				l.pass(pids(a))
				a.drained()
				l.end()
				a.stops()
			})
		}
	})
}

// streams are clients with a connection each, and several requests on it at a time.
type streams struct {
	t        *testing.T
	stop     atomic.Bool
	all      sync.WaitGroup
	requests atomic.Int64
	answered sync.Map // by process
	failed   atomic.Int64
}

func multiplex(t *testing.T, url string) *streams {
	s := &streams{t: t}
	for range clients {
		tr := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, Protocols: new(http.Protocols)}
		tr.Protocols.SetHTTP2(true)
		tr.Protocols.SetUnencryptedHTTP2(true)
		for range 3 {
			s.all.Go(func() {
				defer tr.CloseIdleConnections()
				for !s.stop.Load() {
					if err := s.ask(tr, url); err != nil && s.failed.Add(1) < 10 {
						t.Error(err)
					}
					s.requests.Add(1)
					time.Sleep(5 * time.Millisecond) // think
				}
			})
		}
	}
	t.Cleanup(s.end)
	return s
}

func (s *streams) ask(tr *http.Transport, url string) error {
	c := http.Client{Transport: tr, Timeout: patience}
	r, err := c.Get(url)
	if err != nil {
		return err
	}
	defer r.Body.Close()
	body, err := io.ReadAll(r.Body)
	pid, ok := strings.CutPrefix(strings.TrimSpace(string(body)), "hello from ")
	if err != nil || !ok || r.ProtoMajor != 2 {
		return fmt.Errorf("%s: %q, %w", r.Proto, body, err)
	}
	s.answered.Store(pid, true)
	return nil
}

// pass lets requests pass until one of these processes has answered, or both: a client
// stays with the process to which it has its connection.
func (s *streams) pass(pids []int) {
	s.t.Helper()
	waitFor(s.t, "the processes answer", func() bool {
		for _, pid := range pids {
			if _, ok := s.answered.Load(fmt.Sprint(pid)); ok {
				return true
			}
		}
		return false
	})
	before := s.requests.Load()
	waitFor(s.t, "requests pass", func() bool { return s.requests.Load() > before+20*clients })
}

func (s *streams) end() {
	s.stop.Store(true)
	s.all.Wait()
}

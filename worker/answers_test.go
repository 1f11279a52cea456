package worker

import (
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"
)

// pipeListener accepts connections without buffers: what is not read was not sent.
type pipeListener struct {
	conns chan net.Conn
	end   chan struct{}
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.end:
		return nil, io.EOF
	}
}

func (l *pipeListener) Close() error   { close(l.end); return nil }
func (l *pipeListener) Addr() net.Addr { return &net.UnixAddr{Name: "pipe"} }

func (l *pipeListener) dial(t *testing.T, request string) net.Conn {
	client, server := net.Pipe()
	l.conns <- server
	t.Cleanup(func() { client.Close() })
	_ = client.SetDeadline(time.Now().Add(20 * time.Second))
	if _, err := io.WriteString(client, request); err != nil {
		t.Fatal(err)
	}
	return client
}

// Clients that ask for much and take nothing of it cannot have more in memory than
// there is room for, and others are served meanwhile.
func TestAnswersUnderWay(t *testing.T) {
	w := newTestWorker(t, Config{})
	l := &pipeListener{make(chan net.Conn), make(chan struct{})}
	served := make(chan error, 1)
	go func() { served <- w.Serve(l) }()
	t.Cleanup(func() {
		w.Close()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	request := func(query string, long int) string {
		body := fmt.Sprintf(`{"query":%q,"variables":{"s":%q}}`, query, strings.Repeat("x", long))
		return lengthed(len(body), body)
	}
	const (
		query    = `query($s:String){echo(string:$s)}`
		mutation = `mutation($s:String!){touch(name:$s)}`
		large    = 2 * smallAnswer
	)
	room := func() int64 { return w.answers.room.Load() }
	taken := func() bool { return room() < allAnswers-large }

	silent := l.dial(t, request(query, large))
	waitUntil(t, taken)
	held := allAnswers - room()
	w.answers.room.Add(-room()) // as if many did so
	for _, c := range []struct {
		what, request string
		status        int
		want          string
	}{
		{"another large one", request(query, large), 503, `"UNAVAILABLE"`},
		{"a small one", request(query, 100), 200, `"data"`},
		{"that of a mutation, which has been done", request(mutation, large), 200, `"data"`},
		{"a refusal", request(`{nope}`, 1), 422, `"GRAPHQL_VALIDATION_FAILED"`},
	} {
		status, body, _ := receive(t, l.dial(t, c.request))
		if status != c.status || !strings.Contains(body, c.want) {
			t.Errorf("%s: %d %.200s", c.what, status, body)
		}
	}
	waitUntil(t, func() bool { return room() == 0 })

	if status, body, _ := receive(t, silent); status != 200 || len(body) < large {
		t.Errorf("%d, %d bytes", status, len(body))
	}
	waitUntil(t, func() bool { return room() == held }) // before the next request

	w.answers.room.Store(allAnswers)
	gone := l.dial(t, request(query, large))
	waitUntil(t, taken)
	gone.Close()
	waitUntil(t, func() bool { return room() == allAnswers })
}

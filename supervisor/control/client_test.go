package control

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nekoctl/neko/supervisor/spec"
)

// serve answers on a socket in a new folder.
func serve(t *testing.T, handler http.HandlerFunc) *Client {
	socket := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: handler}
	go server.Serve(l)
	t.Cleanup(func() { server.Close() })
	return NewClient(socket)
}

func TestClientEvents(t *testing.T) {
	client := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Method != "POST" || r.URL.Path != "/v1/stop" || r.Header.Get("Content-Type") != "application/json" {
			t.Errorf("%s %s", r.Method, r.URL)
		}
		fmt.Fprintln(w, `{"progress":{"name":"a","slot":1,"state":"stopping"}}`)
		w.(http.Flusher).Flush()
		fmt.Fprintln(w, `{"done":{"processes":[{"id":1,"name":"a"}],"notes":["n"]}}`)
	})
	var steps []Progress
	done, err := client.Command(t.Context(), "stop", TargetRequest{Targets: []string{"a"}}, func(p Progress) { steps = append(steps, p) })
	if err != nil || len(done.Processes) != 1 || len(done.Notes) != 1 || len(steps) != 1 || steps[0].State != Stopping {
		t.Errorf("%+v %+v %v", done, steps, err)
	}
}

func TestClientErrors(t *testing.T) {
	for _, test := range []struct {
		status     int
		body, want string
	}{
		{200, `{"error":{"message":"m","hint":"h"}}`, "m"},
		{200, `{"progress":{"name":"a"}}`, "the daemon broke off before the command had ended"},
		{200, "", "the daemon broke off before the command had ended"},
		{400, `{"message":"bad"}`, "bad"},
		{404, `<html>`, "the daemon is of an older version, which does not have this"},
		{500, `<html>`, "the daemon answered 500 Internal Server Error"},
	} {
		client := serve(t, func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(test.status)
			fmt.Fprint(w, test.body)
		})
		_, err := client.Kill(t.Context(), nil)
		if e, ok := errors.AsType[*Error](err); !ok || e.Message != test.want {
			t.Errorf("%s: %v", test.body, err)
		}
	}
}

func TestADaemonThatIsTooOldForSettings(t *testing.T) {
	client := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/v1/start" && r.URL.Path != "/v1/resurrect" {
			http.NotFound(w, r)
			return
		}
		fmt.Fprintln(w, `{"done":{"processes":[]}}`)
	})
	if d, err := client.Daemon(t.Context()); err != nil || d.Metrics != "" || d.OnEvent != nil {
		t.Errorf("%+v, %v", d, err)
	}
	set := spec.Daemon{Metrics: "127.0.0.1:9464"}
	started, err := client.Start(t.Context(), StartRequest{Daemon: set}, nil)
	if err != nil || len(started.Notes) != 1 || !strings.Contains(started.Notes[0], "not set") {
		t.Errorf("%+v, %v", started, err)
	}
	if started, err = client.Start(t.Context(), StartRequest{}, nil); err != nil || len(started.Notes) != 0 {
		t.Errorf("%+v, %v", started, err)
	}
	resurrected, err := client.Resurrect(t.Context(), ResurrectRequest{Daemon: set}, nil)
	if err != nil || len(resurrected.Notes) != 1 {
		t.Errorf("%+v, %v", resurrected, err)
	}
}

func TestClientCancelled(t *testing.T) {
	client := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	})
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := client.Ping(ctx); err == nil || !strings.Contains(err.Error(), "in time") {
		t.Error(err)
	}
	ctx, cancel = context.WithCancel(t.Context())
	time.AfterFunc(50*time.Millisecond, cancel)
	if _, err := client.Kill(ctx, nil); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func TestNoDaemon(t *testing.T) {
	dir := t.TempDir()
	stale := filepath.Join(dir, "stale")
	l, err := net.Listen("unix", stale)
	if err != nil {
		t.Fatal(err)
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	l.Close()
	for _, socket := range []string{filepath.Join(dir, "none"), stale, filepath.Join(dir, strings.Repeat("x", 200), "s")} {
		if _, err := NewClient(socket).Ping(t.Context()); !errors.Is(err, ErrNoDaemon) {
			t.Errorf("%s: %v", socket, err)
		}
	}
}

// A home may lie deeper than sun_path is long.
func TestLongPath(t *testing.T) {
	dir := filepath.Join(t.TempDir(), strings.Repeat("deep/", 40))
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	t.Chdir(dir)
	l, err := net.Listen("unix", "s")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{"version":"v"}`) }))
	p, err := NewClient(filepath.Join(dir, "s")).Ping(t.Context())
	if err != nil || p.Version != "v" {
		t.Errorf("%+v, %v", p, err)
	}
}

// The master is killed in the middle of a long answer.
func TestAQuestionIsAskedAgainIfItsAnswerBreaksOff(t *testing.T) {
	asked := 0
	client := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if asked++; asked == 1 {
			fmt.Fprint(w, `[{"id":1},`)
			w.(http.Flusher).Flush()
			panic(http.ErrAbortHandler)
		}
		fmt.Fprint(w, `[{"id":1},{"id":2}]`)
	})
	list, err := client.Processes(t.Context())
	if err != nil || len(list) != 2 || asked != 2 {
		t.Errorf("%+v, %v, asked %d times", list, err, asked)
	}
}

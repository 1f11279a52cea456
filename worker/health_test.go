package worker

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

func TestHealth(t *testing.T) {
	t.Setenv("NEKO_SLOT", "3")
	var broken atomic.Bool
	w := newTestWorker(t, Config{Name: "cat", Version: "9", Checks: []Check{
		{Name: "store", Run: func(context.Context) error {
			if broken.Load() {
				return errors.New("it sleeps")
			}
			return nil
		}},
		{Name: "bowl", Run: func(context.Context) error { return nil }},
	}})
	expect := func(target string, status int, want string) {
		t.Helper()
		ctx := w.ask("GET", target, "", "")
		if got := string(ctx.Response.Body()); ctx.Response.StatusCode() != status || got != want {
			t.Errorf("%s: %d %q, want %d %q", target, ctx.Response.StatusCode(), got, status, want)
		}
	}
	status := func() (h struct {
		Status, Name, Version string
		Slot, PID             int
		Checks                []checkResult
	}) {
		t.Helper()
		ctx := w.ask("GET", "/health", "", "")
		if err := json.Unmarshal(ctx.Response.Body(), &h); err != nil || ctx.Response.StatusCode() != 200 {
			t.Fatal(err, ctx.Response.StatusCode())
		}
		return h
	}

	expect("/livez", 200, "ok\n")
	expect("/readyz", 200, "ok\n")
	expect("/readyz?verbose", 200, "[+] store ok\n[+] bowl ok\nok\n")
	if h := status(); h.Status != "ok" || h.Name != "cat" || h.Version != "9" || h.Slot != 3 || h.PID != os.Getpid() || len(h.Checks) != 2 {
		t.Errorf("%+v", h)
	}

	broken.Store(true)
	expect("/livez", 200, "ok\n")
	expect("/readyz", 503, "not ready\n")
	expect("/readyz?verbose", 503, "[-] store: it sleeps\n[+] bowl ok\nnot ready\n")
	if h := status(); h.Status != "unready" || h.Checks[0].Error != "it sleeps" || !h.Checks[1].OK {
		t.Errorf("%+v", h)
	}

	broken.Store(false)
	if err := w.Drain(t.Context()); err != nil {
		t.Fatal(err)
	}
	expect("/livez", 200, "ok\n")
	expect("/readyz", 503, "not ready\n")
	if h := status(); h.Status != "draining" {
		t.Errorf("%+v", h)
	}
	ctx := w.ask("GET", "/readyz?verbose", "", "")
	if body := string(ctx.Response.Body()); !strings.Contains(body, "[-] draining\n") || !ctx.Response.Header.ConnectionClose() {
		t.Errorf("%s", body)
	}
}

// While the file is there everything is served, and nobody is to stay.
func TestAWorkerThatIsAboutToStopIsNotReady(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("NEKO_RUN_DIR", dir)
	w := newTestWorker(t, Config{})
	ready := func(want int) {
		t.Helper()
		for _, target := range []string{"/readyz", "/livez"} {
			ctx := w.ask("GET", target, "", "")
			status := 200
			if target == "/readyz" {
				status = want
			}
			if got := ctx.Response.StatusCode(); got != status || ctx.Response.Header.ConnectionClose() != (want == 503) {
				t.Errorf("%s: %d, Connection: close %v", target, got, ctx.Response.Header.ConnectionClose())
			}
		}
	}
	ready(200)
	file := filepath.Join(dir, "stopping")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	ready(503)
	if body := string(w.ask("GET", "/readyz?verbose", "", "").Response.Body()); !strings.Contains(body, "[-] stopping\n") {
		t.Error(body)
	}
	if body := string(w.ask("GET", "/health", "", "").Response.Body()); !strings.Contains(body, `"status":"stopping"`) {
		t.Error(body)
	}
	if ctx := w.ask("GET", "/graphql?query={__typename}", "", ""); ctx.Response.StatusCode() != 200 || !ctx.Response.Header.ConnectionClose() {
		t.Errorf("%d %v", ctx.Response.StatusCode(), ctx.Response.Header.ConnectionClose())
	}
	if err := os.Remove(file); err != nil { // it was started again in time
		t.Fatal(err)
	}
	ready(200)
}

// Clients with a connection learn of it though nobody asks /readyz.
func TestAWorkerSeesByItselfThatItIsAboutToStop(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("NEKO_RUN_DIR", dir)
	w := newTestWorker(t, Config{})
	if err := os.WriteFile(filepath.Join(dir, "stopping"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(10 * time.Second); !w.ask("GET", "/livez", "", "").Response.Header.ConnectionClose(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("it never does")
		}
	}
}

func TestHealthMethods(t *testing.T) {
	w := newTestWorker(t, Config{})
	for _, path := range []string{"/livez", "/readyz", "/health"} {
		if s := w.ask("HEAD", path, "", "").Response.StatusCode(); s != 200 {
			t.Errorf("HEAD %s: %d", path, s)
		}
		ctx := w.ask("POST", path, "", "")
		if s, allow := ctx.Response.StatusCode(), string(ctx.Response.Header.Peek("Allow")); s != 405 || allow != "GET, HEAD" {
			t.Errorf("POST %s: %d, Allow: %s", path, s, allow)
		}
	}
}

// A check that panics fails, and the others are told.
func TestCheckThatPanics(t *testing.T) {
	w := newTestWorker(t, Config{Checks: []Check{{Name: "bad", Run: func(context.Context) error { panic("meow") }}}})
	if _, ok := w.check(t.Context()); ok {
		t.Error("it passed")
	}
}

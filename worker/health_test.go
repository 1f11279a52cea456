package worker

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"strings"
	"sync/atomic"
	"testing"
)

func TestHealth(t *testing.T) {
	t.Setenv("NEKO_SLOT", "3")
	var broken atomic.Bool
	w := newTestWorker(t, Config{Name: "cat", Version: "9", Checks: []Check{
		{"store", func(context.Context) error {
			if broken.Load() {
				return errors.New("it sleeps")
			}
			return nil
		}},
		{"bowl", func(context.Context) error { return nil }},
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
	w := newTestWorker(t, Config{Checks: []Check{{"bad", func(context.Context) error { panic("meow") }}}})
	if _, ok := w.check(t.Context()); ok {
		t.Error("it passed")
	}
}

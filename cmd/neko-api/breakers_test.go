package main

import (
	"encoding/json"
	"io"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nekoctl/neko/api/store/mongo/mongotest"
	"github.com/nekoctl/neko/limiter/redis/redistest"
)

func get(t *testing.T, url string) (status int, body string) {
	t.Helper()
	resp, err := oneByOne.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(text)
}

// eventually waits until what a server says is so.
func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(60 * time.Second); !is(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("never: ", what)
		}
	}
}

// The store stands still. The worker stays ready, says what is wrong, and after some calls that
// nobody answered refuses others at once; when the store is back all is as before.
func TestTheStoreStandsStill(t *testing.T) {
	if mongotest.Real() {
		t.Skip("needs a server of its own")
	}
	server := mongotest.Start(t)
	t.Setenv("NEKO_API_STORE", server.URL("neko"))
	t.Setenv("NEKO_API_AUTH_SECRET_FILE", writeSecret(t, "shared "))
	args := []string{"--load-sample=false", "--cache", "off", "--store-timeout", "300ms", "--breaker-open-for", "500ms"}
	lenient, _, _ := startServer(t, t.TempDir(), args...)
	strict, _, _ := startServer(t, t.TempDir(), append(args, "--ready-without-store=false")...)
	const query = `{ threatCounts { tactics } }`
	for _, url := range []string{lenient, strict} {
		eventually(t, "ready", func() bool { status, _ := get(t, url+"/readyz"); return status == 200 })
		// On a busy machine the first one may take longer than the store's time.
		eventually(t, "answered", func() bool {
			status, body := post(t, url, "", query)
			return status == 200 && !strings.Contains(body, "errors")
		})
	}
	eventually(t, "all is well", func() bool {
		_, body := get(t, lenient+"/readyz?verbose")
		return strings.Contains(body, "[+] store ok\n") && strings.Contains(body, "[+] breaker store CLOSED\n[+] breaker store-changes CLOSED\n")
	})

	server.Stop(t)
	opened := false
	eventually(t, "refused at once", func() bool {
		var all sync.WaitGroup
		for range 10 {
			all.Go(func() {
				if _, body := post(t, lenient, "", query); !strings.Contains(body, `"UNAVAILABLE"`) {
					t.Error(body)
				}
			})
		}
		all.Wait()
		_, body := post(t, lenient, "", query)
		opened = strings.Contains(body, `"retryAfter":1`)
		return opened
	})
	eventually(t, "degraded", func() bool {
		var h struct {
			Status   string
			Breakers []struct{ Name, State, Reason string }
		}
		status, body := get(t, lenient+"/health")
		if err := json.Unmarshal([]byte(body), &h); err != nil || status != 200 || h.Status != "degraded" {
			t.Fatal(err, status, body)
		}
		return h.Breakers[0].State == "OPEN" && h.Breakers[0].Reason != ""
	})
	if status, body := get(t, lenient+"/readyz?verbose"); status != 200 || !strings.Contains(body, "[!] store: ") || !strings.Contains(body, "[!] breaker store ") {
		t.Error(status, body)
	}
	if status, body := get(t, strict+"/readyz?verbose"); status != 503 || !strings.Contains(body, "[-] store: ") {
		t.Error(status, body)
	}

	server.Continue(t)
	for _, url := range []string{lenient, strict} {
		eventually(t, "answered", func() bool { _, body := post(t, url, "", query); return !strings.Contains(body, "errors") })
		eventually(t, "ready", func() bool {
			status, body := get(t, url+"/readyz?verbose")
			return status == 200 && !strings.Contains(body, "[!]") && strings.Contains(body, "[+] breaker store CLOSED")
		})
	}
}

// The limiter's Redis has a watch of its own, and its state is told with the others.
func TestTheRedisOfTheLimitsIsADependency(t *testing.T) {
	server := redistest.Start(t)
	url, _, _ := startServer(t, t.TempDir(), "--load-sample=false", "--redis", server.URL())
	says := func(want string) {
		t.Helper()
		eventually(t, want, func() bool {
			status, body := get(t, url+"/readyz?verbose")
			return status == 200 && strings.Contains(body, want)
		})
	}
	says("[+] breaker redis-limits CLOSED\n")
	server.Stop(t)
	says("[!] breaker redis-limits OPEN: it cannot be asked")
	server.Continue(t)
	says("[+] breaker redis-limits CLOSED\n")
}

func TestBreakerSettings(t *testing.T) {
	cmd := command(t, t.TempDir(), "--store-timeout", "1us")
	out, err := cmd.CombinedOutput()
	if _, ok := err.(*exec.ExitError); !ok || cmd.ProcessState.ExitCode() != 2 || string(out) != "error: --store-timeout: 1µs is too short\nhint: write it like 3s\n" {
		t.Errorf("%v: %s", err, out)
	}
}

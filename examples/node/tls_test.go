package node

import (
	"crypto/tls"
	"io"
	"net/http"
	"testing"
)

// Node's workers seal session tickets with the same keys, which the first of them
// makes: the supervisor hands them on, also to who comes after a reload.
func TestATLSSessionIsResumedByAnyWorkerAndAfterAReload(t *testing.T) {
	eachNode(t, func(t *testing.T, n node) {
		a := prepare(t, n, "https")
		a.env = append(a.env, certificate(t)...)
		a.start("server.js")
		tr := &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{
			InsecureSkipVerify: true, ServerName: "neko", ClientSessionCache: tls.NewLRUClientSessionCache(1),
		}}
		c := http.Client{Transport: tr}
		answered := map[string]bool{}
		ask := func() (resumed bool) {
			t.Helper()
			r, err := c.Get("https://" + a.address())
			if err != nil {
				t.Fatal(err)
			}
			defer r.Body.Close()
			body, err := io.ReadAll(r.Body)
			if err != nil {
				t.Fatal(err)
			}
			answered[string(body)] = true
			return r.TLS.DidResume
		}
		if ask() {
			t.Fatal("the first connection has resumed a session")
		}
		for len(answered) < 2 {
			if !ask() {
				t.Fatalf("a session was not resumed: %v have answered", answered)
			}
		}
		a.reload()
		for len(answered) < 4 {
			if !ask() {
				t.Fatalf("a session was not resumed after a reload: %v have answered", answered)
			}
		}
	})
}

package examples

import (
	"io"
	"net/http"
	"strings"
	"testing"
)

// What the processes of a program of Node's have counted is told as one sum, and goes on
// over a reload.
func TestANodeProgramIsCounted(t *testing.T) {
	t.Parallel()
	runtime{check: "node --version", debian: []string{"nodejs"}}.get(t)
	d := start(t, "metrics/neko.yaml", "127.0.0.1:0")
	for _, want := range []string{"20", "40"} {
		for range 20 {
			response, err := http.Get("http://" + d.list()[0].Listeners[0] + "/")
			if err != nil {
				t.Fatal(err)
			}
			_, _ = io.Copy(io.Discard, response.Body)
			response.Body.Close()
		}
		text := d.nekoctl("metrics", "hello")
		if line := `hello_requests_total{app="hello",method="GET"} ` + want + "\n"; !strings.Contains(text, line) {
			t.Errorf("without %q:\n%s", line, text)
		}
		d.nekoctl("reload", "hello")
	}
}

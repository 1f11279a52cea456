package worker

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"strings"
	"testing"
)

// Lines of JSON have what a request is found by, once, whoever writes them in its context.
func TestLinesOfJSON(t *testing.T) {
	var out bytes.Buffer
	l := slog.New(LogHandler(slog.NewJSONHandler(&out, nil)))
	w := newTestWorker(t, Config{Log: l})
	w.ask("POST", "/graphql", asJSON+"\nX-Request-Id: cat-1", `{"query":"{fail(how: PLAIN)}"}`)
	var line struct {
		Time, Level, Msg, Err string
		RequestID             string `json:"request_id"`
	}
	if err := json.Unmarshal(out.Bytes(), &line); err != nil {
		t.Fatalf("%v: %s", err, out.String())
	}
	if line.Level != "ERROR" || line.Msg != "fail" || line.Err != "password=hunter2" || line.RequestID != "cat-1" || line.Time == "" || strings.Count(out.String(), "cat-1") != 1 {
		t.Errorf("%s", out.String())
	}

	out.Reset()
	of := WithCaller(context.Background(), &Caller{RequestID: "cat-2"})
	l.With("store", "mongo").InfoContext(of, "slow", "err", errors.New("x"))
	l.Info("not of a request")
	lines := strings.Split(out.String(), "\n")
	if !strings.Contains(lines[0], `"store":"mongo","err":"x","request_id":"cat-2"`) || strings.Contains(lines[1], "request_id") {
		t.Errorf("%q", lines)
	}
}

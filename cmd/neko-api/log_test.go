package main

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/nekoctl/neko/logtext"
)

func TestLogSettings(t *testing.T) {
	for _, c := range []struct{ flags, want string }{
		{"", "said\nwarning: worrying: why\n"},
		{"--log-level warn", "warning: worrying: why\n"},
		{"--log-level error", ""},
		{"--log-level debug", "debug: detail\nsaid\nwarning: worrying: why\n"},
		{"--log-level loud", `--log-level: "loud" is no level`},
		{"--log-format xml", `--log-format: "xml" is no format`},
	} {
		o := newOptions()
		if _, err := o.Load(strings.Fields(c.flags)); err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		l, err := o.logging.logger(&out)
		if err != nil {
			if err.Error() != c.want || !isUsage(err) {
				t.Errorf("%s: %v", c.flags, err)
			}
			continue
		}
		l.Debug("detail")
		l.Info("said")
		l.Warn("worrying", logtext.Reason, "why")
		if out.String() != c.want {
			t.Errorf("%s: %q", c.flags, out.String())
		}
	}
	t.Setenv("NEKO_API_LOG_FORMAT", "json")
	o := newOptions()
	if _, err := o.Load(nil); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	l, err := o.logging.logger(&out)
	if err != nil {
		t.Fatal(err)
	}
	l.Warn("worrying", logtext.Reason, "why")
	var line map[string]any
	if err := json.Unmarshal(out.Bytes(), &line); err != nil || line["msg"] != "worrying" || line["level"] != "WARN" || line["err"] != "why" || line["time"] == nil {
		t.Errorf("%v: %s", err, out.String())
	}
}

package spec

import (
	"encoding/json"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestAFileSaysWhatIsToBeSetOfTheDaemon(t *testing.T) {
	for text, want := range map[string]Daemon{
		"":                        {},
		"metrics: 9464":           {Metrics: "127.0.0.1:9464"},
		"metrics: localhost:9464": {Metrics: "127.0.0.1:9464"},
		`metrics: ":9464"`:        {Metrics: ":9464"},
		"metrics: off":            {Metrics: Off},
	} {
		_, got, err := Parse("neko.yaml", []byte(text+"\napps: [{name: a, command: ./a}]"), Options{NamesOnly: true})
		if err != nil || got.Metrics != want.Metrics {
			t.Errorf("%s: %+v, %v", text, got, err)
		}
	}
}

func TestMistakesInWhatIsSetOfTheDaemonAreFound(t *testing.T) {
	for text, want := range map[string]string{
		"metrics: soon":             "neko.yaml:1:10: metrics: expected an address",
		"metrics: unix:/run/a.sock": "neko.yaml:1:10: metrics: expected HOST:PORT",
		"metrics: [1]":              "neko.yaml:1:10: metrics: expected an address, not a list",
		"metrics:":                  "metrics: there is no value",
		"metric: 9464":              `unknown key "metric"`,
	} {
		_, _, err := Parse("neko.yaml", []byte(text+"\napps: [{name: a, command: ./a}]"), Options{NamesOnly: true})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", text, err)
		}
	}
}

func TestAFileSaysWhatIsDoneWhenSomethingHappens(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "neko.yaml")
	hook := func(change func(*Hook)) []Hook {
		h := DefaultHook()
		change(&h)
		return []Hook{h}
	}
	for text, want := range map[string][]Hook{
		"":              nil,
		"on_event: off": {},
		"on_event: []":  {},
		"on_event: [{event: crash, run: ./tell.sh now}]": hook(func(h *Hook) {
			h.Events, h.Run, h.Cwd = []string{"crash"}, []string{"./tell.sh", "now"}, dir
		}),
		`on_event: [{event: [crash, app.*], app: web, run: "cat | mail me", timeout: 1m}]`: hook(func(h *Hook) {
			h.Events, h.Apps, h.Run, h.Cwd, h.Timeout = []string{"crash", "app.*"}, []string{"web"}, []string{"/bin/sh", "-c", "cat | mail me"}, dir, Duration(time.Minute)
		}),
		`on_event: [{event: "*", webhook: "https://example.com/h", headers: {X-Key: 1}, secret_file: key, retries: 0}]`: hook(func(h *Hook) {
			h.Events, h.Webhook, h.Headers, h.SecretFile, h.Retries = []string{"*"}, "https://example.com/h", map[string]string{"X-Key": "1"}, filepath.Join(dir, "key"), 0
		}),
	} {
		_, got, err := Parse(file, []byte(text+"\napps: [{name: a, command: ./a}]"), Options{NamesOnly: true})
		if err != nil || !reflect.DeepEqual(got.OnEvent, want) {
			t.Errorf("%s: %#v, %v", text, got.OnEvent, err)
		}
		if err := got.CheckValues(); err != nil {
			t.Errorf("%s: %v", text, err)
		}
		encoded, err := json.Marshal(got)
		var back Daemon
		if err != nil || json.Unmarshal(encoded, &back) != nil || !reflect.DeepEqual(back, got) {
			t.Errorf("%s becomes %+v by way of %s", text, back, encoded)
		}
	}
}

func TestMistakesInHooksAreFound(t *testing.T) {
	for text, want := range map[string]string{
		"on_event: crash":            "neko.yaml:1:11: on_event: expected a list",
		"on_event: [{run: a}]":       "neko.yaml:1:12: on_event: event is missing",
		"on_event: [{event: crash}]": "a hook has one of run and webhook",
		"on_event: [{event: crash, run: a, webhook: \"http://b\"}]":                  "a hook has one of run and webhook",
		"on_event: [{event: crash, webhook: \"ftp://secret\"}]":                      "webhook: expected a URL",
		"on_event: [{event: crash, run: a, secret: b}]":                              "headers and secret are a webhook's",
		"on_event: [{event: crash, run: a, retries: 21}]":                            "retries: expected a number from 0 to 20",
		"on_event: [{event: crash, run: a, timeout: 11m}]":                           "timeout: expected a time up to 10m",
		"on_event: [{event: crash, run: a, when: b}]":                                "when",
		"on_event: [{event: crash, webhook: \"http://b\", headers: {\"a b\": c}}]":   "expected names and values of HTTP headers",
		"on_event: [{event: crash, webhook: \"http://b\", headers: {a: \"b\\nc\"}}]": "expected names and values of HTTP headers",
	} {
		_, _, err := Parse("neko.yaml", []byte(text+"\napps: [{name: a, command: ./a}]"), Options{NamesOnly: true})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", text, err)
		} else if strings.Contains(err.Error(), "secret\"") {
			t.Errorf("%s: %v", text, err)
		}
	}
}

func TestAHookShowsNothingOfItsURLButTheHost(t *testing.T) {
	for want, h := range map[string]Hook{
		"webhook https://example.com": {Webhook: "https://me:pass@example.com/services/T0/secret?key=secret"},
		"run tell.sh":                 {Run: []string{"/srv/tell.sh", "secret"}},
	} {
		if got := h.String(); got != want {
			t.Errorf("got %s", got)
		}
	}
}

func TestWhatAFileDoesNotSayStays(t *testing.T) {
	before := Daemon{Metrics: "127.0.0.1:9464", OnEvent: []Hook{DefaultHook()}}
	if got := (Daemon{}).Over(before); len(got.OnEvent) != 1 {
		t.Errorf("%+v", got)
	}
	if got := (Daemon{OnEvent: []Hook{}}).Over(before); got.OnEvent == nil || len(got.OnEvent) != 0 {
		t.Errorf("%+v", got)
	}
	if got := (Daemon{}).Over(before); got.Metrics != before.Metrics {
		t.Errorf("%+v", got)
	}
	if got := (Daemon{Metrics: Off}).Over(before); got.Metrics != Off {
		t.Errorf("%+v", got)
	}
}

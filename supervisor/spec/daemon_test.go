package spec

import (
	"strings"
	"testing"
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

func TestWhatAFileDoesNotSayStays(t *testing.T) {
	before := Daemon{Metrics: "127.0.0.1:9464"}
	if got := (Daemon{}).Over(before); got.Metrics != before.Metrics {
		t.Errorf("%+v", got)
	}
	if got := (Daemon{Metrics: Off}).Over(before); got.Metrics != Off {
		t.Errorf("%+v", got)
	}
}

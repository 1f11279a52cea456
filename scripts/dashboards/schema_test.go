package main

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
)

// schema is testdata/grafana.txt: the keys of each type of object.
type schema map[string]map[string]key

type key struct {
	kind string // string, number, bool, any, []KIND, map KIND, "a"|"b", or a type of object
	must bool
}

func readSchema(t *testing.T) schema {
	t.Helper()
	text, err := os.ReadFile("testdata/grafana.txt")
	if err != nil {
		t.Fatal(err)
	}
	s := schema{}
	var keys map[string]key
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSuffix(line, "\n")
		if strings.HasPrefix(line, "#") {
			continue
		}
		about, inside := strings.CutPrefix(line, "\t")
		if !inside {
			keys = map[string]key{}
			s[line] = keys
			continue
		}
		name, kind, _ := strings.Cut(about, " ")
		name, must := strings.CutSuffix(name, "!")
		keys[name] = key{kind, must}
	}
	return s
}

// What a panel's options and the custom part of its fields are depends on its type.
var (
	optionsOf = map[string]string{"timeseries": "timeseries.Options", "stat": "stat.Options", "state-timeline": "statetimeline.Options", "table": "table.Options", "heatmap": "heatmap.Options"}
	customOf  = map[string]string{"timeseries": "common.GraphFieldConfig", "state-timeline": "statetimeline.FieldConfig", "table": "common.TableFieldOptions"}
)

// check says what of a dashboard is not as Grafana has it.
func (s schema) check(t *testing.T, text []byte) (wrong []string) {
	t.Helper()
	var dashboard any
	if err := json.Unmarshal(text, &dashboard); err != nil {
		t.Fatal(err)
	}
	var panel string // that we are in
	var look func(where, kind string, value any)
	look = func(where, kind string, value any) {
		fail := func(format string, args ...any) { wrong = append(wrong, where+fmt.Sprintf(format, args...)) }
		should := func(kind string, is bool) {
			if !is {
				shown, _ := json.Marshal(value) // it was JSON
				fail(" is %s, and should be a %s", shown, kind)
			}
		}
		if value == nil {
			return // as if it were not there; the first step of a threshold has to be null
		}
		if of, ok := strings.CutPrefix(kind, "[]"); ok {
			list, ok := value.([]any)
			should("list", ok)
			for i, v := range list {
				look(fmt.Sprintf("%s[%d]", where, i), of, v)
			}
			return
		}
		if of, ok := strings.CutPrefix(kind, "map "); ok {
			object, ok := value.(map[string]any)
			should("object", ok)
			for k, v := range object {
				look(where+"."+k, of, v)
			}
			return
		}
		switch kind {
		case "any":
		case "string":
			_, ok := value.(string)
			should(kind, ok)
		case "number":
			_, ok := value.(float64)
			should(kind, ok)
		case "bool":
			_, ok := value.(bool)
			should(kind, ok)
		default:
			if strings.ContainsAny(kind, `"|`) {
				shown, _ := json.Marshal(value) // it was JSON
				if !slices.Contains(strings.Split(kind, "|"), string(shown)) {
					fail(" is %s, and can be %s", shown, kind)
				}
				return
			}
			object, ok := value.(map[string]any)
			should("object", ok)
			if kind == "Panel" {
				panel, _ = object["type"].(string) // said below
				if panel == "row" {
					kind = "RowPanel"
				} else if optionsOf[panel] == "" {
					fail(": %s is a kind of panel that is not known", panel)
				}
			}
			keys, ok := s[kind]
			if !ok {
				fail(" is a %s, which testdata/grafana.txt does not have", kind)
			}
			for k, of := range keys {
				if _, there := object[k]; of.must && !there {
					fail(": it lacks %s", k)
				}
			}
			for k, v := range object {
				of, ok := keys[k]
				if !ok {
					fail(": %s is no key of a %s", k, kind)
					continue
				}
				of.kind = map[string]string{"Panel.options": optionsOf[panel], "FieldConfig.custom": customOf[panel]}[kind+"."+k]
				if of.kind == "" {
					of.kind = keys[k].kind
				}
				look(where+"."+k, of.kind, v)
			}
		}
	}
	look("", "Dashboard", dashboard)
	slices.Sort(wrong)
	return wrong
}

package prometheus

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v4"
)

const (
	rulesFile  = "../../configs/prometheus/rules.yml"
	testsFile  = "../../configs/prometheus/rules_test.yml"
	configFile = "../../configs/prometheus/prometheus.yml"
	runbook    = "../../docs/alerts.md"
)

// ruleFile is what there can be in a file of rules.
type ruleFile struct {
	Groups []struct {
		Name     string `yaml:"name"`
		Interval string `yaml:"interval,omitempty"`
		Rules    []rule `yaml:"rules"`
	} `yaml:"groups"`
}

type rule struct {
	Record      string            `yaml:"record,omitempty"`
	Alert       string            `yaml:"alert,omitempty"`
	Expr        string            `yaml:"expr"`
	For         string            `yaml:"for,omitempty"`
	Labels      map[string]string `yaml:"labels,omitempty"`
	Annotations map[string]string `yaml:"annotations,omitempty"`
}

func readRules(t *testing.T) (f ruleFile) {
	t.Helper()
	text, err := os.ReadFile(rulesFile)
	if err == nil {
		err = yaml.Load(text, &f, yaml.WithKnownFields())
	}
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func (f ruleFile) all() (list []rule) {
	for _, g := range f.Groups {
		list = append(list, g.Rules...)
	}
	return list
}

// expression is one that a rule or a dashboard has.
type expression struct {
	where string
	text  string // with Grafana's variables
}

func (f ruleFile) expressions() (list []expression) {
	for _, r := range f.all() {
		list = append(list, expression{"rules.yml: " + r.Record + r.Alert, r.Expr})
	}
	return list
}

// panel is what there is in a dashboard that asks for something.
type panel struct {
	Title   string `json:"title"`
	Targets []struct {
		Expr string `json:"expr"`
	} `json:"targets"`
	Panels []panel `json:"panels"`
}

// dashboards are all expressions of all dashboards, those of variables and annotations too.
func dashboards(t *testing.T) (list []expression) {
	t.Helper()
	files, err := filepath.Glob("../../configs/grafana/*.json")
	if err != nil || len(files) == 0 {
		t.Fatal("there are no dashboards: ", err)
	}
	for _, file := range files {
		var d struct {
			Panels     []panel `json:"panels"`
			Templating struct {
				List []struct{ Name, Type, Definition string }
			} `json:"templating"`
			Annotations struct {
				List []struct{ Name, Expr string }
			} `json:"annotations"`
		}
		text, err := os.ReadFile(file)
		if err == nil {
			err = json.Unmarshal(text, &d)
		}
		if err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		name := filepath.Base(file)
		var look func([]panel)
		look = func(panels []panel) {
			for _, p := range panels {
				for _, q := range p.Targets {
					list = append(list, expression{name + ": " + p.Title, q.Expr})
				}
				look(p.Panels)
			}
		}
		look(d.Panels)
		for _, v := range d.Templating.List {
			if v.Type != "query" {
				continue
			}
			m := regexp.MustCompile(`^label_values\((.*), (\w+)\)$`).FindStringSubmatch(v.Definition)
			if m == nil {
				t.Errorf("%s: the variable %s is %q", name, v.Name, v.Definition)
				continue
			}
			list = append(list, expression{name + ": variable " + v.Name, "count by (" + m[2] + ") (" + m[1] + ")"})
		}
		for _, a := range d.Annotations.List {
			list = append(list, expression{name + ": annotation " + a.Name, a.Expr})
		}
	}
	return list
}

// selector is a name and, if there are any, its matchers. What else looks like one, words and functions of PromQL,
// does not begin like the names of metrics.
var selector = regexp.MustCompile(`\b((?:neko|process|go|scrape)_[a-z0-9_]+|up|ALERTS|[a-z_]+:neko_\w+:\w+)(\{[^{}]*\})?`)

// selectors are those of an expression, once each. The labels in by () and on () are none.
func selectors(expr string) (list []string) {
	for _, m := range selector.FindAllString(lists.ReplaceAllString(expr, "$1 ()"), -1) {
		if !slices.Contains(list, m) {
			list = append(list, m)
		}
	}
	return list
}

var lists = regexp.MustCompile(`\b(by|on|without|ignoring|group_left) \([^()]*\)`)

// family is the name of what a selector selects, as # TYPE has it.
func family(selector string, known func(string) bool) string {
	name, _, _ := strings.Cut(selector, "{")
	for _, of := range []string{"_bucket", "_count", "_sum"} {
		if short, ok := strings.CutSuffix(name, of); ok && known(short) {
			return short
		}
	}
	return name
}

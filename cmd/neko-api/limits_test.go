package main

import (
	"testing"

	"github.com/nekoctl/neko/worker"
)

func TestProductionTurnsOffWhatIsForDevelopers(t *testing.T) {
	for _, c := range []struct {
		args                    []string
		noIntrospection, noPage bool
	}{
		{nil, false, false},
		{[]string{"--production"}, true, true},
		{[]string{"--production", "--introspection", "on"}, false, true},
		{[]string{"--production", "--graphiql", "on"}, true, false},
		{[]string{"--introspection", "off", "--graphiql", "off"}, true, true},
	} {
		o := newOptions()
		if _, err := o.Load(c.args); err != nil {
			t.Fatal(err)
		}
		var config worker.Config
		if err := o.limits.apply(&config); err != nil {
			t.Fatal(err)
		}
		if config.NoIntrospection != c.noIntrospection || config.NoGraphiQL != c.noPage {
			t.Errorf("%v: %v, %v", c.args, config.NoIntrospection, config.NoGraphiQL)
		}
		if config.MaxCost != 50_000 || config.MaxDocument != 64<<10 {
			t.Errorf("%v: %d, %d", c.args, config.MaxCost, config.MaxDocument)
		}
	}
}

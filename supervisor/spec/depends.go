package spec

import (
	"fmt"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"
)

// conditions are the words for what a dependency must have come to; compose's
// are understood, too.
var conditions = map[string]Condition{
	"started": Started, "ready": Ready, "completed": Completed,
	"service_started": Started, "service_healthy": Ready, "service_completed_successfully": Completed,
}

func conditionFields(c *Condition) []field {
	return []field{{"condition", "What the other app must have come to.", "condition",
		func(p *parser, v *yaml.Node) { p.condition(v, c) }}}
}

func (p *parser) condition(v *yaml.Node, to *Condition) {
	var word string
	if !p.text(v, "started, ready or completed", &word) {
		return
	}
	c, ok := conditions[word]
	if !ok {
		p.fail(v, p.key, p.key+": "+expected("started, ready or completed", word), "")
		return
	}
	*to = c
}

// dependsOn is a name, a list of them, or names with conditions.
func (p *parser) dependsOn(d *draft, v *yaml.Node) {
	add := func(at *yaml.Node, dep Dependency) {
		if len(d.DependsOn) < maxApps {
			d.DependsOn = append(d.DependsOn, dep)
			d.needs = append(d.needs, at)
		}
	}
	if v.Kind != yaml.MappingNode {
		for _, n := range p.oneOrMore(v) {
			var dep Dependency
			if p.text(n, "the name of an app", &dep.App) {
				add(n, dep)
			}
		}
		return
	}
	key := p.key
	p.each(v, key, func(k, v *yaml.Node) {
		dep := Dependency{App: k.Value}
		p.key = key + ": " + clip(k.Value)
		if v = p.follow(v); v.Kind == yaml.ScalarNode {
			p.condition(v, &dep.Condition)
		} else {
			p.fields(v, conditionFields(&dep.Condition))
		}
		add(k, dep)
	})
	p.key = key
}

// checkDependencies finds dependencies that are not there, and cycles; conditions
// that were not given become what fits the other app.
func (p *parser) checkDependencies(drafts []*draft) {
	byName := map[string]*draft{}
	var names []string
	for _, d := range drafts {
		byName[d.Name] = d
		names = append(names, d.Name)
	}
	for _, d := range drafts {
		for i := range d.DependsOn {
			dep := &d.DependsOn[i]
			at := d.needs[i]
			other := byName[dep.App]
			switch {
			case other == nil:
				hint := "the apps of this file are " + strings.Join(names, ", ")
				if near := Nearest(dep.App, names); near != "" {
					hint = fmt.Sprintf("did you mean %q?", near)
				}
				p.fail(at, "depends_on", fmt.Sprintf("depends_on: there is no app %q in this file", clip(dep.App)), hint)
				continue
			case dep.Condition == "" && other.Type == Task:
				dep.Condition = Completed
			case dep.Condition == "":
				dep.Condition = Ready
			}
			if dep.Condition == Completed && other.Type != Task {
				p.fail(at, "depends_on", fmt.Sprintf("depends_on: %s is a service, which never completes", clip(dep.App)), "await that it is ready, or give it type: task")
			}
			if dep.Condition == Ready && other.Type == Task {
				p.fail(at, "depends_on", fmt.Sprintf("depends_on: %s is a task, which is never ready", clip(dep.App)), "await that it is completed")
			}
		}
	}
	apps := make([]App, len(drafts))
	for i, d := range drafts {
		apps[i] = d.App
	}
	if path := Cycle(apps); path != nil {
		at := byName[path[0]].at["depends_on"]
		p.fail(at, "depends_on", "depends_on: a cycle: "+strings.Join(path, " → "), "none of them could be the first")
	}
}

// DependsOnApp says whether a depends on the app of this name.
func (a *App) DependsOnApp(name string) bool {
	return slices.ContainsFunc(a.DependsOn, func(dep Dependency) bool { return dep.App == name })
}

// Dependencies are the names of the apps that a depends on.
func (a *App) Dependencies() []string {
	names := make([]string, len(a.DependsOn))
	for i, dep := range a.DependsOn {
		names[i] = dep.App
	}
	return names
}

// Cycle is a path of dependencies that comes back to its first app ("a", "b",
// "a"), nil if there is none: the one of the first app that is in one.
func Cycle(apps []App) []string {
	byName := map[string]*App{}
	for i := range apps {
		byName[apps[i].Name] = &apps[i]
	}
	const open, done = 1, 2
	state := map[string]int{}
	var path []string
	var visit func(name string) []string
	visit = func(name string) []string {
		a := byName[name]
		if a == nil || state[name] == done {
			return nil
		}
		path = append(path, name)
		if state[name] == open {
			return slices.Clone(path[slices.Index(path, name):])
		}
		state[name] = open
		for _, dep := range a.DependsOn {
			if cycle := visit(dep.App); cycle != nil {
				return cycle
			}
		}
		state[name] = done
		path = path[:len(path)-1]
		return nil
	}
	for i := range apps {
		if cycle := visit(apps[i].Name); cycle != nil {
			return cycle
		}
	}
	return nil
}

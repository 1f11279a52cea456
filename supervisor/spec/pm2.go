package spec

import (
	"path/filepath"

	"go.yaml.in/yaml/v4"
)

// pm2Keys are the keys of PM2's ecosystem file that mean here what they mean
// there. Any other is an error: an app that starts without what its file asks
// for is worse than one that does not start.
var pm2Keys = []key{
	{name: "name", read: func(p *parser, d *draft, v *yaml.Node) { p.text(v, "a name", &d.Name) }},
	{name: "script", read: func(p *parser, d *draft, v *yaml.Node) { p.text(v, "the path of a program", &d.script) }},
	{name: "args", read: (*parser).pm2Args},
	{name: "interpreter", read: func(p *parser, d *draft, v *yaml.Node) { p.text(v, "a program", &d.interpreter) }},
	{name: "cwd", read: func(p *parser, d *draft, v *yaml.Node) { p.text(v, "a folder", &d.Cwd) }},
	{name: "instances", read: (*parser).pm2Instances},
	{name: "env", read: (*parser).env},
}

func (p *parser) pm2Args(d *draft, v *yaml.Node) {
	if v.Kind != yaml.ScalarNode {
		d.args = p.texts(v, "args", "the arguments or a list of them")
		return
	}
	words, err := Words(v.Value)
	if err != nil {
		p.failValue(v, "args", err)
	}
	d.args = words
}

func (p *parser) pm2Instances(d *draft, v *yaml.Node) {
	if v.Kind == yaml.ScalarNode && v.Value == "0" { // PM2's other way to write max
		d.Instances = Max
		return
	}
	p.instances(d, v)
}

// fromPM2 makes a command of script, args and interpreter.
func (p *parser) fromPM2(d *draft) {
	if d.script == "" {
		if d.at["script"] == nil {
			p.fail(d.node, "script", "the app has no script", "")
		}
		return
	}
	if d.Name == "" {
		d.Name = nameFrom(d.script)
	}
	with := d.interpreter
	if with == "" {
		with = interpreters[filepath.Ext(d.script)]
	}
	if with == "node" && d.Instances != 1 {
		p.fail(d.at["instances"], "instances", "instances: PM2 would run this Node program in cluster mode, which neko cannot do yet",
			"start one instance, or write a neko.yaml for a program that takes inherited sockets")
		return
	}
	switch with {
	case "", "none":
		// PM2 takes a script for a path, never for a name on PATH.
		script := d.script
		if !filepath.IsAbs(script) {
			script = "." + string(filepath.Separator) + script
		}
		d.Command = append([]string{script}, d.args...)
	default:
		words, err := Words(with)
		if err == nil && len(words) == 0 {
			err = &Error{Message: "there is no program"}
		}
		if err != nil {
			p.failValue(d.at["interpreter"], "interpreter", err)
			return
		}
		d.Command = append(append(words, d.script), d.args...)
	}
}

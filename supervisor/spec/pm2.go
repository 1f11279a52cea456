package spec

import "go.yaml.in/yaml/v4"

// pm2Keys are the keys of PM2's ecosystem file that mean here what they mean
// there. Any other is an error: an app that starts without what its file asks
// for is worse than one that does not start.
var pm2Keys = []key{
	{name: "name", read: func(p *parser, d *draft, v *yaml.Node) { p.text(v, "a name", &d.Name) }},
	{name: "script", read: (*parser).script},
	{name: "args", read: (*parser).args},
	{name: "interpreter", read: func(p *parser, d *draft, v *yaml.Node) { p.text(v, "a program", &d.Interpreter) }},
	{name: "node_args", read: (*parser).interpreterArgs},
	{name: "exec_mode", read: (*parser).execMode},
	{name: "cwd", read: func(p *parser, d *draft, v *yaml.Node) { p.text(v, "a folder", &d.Cwd) }},
	{name: "instances", read: (*parser).instances},
	{name: "shutdown_with_message", read: func(p *parser, d *draft, v *yaml.Node) { p.bool(v, &d.ShutdownWithMessage) }},
	{name: "env", read: (*parser).env},
}

// pm2Aliases are PM2's other names for its keys.
var pm2Aliases = map[string]string{"exec": "script", "cmd": "script", "command": "script", "exec_interpreter": "interpreter",
	"interpreter_args": "node_args", "interpreterArgs": "node_args"}

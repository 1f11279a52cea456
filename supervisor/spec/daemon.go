package spec

import "go.yaml.in/yaml/v4"

// Daemon is what a neko.yaml says beside its apps, of the daemon itself. What it does not
// say is zero, and leaves what the daemon has.
type Daemon struct {
	// Metrics is the TCP address, HOST:PORT, at which the daemon answers GET /metrics, or
	// [Off].
	Metrics string `json:"metrics,omitempty"`
	// OnEvent are the hooks; empty and not nil: there are to be none.
	OnEvent []Hook `json:"on_event,omitzero"`
}

// Off is the word for a setting of the daemon that is taken back.
const Off = "off"

// Over is d, and where it says nothing what was before.
func (d Daemon) Over(before Daemon) Daemon {
	if d.Metrics == "" {
		d.Metrics = before.Metrics
	}
	if d.OnEvent == nil {
		d.OnEvent = before.OnEvent
	}
	return d
}

// CheckValues finds what no neko.yaml would have let pass.
func (d Daemon) CheckValues() error {
	if err := d.checkHooks(); err != nil {
		return err
	}
	if d.Metrics == "" || d.Metrics == Off {
		return nil
	}
	if _, err := parseMetrics(d.Metrics); err != nil {
		return err
	}
	return nil
}

// daemonKey is one key of a file beside apps.
type daemonKey struct {
	name  string
	about string
	form  string
	read  func(p *parser, d *Daemon, value *yaml.Node)
}

// daemonKeys are in the order of docs/configuration.md.
var daemonKeys = []daemonKey{
	{"metrics", "The address at which the daemon answers GET /metrics; off: none.", "metrics",
		func(p *parser, d *Daemon, v *yaml.Node) {
			var text string
			if !p.text(v, "an address", &text) {
				return
			}
			address, err := parseMetrics(text)
			if err != nil {
				p.failValue(v, "metrics", err)
				return
			}
			d.Metrics = address
		}},
	{"on_event", "What is done when something happens; off: nothing.", "hooks",
		func(p *parser, d *Daemon, v *yaml.Node) { d.OnEvent = p.hooks(v) }},
}

// DaemonKeys are the keys that a file may have beside apps.
func DaemonKeys() (list []string) {
	for _, k := range daemonKeys {
		list = append(list, k.name)
	}
	return list
}

// parseMetrics reads an address as listen has it, but that of a unix socket: for that
// there is the control socket.
func parseMetrics(s string) (string, error) {
	if s == Off {
		return Off, nil
	}
	l, err := ParseListen(s, "/")
	if err != nil {
		return "", err
	}
	if l.Network == "unix" {
		return "", &Error{Message: expected("HOST:PORT", s), Hint: "the control socket has them anyway: nekoctl metrics"}
	}
	return l.Address, nil
}

// daemonKey reads a key beside apps, false if there is none of that name.
func (p *parser) daemonKey(k, v *yaml.Node) bool {
	for _, known := range daemonKeys {
		if known.name != k.Value {
			continue
		}
		if v, p.key = p.follow(v), known.name; isNull(v) {
			p.fail(v, p.key, p.key+": there is no value", "")
		} else {
			known.read(p, &p.daemon, v)
		}
		return true
	}
	return false
}

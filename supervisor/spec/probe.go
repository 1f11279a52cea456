package spec

import (
	"fmt"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v4"
)

// DefaultProbe asks every five seconds, and believes it at the third time.
func DefaultProbe() Probe {
	return Probe{Interval: Duration(5 * time.Second), Timeout: Duration(time.Second), Failures: 3}
}

// probeFields are the keys of a probe.
func probeFields(probe *Probe) []field {
	return []field{
		{"http", "A path to GET by way of the first listener, or a URL.", "text",
			func(p *parser, v *yaml.Node) { p.text(v, "a path such as /livez", &probe.HTTP) }},
		{"tcp", "The name of a listener, a port, or an address to connect to.", "name or number",
			func(p *parser, v *yaml.Node) { p.text(v, "a listener or an address", &probe.TCP) }},
		{"exec", "A command that is to end with 0.", "command",
			func(p *parser, v *yaml.Node) { probe.Exec = p.words(v, p.key) }},
		{"interval", "From one question to the next.", "duration",
			func(p *parser, v *yaml.Node) { p.duration(v, &probe.Interval) }},
		{"timeout", "Of one question.", "duration",
			func(p *parser, v *yaml.Node) { p.duration(v, &probe.Timeout) }},
		{"failures", "So many in a row are a fail.", "failures",
			func(p *parser, v *yaml.Node) { p.number(v, &probe.Failures) }},
	}
}

// probe is a path to GET, or a mapping; nil if it cannot be read.
func (p *parser) probe(v *yaml.Node) *Probe {
	probe := DefaultProbe()
	before := len(p.errs)
	if v.Kind == yaml.ScalarNode {
		p.text(v, "a path such as /livez", &probe.HTTP)
	} else {
		p.fields(v, probeFields(&probe))
	}
	if len(p.errs) > before {
		return nil
	}
	return &probe
}

func (a *App) checkProbe(p *Probe) *Error {
	ways := 0
	for _, way := range []bool{p.HTTP != "", p.TCP != "", len(p.Exec) > 0} {
		if way {
			ways++
		}
	}
	switch {
	case ways != 1:
		return &Error{Message: "a probe asks by one of http, tcp and exec"}
	case p.Failures < 1 || p.Failures > 100:
		return &Error{Message: "failures: " + expected("a number from 1 to 100", strconv.Itoa(p.Failures))}
	}
	for _, d := range []Duration{p.Interval, p.Timeout} {
		if err := checkDuration(d, false); err != nil {
			return err
		}
	}
	const lacks = "the app has no socket by which its processes could be asked"
	switch {
	case strings.HasPrefix(p.HTTP, "http://"):
		if u, err := url.Parse(p.HTTP); err != nil || u.Port() == "" || u.Host == "" {
			return &Error{Message: expected("a URL such as http://127.0.0.1:8080/livez", p.HTTP)}
		}
	case p.HTTP != "" && !isURLPath(p.HTTP):
		return &Error{Message: expected("a path such as /livez", p.HTTP)}
	case p.HTTP != "" && len(a.Listen) == 0 && a.Node != NodeCluster:
		return &Error{Message: lacks, Hint: "give it one with listen; or write a URL, http://127.0.0.1:8080" + p.HTTP + " for example"}
	case p.TCP != "":
		return a.checkTCP(p.TCP)
	}
	return nil
}

func (a *App) checkTCP(to string) *Error {
	if slices.ContainsFunc(a.Listen, func(l Listener) bool { return l.Name == to }) {
		return nil
	}
	if port, err := strconv.ParseUint(to, 10, 16); err == nil && port > 0 {
		return nil
	}
	if _, port, err := net.SplitHostPort(to); err == nil && port != "" {
		return nil
	}
	return &Error{Message: "tcp: " + expected("a listener of the app, a port or an address", to), Hint: "for example 5432, or 127.0.0.1:5432"}
}

// String is what is asked, for people.
func (p *Probe) String() string {
	switch {
	case p.HTTP != "":
		return "GET " + p.HTTP
	case p.TCP != "":
		return "connect to " + p.TCP
	}
	return fmt.Sprintf("run %s", strings.Join(p.Exec, " "))
}

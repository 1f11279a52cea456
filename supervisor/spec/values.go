package spec

import (
	"fmt"
	"go.yaml.in/yaml/v4"
	"slices"
	"strconv"
	"strings"
	"time"
)

// command is taken apart when all that it depends on is known: see app.
func (p *parser) command(d *draft, v *yaml.Node) {
	if v.Kind != yaml.ScalarNode {
		d.Words = p.texts(v, "command", "a command line or a list of words")
		return
	}
	if d.Line = v.Value; strings.TrimSpace(v.Value) == "" {
		p.fail(v, "command", "command: there is no command to run", "")
	}
}

func (p *parser) script(d *draft, v *yaml.Node) {
	if p.text(v, "the path of a program, or a command line", &d.Line) {
		d.Run.Script = true
	}
}

func (p *parser) args(d *draft, v *yaml.Node) { d.Args = p.listOrLine(v) }

func (p *parser) interpreterArgs(d *draft, v *yaml.Node) { d.InterpreterArgs = p.listOrLine(v) }

// listOrLine are arguments, of which there may be none.
func (p *parser) listOrLine(v *yaml.Node) (words []string) {
	if v.Kind != yaml.ScalarNode {
		return p.texts(v, p.key, "the arguments or a list of them")
	}
	words, err := Words(v.Value)
	if err != nil {
		p.failValue(v, p.key, err)
	}
	return words
}

const execModes = "cluster or fork"

// execMode is as PM2 writes it, too: cluster_mode.
func (p *parser) execMode(d *draft, v *yaml.Node) {
	mode := ""
	if p.text(v, execModes, &mode) {
		if d.ExecMode = strings.TrimSuffix(mode, "_mode"); d.ExecMode != string(NodeCluster) && d.ExecMode != string(NodeFork) {
			p.fail(v, p.key, p.key+": "+expected(execModes, mode), "")
		}
	}
}

// words is a command line, or a list of its words.
func (p *parser) words(v *yaml.Node, key string) []string {
	if v.Kind != yaml.ScalarNode {
		return p.texts(v, key, "a command line or a list of words")
	}
	words, err := Words(v.Value)
	if err != nil {
		p.failValue(v, key, err)
	} else if len(words) == 0 {
		p.fail(v, key, key+": there is no command to run", "")
	}
	return words
}

func (p *parser) env(d *draft, v *yaml.Node) {
	if v.Kind == yaml.SequenceNode { // compose allows it, and people will try
		p.fail(v, "env", "env: expected KEY: value, not a list", "")
		return
	}
	p.each(v, "env", func(k, v *yaml.Node) {
		v = p.follow(v)
		if isNull(v) || v.Kind != yaml.ScalarNode {
			p.fail(v, "env", fmt.Sprintf("env: %s: expected a text or a number, not %s", clip(k.Value), kindOf(v)), `for an empty one write ""`)
			return
		}
		if err := checkSetting(k.Value, v.Value); err != nil {
			p.failValue(k, "env", err)
			return
		}
		d.settings[k.Value] = v.Value
	})
}

func (p *parser) envFile(d *draft, v *yaml.Node) {
	for _, n := range p.oneOrMore(v) {
		var file string
		if p.text(n, "the path of a file or a list of them", &file) {
			d.envFiles = append(d.envFiles, n)
		}
	}
}

const instancesForm = "a number from 1 to 1024, or max"

// ParseInstances reads a number of instances, "max", or -N for N fewer than that.
func ParseInstances(s string) (int, error) {
	if s == "max" {
		return Max, nil
	}
	n, err := strconv.Atoi(s)
	if err == nil && n >= -MaxInstances && n <= MaxInstances { // 0 is PM2's other way to write max
		return n, nil
	}
	return 0, &Error{Key: "instances", Message: expected(instancesForm, s), Hint: "max is one for each CPU, -1 one fewer"}
}

func (p *parser) instances(d *draft, v *yaml.Node) {
	if v.Kind != yaml.ScalarNode {
		p.fail(v, "instances", "instances: expected "+instancesForm+", not "+kindOf(v), "")
		return
	}
	n, err := ParseInstances(v.Value)
	if err != nil {
		p.failValue(v, "instances", err)
	}
	d.Instances, d.Counted = n, true
}

// listen waits for cwd: see app.
func (p *parser) listen(*draft, *yaml.Node) {}

func (p *parser) listeners(d *draft, v *yaml.Node) {
	one := func(name string, n *yaml.Node) {
		if n = p.follow(n); p.spent(n) {
			return
		}
		if n.Kind != yaml.ScalarNode || isNull(n) {
			p.fail(n, "listen", "listen: expected an address, not "+kindOf(n), "")
			return
		}
		l, err := ParseListen(n.Value, d.Cwd)
		if err != nil {
			p.failValue(n, "listen", err)
			return
		}
		l.Name = name
		if len(d.Listen) <= MaxListeners { // one too many is enough for an error
			d.Listen = append(d.Listen, l)
		}
	}
	switch v.Kind {
	case yaml.SequenceNode:
		for _, n := range v.Content {
			one("", n)
		}
	case yaml.MappingNode:
		p.each(v, "listen", func(k, v *yaml.Node) { one(k.Value, v) })
	default:
		if !isNull(v) {
			one("", v)
		}
	}
}

func (p *parser) urlPath(d *draft, v *yaml.Node) {
	if p.text(v, "a path", &d.URLPath) && !isURLPath(d.URLPath) {
		p.fail(v, "url_path", "url_path: "+expected("a path such as /graphql", v.Value), "")
	}
}

func (p *parser) number(v *yaml.Node, to *int) bool {
	n, err := strconv.Atoi(v.Value)
	if v.Kind != yaml.ScalarNode || err != nil || n < 0 || n > 1e9 {
		key := p.key
		p.fail(v, key, key+": "+expected("a number from 0", v.Value), "")
		return false
	}
	*to = n
	return true
}

func (p *parser) fraction(v *yaml.Node, to *float64) {
	f, err := strconv.ParseFloat(v.Value, 64)
	if v.Kind != yaml.ScalarNode || err != nil || !(f >= 0 && f <= 1) {
		p.fail(v, p.key, p.key+": "+expected("a number from 0 to 1", v.Value), "")
		return
	}
	*to = f
}

// choice reads one of some words.
func (p *parser) choice(v *yaml.Node, to *string, words ...string) {
	if v.Kind != yaml.ScalarNode || !slices.Contains(words, v.Value) {
		got := v.Value
		if v.Kind != yaml.ScalarNode {
			got = kindOf(v)
		}
		p.fail(v, p.key, p.key+": "+expected(strings.Join(words, " or "), got), "")
		return
	}
	*to = v.Value
}

func (p *parser) size(v *yaml.Node, to *Size) {
	size, err := ParseSize(v.Value)
	if v.Kind != yaml.ScalarNode || err != nil {
		p.fail(v, p.key, p.key+": "+expected(sizeForm, v.Value), "")
		return
	}
	*to = size
}

const sizeForm = "a number of bytes such as 300M or 1.5G"

// ParseSize reads a number of bytes: 1048576, 300M, 1.5G, 64KiB. As in PM2 a K is
// 1024.
func ParseSize(s string) (Size, error) {
	number := strings.TrimRight(s, "KMGTiBkmgtb ")
	unit := strings.ToUpper(strings.TrimSpace(s[len(number):]))
	shift, ok := map[string]uint{"": 0, "B": 0, "K": 10, "KB": 10, "KIB": 10, "M": 20, "MB": 20, "MIB": 20,
		"G": 30, "GB": 30, "GIB": 30, "T": 40, "TB": 40, "TIB": 40}[unit]
	n, err := strconv.ParseFloat(number, 64)
	if n *= float64(uint64(1) << shift); err != nil || !ok || strings.ContainsAny(number, "xXpP_nN") || !(n >= 0 && n < 1<<53) {
		return 0, &Error{Message: expected(sizeForm, s)}
	}
	return Size(n), nil
}

// oneOrMore is a list, or what could be one of it.
func (p *parser) oneOrMore(v *yaml.Node) (list []*yaml.Node) {
	if v.Kind != yaml.SequenceNode {
		return []*yaml.Node{v}
	}
	for _, n := range v.Content {
		if p.spent(n) {
			return nil
		}
		list = append(list, p.follow(n))
	}
	return list
}

func (p *parser) oneOrMoreTexts(v *yaml.Node, what string) (list []string) {
	for _, n := range p.oneOrMore(v) {
		var text string
		if p.text(n, what, &text) {
			list = append(list, text)
		}
	}
	return list
}

func (p *parser) duration(v *yaml.Node, to *Duration) {
	const form = "a time such as 1.5s, 500ms or 2m, or a number of milliseconds"
	key := p.key
	if v.Kind != yaml.ScalarNode {
		p.fail(v, key, key+": expected "+form+", not "+kindOf(v), "")
		return
	}
	if ms, err := strconv.ParseInt(v.Value, 10, 64); err == nil {
		*to = Duration(time.Duration(min(max(ms, -1e9), 1e9)) * time.Millisecond)
		return
	}
	got, err := time.ParseDuration(v.Value)
	if err != nil {
		p.fail(v, key, key+": "+expected(form, v.Value), "")
		return
	}
	*to = Duration(got)
}

func (p *parser) bool(v *yaml.Node, to *bool) {
	if v.Kind != yaml.ScalarNode || v.Value != "true" && v.Value != "false" {
		key := p.key
		p.fail(v, key, key+": "+expected("true or false", v.Value), "")
		return
	}
	*to = v.Value == "true"
}

// text reads a scalar of any kind as it is written: a name can be 1.10.
func (p *parser) text(v *yaml.Node, what string, to *string) bool {
	if v.Kind != yaml.ScalarNode || isNull(v) || v.Value == "" {
		key := p.key
		p.fail(v, key, key+": expected "+what+", not "+kindOf(v), "")
		return false
	}
	*to = v.Value
	return true
}

func (p *parser) texts(v *yaml.Node, key, what string) (list []string) {
	if v.Kind != yaml.SequenceNode {
		p.fail(v, key, key+": expected "+what+", not "+kindOf(v), "")
		return nil
	}
	for _, n := range v.Content {
		if n = p.follow(n); p.spent(n) {
			return nil
		}
		if n.Kind != yaml.ScalarNode || isNull(n) {
			p.fail(n, key, key+": expected a word, not "+kindOf(n), "")
			continue
		}
		list = append(list, n.Value)
	}
	return list
}

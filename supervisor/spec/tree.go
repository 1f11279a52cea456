package spec

import (
	"fmt"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"
)

// follow is what an alias stands for. Every node that is looked at passes here
// or through each, so that aliases of aliases come to an end.
func (p *parser) follow(n *yaml.Node) *yaml.Node {
	p.nodes++
	for range 100 {
		if n.Kind != yaml.AliasNode || n.Alias == nil {
			break
		}
		n = n.Alias
	}
	return n
}

// spent says that the file has been followed long enough: a few aliases can
// stand for more than any machine has memory for.
func (p *parser) spent(at *yaml.Node) bool {
	if p.nodes <= maxNodes {
		return false
	}
	if p.nodes < 1e9 {
		p.nodes = 1e9 // so that it is said once
		p.fail(at, "", "the file is too large with all its aliases followed", "")
	}
	return true
}

// each calls do for each key of a mapping, the merged ones (<<) last and only
// if the mapping does not have them itself. It is false if n is no mapping.
func (p *parser) each(n *yaml.Node, what string, do func(k, v *yaml.Node)) bool {
	n = p.follow(n)
	if n.Kind != yaml.MappingNode {
		p.fail(n, "", fmt.Sprintf("expected keys and values (key: value) as %s, not %s", what, kindOf(n)), "")
		return false
	}
	done := map[string]*yaml.Node{}
	p.merge(n, done, 0, do)
	return true
}

func (p *parser) merge(n *yaml.Node, done map[string]*yaml.Node, depth int, do func(k, v *yaml.Node)) {
	var merged []*yaml.Node
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, v := p.follow(n.Content[i]), n.Content[i+1]
		if p.spent(k) {
			return
		}
		switch {
		case k.Kind != yaml.ScalarNode:
			p.fail(k, "", "expected a key, not "+kindOf(k), "")
		case k.Value == "<<" && k.ShortTag() == "!!merge":
			v = p.follow(v)
			if v.Kind == yaml.SequenceNode {
				merged = append(merged, v.Content...)
			} else {
				merged = append(merged, v)
			}
		case done[k.Value] == nil:
			done[k.Value] = k
			do(k, v)
		case depth == 0:
			p.fail(k, k.Value, fmt.Sprintf("the key %q is here twice, first on line %d", clip(k.Value), done[k.Value].Line), "")
		}
	}
	for _, m := range merged {
		m = p.follow(m)
		if m.Kind != yaml.MappingNode {
			p.fail(m, "<<", "<<: expected keys and values to merge, not "+kindOf(m), "")
			return
		}
		if depth == 8 {
			p.fail(m, "<<", "<<: merged too deep", "")
			return
		}
		p.merge(m, done, depth+1, do)
	}
}

// synonyms are what other tools call a key.
var synonyms = map[string]string{"cmd": "command", "exec": "script", "exec_interpreter": "interpreter", "nodeargs": "node_args", "port": "listen", "ports": "listen",
	"workers": "instances", "replicas": "instances", "scale": "instances", "directory": "cwd", "working_dir": "cwd", "environment": "env", "services": "apps"}

func (p *parser) unknown(k *yaml.Node, known []string, hint string) {
	near := synonyms[strings.ToLower(k.Value)]
	if !slices.Contains(known, near) {
		near = Nearest(k.Value, known)
	}
	key := k.Value
	if near != "" {
		hint = fmt.Sprintf("did you mean %q?", near)
		key = near // so that nobody complains that it is missing
	}
	p.fail(k, key, fmt.Sprintf("unknown key %q", clip(k.Value)), hint)
}

func isNull(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null" }

// kindOf is what n is, for people.
func kindOf(n *yaml.Node) string {
	switch {
	case n.Kind == yaml.MappingNode:
		return "keys and values"
	case n.Kind == yaml.SequenceNode:
		return "a list"
	case isNull(n) || n.Value == "":
		return "nothing"
	}
	return fmt.Sprintf("%q", clip(n.Value))
}

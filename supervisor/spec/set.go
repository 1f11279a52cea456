package spec

import (
	"strings"

	"go.yaml.in/yaml/v4"
)

// Set gives a key of neko.yaml that is app's or run's a value, or a list of them, as
// they are written there: flags of the command line are read as the file is, with the same words
// for what is wrong. What is relative in watch is so until [App.Complete].
func Set(app *App, run *Run, key string, values ...string) error {
	node := &yaml.Node{Kind: yaml.SequenceNode}
	for _, value := range values {
		node.Content = append(node.Content, &yaml.Node{Kind: yaml.ScalarNode, Value: value})
	}
	if len(values) == 1 {
		node = node.Content[0]
	}
	d := &draft{App: *app, Run: *run}
	p := &parser{key: key}
	for _, k := range nekoKeys {
		if k.name == key {
			k.read(p, d, node)
		}
	}
	if len(p.errs) > 0 {
		return &Error{Key: key, Message: strings.TrimPrefix(p.errs[0].Message, key+": "), Hint: p.errs[0].Hint}
	}
	*app, *run = d.App, d.Run
	return nil
}

package main

import (
	"fmt"

	"github.com/nekoctl/neko/worker"
	"github.com/nekoctl/neko/worker/settings"
)

// limits are the settings that bound what clients may ask for.
type limits struct {
	maxDocument, maxTokens, maxDepth, maxAliases, maxSelections, maxCost *int

	production              *bool
	introspection, graphiql *string // auto, on, off
}

func newLimits(s *settings.Set) limits {
	return limits{
		maxDocument:   s.Size("max-document", 64<<10, "the longest GraphQL document"),
		maxTokens:     s.Int("max-tokens", 10_000, "how many names, braces and values it may have"),
		maxDepth:      s.Int("max-depth", 15, "how many levels of fields an operation may have, introspection excluded"),
		maxAliases:    s.Int("max-aliases", 100, "how many fields of an operation may have an alias"),
		maxSelections: s.Int("max-selections", 20_000, "how many fields a document may select, with its fragments expanded"),
		maxCost:       s.Int("max-cost", 50_000, "what an operation may cost: about the objects that it may be answered with, see docs/graphql.md; a login costs 26,000"),
		production:    s.Bool("production", false, "this is not for developers: no introspection and no GraphiQL, unless they are on"),
		introspection: s.String("introspection", "auto", "auto|on|off", "whether the schema can be asked for; auto: on, but for --production"),
		graphiql:      s.String("graphiql", "auto", "auto|on|off", "whether browsers get GraphiQL at /graphql; auto: on, but for --production"),
	}
}

// apply puts the settings into c.
func (l limits) apply(c *worker.Config) error {
	c.MaxDocument, c.MaxTokens, c.MaxDepth = *l.maxDocument, *l.maxTokens, *l.maxDepth
	c.MaxAliases, c.MaxSelections, c.MaxCost = *l.maxAliases, *l.maxSelections, *l.maxCost
	for _, s := range []struct {
		name, value string
		off         *bool
	}{
		{"introspection", *l.introspection, &c.NoIntrospection},
		{"graphiql", *l.graphiql, &c.NoGraphiQL},
	} {
		switch s.value {
		case "auto":
			*s.off = *l.production
		case "on", "off":
			*s.off = s.value == "off"
		default:
			return usageError{fmt.Sprintf("--%s %s: there is no such mode", s.name, s.value), "write auto, on or off"}
		}
	}
	return nil
}

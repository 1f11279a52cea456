package main

import (
	"bytes"
	"fmt"
	"strings"
)

// noticesOf are the texts of all licences, each once for all parts that have it word by word.
func noticesOf(own []byte, parts []*part) []byte {
	var out bytes.Buffer
	fmt.Fprintf(&out, "neko\n\n%s", strings.TrimSpace(string(own))+"\n")
	out.WriteString("\nIt is linked with what follows: Go modules, Go's standard library (std), and, in neko-api, what GraphiQL's page is made of (npm).\n")
	type group struct {
		heads []string
		body  string
	}
	var groups []*group
	by := map[string]*group{}
	for _, p := range parts {
		for _, t := range p.texts {
			body := strings.TrimSpace(strings.ReplaceAll(t.body, "\r\n", "\n"))
			g := by[body]
			if g == nil {
				g = &group{body: body}
				by[body] = g
				groups = append(groups, g)
			}
			g.heads = append(g.heads, fmt.Sprintf("%s %s, %s: %s", p.kind, p.name, p.version, t.name))
		}
	}
	for _, g := range groups {
		fmt.Fprintf(&out, "\n%s\n%s\n\n%s\n", strings.Repeat("-", 72), strings.Join(g.heads, "\n"), g.body)
	}
	return out.Bytes()
}

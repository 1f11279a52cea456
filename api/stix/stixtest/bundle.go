// Package stixtest makes bundles for tests and benchmarks.
package stixtest

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
)

// Enterprise is the size of MITRE's largest bundle, ATT&CK for Enterprise 18.
const Enterprise = 25_000

// Write writes a bundle with about so many objects, in the proportions of ATT&CK
// for Enterprise and as large for each object: with [Enterprise] 42 MB. It is
// the same bundle every time; its texts are nonsense.
func Write(w io.Writer, objects int) error {
	g := &gen{w: bufio.NewWriterSize(w, 1<<16), rnd: rand.New(rand.NewPCG(7, 11))}
	g.print("{\n    \"type\": \"bundle\",\n    \"id\": \"bundle--%s\",\n    \"objects\": [", g.uuid())
	share := func(thousandths float64) int { return max(1, int(float64(objects)*thousandths/1000)) }
	var tactics []string
	for i := range min(14, share(0.6)+1) {
		name := fmt.Sprintf("phase-%d", i)
		tactics = append(tactics, name)
		g.object("x-mitre-tactic", fmt.Sprintf("TA%04d", i+1), 300, map[string]any{"x_mitre_shortname": name})
	}
	for i := range share(33) {
		var phases []map[string]string
		for range 1 + g.rnd.IntN(2) {
			phases = append(phases, map[string]string{"kill_chain_name": "mitre-attack", "phase_name": tactics[g.rnd.IntN(len(tactics))]})
		}
		g.object("attack-pattern", fmt.Sprintf("T%04d", 1000+i), 1800, map[string]any{
			"kill_chain_phases": phases, "x_mitre_is_subtechnique": i%2 == 0, "x_mitre_platforms": []string{"Windows", "Linux", "macOS"},
			"x_mitre_detection": g.text(700), "x_mitre_deprecated": i%40 == 0, "revoked": i%37 == 0,
		})
	}
	for i := range share(28) {
		g.object("malware", fmt.Sprintf("S%04d", i), 500, map[string]any{"x_mitre_aliases": g.names(), "x_mitre_platforms": []string{"Windows"}, "is_family": true})
	}
	for i := range share(4) {
		g.object("tool", fmt.Sprintf("S%04d", 5000+i), 400, map[string]any{"x_mitre_aliases": g.names()})
	}
	for i := range share(7.5) {
		g.object("intrusion-set", fmt.Sprintf("G%04d", i), 700, map[string]any{"aliases": g.names()})
	}
	for i := range share(2) {
		g.object("campaign", fmt.Sprintf("C%04d", i), 700, map[string]any{"first_seen": "2020-01-01T00:00:00.000Z", "last_seen": "2021-01-01T00:00:00.000Z"})
	}
	for i := range share(10) {
		g.object("course-of-action", fmt.Sprintf("M%04d", i), 600, nil)
	}
	for i := range share(100) {
		g.object("x-mitre-analytic", fmt.Sprintf("AN%04d", i), 900, map[string]any{"x_mitre_log_source_references": g.names()})
	}
	for _, r := range []struct {
		from, rel, to string
		n             float64
	}{
		{"intrusion-set", "uses", "attack-pattern", 170}, {"malware", "uses", "attack-pattern", 400}, {"tool", "uses", "attack-pattern", 40},
		{"intrusion-set", "uses", "malware", 40}, {"campaign", "uses", "attack-pattern", 40}, {"campaign", "uses", "malware", 8},
		{"campaign", "attributed-to", "intrusion-set", 1}, {"course-of-action", "mitigates", "attack-pattern", 55},
		{"x-mitre-analytic", "detects", "attack-pattern", 40}, {"attack-pattern", "subtechnique-of", "attack-pattern", 20},
	} {
		for range share(r.n) {
			g.relationship(r.from, r.rel, r.to)
		}
	}
	g.print("\n    ]\n}\n")
	if g.err != nil {
		return g.err
	}
	return g.w.Flush()
}

type gen struct {
	w   *bufio.Writer
	rnd *rand.Rand
	ids map[string][]string
	n   int
	err error
}

func (g *gen) print(format string, args ...any) {
	if _, err := fmt.Fprintf(g.w, format, args...); err != nil {
		g.err = err
	}
}

func (g *gen) uuid() string {
	a, b := g.rnd.Uint64(), g.rnd.Uint64()
	return fmt.Sprintf("%08x-%04x-4%03x-8%03x-%012x", a>>32, a>>16&0xffff, a&0xfff, b>>52, b&0xffffffffffff)
}

// text is words of a vocabulary as large as ATT&CK's, some of them frequent.
func (g *gen) text(size int) string {
	var b strings.Builder
	for b.Len() < size {
		n := g.rnd.IntN(200)
		if g.rnd.IntN(3) == 0 {
			n = g.rnd.IntN(12_000)
		}
		fmt.Fprintf(&b, "w%xo%d ", n*2654435761%65521, n%10)
	}
	b.WriteString("(Citation: Some Report) [Thing](https://attack.example/techniques/T0000)\n")
	return b.String()
}

func (g *gen) names() []string {
	var out []string
	for range 1 + g.rnd.IntN(5) {
		out = append(out, fmt.Sprintf("Name %x", g.rnd.Uint32()))
	}
	return out
}

func (g *gen) refs(attackID string) []map[string]string {
	var out []map[string]string
	n := g.rnd.IntN(3)
	if attackID != "" {
		out = append(out, map[string]string{"source_name": "mitre-attack", "external_id": attackID, "url": "https://attack.example/x/" + attackID})
		n += 2 + g.rnd.IntN(5)
	}
	for range n {
		out = append(out, map[string]string{"source_name": g.text(20), "url": "https://report.example/" + g.uuid(), "description": g.text(110)})
	}
	return out
}

func (g *gen) emit(m map[string]any) {
	b, err := json.Marshal(m)
	if err != nil {
		g.err = err
	}
	if g.n++; g.n > 1 {
		g.w.WriteByte(',')
	}
	g.print("\n        %s", b)
}

func (g *gen) time() string {
	return fmt.Sprintf("20%02d-%02d-%02dT%02d:00:00.%03dZ", 18+g.rnd.IntN(8), 1+g.rnd.IntN(12), 1+g.rnd.IntN(28), g.rnd.IntN(24), g.rnd.IntN(1000))
}

func (g *gen) object(typ, attackID string, size int, more map[string]any) {
	id := typ + "--" + g.uuid()
	if g.ids == nil {
		g.ids = map[string][]string{}
	}
	g.ids[typ] = append(g.ids[typ], id)
	m := map[string]any{
		"type": typ, "spec_version": "2.1", "id": id, "created": "2018-01-01T00:00:00.000Z", "modified": g.time(),
		"name": "Made-up " + attackID, "description": g.text(size/2 + g.rnd.IntN(size)), "external_references": g.refs(attackID),
		"x_mitre_domains": []string{"enterprise-attack"}, "x_mitre_version": "1.0", "x_mitre_attack_spec_version": "3.2.0",
		"object_marking_refs": []string{"marking-definition--fa42a846-8d90-4e51-bc29-71d5b4802168"},
		"created_by_ref":      "identity--c78cb6e5-0c4b-4611-8297-d1b8b55e40b5",
	}
	for k, v := range more {
		m[k] = v
	}
	g.emit(m)
}

func (g *gen) relationship(from, rel, to string) {
	g.emit(map[string]any{
		"type": "relationship", "spec_version": "2.1", "id": "relationship--" + g.uuid(), "created": "2019-01-01T00:00:00.000Z", "modified": g.time(),
		"relationship_type": rel, "source_ref": g.ids[from][g.rnd.IntN(len(g.ids[from]))], "target_ref": g.ids[to][g.rnd.IntN(len(g.ids[to]))],
		"description": g.text(60 + g.rnd.IntN(200)), "external_references": g.refs(""), "x_mitre_deprecated": g.rnd.IntN(100) == 0,
		"object_marking_refs": []string{"marking-definition--fa42a846-8d90-4e51-bc29-71d5b4802168"},
		"created_by_ref":      "identity--c78cb6e5-0c4b-4611-8297-d1b8b55e40b5", "x_mitre_attack_spec_version": "3.2.0",
	})
}

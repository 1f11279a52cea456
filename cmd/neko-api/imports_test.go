package main

import (
	"crypto/rand"
	"fmt"
	mathrand "math/rand/v2"
	"strings"
	"testing"
	"time"
)

// Imports in another process, and mutations: within a second a worker that keeps answers says
// what one says that keeps none, whatever is asked.
func TestImportsAreSeen(t *testing.T) {
	for _, store := range []string{"sqlite", "mongodb"} {
		t.Run(store, func(t *testing.T) {
			t.Parallel()
			s := newStage(t, store, true)
			a, b, plain := s.start(), s.start(), s.start("--cache", "off")
			token := s.analyst()
			queries := []string{
				`{threatActors(first: 100) {totalCount nodes {id name description}}}`,
				`{threatCounts {threatActors indicators}}`,
				`{threatActor(id: "G9999") {name}}`, // there is none, and then there is
				`{indicators(first: 100) {totalCount nodes {id}}}`,
			}
			for i := range 10 {
				queries = append(queries, fmt.Sprintf(`{threatActor(id: "G%d") {name description}}`, 9000+i), fmt.Sprintf(`{node(id: "intrusion-set--00000000-0000-4000-8000-%012d") {id ... on ThreatActor {name}}}`, i))
			}
			// differs is a query to which a worker that keeps answers gives another one, and when it was asked.
			differs := func() (string, time.Time) {
				for _, q := range queries {
					want := plain.ask(t.Context(), q)
					if want.kind() != isFresh && want.kind() != "no data" {
						t.Fatalf("%s: %v", q, want)
					}
					for _, w := range []*member{a, b} {
						if got := w.ask(t.Context(), q); got.body != want.body {
							return fmt.Sprintf("%s:\n%v\nand not\n%v", q, got, want), got.began
						}
					}
				}
				return "", time.Time{}
			}
			const rounds = 3
			best := time.Hour
			for round := range rounds {
				for range 2 { // all of it is kept
					if d, _ := differs(); d != "" {
						t.Fatal(d)
					}
				}
				var objects []string
				for i := range 10 {
					if i == 0 || mathrand.IntN(2) == 0 {
						objects = append(objects, fmt.Sprintf(`{"type":"intrusion-set","id":"intrusion-set--00000000-0000-4000-8000-%012d","name":"actor %s","created":"2026-01-01T00:00:00Z","modified":"2026-01-0%dT00:00:00Z",
							"external_references":[{"source_name":"mitre-attack","external_id":"G%d"}]}`, i, rand.Text(), round+2, 9000+i))
					}
				}
				if round == 2 {
					objects = append(objects, `{"type":"intrusion-set","id":"intrusion-set--00000000-0000-4000-8000-000000009999","name":"new","created":"2026-01-01T00:00:00Z","modified":"2026-01-01T00:00:00Z",
						"external_references":[{"source_name":"mitre-attack","external_id":"G9999"}]}`)
				}
				before := plain.ask(t.Context(), queries[4])
				s.run("import", bundleOf(t, objects...))
				began := time.Now()
				if after := plain.ask(t.Context(), queries[4]); after.body == before.body {
					t.Fatalf("nothing was imported: %v", after)
				}
				// Asking for all takes its time. What counts is when somebody asked last who got what was.
				last := began
				for d, asked := differs(); d != ""; d, asked = differs() {
					if last = asked; last.Sub(began) > 10*time.Second {
						t.Fatalf("after %v: %s", last.Sub(began), d)
					}
					time.Sleep(10 * time.Millisecond)
				}
				best = min(best, last.Sub(began))
				// A mutation is seen at once by whoever asks on this host.
				if got := a.change(t.Context(), token, round); got.kind() != isFresh {
					t.Fatal(got)
				}
				if d, _ := differs(); d != "" {
					t.Errorf("after a mutation: %s", d)
				}
			}
			if best > time.Second {
				t.Errorf("at best an import is not seen %v later", best)
			}
			hits := a.metric(t, `neko_cache_served_total{state="fresh"}`)
			if hits < 20 {
				t.Errorf("only %v answers were kept", hits)
			}
			t.Logf("%s: at best an import was not seen for %v; %d answers were kept ones", strings.ToUpper(store), best.Round(time.Millisecond), int(hits))
		})
	}
}

package api

import (
	"slices"
	"strings"
	"testing"
)

// Each filter finds on the sample data what it should, by ATT&CK id (indicators
// and sightings by name and description).
func TestFilters(t *testing.T) {
	c := newSample(t)
	for _, f := range []struct{ list, filter, want string }{
		{"threatActors", `{}`, "G9001 G9002 G9003 G9004 G9005 G9006"},
		{"threatActors", `{ids: ["G9003", "g9001", "X", "intrusion-set--b65281e2-f445-5008-8813-6f713eaf4b98"]}`, "G9001 G9002 G9003"},
		{"threatActors", `{ids: "G9003"}`, "G9003"},
		{"threatActors", `{ids: []}`, ""},
		{"threatActors", `{text: ""}`, "G9001 G9002 G9003 G9004 G9005 G9006"},
		{"threatActors", `{text: "energie GRI"}`, "G9003"},
		{"threatActors", `{text: "invoices"}`, "G9001"},
		{"threatActors", `{text: "invoices nothing"}`, ""},
		{"threatActors", `{text: "g9004"}`, "G9004"},
		{"threatActors", `{name: "paper lantern"}`, "G9001"},
		{"threatActors", `{name: "Gray Moth"}`, ""},
		{"threatActors", `{alias: "gray moth"}`, "G9001"},
		{"threatActors", `{alias: "énergie grise"}`, "G9003"},
		{"threatActors", `{alias: "Velvet Anchor"}`, "G9004"},
		{"threatActors", `{alias: "Velvet"}`, ""},
		{"threatActors", `{usesTechnique: "T9005"}`, "G9001 G9002 G9004"},
		{"threatActors", `{usesTechnique: "attack-pattern--bfd97474-ef04-5f20-ba55-308c554f423b"}`, "G9001 G9002 G9004"},
		{"threatActors", `{usesTechnique: "T0000"}`, ""},
		{"threatActors", `{usesSoftware: "S9007"}`, "G9002 G9003 G9004"},
		{"threatActors", `{usesTechnique: "T9005", usesSoftware: "S9007"}`, "G9002 G9004"},
		{"threatActors", `{domain: ICS}`, "G9003"},
		{"threatActors", `{seenAfter: "2024-11-02"}`, "G9001 G9002 G9005"},
		{"threatActors", `{seenBefore: "2024-06-20"}`, "G9001 G9002 G9003"},
		{"threatActors", `{seenAfter: "2024-11-02T00:00:01Z", seenBefore: "2025-06-01T00:00:00+02:00"}`, "G9001"},
		{"threatActors", `{createdAfter: "2026-01-12T09:00:00Z", createdBefore: "2026-01-12T10:00:00+01:00"}`, "G9001 G9002 G9003 G9004 G9005 G9006"},
		{"threatActors", `{createdAfter: "2026-01-13"}`, ""},
		{"threatActors", `{modifiedBefore: "2026-01-12"}`, ""},
		{"threatActors", `{modifiedAfter: "2026-01-12"}`, "G9001 G9002 G9003 G9004 G9005 G9006"},

		{"techniques", `{tactic: "TA9002"}`, "T9001 T9001.002 T9004 T9004.001"},
		{"techniques", `{tactic: "stay"}`, "T9001 T9001.002 T9004 T9004.001"},
		{"techniques", `{tactic: "x-mitre-tactic--9dfdcd0b-c9de-5a5b-be79-399813d96345"}`, "T9001 T9001.002 T9004 T9004.001"},
		{"techniques", `{tactic: "TA9002", isSubtechnique: true}`, "T9001.002 T9004.001"},
		{"techniques", `{isSubtechnique: false, tactic: "foothold"}`, "T9001 T9002 T9003"},
		{"techniques", `{platform: "ANDROID"}`, "T9009"},
		{"techniques", `{domain: MOBILE}`, "T9009"},
		{"techniques", `{text: "backup"}`, "T9006 T9010.001"},
		{"techniques", `{name: "friendly letter"}`, "T9003"},
		{"techniques", `{ids: ["T9001", "G9001"]}`, "T9001"},

		{"softwareList", `{kind: TOOL}`, "S9007 S9008"},
		{"softwareList", `{kind: MALWARE, platform: "linux"}`, "S9002 S9004 S9006"},
		{"softwareList", `{usesTechnique: "T9005"}`, "S9002 S9007"},
		{"softwareList", `{alias: "inkpot"}`, "S9001"},
		{"softwareList", `{name: "INKWELL"}`, "S9001"},
		{"softwareList", `{domain: MOBILE}`, "S9005"},
		{"softwareList", `{text: "padlock"}`, "S9004"},

		{"campaigns", `{attributedTo: "G9001"}`, "C9001 C9004"},
		{"campaigns", `{usesTechnique: "T9001.001"}`, "C9004"},
		{"campaigns", `{usesSoftware: "S9006"}`, "C9005"},
		{"campaigns", `{seenAfter: "2024-07-01", seenBefore: "2025-01-07"}`, "C9002 C9004"},
		{"campaigns", `{alias: "harbor fog"}`, "C9002"},
		{"campaigns", `{name: "harbor fog"}`, "C9002"},
		{"campaigns", `{domain: ENTERPRISE, text: "fountain"}`, "C9003"},
		{"campaigns", `{domain: ICS}`, ""},

		{"mitigations", `{mitigates: "T9006"}`, "M9006 M9008"},
		{"mitigations", `{name: "second factor"}`, "M9001"},
		{"mitigations", `{domain: ENTERPRISE, mitigates: "T9009"}`, "M9010"},
		{"mitigations", `{domain: MOBILE}`, ""},

		{"tactics", `{domain: MOBILE}`, "TA9004"},
		{"tactics", `{name: "take away"}`, "TA9004"},

		{"indicators", `{indicates: "G9002"}`, "Harbor scanner,TIDEGATE name server"},
		{"indicators", `{active: false}`, "LEFTHAND drop"},
		{"indicators", `{active: true, indicates: "S9006"}`, ""},
		{"indicators", `{indicatorType: "compromised"}`, "LEFTHAND drop"},
		{"indicators", `{valueType: "ipv6-addr"}`, "Harbor scanner"},
		{"indicators", `{value: "198.51.100.23"}`, "Invoice sender"},
		{"indicators", `{name: "harbor scanner"}`, "Harbor scanner"},
		{"indicators", `{text: "nightjar"}`, "NIGHTJAR control"},

		{"sightings", `{sightingOf: "T9005"}`, "A census that took two weeks."},
		{"sightings", `{seenAfter: "2025-03-01", seenBefore: "2025-04-30"}`, "One letter, to the reception.,Three servers of one office; the backups were out of reach."},
	} {
		t.Run(f.list+f.filter, func(t *testing.T) {
			field, sep := "attackId", " "
			switch f.list {
			case "indicators":
				field, sep = "name", ","
			case "sightings":
				field, sep = "description", ","
			}
			var data map[string]struct {
				TotalCount int
				Nodes      []struct{ F string }
			}
			c.get(&data, `{ `+f.list+`(first: 100, filter: `+f.filter+`) { totalCount nodes { f: `+field+` } } }`, nil)
			got := []string{}
			for _, n := range data[f.list].Nodes {
				got = append(got, n.F)
			}
			slices.Sort(got)
			if s := strings.Join(got, sep); s != f.want {
				t.Errorf("got %q, want %q", s, f.want)
			}
			if data[f.list].TotalCount != len(got) {
				t.Errorf("totalCount is %d of %d", data[f.list].TotalCount, len(got))
			}
		})
	}
}

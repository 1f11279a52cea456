package api

import (
	"strings"
	"testing"
)

// An indicator's life: made, found by every way to it, seen, retired.
func TestIndicatorRoundTrip(t *testing.T) {
	c := newSample(t)
	var made struct {
		CreateIndicator struct{ Indicator struct{ ID string } }
	}
	c.get(&made, `mutation ($in: CreateIndicatorInput!) { createIndicator(input: $in) { indicator { id } } }`, map[string]any{"in": map[string]any{
		"name":           "Lantern relay",
		"description":    "Seen in a letter.",
		"valueType":      "ipv4-addr",
		"value":          "203.0.113.7",
		"indicatorTypes": []any{"malicious-activity"},
		"indicates":      []any{"G9001", "t9003"},
		"validFrom":      "2026-01-01",
		"validUntil":     "2026-03-01T00:00:00+01:00",
	}})
	id := made.CreateIndicator.Indicator.ID
	if !strings.HasPrefix(id, "indicator--") {
		t.Fatalf("the id is %q", id)
	}
	vars := map[string]any{"id": id}
	indicator := func(retired string) string {
		return strings.ReplaceAll(`{
			"id": "ID", "name": "Lantern relay", "description": "Seen in a letter.",
			"pattern": "[ipv4-addr:value = '203.0.113.7']", "patternType": "stix", "valueType": "ipv4-addr", "value": "203.0.113.7",
			"indicatorTypes": ["malicious-activity"], "validFrom": "2026-01-01T00:00:00Z", "validUntil": "2026-02-28T23:00:00Z",
			"created": "2026-02-01T12:00:00Z", `+retired+`,
			"indicates": {"totalCount": 2, "nodes": [{"attackId": "G9001"}, {"attackId": "T9003"}]}
		}`, "ID", id)
	}
	const fields = `{ id name description pattern patternType valueType value indicatorTypes validFrom validUntil created retiredAt active indicates { totalCount nodes { attackId } } }`
	active := indicator(`"retiredAt": null, "active": true`)
	wantJSON(t, c.ask(`query ($id: ID!) { indicator(id: $id) `+fields+` }`, vars), `{"data": {"indicator": `+active+`}}`)
	wantJSON(t, c.ask(`query { indicators(first: 1) { nodes `+fields+` } }`, nil), `{"data": {"indicators": {"nodes": [`+active+`]}}}`)
	wantJSON(t, c.ask(`{ technique(id: "T9003") { indicators { totalCount nodes `+fields+` } } }`, nil), `{"data": {"technique": {"indicators": {"totalCount": 1, "nodes": [`+active+`]}}}}`)

	// The same again is a conflict that says with what.
	wantJSON(t, c.ask(`mutation { createIndicator(input: {valueType: "ipv4-addr", value: "203.0.113.7"}) { indicator { id } } }`, nil),
		`{"errors": [{"message": "there is such an indicator already: `+id+`", "path": ["createIndicator"], "extensions": {"code": "CONFLICT", "id": "`+id+`"}}], "data": null}`)

	wantJSON(t, c.ask(`mutation ($id: ID!) { reportSighting(input: {of: $id, firstSeen: "2026-01-05", lastSeen: "2026-01-06T07:08:09Z", count: 4, reporter: "gateway 3", description: "At night."}) {
		sighting { firstSeen lastSeen count reporter description created sightingOf { __typename id ... on Indicator { sightings { totalCount } } } } } }`, vars),
		`{"data": {"reportSighting": {"sighting": {"firstSeen": "2026-01-05T00:00:00Z", "lastSeen": "2026-01-06T07:08:09Z", "count": 4, "reporter": "gateway 3", "description": "At night.",
			"created": "2026-02-01T12:00:00Z", "sightingOf": {"__typename": "Indicator", "id": "`+id+`", "sightings": {"totalCount": 1}}}}}}`)
	wantJSON(t, c.ask(`query ($id: ID!) { sightings(first: 1, filter: {sightingOf: $id}) { totalCount nodes { count } } }`, vars),
		`{"data": {"sightings": {"totalCount": 1, "nodes": [{"count": 4}]}}}`)

	// Retired, and once more, which changes nothing.
	retired := indicator(`"retiredAt": "2026-02-01T12:00:00Z", "active": false`)
	for range 2 {
		wantJSON(t, c.ask(`mutation ($id: ID!) { retireIndicator(id: $id) { indicator `+fields+` } }`, vars), `{"data": {"retireIndicator": {"indicator": `+retired+`}}}`)
	}
	wantJSON(t, c.ask(`query ($id: ID!) { indicator(id: $id) `+fields+` active: indicators(filter: {active: true, ids: [$id]}) { totalCount } }`, vars),
		`{"data": {"indicator": `+retired+`, "active": {"totalCount": 0}}}`)
	// And then it may be made again.
	c.get(new(any), `mutation { createIndicator(input: {valueType: "ipv4-addr", value: "203.0.113.7"}) { indicator { id } } }`, nil)
}

func TestSightingDefaults(t *testing.T) {
	c := newSample(t)
	wantJSON(t, c.ask(`mutation ($n: Int) { reportSighting(input: {of: "G9004", count: $n}) { sighting { firstSeen lastSeen count reporter description sightingOf { ... on AttackObject { name } } } } }`, nil),
		`{"data": {"reportSighting": {"sighting": {"firstSeen": "2026-02-01T12:00:00Z", "lastSeen": "2026-02-01T12:00:00Z", "count": 1, "reporter": null, "description": "", "sightingOf": {"name": "Velvet Anchor"}}}}}`)
	wantJSON(t, c.ask(`{ threatActor(id: "G9004") { sightings { totalCount } } threatCounts { sightings } }`, nil),
		`{"data": {"threatActor": {"sightings": {"totalCount": 1}}, "threatCounts": {"sightings": 5}}}`)
}

// A pattern that is more than one value.
func TestPatternIndicator(t *testing.T) {
	c := newSample(t)
	wantJSON(t, c.ask(`mutation { createIndicator(input: {pattern: "rule a { condition: true }", patternType: "yara", name: "A rule", indicates: "S9001"}) {
		indicator { name pattern patternType valueType value indicatorTypes validFrom validUntil active indicates { edges { node { __typename name } } } } } }`, nil),
		`{"data": {"createIndicator": {"indicator": {"name": "A rule", "pattern": "rule a { condition: true }", "patternType": "yara", "valueType": null, "value": null,
			"indicatorTypes": ["unknown"], "validFrom": "2026-02-01T12:00:00Z", "validUntil": null, "active": true, "indicates": {"edges": [{"node": {"__typename": "Software", "name": "INKWELL"}}]}}}}}`)
}

package api

import (
	"encoding/json"
	"strings"
	"testing"
)

// What a client does wrong is told with a code, the argument and what would be
// right. In want, everything after the message is extensions.
func TestInputErrors(t *testing.T) {
	c := newSample(t)
	var data struct{ ThreatActors connectionPage }
	c.get(&data, `{ threatActors(first: 1) `+pageFields+` }`, nil)
	cursor := *data.ThreatActors.PageInfo.EndCursor

	const bad = "BAD_USER_INPUT"
	for _, e := range []struct{ query, code, field, message string }{
		{`{ threatActors(first: 0) { nodes { id } } }`, bad, "first", "first is 0, but must be from 1 to 100"},
		{`{ threatActors(first: 101) { nodes { id } } }`, bad, "first", "first is 101, but must be from 1 to 100"},
		{`{ threatActors(first: -1) { totalCount } }`, bad, "first", "first is -1, but must be from 1 to 100"},
		{`{ threatActor(id: "G9001") { techniques(first: 1000) { nodes { id } } } }`, bad, "first", "first is 1000, but must be from 1 to 100"},
		{`{ threatActors(after: "") { nodes { id } } }`, bad, "after", "after is empty: leave it out, or give the endCursor of a page"},
		{`{ threatActors(after: "nonsense") { nodes { id } } }`, bad, "after", "after is no cursor of this list: it must come from a page of the same list in the same order"},
		{`{ threatActors(after: "` + cursor + `", orderBy: {field: NAME}) { nodes { id } } }`, bad, "after", "after is no cursor of this list: it must come from a page of the same list in the same order"},
		{`{ threatActors(after: "` + cursor + `", orderBy: {field: ATTACK_ID, direction: DESC}) { nodes { id } } }`, bad, "after", "after is no cursor of this list: it must come from a page of the same list in the same order"},
		{`{ threatActor(id: "G9001") { techniques(after: "x") { nodes { id } } } }`, bad, "after", "after is no cursor of this list: it must come from a page of the same list in the same order"},
		{`{ threatActors(filter: {seenAfter: "yesterday"}) { nodes { id } } }`, bad, "filter.seenAfter", `filter.seenAfter: "yesterday" is no DateTime: write it like "2016-12-17T00:00:00Z" or "2016-12-17"`},
		{`{ threatActors(filter: {createdBefore: "2016-13-01"}) { nodes { id } } }`, bad, "filter.createdBefore", `filter.createdBefore: "2016-13-01" is no DateTime: write it like "2016-12-17T00:00:00Z" or "2016-12-17"`},
		{`{ threatActors(filter: {createdBefore: 5}) { nodes { id } } }`, bad, "filter.createdBefore", `filter.createdBefore: a DateTime is a string, such as "2016-12-17T00:00:00Z"`},
		{`{ threatActors(filter: {createdBefore: "9999-12-31T23:59:59-01:00"}) { nodes { id } } }`, bad, "filter.createdBefore", `filter.createdBefore: "9999-12-31T23:59:59-01:00" is no DateTime: write it like "2016-12-17T00:00:00Z" or "2016-12-17"`},
		{`{ threatActors(filter: {alias: ""}) { nodes { id } } }`, bad, "filter.alias", "filter.alias: is empty: leave it out, or say what it is to be"},
		{`{ threatActors(filter: {usesTechnique: ""}) { nodes { id } } }`, bad, "filter.usesTechnique", "filter.usesTechnique: is empty: leave it out, or say what it is to be"},
		{`{ threatActors(filter: {text: "!?"}) { nodes { id } } }`, bad, "filter.text", "filter.text: has no word in it"},
		{`{ threatActors(filter: {ids: [` + strings.Repeat(`"x",`, 101) + `]}) { nodes { id } } }`, bad, "filter.ids", "filter.ids: has 101 ids, but may have 100"},

		{`mutation { reportSighting(input: {of: "T0000"}) { sighting { id } } }`, "NOT_FOUND", "input.of", `input.of: there is no indicator, threat actor, technique, software or campaign "T0000"`},
		{`mutation { reportSighting(input: {of: "M9001"}) { sighting { id } } }`, "NOT_FOUND", "input.of", `input.of: there is no indicator, threat actor, technique, software or campaign "M9001"`},
		{`mutation { reportSighting(input: {of: ""}) { sighting { id } } }`, bad, "input.of", "input.of: is empty"},
		{`mutation { reportSighting(input: {of: "T9005", count: 0}) { sighting { id } } }`, bad, "input.count", "input.count: is 0, but must be at least 1"},
		{`mutation { reportSighting(input: {of: "T9005", firstSeen: "2025-01-02", lastSeen: "2025-01-01"}) { sighting { id } } }`, bad, "input.lastSeen", "input.lastSeen: is before firstSeen"},
		{`mutation { reportSighting(input: {of: "T9005", lastSeen: "2027-01-01"}) { sighting { id } } }`, bad, "input.firstSeen", "input.firstSeen: is in the future"},
		{`mutation { reportSighting(input: {of: "T9005", lastSeen: "now"}) { sighting { id } } }`, bad, "input.lastSeen", `input.lastSeen: "now" is no DateTime: write it like "2016-12-17T00:00:00Z" or "2016-12-17"`},

		{`mutation { createIndicator(input: {}) { indicator { id } } }`, bad, "input.valueType", ""},
		{`mutation { createIndicator(input: {value: "x"}) { indicator { id } } }`, bad, "input.valueType", ""},
		{`mutation { createIndicator(input: {valueType: "shoe-size", value: "42"}) { indicator { id } } }`, bad, "input.valueType", ""},
		{`mutation { createIndicator(input: {valueType: "ipv4-addr", value: "300.1.1.1"}) { indicator { id } } }`, bad, "input.value", ""},
		{`mutation { createIndicator(input: {valueType: "ipv4-addr", value: "192.0.2.1", pattern: "[a:b = 'c']"}) { indicator { id } } }`, bad, "input.pattern", ""},
		{`mutation { createIndicator(input: {pattern: "[broken"}) { indicator { id } } }`, bad, "input.pattern", ""},
		{`mutation { createIndicator(input: {valueType: "ipv4-addr", value: "192.0.2.1", validFrom: "2025-01-01", validUntil: "2025-01-01"}) { indicator { id } } }`, bad, "input.validUntil", "input.validUntil: must be after validFrom"},
		{`mutation { createIndicator(input: {valueType: "ipv4-addr", value: "192.0.2.1", indicates: ["G0000"]}) { indicator { id } } }`, "NOT_FOUND", "input.indicates", `input.indicates: there is no threat actor, campaign, software or technique "G0000"`},
		{`mutation { retireIndicator(id: "indicator--00000000-0000-4000-8000-000000000000") { indicator { id } } }`, "NOT_FOUND", "", `there is no indicator "indicator--00000000-0000-4000-8000-000000000000"`},
		{`mutation { retireIndicator(id: "G9001") { indicator { id } } }`, "NOT_FOUND", "", `there is no indicator "G9001"`},
		{`mutation { createIndicator(input: {valueType: "ipv4-addr", value: "198.51.100.23"}) { indicator { id } } }`, "CONFLICT", "", "there is such an indicator already: indicator--ee14258a-cb44-59d6-82fb-c1d01da5cdca"},
	} {
		t.Run(e.query[:min(len(e.query), 90)], func(t *testing.T) {
			var res struct {
				Errors []struct {
					Message    string
					Path       []any
					Extensions map[string]any
				}
			}
			if err := json.Unmarshal([]byte(c.ask(e.query, nil)), &res); err != nil {
				t.Fatal(err)
			}
			if len(res.Errors) != 1 {
				t.Fatalf("%d errors: %v", len(res.Errors), res.Errors)
			}
			got := res.Errors[0]
			field, _ := got.Extensions["field"].(string)
			if got.Extensions["code"] != e.code || field != e.field || e.message != "" && got.Message != e.message {
				t.Errorf("got  %v %q %s\nwant %s %q %s", got.Extensions["code"], field, got.Message, e.code, e.field, e.message)
			}
			if len(got.Path) == 0 {
				t.Error("the error has no path")
			}
		})
	}
	// Nothing of all this has changed anything.
	wantJSON(t, c.ask(`{ threatCounts { indicators sightings } }`, nil), `{"data":{"threatCounts":{"indicators":6,"sightings":4}}}`)
}

func TestDateTimes(t *testing.T) {
	for in, want := range map[string]string{
		`"2016-12-17"`:                     "2016-12-17T00:00:00Z",
		`"2016-12-17T23:00:00Z"`:           "2016-12-17T23:00:00Z",
		`"2016-12-17T23:00:00-02:00"`:      "2016-12-18T01:00:00Z",
		`"2016-12-17T23:00:00.123456789Z"`: "2016-12-17T23:00:00.123456789Z",
		`"0000-01-01T00:00:00Z"`:           "0000-01-01T00:00:00Z",
		`"0000-01-01T00:00:00+01:00"`:      "error",
		`"2016-12-17 23:00:00"`:            "error",
		`"17.12.2016"`:                     "error",
		`""`:                               "error",
		`1481932800`:                       "error",
		`{"a": 1}`:                         "error",
	} {
		var input any
		if err := json.Unmarshal([]byte(in), &input); err != nil {
			t.Fatal(err)
		}
		var i instant
		if err := i.UnmarshalGraphQL(input); err != nil {
			t.Errorf("%s: %v", in, err)
		}
		got := "error"
		if i.err == nil {
			b, err := dateTime{i.Time}.MarshalJSON()
			if err != nil {
				t.Error(err)
			}
			got = strings.Trim(string(b), `"`)
		}
		if got != want {
			t.Errorf("%s: got %s, want %s", in, got, want)
		}
	}
}

// Variables come from JSON, where numbers have no type.
func TestIntsFromAnywhere(t *testing.T) {
	for _, in := range []any{int32(3), int64(3), 3, float64(3)} {
		var i optionalInt
		if err := i.UnmarshalGraphQL(in); err != nil || i.orElse(20) != 3 {
			t.Errorf("%T: %v, %v", in, i, err)
		}
	}
	var i optionalInt
	if err := i.UnmarshalGraphQL(nil); err != nil || i.orElse(20) != 20 {
		t.Errorf("nil: %v, %v", i, err)
	}
	if err := i.UnmarshalGraphQL("3"); err == nil {
		t.Error("a string is no Int")
	}
}

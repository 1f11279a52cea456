package spec

import (
	"bytes"
	"encoding/json"
	"strings"
)

// form is a JSON Schema, draft 2020-12.
type form map[string]any

func oneOf(values ...any) form     { return form{"enum": values} }
func either(forms ...form) form    { return form{"anyOf": forms} }
func ref(name string) form         { return form{"$ref": "#/$defs/" + strings.ReplaceAll(name, " ", "%20")} }
func listOf(f form) form           { return form{"type": "array", "items": f} }
func mapOf(f form) form            { return form{"type": "object", "additionalProperties": f} }
func matching(pattern string) form { return form{"type": "string", "pattern": pattern} }
func integer(least, most int) form { return form{"type": "integer", "minimum": least, "maximum": most} }

// forms are those of values, by the names in nekoKeys. They are as strict as an
// editor needs to help; what is right in the end the parser says.
func forms() form {
	rlimits := form{}
	for name := range rlimitNumbers {
		rlimits[name] = either(ref("number"), matching("^([0-9]+|unlimited)(:([0-9]+|unlimited))?$"))
	}
	address := either(ref("text"), integer(0, 65535))
	scalar := form{"type": []string{"string", "number", "boolean"}}
	return form{
		"text":           form{"type": "string", "minLength": 1},
		"texts":          either(ref("text"), listOf(ref("text"))),
		"bool":           form{"type": "boolean"},
		"number":         form{"type": "integer", "minimum": 0},
		"fraction":       form{"type": "number", "minimum": 0, "maximum": 1},
		"name or number": either(ref("text"), ref("number")),
		"duration": described(either(ref("number"), matching("^([0-9]+(\\.[0-9]*)?(ns|us|µs|ms|s|m|h))+$|^[0-9]+$")),
			"A time such as 1.5s, 500ms, 2m, 1h; a number alone is milliseconds. At most 24h."),
		"size": described(either(ref("number"), matching("^[0-9]+(\\.[0-9]+)? ?([KMGT](i?B)?|B)?$")),
			"A number of bytes, or one with K, M or G: 300M."),

		"name":         matching("^[A-Za-z0-9_][A-Za-z0-9._-]{0,63}$"),
		"type":         oneOf(Service, Task),
		"command":      either(ref("text"), form{"type": "array", "items": scalar, "minItems": 1}),
		"words":        either(form{"type": "string"}, form{"type": "array", "items": scalar}),
		"exec mode":    oneOf("cluster", "cluster_mode", "fork", "fork_mode"),
		"instances":    either(integer(-MaxInstances, MaxInstances), oneOf("max")),
		"settings":     mapOf(scalar),
		"listen":       either(address, listOf(address), mapOf(address)),
		"balance":      oneOf(BalanceSlots, BalanceShared),
		"path":         matching("^/"),
		"signal":       either(matching("^(SIG)?[A-Z0-9+]+$"), integer(1, 64)),
		"exit codes":   either(integer(0, 255), listOf(integer(0, 255))),
		"backoff":      either(ref("duration"), mapping(backoffFields(new(Backoff)))),
		"watch":        either(ref("bool"), ref("texts")),
		"probe":        either(ref("path"), mapping(probeFields(new(Probe)))),
		"failures":     integer(1, 100),
		"spare":        integer(0, 1),
		"parallel":     integer(1, MaxInstances),
		"condition":    oneOf(Started, Ready, Completed),
		"dependencies": either(ref("texts"), mapOf(either(ref("condition"), mapping(conditionFields(new(Condition)))))),
		"log type":     oneOf("raw", "json"),
		"rotate":       either(ref("bool"), mapping(rotateFields(new(Rotate)))),
		"umask":        either(matching("^(0o)?[0-7]{1,4}$"), ref("number")),
		"rlimits":      form{"type": "object", "properties": rlimits, "additionalProperties": false},
		"nice":         integer(-20, 19),
		"metrics":      address,
		"webhook":      matching("^https?://"),
		"retries":      integer(0, maxRetries),
		"hooks":        either(oneOf(Off), listOf(mapping(hookFields(new(Hook))))),
	}
}

// mapping is the form of a mapping with certain keys.
func mapping(fields []field) form {
	properties := form{}
	for _, f := range fields {
		properties[f.name] = described(ref(f.form), f.about)
	}
	return form{"type": "object", "properties": properties, "additionalProperties": false}
}

func described(f form, about string) form {
	f["description"] = about
	return f
}

// Schema is the JSON Schema of neko.yaml: configs/neko.schema.json.
func Schema() ([]byte, error) {
	encoded, err := json.Marshal(Defaults())
	if err != nil {
		return nil, err
	}
	var defaults map[string]any
	if err := json.Unmarshal(encoded, &defaults); err != nil {
		return nil, err
	}
	properties := form{}
	for _, k := range nekoKeys {
		f := described(ref(k.form), k.about)
		if value, ok := defaults[k.name]; ok && value != "" && value != nil {
			f["default"] = value
		}
		properties[k.name] = f
	}
	properties = form{"apps": form{
		"type": "array", "minItems": 1, "maxItems": maxApps,
		"items": form{"type": "object", "properties": properties, "additionalProperties": false,
			"oneOf": []form{{"required": []string{"command"}}, {"required": []string{"script"}}}},
	}}
	for _, k := range daemonKeys {
		properties[k.name] = described(ref(k.form), k.about)
	}
	schema := form{
		"$schema":              "https://json-schema.org/draft/2020-12/schema",
		"$id":                  "https://raw.githubusercontent.com/nekoctl/neko/main/configs/neko.schema.json",
		"title":                "neko.yaml",
		"description":          "What nekoctl is to run; docs/configuration.md says all about it.",
		"type":                 "object",
		"required":             []string{"apps"},
		"properties":           properties,
		"patternProperties":    form{"^x-": true},
		"additionalProperties": false,
		"$defs":                forms(),
	}
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	err = encoder.Encode(schema)
	return text.Bytes(), err
}

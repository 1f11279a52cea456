package ecosystem

import (
	"bytes"
	"encoding/json"
	"fmt"
	"iter"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/nekoctl/neko/pm2/object"
	"github.com/nekoctl/neko/supervisor/spec"
)

// Config is one app in PM2's words: its keys by their canonical names, in the order in
// which they were given. Keys that PM2 does not know are kept.
//
// Values are those of package object; numbers are [json.Number], as JavaScript prints
// them.
type Config struct {
	object.Object
	file   string              // "" for one that is no file's
	source string              // its absolute path
	at     spec.Pos            // where the app begins
	path   string              // apps[0], where lines are not known
	places map[string]spec.Pos // where each key's value is
	deploy *object.Object      // what the file has for deploy, whose env counts a little
	saved  *object.Object      // what a dump has, of which it was made: its env is all that there is
}

// Get is the value of a key, by any of its names; nil if there is none.
func (c *Config) Get(key string) any { return c.Object.Get(Canonical(key)) }

// Has says whether there is the key.
func (c *Config) Has(key string) bool { return c.Object.Has(Canonical(key)) }

// Delete removes a key.
func (c *Config) Delete(key string) { c.Object.Delete(Canonical(key)) }

// Set gives a key a value as JSON has it, or as the command line does: a text is a
// number where the key wants one. An error is a [*spec.Error].
func (c *Config) Set(key string, value any) error {
	key = Canonical(key)
	value = plain(value)
	if value == nil {
		c.Object.Delete(key)
		return nil
	}
	if k := keyOf(key); k != nil {
		if _, err := k.check(value); err != nil {
			err.Key = key
			return err
		}
	}
	c.Object.Set(key, value)
	delete(c.places, key)
	return nil
}

// Clone is a copy whose keys can be set without the other seeing it.
func (c *Config) Clone() *Config {
	clone := *c
	clone.Object = *c.Object.Clone()
	return &clone
}

// Name is the name that PM2 gives the app: its own, or else that of its script
// without the ending.
func (c *Config) Name() string {
	if name, _ := c.Get("name").(string); name != "" {
		return name
	}
	script, _ := c.Get("script").(string)
	name := script[strings.LastIndexByte(script, '/')+1:]
	if dot := strings.LastIndexByte(name, '.'); dot > 0 {
		name = name[:dot]
	}
	return name
}

// fail is an error of a key, with its place.
func (c *Config) fail(key string, err *spec.Error) *spec.Error {
	e := *err
	e.Key = key
	if place, ok := c.places[key]; ok {
		e.Pos = place
	} else if c.file != "" {
		e.Pos = c.at
	}
	if key != "" {
		e.Message = c.named(key) + ": " + e.Message
	}
	return &e
}

// named is a key in a message. Where lines are not known it says which app's it is.
func (c *Config) named(key string) string {
	if c.path != "" {
		return c.path + "." + key
	}
	return key
}

// check is PM2's look at a value: what it becomes, or what is wrong with it.
func (k *Key) check(value any) (any, *spec.Error) {
	is := kindOf(value)
	if s, isText := value.(string); isText && slices.Contains(k.kinds, number) {
		if f, ok := parseNumber(s); ok {
			value, is = numberOf(f), number
		} else if s == "max" && k.Name == "instances" {
			value, is = json.Number("0"), number
		}
	}
	if !slices.Contains(k.kinds, is) || is == text && k.valid != nil && !k.valid(value.(string)) {
		return nil, k.expected(value)
	}
	if n, ok := value.(json.Number); ok {
		if f, _ := n.Float64(); f < k.least || k.valid != nil && f != math.Trunc(f) {
			if k.least > 0 {
				return nil, &spec.Error{Message: fmt.Sprintf("expected at least %v, not %s", k.least, n)}
			}
			if k.valid != nil || k.Name == "max_restarts" {
				return nil, k.expected(value)
			}
		}
	}
	if s, ok := value.(string); ok {
		if len(k.kinds) > 1 && k.kinds[0] == list {
			return anys(splitArgs(s)), nil
		}
		if k.units != nil {
			f, _ := strconv.ParseFloat(s[:len(s)-1], 64)
			return numberOf(f * k.units[s[len(s)-1]]), nil
		}
	}
	return value, nil
}

func (k *Key) expected(value any) *spec.Error {
	want := k.want
	if want == "" {
		var wants []string
		for _, is := range k.kinds {
			wants = append(wants, map[kind]string{boolean: "true or false", number: "a number", text: "a text", list: "a list", mapping: "keys and values"}[is])
		}
		want = strings.Join(wants, " or ")
	}
	return &spec.Error{Message: fmt.Sprintf("expected %s, not %s", want, shown(value))}
}

// shown is a value in a message.
func shown(value any) string {
	switch v := value.(type) {
	case string:
		return strconv.Quote(clip(v))
	case []any:
		return "a list"
	case *object.Object:
		return "keys and values"
	case nil:
		return "nothing"
	}
	return clip(asText(value))
}

func clip(s string) string {
	if r := []rune(s); len(r) > 60 {
		return string(r[:57]) + "…"
	}
	return s
}

func kindOf(value any) kind {
	switch value.(type) {
	case bool:
		return boolean
	case json.Number:
		return number
	case string:
		return text
	case []any:
		return list
	case *object.Object:
		return mapping
	}
	return "null"
}

// plain makes whatever Go has for a value of JSON's one of package object, with numbers
// as JavaScript prints them.
func plain(value any) any {
	switch v := value.(type) {
	case nil, bool, string:
		return v
	case json.Number:
		f, err := v.Float64()
		if err != nil && !math.IsInf(f, 0) {
			return string(v)
		}
		return numberOf(f)
	case []any:
		values := make([]any, len(v))
		for i := range v {
			values[i] = plain(v[i])
		}
		return values
	case []string:
		return anys(v)
	case *object.Object:
		o := &object.Object{}
		for key, value := range v.All() {
			o.Set(key, plain(value))
		}
		return o
	case map[string]any:
		o := &object.Object{}
		for _, key := range sortedKeys(v) {
			o.Set(key, plain(v[key]))
		}
		return o
	case map[string]string:
		o := &object.Object{}
		for _, key := range sortedKeys(v) {
			o.Set(key, v[key])
		}
		return o
	}
	switch v := reflect.ValueOf(value); {
	case v.CanInt():
		return numberOf(float64(v.Int()))
	case v.CanUint():
		return numberOf(float64(v.Uint()))
	case v.CanFloat():
		return numberOf(v.Float())
	}
	return fmt.Sprint(value)
}

// numberOf is a number as JSON.stringify has it: NaN and infinities are null.
func numberOf(f float64) any {
	switch abs := math.Abs(f); {
	case math.IsNaN(f) || math.IsInf(f, 0):
		return nil
	case f == 0:
		return json.Number("0")
	case abs >= 1e21 || abs < 1e-6:
		s := strconv.FormatFloat(f, 'e', -1, 64)
		mantissa, exponent, _ := strings.Cut(s, "e")
		sign := exponent[:1]
		return json.Number(mantissa + "e" + sign + strings.TrimLeft(exponent[1:], "0"))
	}
	return json.Number(strconv.FormatFloat(f, 'f', -1, 64))
}

// parseNumber reads a text of which JavaScript would say that it is a number.
func parseNumber(s string) (float64, bool) {
	s = strings.TrimSpace(s)
	if s == "" || strings.ContainsAny(s, "_xXpPnNiI") {
		return 0, false
	}
	f, err := strconv.ParseFloat(s, 64)
	return f, err == nil
}

// asText is a value as JavaScript makes a text of it, in an environment or on a command
// line.
func asText(value any) string {
	switch v := value.(type) {
	case string:
		return v
	case json.Number:
		return string(v)
	case bool:
		return strconv.FormatBool(v)
	case nil:
		return "null"
	}
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false)
	if encoder.Encode(value) != nil {
		return ""
	}
	return strings.TrimSuffix(text.String(), "\n")
}

func truthy(value any) bool {
	switch v := value.(type) {
	case nil:
		return false
	case bool:
		return v
	case string:
		return v != ""
	case json.Number:
		f, _ := v.Float64()
		return f != 0
	}
	return true
}

// texts is a value that may be one or many.
func texts(value any) []string {
	switch v := value.(type) {
	case nil:
		return nil
	case []any:
		list := make([]string, len(v))
		for i := range v {
			list[i] = asText(v[i])
		}
		return list
	}
	return []string{asText(value)}
}

func anys(words []string) []any {
	values := make([]any, len(words))
	for i, word := range words {
		values[i] = word
	}
	return values
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for key := range m {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys
}

// environments are the env_NAME of an app, in their order.
func (c *Config) environments() iter.Seq2[string, any] {
	return func(yield func(string, any) bool) {
		for key, value := range c.All() {
			if isEnvironment(key) && !yield(key, value) {
				return
			}
		}
	}
}

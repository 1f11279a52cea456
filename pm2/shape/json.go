package shape

import (
	"bytes"
	"encoding/json"
	"strings"
	"unicode/utf8"

	"github.com/nekoctl/neko/pm2/object"
)

// JSON is what jlist prints: one line without its end, as JSON.stringify writes it.
func JSON(list []*object.Object) []byte {
	var b bytes.Buffer
	stringify(&b, all(list), "", "")
	return b.Bytes()
}

// Dump is the text of dump.pm2: each process's pm2_env without what the next daemon
// says anew, indented by two spaces. The list is left as it is.
func Dump(list []*object.Object) []byte {
	envs := []any{}
	for _, entry := range list {
		env, _ := entry.Get("pm2_env").(*object.Object)
		env = env.Clone()
		for _, key := range []string{"instances", "pm_id", "prev_restart_delay"} {
			env.Delete(key)
		}
		envs = append(envs, env)
	}
	var b bytes.Buffer
	stringify(&b, envs, "\n", "  ")
	return b.Bytes()
}

func all(list []*object.Object) []any {
	values := make([]any, len(list))
	for i, o := range list {
		values[i] = o
	}
	return values
}

// stringify writes a value as JSON.stringify does. A line of it begins with newline,
// which is "" for all in one line.
func stringify(b *bytes.Buffer, value any, newline, indent string) {
	inner := newline
	colon := ":"
	if newline != "" {
		inner += indent
		colon = ": "
	}
	switch v := value.(type) {
	case *object.Object:
		if v.Len() == 0 {
			b.WriteString("{}")
			return
		}
		before := "{"
		for key, value := range v.All() {
			b.WriteString(before + inner)
			quote(b, key)
			b.WriteString(colon)
			stringify(b, value, inner, indent)
			before = ","
		}
		b.WriteString(newline + "}")
	case []any:
		if len(v) == 0 {
			b.WriteString("[]")
			return
		}
		before := "["
		for _, value := range v {
			b.WriteString(before + inner)
			stringify(b, value, inner, indent)
			before = ","
		}
		b.WriteString(newline + "]")
	case string:
		quote(b, v)
	case nil:
		b.WriteString("null")
	default:
		text := Text(v)
		if strings.HasSuffix(text, "Infinity") { // it was too large for JavaScript
			text = "null"
		}
		b.WriteString(text)
	}
}

const hex = "0123456789abcdef"

func quote(b *bytes.Buffer, s string) {
	b.WriteByte('"')
	for _, r := range strings.ToValidUTF8(s, string(utf8.RuneError)) {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r >= ' ':
			b.WriteRune(r)
		case strings.ContainsRune("\b\t\n\f\r", r):
			b.WriteByte('\\')
			b.WriteByte("btn?fr"[r-'\b'])
		default:
			b.WriteString(`\u00`)
			b.WriteByte(hex[r>>4])
			b.WriteByte(hex[r&15])
		}
	}
	b.WriteByte('"')
}

// Text is a value as JavaScript's String makes it.
func Text(value any) string {
	switch v := value.(type) {
	case nil:
		return "null"
	case string:
		return v
	case bool:
		if v {
			return "true"
		}
		return "false"
	case []any:
		parts := make([]string, len(v))
		for i, value := range v {
			if value != nil {
				parts[i] = Text(value)
			}
		}
		return strings.Join(parts, ",")
	case *object.Object:
		return "[object Object]"
	case json.Number:
		return number(string(v))
	}
	text, _ := json.Marshal(value) // a number of Go's
	return number(string(text))
}

// Stringify is any value as JSON.stringify writes it, in one line.
func Stringify(value any) string {
	var b bytes.Buffer
	stringify(&b, value, "", "")
	return b.String()
}

package store

import (
	"errors"
	"strings"
)

// ValueTypes are the types of values that [NewIndicator] takes, each with the
// STIX property that holds them.
var ValueTypes = []struct{ Type, Property string }{
	{"ipv4-addr", "ipv4-addr:value"},
	{"ipv6-addr", "ipv6-addr:value"},
	{"domain-name", "domain-name:value"},
	{"url", "url:value"},
	{"email-addr", "email-addr:value"},
	{"file-md5", "file:hashes.MD5"},
	{"file-sha1", "file:hashes.'SHA-1'"},
	{"file-sha256", "file:hashes.'SHA-256'"},
	{"file-name", "file:name"},
	{"mutex", "mutex:name"},
	{"windows-registry-key", "windows-registry-key:key"},
	{"user-agent", "network-traffic:extensions.'http-request-ext'.request_header.'User-Agent'"},
}

func patternOf(typ, value string) string {
	for _, t := range ValueTypes {
		if t.Type == typ {
			return "[" + t.Property + " = '" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(value) + "']"
		}
	}
	return ""
}

// ValueOf finds the value that a STIX pattern looks for, if it compares one
// property of [ValueTypes] with one value by "=", and nothing else.
func ValueOf(pattern string) (typ, value string) {
	p := strings.TrimSpace(pattern)
	if len(p) < 2 || p[0] != '[' || p[len(p)-1] != ']' {
		return "", ""
	}
	p = strings.TrimSpace(p[1 : len(p)-1])
	// Values are quoted, and so may be parts of the property: the last = outside
	// quotes is the only one there may be.
	eq := -1
	for i := 0; i < len(p); i++ {
		switch p[i] {
		case '\'':
			n := quoted(p[i:])
			if n < 0 {
				return "", ""
			}
			i += n - 1
		case '=':
			if eq >= 0 || i > 0 && strings.IndexByte("!<>", p[i-1]) >= 0 {
				return "", ""
			}
			eq = i
		}
	}
	if eq < 0 {
		return "", ""
	}
	property, rest := strings.TrimSpace(p[:eq]), strings.TrimSpace(p[eq+1:])
	if rest == "" || rest[0] != '\'' || quoted(rest) != len(rest) {
		return "", ""
	}
	plain := strings.ReplaceAll(property, "'", "")
	for _, t := range ValueTypes {
		if strings.ReplaceAll(t.Property, "'", "") == plain {
			return t.Type, strings.NewReplacer(`\\`, `\`, `\'`, `'`).Replace(rest[1 : len(rest)-1])
		}
	}
	return "", ""
}

// quoted is the length of the quoted string at the beginning of s, -1 if it does
// not end.
func quoted(s string) int {
	for i := 1; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case '\'':
			return i + 1
		}
	}
	return -1
}

// CheckPattern looks at the shape of a STIX pattern: observations in brackets,
// each with a comparison, quotes and parentheses that end. It does not know which
// properties exist.
func CheckPattern(p string) error {
	var stack []byte
	observations, comparison := 0, false
	for i := 0; i < len(p); i++ {
		switch c := p[i]; c {
		case '\'':
			n := quoted(p[i:])
			if n < 0 {
				return errors.New("a quoted string does not end")
			}
			i += n - 1
		case '[':
			if strings.IndexByte(string(stack), '[') >= 0 {
				// A list index, "extensions[0]" or "[*]", has no comparison and ends soon.
				end := strings.IndexByte(p[i:], ']')
				if end < 0 || strings.Trim(p[i+1:i+end], "0123456789*") != "" {
					return errors.New("an observation is inside another one")
				}
				i += end
				continue
			}
			stack, comparison = append(stack, c), false
			observations++
		case '(':
			if len(stack) > 64 {
				return errors.New("parentheses are nested too deeply")
			}
			stack = append(stack, c)
		case ']', ')':
			want := byte('[')
			if c == ')' {
				want = '('
			}
			if len(stack) == 0 || stack[len(stack)-1] != want {
				return errors.New("brackets do not match")
			}
			stack = stack[:len(stack)-1]
			if c == ']' && !comparison {
				return errors.New("an observation compares nothing: want e.g. [ipv4-addr:value = '198.51.100.1']")
			}
		case ':':
			comparison = comparison || len(stack) > 0
		}
	}
	switch {
	case len(stack) > 0:
		return errors.New("brackets do not match")
	case observations == 0:
		return errors.New("no observation in it: want e.g. [ipv4-addr:value = '198.51.100.1']")
	}
	return nil
}

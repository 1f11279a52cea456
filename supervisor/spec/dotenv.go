package spec

import (
	"fmt"
	"io"
	"os"
	"strings"
	"unicode/utf8"
)

// MaxFile is the size in bytes that a neko.yaml or an env file may have.
const MaxFile = 1 << 20

// ParseEnv reads the text of an env file: lines of KEY=VALUE.
//
//	# a comment
//	PLAIN=up to the end of the line   # and a comment after a blank
//	export OLD_HABIT=1
//	SINGLE='taken as it is, also over several lines'
//	DOUBLE="with \n \r \t \" \\ and \$"
//
// Nothing is expanded: $HOME stays $HOME. Of a key given twice the last counts.
func ParseEnv(file string, data []byte) (map[string]string, error) {
	fail := func(line int, message, hint string) (map[string]string, error) {
		return nil, Errors{{Pos: Pos{file, line, 0}, Message: message, Hint: hint}}
	}
	if len(data) > MaxFile {
		return fail(0, fmt.Sprintf("is larger than %d KiB", MaxFile>>10), "")
	}
	if i := badText(data); i >= 0 {
		return fail(1+strings.Count(string(data[:i]), "\n"), "is not UTF-8 text", "")
	}
	rest := strings.TrimPrefix(string(data), "\ufeff")
	rest = strings.ReplaceAll(rest, "\r\n", "\n")

	env := map[string]string{}
	var errs Errors
	for next := 1; rest != ""; {
		number := next
		line, after, _ := strings.Cut(rest, "\n")
		next++
		if trimmed := strings.TrimSpace(line); trimmed == "" || trimmed[0] == '#' {
			rest = after
			continue
		}
		key, value, found := strings.Cut(line, "=")
		key = strings.TrimSpace(key)
		if word, name, ok := strings.Cut(key, " "); ok && word == "export" {
			key = strings.TrimSpace(name)
		}
		switch {
		case !found:
			errs = append(errs, &Error{Pos: Pos{file, number, 0}, Message: "expected KEY=VALUE",
				Hint: "a line that is no setting starts with #"})
			rest = after
			continue
		case !isEnvKey(key):
			errs = append(errs, &Error{Pos: Pos{file, number, 0},
				Message: fmt.Sprintf("%q is no name of a variable: expected letters, digits, underscores", clip(key))})
			rest = after
			continue
		}
		if err := checkSetting(key, ""); err != nil { // a name that is neko's
			errs = append(errs, &Error{Pos: Pos{file, number, 0}, Message: err.Message})
		}
		value = strings.TrimLeft(value, " \t")
		if value == "" || value[0] != '\'' && value[0] != '"' {
			env[key] = unquotedValue(value)
			rest = after
			continue
		}
		// A quoted value may go on over several lines: read from rest.
		text := rest[len(line)-len(value):]
		parsed, length, ok := quotedValue(text)
		if !ok {
			errs = append(errs, &Error{Pos: Pos{file, number, 0}, Message: fmt.Sprintf("%s: the %c quote is not closed", key, text[0])})
			break // what follows cannot be told from the value
		}
		env[key] = parsed
		next += strings.Count(text[:length], "\n")
		line, rest, _ = strings.Cut(text[length:], "\n")
		if line = strings.TrimSpace(line); line != "" && line[0] != '#' {
			errs = append(errs, &Error{Pos: Pos{file, next - 1, 0}, Message: fmt.Sprintf("%s: %q follows the closing quote", key, clip(line))})
		}
	}
	if len(errs) > 0 {
		return nil, errs
	}
	return env, nil
}

// unquotedValue ends at the end of the line or at a blank and a #.
func unquotedValue(s string) string {
	for i := range len(s) {
		if s[i] == '#' && (i == 0 || s[i-1] == ' ' || s[i-1] == '\t') {
			s = s[:i]
			break
		}
	}
	return strings.TrimSpace(s)
}

// quotedValue reads the value whose opening quote s starts with, and says how
// many bytes it took.
func quotedValue(s string) (value string, length int, ok bool) {
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		c := s[i]
		switch {
		case c == s[0]:
			return b.String(), i + 1, true
		case c == '\\' && s[0] == '"' && i+1 < len(s):
			i++
			switch s[i] {
			case 'n':
				b.WriteByte('\n')
			case 'r':
				b.WriteByte('\r')
			case 't':
				b.WriteByte('\t')
			case '"', '\\', '$', '`':
				b.WriteByte(s[i])
			default: // a backslash before anything else is a backslash
				b.WriteByte('\\')
				b.WriteByte(s[i])
			}
		default:
			b.WriteByte(c)
		}
	}
	return "", 0, false
}

// ReadEnv reads an env file. An error of reading it is an [*Error], too.
func ReadEnv(file string) (map[string]string, error) {
	data, err := readBounded(file)
	if err != nil {
		return nil, Errors{{Message: errorText(err)}}
	}
	return ParseEnv(file, data)
}

// readBounded reads a file but not more of it than is needed to see that it is
// too large: it may be /dev/zero.
func readBounded(file string) ([]byte, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, MaxFile+1))
}

// badText is the index of the first byte that is neither UTF-8 nor allowed in
// an environment (NUL), or -1.
func badText(data []byte) int {
	for i := 0; i < len(data); {
		if c := data[i]; c < utf8.RuneSelf {
			if c == 0 {
				return i
			}
			i++
			continue
		}
		r, size := utf8.DecodeRune(data[i:])
		if r == utf8.RuneError && size == 1 {
			return i
		}
		i += size
	}
	return -1
}

func isEnvKey(s string) bool {
	for i := range len(s) {
		c := s[i]
		if !(c == '_' || c == '.' || c == '-' || 'a' <= c|0x20 && c|0x20 <= 'z' || '0' <= c && c <= '9' && i > 0) {
			return false
		}
	}
	return s != ""
}

// clip keeps what a message quotes to one short line.
func clip(s string) string {
	const most = 60
	if len(s) <= most {
		return s
	}
	cut := most
	for cut > 0 && !utf8.RuneStart(s[cut]) {
		cut--
	}
	return s[:cut] + "…"
}

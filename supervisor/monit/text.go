package monit

import (
	"bytes"
	"strconv"
)

// eachSample reads Prometheus's text format 0.0.4 and calls do for each sample whose
// name is wanted. A line that makes no sense is left out: it is one figure that is not
// shown. Expfmt would do, but takes ten times as long (BenchmarkText), for it makes families of all that is
// there; this is done once a second on machines that have better things to do.
func eachSample[T any](text []byte, wanted map[string]T, do func(what T, l labels, value float64)) {
	var room labels
	for line := range bytes.Lines(text) {
		line = bytes.TrimRight(line, "\n")
		end := bytes.IndexAny(line, "{ \t")
		if end <= 0 || line[0] == '#' {
			continue
		}
		what, known := wanted[string(line[:end])]
		if !known {
			continue
		}
		l, rest, ok := readLabels(room[:0], line[end:])
		room = l
		if !ok {
			continue
		}
		number, _, _ := bytes.Cut(bytes.TrimLeft(rest, " \t"), []byte(" ")) // a timestamp may follow
		value, err := strconv.ParseFloat(string(number), 64)
		if err != nil || value-value != 0 { // not a number, or no end of it
			continue
		}
		do(what, l, value)
	}
}

// labels are those of one sample; they are good until the next.
type labels []struct{ name, value []byte }

func (l labels) get(name string) []byte {
	for _, one := range l {
		if string(one.name) == name {
			return one.value
		}
	}
	return nil
}

// readLabels reads what is between braces, if text begins with one.
func readLabels(l labels, text []byte) (_ labels, rest []byte, ok bool) {
	if text[0] != '{' {
		return l, text, true
	}
	for text = text[1:]; ; {
		text = bytes.TrimLeft(text, " \t,")
		if len(text) > 0 && text[0] == '}' {
			return l, text[1:], true
		}
		name, value, found := bytes.Cut(text, []byte(`="`))
		if !found {
			return l, nil, false
		}
		end, escaped := 0, false
		for ; end < len(value) && value[end] != '"'; end++ {
			if value[end] == '\\' {
				escaped = true
				end++
			}
		}
		if end >= len(value) {
			return l, nil, false
		}
		text = value[end+1:]
		if value = value[:end]; escaped {
			value = unescaped(value)
		}
		l = append(l, struct{ name, value []byte }{bytes.TrimSpace(name), value})
	}
}

func unescaped(value []byte) []byte {
	var b []byte
	for i := 0; i < len(value); i++ {
		c := value[i]
		if c == '\\' && i+1 < len(value) {
			i++
			if c = value[i]; c == 'n' {
				c = '\n'
			}
		}
		b = append(b, c)
	}
	return b
}

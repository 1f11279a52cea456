package control

import "strings"

// TraceHeader carries the trace that a command belongs to, as W3C's Trace Context has
// it; TraceVariable is where a command line finds it, as other programs do.
const (
	TraceHeader   = "Traceparent"
	TraceVariable = "TRACEPARENT"
)

// Trace is a place in a distributed trace.
type Trace struct{ Trace, Span string } // hexadecimal digits: 32, and 16

// ParseTrace reads a traceparent (https://www.w3.org/TR/trace-context/#traceparent-header),
// false if it is none that may be used.
func ParseTrace(s string) (t Trace, ok bool) {
	const length = 2 + 1 + 32 + 1 + 16 + 1 + 2
	if len(s) < length || s[2] != '-' || s[35] != '-' || s[52] != '-' {
		return t, false
	}
	version, trace, span, flags := s[:2], s[3:35], s[36:52], s[53:55]
	switch {
	case !isHex(version) || !isHex(trace) || !isHex(span) || !isHex(flags), version == "ff":
		return t, false
	case version == "00" && len(s) > length, len(s) > length && s[length] != '-': // later versions may have more
		return t, false
	case strings.Trim(trace, "0") == "" || strings.Trim(span, "0") == "":
		return t, false
	}
	return Trace{trace, span}, true
}

func isHex(s string) bool {
	return strings.Trim(s, "0123456789abcdef") == ""
}

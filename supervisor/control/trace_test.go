package control

import (
	"strings"
	"testing"
)

func TestParseTrace(t *testing.T) {
	const trace, span = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
	for s, ok := range map[string]bool{
		"00-" + trace + "-" + span + "-01":                    true,
		"00-" + trace + "-" + span + "-00":                    true,
		"cc-" + trace + "-" + span + "-01-what-comes-later":   true,
		"cc-" + trace + "-" + span + "-01":                    true,
		"cc-" + trace + "-" + span + "-01.what":               false,
		"00-" + trace + "-" + span + "-01-more":               false,
		"ff-" + trace + "-" + span + "-01":                    false,
		"00-" + strings.ToUpper(trace) + "-" + span + "-01":   false,
		"00-" + strings.Repeat("0", 32) + "-" + span + "-01":  false,
		"00-" + trace + "-" + strings.Repeat("0", 16) + "-01": false,
		"00-" + trace + "-" + span:                            false,
		"00-" + trace + "-" + span + "-0g":                    false,
		"00_" + trace + "-" + span + "-01":                    false,
		"":                                                    false,
		"00-" + trace[:31] + "\n-" + span + "-01":             false,
		strings.Repeat("-", 55):                               false,
	} {
		got, parsed := ParseTrace(s)
		if parsed != ok || ok && got != (Trace{trace, span}) {
			t.Errorf("%q: %v, %v", s, got, parsed)
		}
	}
}

func FuzzParseTrace(f *testing.F) {
	f.Add("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
	f.Fuzz(func(t *testing.T, s string) {
		if got, ok := ParseTrace(s); ok && (len(got.Trace) != 32 || len(got.Span) != 16 || !isHex(got.Trace+got.Span)) {
			t.Errorf("%q: %v", s, got)
		}
	})
}

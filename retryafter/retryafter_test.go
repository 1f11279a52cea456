package retryafter

import (
	"testing"
	"time"
)

func TestSecondsOrADate(t *testing.T) {
	now := time.Date(2026, 11, 29, 12, 0, 0, 0, time.UTC)
	for header, want := range map[string]time.Duration{
		"": 0, "0": 0, "7": 7 * time.Second, "-1": 0, "1.5": 0, "soon": 0,
		"300": Longest, "301": Longest, "9223372036854775807": Longest, "99999999999999999999": Longest,
		"Sun, 29 Nov 2026 12:00:30 GMT":    30 * time.Second,
		"Sunday, 29-Nov-26 12:00:30 GMT":   30 * time.Second,
		"Sun, 29 Nov 2026 11:00:00 GMT":    0,
		"Sun, 29 Nov 2099 12:00:00 GMT":    Longest,
		"Sun, 31 Feb 2026 12:00:00 GMT":    0,
		"Fri, 31 Dec 9999 23:59:59 GMT":    Longest,
		"Sun, 29 Nov 2026 12:00:30 +01:00": 0,
	} {
		if got := Parse(header, now); got != want {
			t.Errorf("%q: %v, want %v", header, got, want)
		}
	}
}

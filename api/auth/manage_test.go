package auth

import (
	"strings"
	"testing"
)

func TestGoodNames(t *testing.T) {
	for name, good := range map[string]bool{
		"mia": true, "Mia.O'": false, "mia@example.org": true, "a+b_c-d.e": true, "7": true, "Žofie": true, "李雷": true, "e\u0301a": true,
		"": false, "-mia": false, ".mia": false, "@": false, "\u0301a": false, "mia ": false, "mi a": false, "mia\n": false, "mia\x00": false, "mi\u202ea": false,
		"\xffmia": false, "mia\xff": false, "a/b": false, "a:b": false,
		strings.Repeat("ä", 64): true, strings.Repeat("ä", 65): false,
	} {
		if goodName(name) != good {
			t.Errorf("%q: %v", name, !good)
		}
	}
}

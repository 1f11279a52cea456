package ecosystem

import (
	"regexp"
	"strings"
	"sync"
)

var oneArg = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`[^\s"'=]+="[^"]*"|[^\s"'=]+='[^']*'|"[^"]*"|'[^']*'|\S+`)
})

// splitArgs takes arguments apart as PM2 does, which is not as a shell does: quotes
// keep together only a whole word or the value of NAME="…", and stay in the latter.
func splitArgs(line string) []string {
	words := []string{}
	for _, word := range oneArg().FindAllString(line, -1) {
		if n := len(word); n > 1 && (word[0] == '"' || word[0] == '\'') && word[n-1] == word[0] {
			word = word[1 : n-1]
		}
		if strings.TrimSpace(word) != "" {
			words = append(words, word)
		}
	}
	return words
}

package spec

import (
	"fmt"
	"strings"
)

// Words splits a command line into words as a shell does: blanks separate,
// quotes and backslashes keep together. It expands nothing, and where a shell
// would ("$HOME", a pipe) it fails, for a program that gets the text "$HOME" or
// "|" is worse than an error.
func Words(line string) ([]string, error) {
	words, shell, err := split(line, "")
	if shell != 0 {
		return nil, shellError(shell)
	}
	return words, err
}

// split is Words, and tells the first character by which a line is for a shell: one
// of those that always are, or one of more.
func split(line, more string) (_ []string, shell rune, _ error) {
	var (
		words []string
		word  strings.Builder
		open  bool // a word has begun, though it may be empty: ''
	)
	if strings.ContainsRune(line, 0) {
		return nil, 0, &Error{Message: "there is a NUL byte in it"}
	}
	const single, double = '\'', '"'
	quote := rune(0)
	runes := []rune(line)
	for i := 0; i < len(runes); i++ {
		r := runes[i]
		switch {
		case quote == single:
			if r == single {
				quote = 0
			} else {
				word.WriteRune(r)
			}
		case quote == double && r == double:
			quote = 0
		case r == '\\':
			i++
			if i == len(runes) {
				return nil, 0, &Error{Message: "nothing follows the last backslash"}
			}
			if quote == double && !strings.ContainsRune("\"\\$`", runes[i]) {
				word.WriteRune(r)
			}
			word.WriteRune(runes[i])
			open = true
		case r == '$' || r == '`':
			return nil, r, nil
		case quote == double:
			word.WriteRune(r)
		case r == single || r == double:
			quote, open = r, true
		case strings.ContainsRune("|&;<>()"+more, r):
			return nil, r, nil
		case strings.ContainsRune(" \t\r\n", r):
			if open {
				words = append(words, word.String())
				word.Reset()
				open = false
			}
		default:
			word.WriteRune(r)
			open = true
		}
	}
	if quote != 0 {
		return nil, 0, &Error{Message: fmt.Sprintf("the %c quote is not closed", quote)}
	}
	if open {
		words = append(words, word.String())
	}
	return words, 0, nil
}

func shellError(r rune) error {
	return &Error{
		Message: fmt.Sprintf("%c has a meaning in a shell only, and none runs here", r),
		Hint:    fmt.Sprintf("for a shell write: sh -c '…'; for the character itself put it in single quotes: '%c'", r),
	}
}

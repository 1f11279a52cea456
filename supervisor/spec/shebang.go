package spec

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

// shebang is what the first line of a script names, nil if it names nothing: the
// program, and what goes before the file's path. After `env` the program is a
// bare name.
func shebang(head []byte) []string {
	line, ok := bytes.CutPrefix(head, []byte("#!"))
	if !ok {
		return nil
	}
	line, _, _ = bytes.Cut(line, []byte("\n"))
	if bytes.ContainsAny(line, "\x00\r") {
		return nil
	}
	words := strings.Fields(string(line))
	if len(words) > 1 && filepath.Base(words[0]) == "env" {
		words = words[1:]
		if rest, ok := strings.CutPrefix(words[0], "-S"); ok { // env -S node --flag, env -Snode
			if words = words[1:]; rest != "" {
				words = append([]string{rest}, words...)
			}
		}
		if len(words) == 0 || strings.HasPrefix(words[0], "-") || strings.Contains(words[0], "=") {
			return nil // env does more than to find a program; let it
		}
	}
	return words
}

// shebangOf is the shebang of a file.
func shebangOf(file string) []string {
	return shebang(head(file, 256)) // as much as the kernel looks at
}

// head is how a file begins, nothing if it cannot be read.
func head(file string, size int64) []byte {
	f, err := os.Open(file)
	if err != nil {
		return nil // a program may be executable and not readable
	}
	defer f.Close()
	text, _ := io.ReadAll(io.LimitReader(f, size))
	return text
}

// shimmed are the programs in the shell script that pnpm and others put into
// node_modules/.bin in the place of a link.
var shimmed = regexp.MustCompile(`"\$basedir/([^"$]+)"`)

// nodeScript is the script of Node's that a file is or leads to, "" if none, with
// the arguments for Node of its first line.
func nodeScript(file string) (script string, args []string) {
	words := shebangOf(file)
	if len(words) == 0 {
		return "", nil
	}
	switch base := filepath.Base(words[0]); {
	case isNode(base):
		real, err := filepath.EvalSymlinks(file)
		if err != nil {
			return "", nil
		}
		return real, words[1:]
	case base == "sh" && filepath.Base(filepath.Dir(file)) == ".bin":
		for _, m := range shimmed.FindAllSubmatch(head(file, 16<<10), -1) {
			behind, err := filepath.EvalSymlinks(filepath.Join(filepath.Dir(file), string(m[1])))
			if words := shebangOf(behind); err == nil && len(words) > 0 && isNode(filepath.Base(words[0])) {
				return behind, words[1:]
			}
		}
	}
	return "", nil
}

func isNode(base string) bool { return base == "node" || base == "nodejs" }

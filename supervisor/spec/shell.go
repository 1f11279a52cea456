package spec

import (
	"slices"
	"strings"
)

// ofShells are, beside what no word can have, the characters for which a line is
// given to a shell: a glob, and the end of one command of several.
const ofShells = "*\n"

// scriptWords are what a shell takes for itself, and no program is: nothing that
// begins with one of them is a command to exec.
var scriptWords = strings.Fields(`! . : [ [[ { } alias bg break builtin case cd command continue declare do done elif else
	esac eval exec exit export false fc fg fi for function getopts hash if in jobs let local popd pushd pwd read readonly return
	select set shift shopt source test then time times trap true type typeset ulimit umask unalias unset until wait while`)

// simple are the words of a simple command in a line for a shell, as they are
// written there, with where each begins.
type simple struct {
	words []string
	at    []int
	piped bool // the next one reads what it prints
}

// commands takes a line for a shell apart, false if it is not made of simple
// commands one after the other.
func commands(line string) (list []simple, ok bool) {
	if strings.ContainsAny(line, "`(){}#\\") || strings.Contains(line, "<<") {
		return nil, false
	}
	var c simple
	quote, begin := byte(0), -1
	endWord := func(i int) {
		if begin >= 0 {
			c.words, c.at, begin = append(c.words, line[begin:i]), append(c.at, begin), -1
		}
	}
	for i := 0; i < len(line); i++ {
		b := line[i]
		next := byte(0)
		if i+1 < len(line) {
			next = line[i+1]
		}
		redirects := b == '&' && (next == '>' || i > 0 && strings.IndexByte("<>", line[i-1]) >= 0) // 2>&1, &>log
		switch {
		case quote != 0:
			if b == quote {
				quote = 0
			}
		case b == ' ' || b == '\t':
			endWord(i)
		case !redirects && strings.IndexByte(";\n|&", b) >= 0:
			endWord(i)
			if b == '&' && next != '&' || len(c.words) == 0 { // in the background, or no command at all
				return nil, false
			}
			c.piped = b == '|' && next != '|'
			list, c = append(list, c), simple{}
			if next == b && b != ';' && b != '\n' {
				i++
			}
		default:
			if begin < 0 {
				begin = i
			}
			if b == '\'' || b == '"' {
				quote = b
			}
		}
	}
	endWord(len(line))
	if quote != 0 || len(c.words) == 0 {
		return nil, false
	}
	return append(list, c), true
}

// program is the index of the word after the assignments, len if there is none.
func (c simple) program() int {
	for i, word := range c.words {
		if key, _, ok := strings.Cut(word, "="); !ok || !isEnvKey(key) {
			return i
		}
	}
	return len(c.words)
}

// execLast has a shell become the last program of a line where that is the same,
// so that signals reach it and no shell waits beside it.
func execLast(line string) string {
	list, ok := commands(line)
	if !ok {
		return line
	}
	for _, c := range list {
		if slices.ContainsFunc(c.words, func(word string) bool { return word == "trap" }) || isBlock(c.words[0]) {
			return line
		}
	}
	last := list[len(list)-1]
	i := last.program()
	if i == len(last.words) || slices.Contains(scriptWords, last.words[i]) || strings.ContainsAny(last.words[i], "<>") ||
		len(list) > 1 && list[len(list)-2].piped {
		return line
	}
	return line[:last.at[i]] + "exec " + line[last.at[i]:]
}

// isBlock says that a word begins or ends what is more than a simple command.
func isBlock(word string) bool {
	return slices.Contains(strings.Fields("! [[ case do done elif else esac fi for function if select then time until while"), word)
}

// mainCommand are the words of the command that a line for a shell is about: the
// last, or the first of those that it is a pipe of.
func mainCommand(line string) []string {
	list, ok := commands(line)
	if !ok {
		return strings.Fields(line)
	}
	i := len(list) - 1
	for i > 0 && list[i-1].piped {
		i--
	}
	words := list[i].words[list[i].program():]
	if len(words) > 1 && words[0] == "exec" {
		words = words[1:]
	}
	return words
}

// shell runs a line by a shell.
func (r *resolver) shell(line string) *Error {
	main := mainCommand(line)
	if r.Name == "" {
		if len(main) > 0 {
			r.Name = nameOf(main)
		}
		if r.Name == "" {
			r.Name = "sh"
		}
	}
	for _, not := range []struct {
		key string
		has bool
	}{{"args", len(r.Args) > 0}, {"interpreter", r.Interpreter != "" && r.Interpreter != "none"}, {"interpreter_args", len(r.InterpreterArgs) > 0}} {
		if not.has {
			return &Error{Key: not.key, Message: "a shell runs the line " + clip(line), Hint: "write all of it into the line; or one program alone, without what only a shell knows"}
		}
	}
	with := "/bin/sh"
	if !r.opts.NamesOnly && r.look("bash") != "" {
		with = "bash"
	}
	r.Command = []string{with, "-c", execLast(line)}
	if len(main) > 0 && (r.ExecMode == string(NodeCluster) || r.Counted && r.Instances != 1 && len(r.Listen) == 0 && (isNode(main[0]) || slices.Contains(managers, main[0]))) {
		r.forked("a shell runs it")
	}
	return r.finish()
}

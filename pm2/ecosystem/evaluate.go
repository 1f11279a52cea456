package ecosystem

import (
	"bytes"
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/nekoctl/neko/pm2/object"
	"github.com/nekoctl/neko/supervisor/spec"
)

// evaluateTime is how long a file may take to be evaluated.
var evaluateTime = 10 * time.Second

// maxOutput is how much a file may print, and how large its result may be.
const maxOutput = 1 << 20

//go:embed evaluate.cjs
var evaluator string

// runtimes are what evaluates a file, in the order in which they are looked for, and
// their arguments before the program.
var runtimes = []struct {
	program string
	args    []string
}{
	{"node", []string{"-e"}},
	{"nodejs", []string{"-e"}}, // Debian's once
	{"bun", []string{"-e"}},
	{"deno", []string{"eval", "--ext=cjs"}},
}

// evaluate has the first runtime of JavaScript's that is there evaluate a file, or the
// next one if that does not know its language.
func evaluate(ctx context.Context, name, path string, data []byte, o Options) (t *tree, err error) {
	programs := findRuntimes(o.Environ)
	if len(programs) == 0 {
		return nil, withoutRuntime(name, data)
	}
	for _, program := range programs {
		t, err = evaluateBy(ctx, program, name, path, o)
		if e, ok := errors.AsType[*spec.Error](err); !ok || e.Hint != noTypeScript {
			break
		}
	}
	return t, err
}

const noTypeScript = "this node does not read TypeScript: install Node 22.18 or newer, or bun"

// evaluateBy has a runtime evaluate a file, in a process group of its own and in the
// caller's folder and environment.
func evaluateBy(ctx context.Context, program []string, name, path string, o Options) (*tree, error) {
	fail := func(hint, format string, args ...any) error {
		return spec.Errors{{Pos: spec.Pos{File: name}, Message: fmt.Sprintf(format, args...), Hint: hint}}
	}
	words, err := json.Marshal(append([]string{"pm2"}, o.Args...))
	if err != nil {
		return nil, err
	}
	result, write, err := os.Pipe()
	if err != nil {
		return nil, fail("", "cannot be evaluated: %v", err)
	}
	defer result.Close()
	ctx, cancel := context.WithTimeout(ctx, evaluateTime)
	defer cancel()
	var printed, complaints bounded
	cmd := exec.CommandContext(ctx, program[0], append(slices.Clone(program[1:]), evaluator, path, string(words))...)
	cmd.Dir = o.Cwd
	cmd.Env = slices.DeleteFunc(slices.Clone(o.Environ), func(entry string) bool {
		return strings.HasPrefix(entry, "NODE_CHANNEL_") || strings.HasPrefix(entry, "NODE_UNIQUE_ID=") // of whoever started the caller; it would take our pipe for a channel
	})
	cmd.Stdout, cmd.Stderr = &printed, &complaints
	cmd.ExtraFiles = []*os.File{write}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = time.Second // for what it has started and not ended
	if err = cmd.Start(); err != nil {
		write.Close()
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return nil, fail("", "%s cannot be run to evaluate it: %v", program[0], err)
	}
	write.Close()
	answers := make(chan []byte, 1)
	go func() {
		answer, _ := io.ReadAll(io.LimitReader(result, maxOutput+1)) // what is cut off is no JSON
		answers <- answer
		_, _ = io.Copy(io.Discard, result)
	}()
	ended := cmd.Wait()
	_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // it may have left something behind
	if o.Output != nil {
		_, _ = o.Output.Write(printed.Bytes())
		_, _ = o.Output.Write(complaints.Bytes())
	}
	if cause := ctx.Err(); cause != nil {
		if errors.Is(cause, context.DeadlineExceeded) {
			return nil, fail("a file that waits for something cannot tell its apps", "was not evaluated within %v, and was ended", evaluateTime)
		}
		return nil, cause
	}
	var answer []byte
	select {
	case answer = <-answers:
	case <-time.After(time.Second): // somebody who left its group has the pipe
	}
	if len(answer) > maxOutput {
		return nil, fail("", "exports more than 1 MiB")
	}
	return answered(name, path, answer, complaints.String(), ended)
}

// evaluateExpression has a runtime evaluate a text that is an expression of
// JavaScript's.
func evaluateExpression(ctx context.Context, name string, data []byte, o Options) (*tree, error) {
	file, err := os.CreateTemp("", "ecosystem-*.cjs")
	if err != nil {
		return nil, err
	}
	defer os.Remove(file.Name())
	_, err = fmt.Fprintf(file, "module.exports = (%s\n)\n", data)
	if err = errors.Join(err, file.Close()); err != nil {
		return nil, err
	}
	return evaluate(ctx, name, file.Name(), data, o)
}

// findRuntimes are the runtimes on the caller's PATH, with their first arguments.
func findRuntimes(environ []string) (programs [][]string) {
	path := ""
	for _, entry := range environ {
		if value, ok := strings.CutPrefix(entry, "PATH="); ok {
			path = value
		}
	}
	for _, r := range runtimes {
		for dir := range strings.SplitSeq(path, ":") {
			file := filepath.Join(dir, r.program)
			if info, err := os.Stat(file); filepath.IsAbs(dir) && err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0 {
				programs = append(programs, append([]string{file}, r.args...))
				break
			}
		}
	}
	return programs
}

// answered reads what the evaluator has said.
func answered(name, path string, answer []byte, complaints string, ended error) (*tree, error) {
	value, err := object.Parse(answer)
	said, ok := value.(*object.Object)
	if err != nil || !ok {
		e := &spec.Error{Pos: spec.Pos{File: name}, Message: "ended before it had exported anything"}
		if ended != nil {
			e.Message += ": " + ended.Error()
		}
		if lines := strings.TrimSpace(complaints); lines != "" {
			all := strings.Split(lines, "\n")
			e.Hint = "it printed: " + clip(strings.TrimSpace(all[len(all)-1]))
		}
		return nil, spec.Errors{e}
	}
	if said.Has("error") {
		return nil, spec.Errors{thrown(name, path, said)}
	}
	result := said.Get("value")
	if _, isObject := result.(*object.Object); !isObject {
		if _, isList := result.([]any); !isList {
			return nil, spec.Errors{{Pos: spec.Pos{File: name}, Message: fmt.Sprintf("exports %s, and no apps", asText(said.Get("is"))),
				Hint: "module.exports = { apps: [{ name: 'web', script: './server.js' }] }"}}
		}
	}
	return treeOf(plain(result)), nil
}

// thrown is the error of an exception, at the first place of the file that its stack
// has.
func thrown(name, path string, said *object.Object) *spec.Error {
	message, _ := said.Get("error").(string)
	kind, _ := said.Get("name").(string)
	stack, _ := said.Get("stack").(string)
	if line, _, _ := strings.Cut(message, "\n"); line != "" {
		message = line
	}
	if kind != "" && kind != "Error" && !strings.HasPrefix(message, kind) {
		message = kind + ": " + message
	}
	e := &spec.Error{Pos: spec.Pos{File: name}, Message: message}
	if m := regexp.MustCompile(regexp.QuoteMeta(path) + `:(\d+)(?::(\d+))?`).FindStringSubmatch(stack); m != nil {
		e.Pos.Line, _ = strconv.Atoi(m[1])
		e.Pos.Column, _ = strconv.Atoi(m[2])
	} else if line, ok := said.Get("line").(json.Number); ok {
		e.Pos.Line, _ = strconv.Atoi(string(line))
		e.Pos.Column, _ = strconv.Atoi(asText(said.Get("column")))
	}
	switch code, _ := said.Get("code").(string); code {
	case "ERR_UNKNOWN_FILE_EXTENSION":
		e.Hint = noTypeScript
	case "MODULE_NOT_FOUND", "ERR_MODULE_NOT_FOUND":
		e.Hint = "install what it requires, in its folder"
	}
	return e
}

// NoRuntime is the error of a file that is a program where nothing is there to evaluate
// it.
type NoRuntime struct {
	File string
	// YAML is the neko.yaml that could be in its place, if that can be seen without
	// evaluating the file; else nil.
	YAML []byte
}

func (e *NoRuntime) Error() string {
	return e.File + ": there is no node, bun or deno on PATH to evaluate it"
}

func withoutRuntime(name string, data []byte) error {
	e := &NoRuntime{File: name}
	if t := literal(data); t != nil {
		if list, err := configs(name, "", t, Options{}); err == nil {
			e.YAML, _, _ = Convert(list, Options{}) // it is but an offer
		}
	}
	return e
}

var exportsLiteral = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`(?m)^[ \t]*(?:module\.exports\s*=|export\s+default)\s*`)
})

// literal is what a file exports if that is a value without anything to evaluate, nil
// if it is not.
func literal(data []byte) *tree {
	at := exportsLiteral().FindIndex(data)
	if at == nil {
		return nil
	}
	r := &jsonReader{data: data, at: at[1]}
	if t := r.value(); r.err == nil {
		return t
	}
	return nil
}

// bounded keeps the first of what is written.
type bounded struct{ bytes.Buffer }

func (b *bounded) Write(p []byte) (int, error) {
	b.Buffer.Write(p[:min(len(p), maxOutput-b.Len())])
	return len(p), nil
}

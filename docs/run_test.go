package docs

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nekoctl/neko/scripts/debian"
	"github.com/nekoctl/neko/scripts/source"
)

// patience is how long the blocks of one page may take, on a machine that has other things to do.
const patience = 2 * time.Minute

// What a block may say of itself; CONTRIBUTING.md explains it.
var attributes = []string{"run", "exit", "file", "output", "needs"}

// Every block that is marked as runnable runs, in the order of its page, with binaries of this source.
//
// A page has a folder, a home, a network, processes and a /dev/shm of its own, so pages run at the
// same time and all of them have port 4000; and whatever a page leaves running ends with it.
func TestBlocksRun(t *testing.T) {
	canIsolate(t)
	bin := binaries(t)
	marked := 0
	for _, page := range pages(t) {
		list := blocks(page, read(t, page))
		n := 0
		for _, b := range list {
			if b.is("run") {
				n++
			}
		}
		if n == 0 {
			continue
		}
		marked += n
		t.Run(page, func(t *testing.T) {
			t.Parallel()
			for _, program := range needs(list) {
				need(t, program)
			}
			for _, problem := range run(t, list, bin) {
				t.Error(problem)
			}
		})
	}
	if marked < 20 {
		t.Errorf("only %d blocks are marked", marked)
	}
}

// The test above is no yes-man: these pages are wrong, and it says where.
func TestWrongPages(t *testing.T) {
	canIsolate(t)
	bin := binaries(t)
	for page, want := range map[string][]string{
		"right.md":   nil,
		"failure.md": {"failure.md:6: ended with 1, not 0: false"},
		"unknown.md": {"unknown.md:4: ended with 127, not 0: nekoclt list"},
		"exit.md":    {"exit.md:8: the block ended with 0, not 3"},
		"output.md":  {"output.md:9: this is shown, and was not printed:\n\ttwo\nprinted was:\n\tone\n\t2\n\tthree"},
		"more.md":    {"more.md:8: this is shown, and was not printed:\n\tone\nas the last line\nprinted was:\n\tone\n\ttwo"},
		"early.md":   {"early.md:4: the block ends the shell, and what follows it does not run"},
		"hangs.md":   {"hangs.md:4: the block is not over in time"},
		"port.md":    nil,
		"port-2.md":  nil,
	} {
		t.Run(page, func(t *testing.T) {
			t.Parallel()
			text, err := os.ReadFile("testdata/" + page)
			if err != nil {
				t.Fatal(err)
			}
			ctx := t.Context()
			if page == "hangs.md" {
				c, cancel := context.WithTimeout(ctx, 3*time.Second)
				defer cancel()
				ctx = c
			}
			got := runWithin(ctx, t, blocks(page, string(text)), bin)
			for i, problem := range got {
				got[i], _, _ = strings.Cut(problem, "\n--") // without what it printed
			}
			if !slices.Equal(got, want) {
				t.Errorf("got %q\nwant %q", got, want)
			}
		})
	}
}

// A process that a page starts, and that goes away from it as a daemon does, ends with the page.
func TestPagesLeaveNothing(t *testing.T) {
	canIsolate(t)
	long := fmt.Sprintf("86399.%d", 1e8+rand.IntN(9e8)) // seconds; nobody else sleeps that long
	list := blocks("page.md", "```sh run\nnekoctl start 'sleep "+long+"'\nsetsid sleep "+long+" &\npgrep -f 'sleep "+long+"'\n```\n")
	for _, problem := range run(t, list, binaries(t)) {
		t.Error(problem)
	}
	processes, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil || len(processes) == 0 {
		t.Fatal("no process is seen: ", err)
	}
	for _, p := range processes {
		if text, err := os.ReadFile(p); err == nil && strings.Contains(string(text), long) {
			t.Errorf("%s is still there: %q", p, text)
		}
	}
}

// Nobody means a block to run and has it not run because of a slip.
func TestBlocksSayWhatIsKnown(t *testing.T) {
	for _, page := range pages(t) {
		var last block
		for _, b := range blocks(page, read(t, page)) {
			for attr := range b.attrs {
				if !slices.Contains(attributes, attr) {
					t.Errorf("%s:%d: a block cannot be %q", page, b.line, attr)
				}
			}
			switch {
			case b.is("run") && b.lang != "sh":
				t.Errorf("%s:%d: only blocks of sh are run", page, b.line)
			case (b.is("exit") || b.is("needs")) && !b.is("run"):
				t.Errorf("%s:%d: that needs \"run\"", page, b.line)
			case b.is("output") && !last.is("run"):
				t.Errorf("%s:%d: the block before it is not run", page, b.line)
			}
			last = b
		}
	}
}

// canIsolate is whether namespaces can be made: as root, or by a user where the kernel lets users do it.
func canIsolate(t *testing.T) {
	t.Helper()
	debian.Need(t, "unshare", "util-linux")
	debian.Need(t, "ip", "iproute2")
	if out, err := isolated(t.Context(), "ip", "link", "set", "lo", "up").CombinedOutput(); err != nil {
		missing(t, fmt.Sprintf("namespaces of its own for each page: %v %s", err, out))
	}
}

// missing fails in CI, where tests must not show less than they should.
func missing(t *testing.T, what string) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatal("there is no ", what)
	}
	t.Skip("there is no ", what)
}

// need finds a program, which is also the name of Debian's package of it; that of node is too old.
func need(t *testing.T, program string) {
	t.Helper()
	if program != "node" {
		debian.Need(t, program, program)
	} else if _, err := exec.LookPath(program); err != nil {
		missing(t, program)
	}
}

func needs(list []block) (programs []string) {
	for _, b := range list {
		if b.attrs["needs"] != "" {
			programs = append(programs, strings.Split(b.attrs["needs"], ",")...)
		}
	}
	return programs
}

// isolated is a command with a network, processes and mounts of its own, which all end with it.
func isolated(ctx context.Context, command ...string) *exec.Cmd {
	args := []string{"--net", "--pid", "--mount-proc", "--fork", "--kill-child"}
	if os.Getuid() != 0 {
		args = append([]string{"--user", "--map-root-user"}, args...)
	}
	return exec.CommandContext(ctx, "unshare", append(args, command...)...)
}

// binDir is a folder with nekoctl and neko-api of this source, once they are built.
var binDir string

var build = sync.OnceValue(func() (err error) {
	if binDir, err = os.MkdirTemp("", "docs-bin-"); err != nil {
		return err
	}
	return source.Build(binDir+"/", "-ldflags", "-s -w", "../cmd/nekoctl", "../cmd/neko-api")
})

func TestMain(m *testing.M) {
	code := m.Run()
	os.RemoveAll(binDir)
	os.Exit(code)
}

func binaries(t *testing.T) string {
	t.Helper()
	if err := build(); err != nil {
		t.Fatal(err)
	}
	for _, folder := range []string{"api", "breaker", "cache", "cmd", "limiter", "pm2", "redisconn", "supervisor", "tracing", "worker"} {
		source.LookAt(t, "../"+folder)
	}
	return binDir
}

func run(t *testing.T, list []block, bin string) (problems []string) {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	return runWithin(ctx, t, list, bin)
}

// setUp is what comes before the first block: a network with nothing but this machine, and in memory
// what would else be left behind there.
//
// A block is sourced, so that the next one knows its variables, functions and jobs. Its lines have the
// numbers that they have in the page, for what bash says of them.
const setUp = `
set -eEuo pipefail
ip link set lo up
mount -t tmpfs tmpfs /dev/shm
trap 'echo "$? $LINENO $BASH_COMMAND" >>.blocks/failed' ERR
`

// runWithin runs the blocks of one page and says what was not as the page has it.
func runWithin(ctx context.Context, t *testing.T, list []block, bin string) (problems []string) {
	page := list[0].page
	// Sockets lie in the home, and their paths must be short.
	dir, err := os.MkdirTemp("", "docs-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	for _, d := range []string{"home", "clone/.blocks"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	clone := filepath.Join(dir, "clone")
	aClone(t, clone, bin)

	script := setUp
	for i, b := range list {
		file := fmt.Sprintf(".blocks/%d", i)
		text := b.text
		switch {
		case b.is("file"):
			script += fmt.Sprintf("mkdir -p \"$(dirname '%s')\"; cp %s '%[1]s'\n", b.attrs["file"], file)
		case b.is("run"):
			text = strings.Repeat("\n", b.line-1) + text
			script += fmt.Sprintf("echo %d >.blocks/at; : >.blocks/failed\n", i)
			if code := b.attrs["exit"]; code != "" {
				script += fmt.Sprintf("set +e; (trap - ERR; set -e; . %s) >%[1]s.out 2>&1; code=$?; set -e\n"+
					"[ $code = %s ] || { echo \"$code\" >.blocks/wrong; exit 1; }\n", file, code)
			} else {
				script += fmt.Sprintf(". %s >%[1]s.out 2>&1\n", file)
			}
		default:
			continue
		}
		if err := os.WriteFile(filepath.Join(clone, file), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}

	script += "echo >.blocks/over yes\n"

	cmd := isolated(ctx, "bash", "-c", script)
	cmd.Dir = clone
	cmd.Env = environment(dir, bin)
	cmd.WaitDelay = 10 * time.Second
	out, err := cmd.CombinedOutput()

	said := func(name string) string {
		text, err := os.ReadFile(filepath.Join(clone, ".blocks", name))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
		return strings.TrimSpace(string(text))
	}
	var at int
	fmt.Sscan(said("at"), &at)
	printed := func(i int) string { return indent("-- printed:", said(fmt.Sprintf("%d.out", i))) }
	switch {
	case ctx.Err() != nil:
		return []string{fmt.Sprintf("%s:%d: the block is not over in time%s", page, list[at].line, printed(at))}
	case said("wrong") != "":
		return []string{fmt.Sprintf("%s:%d: the block ended with %s, not %s%s", page, list[at].line, said("wrong"), list[at].attrs["exit"], printed(at))}
	case err != nil:
		failed, _, _ := strings.Cut(said("failed"), "\n")
		var code, line int
		fmt.Sscan(failed, &code, &line)
		command := strings.SplitN(failed+"  ", " ", 3)[2]
		return []string{fmt.Sprintf("%s:%d: ended with %d, not 0: %s%s%s", page, line, code, strings.TrimSpace(command), printed(at), indent("-- and all else:", strings.TrimSpace(string(out))))}
	}
	if said("over") == "" {
		return []string{fmt.Sprintf("%s:%d: the block ends the shell, and what follows it does not run", page, list[at].line)}
	}
	for i, b := range list {
		if b.is("output") {
			got := said(fmt.Sprintf("%d.out", i-1))
			if line := missingLine(b.text, got, b.attrs["output"] == "about"); line != "" {
				problems = append(problems, fmt.Sprintf("%s:%d: this is shown, and was not printed:\n\t%s%s", page, b.line, line, indent("printed was:", got)))
			}
		}
	}
	return problems
}

func indent(title, text string) string {
	if text == "" {
		return ""
	}
	return "\n" + title + "\n\t" + strings.ReplaceAll(text, "\n", "\n\t")
}

// aClone makes what a reader has after git clone and make build, as far as pages speak of it.
func aClone(t *testing.T, dir, bin string) {
	t.Helper()
	if err := os.Symlink(bin, filepath.Join(dir, "bin")); err != nil {
		t.Fatal(err)
	}
	for _, file := range files(t, "examples", "configs", "api/sample") {
		text, err := os.ReadFile("../" + file)
		if err != nil {
			t.Fatal(err)
		}
		info, err := os.Stat("../" + file)
		if err != nil {
			t.Fatal(err)
		}
		to := filepath.Join(dir, file)
		if err := os.MkdirAll(filepath.Dir(to), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(to, text, info.Mode()); err != nil {
			t.Fatal(err)
		}
	}
}

// environment is that of a reader's shell.
func environment(dir, bin string) []string {
	return []string{
		"PATH=" + bin + ":" + os.Getenv("PATH"), "HOME=" + filepath.Join(dir, "home"), "TMPDIR=" + dir, "USER=mia",
		"LANG=C.UTF-8", "TERM=dumb", "GOMAXPROCS=2",
	}
}

var digits = regexp.MustCompile(`\d+`)

// missingLine is the first line of want that is not in got, "" if got is what is wanted: line by line,
// where … stands for anything in a line, and a line of it alone for any number of lines; if it is
// only about that, a number stands for any number.
func missingLine(want, got string, about bool) string {
	var expr strings.Builder
	expr.WriteString("^")
	got = strings.ReplaceAll(got, "\r\n", "\n") // as headers have it
	lines := strings.Split(strings.TrimRight(want, "\n"), "\n")
	for i, line := range lines {
		if strings.TrimSpace(line) == "…" {
			expr.WriteString(`(?:[^\n]*\n)*?`)
			continue
		}
		parts := strings.Split(strings.TrimRight(line, " "), "…")
		for j := range parts {
			parts[j] = regexp.QuoteMeta(parts[j])
			if about {
				parts[j] = digits.ReplaceAllString(parts[j], `\d+`)
			}
		}
		expr.WriteString(strings.Join(parts, `[^\n]*`) + ` *\n`)
		if !regexp.MustCompile(expr.String()).MatchString(got + "\n") {
			return lines[i]
		}
	}
	if !regexp.MustCompile(expr.String() + "$").MatchString(got + "\n") {
		return lines[len(lines)-1] + "\nas the last line"
	}
	return ""
}

package settings_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nekoctl/neko/worker/settings"
)

type program struct {
	*settings.Set
	listen  *string
	timeout *time.Duration
	body    *int
	conns   *int
	load    *bool
	part    *float64
	names   *[]string
}

func newProgram() program {
	s := settings.New("CAT")
	p := program{
		s,
		s.String("listen", "127.0.0.1:4000", "ADDR", "where to listen"),
		s.Duration("idle-timeout", 75*time.Second, "how long a client may be silent"),
		s.Size("max-body", 1<<20, "the largest request"),
		s.Int("max-connections", 100, "how many at most"),
		s.Bool("load", true, "load the sample"),
		s.Fraction("part", 1, "how many of them"),
		s.List("names", "NAME,...", "who they are"),
	}
	s.Alias("listen", "PORT", func(port string) (string, error) {
		if strings.Trim(port, "0123456789") != "" {
			return "", settings.BadValue(fmt.Sprintf("%q is no port", port), "write a number")
		}
		return "127.0.0.1:" + port, nil
	})
	return p
}

func (p program) String() string {
	return fmt.Sprint(*p.listen, " ", *p.timeout, " ", *p.body, " ", *p.conns, " ", *p.load)
}

// FILE in args stands for the path of the file.
func load(t *testing.T, file string, env, args []string) (program, []string, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "cat.yaml")
	if err := os.WriteFile(path, []byte(file), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, e := range append([]string{"PORT="}, env...) {
		name, value, _ := strings.Cut(e, "=")
		t.Setenv(name, strings.ReplaceAll(value, "FILE", path))
	}
	args = slices.Clone(args)
	for i := range args {
		args[i] = strings.ReplaceAll(args[i], "FILE", path)
	}
	p := newProgram()
	rest, err := p.Load(args)
	var e *settings.Error
	if errors.As(err, &e) {
		err = fmt.Errorf("%s | %s", strings.ReplaceAll(e.Error(), path, "FILE"), e.Hint())
	}
	return p, rest, err
}

func TestStrength(t *testing.T) {
	for _, c := range []struct {
		what      string
		file      string
		env, args []string
		want      string
	}{
		{"defaults", ``, nil, nil, `127.0.0.1:4000 1m15s 1048576 100 true`},
		{"file", "listen: :1\nidle_timeout: 2s\nmax_body: 2KiB\nmax_connections: 3\nload: no # not here\n", nil, []string{"--config", "FILE"}, `:1 2s 2048 3 false`},
		{"an empty file", "# nothing\n", nil, []string{"--config=FILE"}, `127.0.0.1:4000 1m15s 1048576 100 true`},
		{"environment over file", "listen: :1\nload: false", []string{"CAT_CONFIG=FILE", "CAT_LISTEN=:2", "CAT_IDLE_TIMEOUT=3s"}, nil, `:2 3s 1048576 100 false`},
		{"PORT over file", "listen: :1", []string{"PORT=2"}, []string{"--config=FILE"}, `127.0.0.1:2 1m15s 1048576 100 true`},
		{"its own variable over PORT", ``, []string{"PORT=2", "CAT_LISTEN=:3"}, nil, `:3 1m15s 1048576 100 true`},
		{"flags over all", "listen: :1", []string{"PORT=2", "CAT_LISTEN=:3"}, []string{"--config", "FILE", "--listen", ":4", "--load=false", "--max-body", "3"}, `:4 1m15s 3 100 false`},
		{"an empty variable is none", ``, []string{"CAT_LISTEN="}, nil, `127.0.0.1:4000 1m15s 1048576 100 true`},
		{"a flag alone is true", `load: false`, nil, []string{"--config=FILE", "--load"}, `127.0.0.1:4000 1m15s 1048576 100 true`},
	} {
		t.Run(c.what, func(t *testing.T) {
			p, _, err := load(t, c.file, c.env, c.args)
			if err != nil || p.String() != c.want {
				t.Errorf("%s, %v; want %s", p, err, c.want)
			}
		})
	}
}

func TestWhatIsRefused(t *testing.T) {
	for _, c := range []struct {
		what      string
		file      string
		env, args []string
		want      string
	}{
		{"an unknown key", "listen: :1\n  \nidle_timout: 1s", nil, []string{"--config=FILE"}, `FILE:3:1: unknown key "idle_timout" | did you mean "idle_timeout"?`},
		{"one like no other", "colour: red", nil, []string{"--config=FILE"}, `FILE:1:1: unknown key "colour" | see --help for what can be set`},
		{"a file in the file", "config: x", nil, []string{"--config=FILE"}, `FILE:1:1: unknown key "config" | see --help for what can be set`},
		{"a key twice", "load: true\nload: false", nil, []string{"--config=FILE"}, `FILE:2:1: "load" is already set in line 1 | keep one of them`},
		{"a bad value", "load:   maybe", nil, []string{"--config=FILE"}, `FILE:1:9: load: "maybe" is neither true nor false | write true or false`},
		{"a list", "listen: [a, b]", nil, []string{"--config=FILE"}, `FILE:1:9: listen wants one value | it must be YAML: one "key: value" a line`},
		{"nothing", "listen:", nil, []string{"--config=FILE"}, `FILE:1:8: listen wants one value | it must be YAML: one "key: value" a line`},
		{"no mapping", "- listen", nil, []string{"--config=FILE"}, `FILE:1:1: it must be one mapping of keys to values | it must be YAML: one "key: value" a line`},
		{"two documents", "load: true\n---\nload: false", nil, []string{"--config=FILE"}, `FILE: it has more than one YAML document | take out the line ---, or make two files of it`},
		{"no file", "", nil, []string{"--config=/nowhere/cat.yaml"}, `cannot read /nowhere/cat.yaml: no such file or directory | --config names the file with the settings`},
		{"a bad variable", "", []string{"CAT_IDLE_TIMEOUT=5"}, nil, `CAT_IDLE_TIMEOUT in the environment: "5" is no time span | write it like 10s or 1m30s`},
		{"a bad PORT", "", []string{"PORT=http"}, nil, `PORT in the environment: "http" is no port | write a number`},
		{"an unknown flag", "", nil, []string{"--lisen", ":1"}, `unknown flag --lisen | did you mean --listen?`},
		{"a flag without value", "", nil, []string{"--listen"}, `--listen wants a value | write --listen ADDR`},
		{"a bad flag", "", nil, []string{"--max-connections", "0"}, `--max-connections: "0" is no whole number from 1 | write it like 100`},
		{"a bad size", "", nil, []string{"--max-body", "1MB"}, `--max-body: "1MB" is no size | write it like 512KiB or 1MiB`},
	} {
		t.Run(c.what, func(t *testing.T) {
			_, _, err := load(t, c.file, c.env, c.args)
			if err == nil || err.Error() != c.want {
				t.Errorf("\n got %v\nwant %s", err, c.want)
			}
		})
	}
}

func TestFractionsAndLists(t *testing.T) {
	p, _, err := load(t, "part: 0.25\nnames: a, b  c,,", nil, []string{"--config=FILE"})
	if want := []string{"a", "b", "c"}; err != nil || *p.part != 0.25 || !slices.Equal(*p.names, want) {
		t.Errorf("%v, %q, %v", *p.part, *p.names, err)
	}
	p, _, err = load(t, "names: a", nil, []string{"--config=FILE", "--names", ""})
	if err != nil || *p.part != 1 || len(*p.names) > 0 {
		t.Errorf("%v, %q, %v", *p.part, *p.names, err)
	}
	for _, bad := range []string{"0", "-1", "1.01", "NaN", "x", ""} {
		want := fmt.Sprintf("--part: %q is no part of a whole | write 1 for all, or 0.01 for one in a hundred", bad)
		if _, _, err := load(t, "", nil, []string{"--part=" + bad}); err == nil || err.Error() != want {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func TestArguments(t *testing.T) {
	_, rest, err := load(t, "", nil, []string{"a", "--listen", ":1", "-", "--", "--listen"})
	if want := []string{"a", "-", "--listen"}; err != nil || !slices.Equal(rest, want) {
		t.Errorf("%q, %v; want %q", rest, err, want)
	}
	if _, _, err := load(t, "", nil, []string{"a", "--help"}); !errors.Is(err, settings.ErrHelp) {
		t.Error(err)
	}
}

// An option is a flag and nothing else, and the program learns that it was given.
func TestOptions(t *testing.T) {
	t.Setenv("CAT_ROLE", "hidden")
	s := settings.New("CAT")
	var roles []string
	json := false
	s.Option("role", "ROLE", func(v string) error {
		if v == "" {
			return settings.BadValue("it is empty", "write one")
		}
		roles = append(roles, v)
		return nil
	})
	s.Option("json", "", func(string) error { json = true; return nil })
	rest, err := s.Load([]string{"add", "--role", "a", "--json", "x", "--role=b"})
	if err != nil || !slices.Equal(rest, []string{"add", "x"}) || !slices.Equal(roles, []string{"a", "b"}) || !json || !slices.Equal(s.Options(), []string{"role", "json", "role"}) {
		t.Errorf("%q %q %t %q, %v", rest, roles, json, s.Options(), err)
	}
	if _, err := s.Load([]string{"--role="}); err == nil || err.Error() != "--role: it is empty" {
		t.Error(err)
	}
	if help := s.Help(); strings.Contains(help, "role") {
		t.Error(help)
	}
	file := filepath.Join(t.TempDir(), "cat.yaml")
	if err := os.WriteFile(file, []byte("role: a\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Load([]string{"--config", file}); err == nil || !strings.Contains(err.Error(), `unknown key "role"`) {
		t.Error(err)
	}
}

func TestHelp(t *testing.T) {
	want := `  --listen ADDR
        where to listen
        CAT_LISTEN or PORT, listen: in the file; default 127.0.0.1:4000
`
	if help := newProgram().Help(); !strings.Contains(help, want) {
		t.Errorf("%s", help)
	}
}

package spec

import (
	"reflect"
	"strings"
	"testing"
)

func TestParseListen(t *testing.T) {
	for in, want := range map[string]string{
		"4000": "127.0.0.1:4000", "localhost:4000": "127.0.0.1:4000", ":4000": ":4000", "*:4000": ":4000", "0": "127.0.0.1:0",
		"10.0.0.7:80": "10.0.0.7:80", "[::1]:80": "[::1]:80", "[::]:80": "[::]:80", "0.0.0.0:80": "0.0.0.0:80",
		"unix:/run/a.sock": "unix:/run/a.sock", "unix:///run/a.sock": "unix:/run/a.sock", "/run/a.sock": "unix:/run/a.sock",
		"unix:a.sock": "unix:/base/a.sock",
		"":            "", "x": "", "::1:80": "", "example.com:80": "", "1.2.3.4": "", "-1": "", "unix:": "", "+80": "", "1.2.3.4:": "",
		"unix:/" + strings.Repeat("x", 107): "",
	} {
		l, err := ParseListen(in, "/base")
		got := ""
		if err == nil {
			got = l.String()
		}
		if got != want {
			t.Errorf("%q: got %q, %v; want %q", in, got, err, want)
		}
	}
}

func TestClash(t *testing.T) {
	for _, test := range []struct {
		a, b string
		want bool
	}{
		{"80", "81", false}, {"80", "80", true}, {"80", ":80", true}, {"10.0.0.1:80", "10.0.0.2:80", false}, {"0", "0", false},
		{"[::1]:80", "127.0.0.1:80", false}, {"[::1]:80", ":80", true}, {"[::]:80", "[::1]:80", true}, {"0.0.0.0:80", "[::1]:80", false},
		{"0.0.0.0:80", "80", true}, {"unix:/a", "unix:/a", true}, {"unix:/a", "unix:/b", false}, {"unix:/a", "80", false}, {":80", "[::]:80", true},
	} {
		a, errA := ParseListen(test.a, "/")
		b, errB := ParseListen(test.b, "/")
		if errA != nil || errB != nil {
			t.Fatal(errA, errB)
		}
		if got := clash(a, b); got != test.want || clash(b, a) != got {
			t.Errorf("%s and %s: %v", a, b, got)
		}
	}
}

func TestWords(t *testing.T) {
	for in, want := range map[string][]string{
		`a  b`: {"a", "b"}, `'a b' "c d"`: {"a b", "c d"}, `a'b'"c"`: {"abc"}, `'' ""`: {"", ""}, `a\ b`: {"a b"},
		`'$x | y'`: {"$x | y"}, `"\$x \n"`: {"$x \\n"}, `--a='b c'`: {"--a=b c"}, "": nil, "\n a\tb\n": {"a", "b"},
	} {
		if got, err := Words(in); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %q, %v", in, got, err)
		}
	}
	for _, in := range []string{`'a`, `"a`, `a\`, `a | b`, `a; b`, "`a`", `$a`, `a > b`, `(a)`, "a\x00b"} {
		if got, err := Words(in); err == nil {
			t.Errorf("%s: %q, and no error", in, got)
		}
	}
}

func TestParseEnv(t *testing.T) {
	got, err := ParseEnv(".env", []byte("\ufeff# comment\n\nA=1\r\nexport B = two words # comment\nC='x # y\nz' # c\nD=\"a\\n\\\"b\\\" \\$HOME $HOME \\x\"\nE=\nF=a#b\nG=\"\"\nA=2\nH==\n"))
	want := map[string]string{"A": "2", "B": "two words", "C": "x # y\nz", "D": "a\n\"b\" $HOME $HOME \\x", "E": "", "F": "a#b", "G": "", "H": "="}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%q, %v", got, err)
	}
	_, err = ParseEnv(".env", []byte("A=1\nB\n1C=1\nD='a' b\nLISTEN_FDS=3\nE='\n"))
	want2 := `.env:2: expected KEY=VALUE | a line that is no setting starts with #
.env:3: "1C" is no name of a variable: expected letters, digits, underscores
.env:4: D: "b" follows the closing quote
.env:5: LISTEN_FDS is set by neko itself, for each process
.env:6: E: the ' quote is not closed`
	if show(err) != want2 {
		t.Errorf("%s", show(err))
	}
}

func TestNearest(t *testing.T) {
	for word, want := range map[string]string{"instances": "instances", "instnces": "instances", "intsances": "instances", "Listen": "listen",
		"listn": "listen", "env-file": "env_file", "commnad": "command", "zzzzzz": "", "": ""} {
		if got := Nearest(word, Keys()); got != want {
			t.Errorf("%s: %q, want %q", word, got, want)
		}
	}
}

// Two servers of one interpreter are two apps.
func TestNameOfAScript(t *testing.T) {
	for line, want := range map[string]string{"node a.js --x": "a", "python3 /srv/b.py": "b", "node --inspect a.js": "node", "./server a": "server", "sh x.sh": "x"} {
		words, _ := Words(line)
		app := App{Command: words}
		if app.Complete("/"); app.Name != want {
			t.Errorf("%s: %q, want %q", line, app.Name, want)
		}
	}
}

func TestNameFrom(t *testing.T) {
	for in, want := range map[string]string{"./server": "server", "/a/my app.js": "my-app", "node": "node", ".hidden": "hidden", "a.b.c": "a.b"} {
		if got := nameFrom(in); got != want {
			t.Errorf("%s: %q, want %q", in, got, want)
		}
	}
}

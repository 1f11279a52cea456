package shape

import (
	"bufio"
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/nekoctl/neko/pm2/object"
	"github.com/nekoctl/neko/scripts/npm"
)

func TestInspect(t *testing.T) {
	for _, c := range []struct{ json, want string }{
		{`[]`, `[]`},
		{`{}`, `{}`},
		{`null`, `null`},
		{`-0`, `-0`},
		{`1.50`, `1.5`},
		{`1e21`, `1e+21`},
		{`{"a":1,"b":[],"c":{}}`, `{ a: 1, b: [], c: {} }`},
		{`{"feature.on":true,"_":"x","1a":0,"a-b":null,"__proto__":{}}`, `{ 'feature.on': true, _: 'x', '1a': 0, 'a-b': null, ['__proto__']: {} }`},
		{`["it's","\"it's\"","` + "`" + `\"it's\"","\u0000\n\\\u007f"]`, `[ "it's", ` + "`" + `"it's"` + "`" + `, '` + "`" + `"it\'s"', '\x00\n\\\x7F' ]`},
		{`[1,2,3,4,5,6,7]`, "[\n  1, 2, 3, 4,\n  5, 6, 7\n]"},
		{`{"a":{"b":{"c":{}}}}`, `{ a: { b: { c: {} } } }`},
		{`{"a":{"b":{"c":{"d":1}}}}`, "{\n  a: { b: { c: { d: 1 } } }\n}"},
		{`["a\nb"]`, `[ 'a\nb' ]`},
	} {
		value, err := object.Parse([]byte(c.json))
		if err != nil {
			t.Fatal(err)
		}
		if got := Inspect(value); got != c.want {
			t.Errorf("%s is\n%s\nwant\n%s", c.json, got, c.want)
		}
	}
}

// failer is a test, or one value of a property.
type failer interface {
	Fatal(...any)
	Errorf(string, ...any)
}

// node prints JSON values as Node does: each by util.inspect, by JSON.stringify, and by
// JSON.stringify with an indentation.
type node struct {
	in  *bufio.Writer
	out *bufio.Reader
}

func startNode(t *testing.T) *node {
	t.Helper()
	cmd := exec.Command(npm.Node(t, "node"), "-e", `
		const {inspect} = require('util')
		require('readline').createInterface({input: process.stdin}).on('line', line => {
			const v = JSON.parse(line)
			console.log(JSON.stringify([inspect(v, false, null, false), JSON.stringify(v), JSON.stringify(v, '', 2), String(v)]))
		})`)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		in.Close()
		cmd.Wait()
	})
	return &node{bufio.NewWriter(in), bufio.NewReaderSize(out, 1<<20)}
}

func (n *node) prints(t failer, text string) (inspected, line, lines, asString string) {
	n.in.WriteString(text + "\n")
	if err := n.in.Flush(); err != nil {
		t.Fatal(err)
	}
	answer, err := n.out.ReadBytes('\n')
	if err != nil {
		t.Fatal(err)
	}
	var all [4]string
	if err := json.Unmarshal(answer, &all); err != nil {
		t.Fatal(err)
	}
	return all[0], all[1], all[2], all[3]
}

func TestValuesArePrintedAsNodePrintsThem(t *testing.T) {
	n := startNode(t)
	n.compare(t, Stringify(all(listOfPM2s(t))))
	n.compare(t, `[-0,1e400,-1e400,1e-7,123456789012345678901234567890,5e-324,0.000001,1E3,1.0]`)
	for _, long := range []string{"long😀", "lon\n😀", "1234\n", "four"} {
		n.compare(t, Stringify([]any{strings.Repeat(long, 1000), strings.Repeat(long, 2000), strings.Repeat(long, 2501)}))
	}
	rapid.Check(t, func(t *rapid.T) {
		text := drawJSON(t, 0)
		n.compare(t, text)
	})
}

// compare says where what we print differs from what Node prints.
func (n *node) compare(t failer, text string) {
	value, err := object.Parse([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	inspected, line, lines, asString := n.prints(t, text)
	if got := Inspect(value); got != inspected {
		t.Errorf("%s\nwas inspected as\n%s\nwant\n%s", text, got, inspected)
	}
	var one, many bytes.Buffer
	stringify(&one, value, "", "")
	stringify(&many, value, "\n", "  ")
	if one.String() != line {
		t.Errorf("%s became\n%s\nwant\n%s", text, one.String(), line)
	}
	if many.String() != lines {
		t.Errorf("%s became\n%s\nwant\n%s", text, many.String(), lines)
	}
	if got := Text(value); got != asString {
		t.Errorf("%s as a string is %q, want %q", text, got, asString)
	}
}

func drawJSON(t *rapid.T, depth int) string {
	kinds := []string{"string", "number", "word", "object", "array", "numbers", "strings"}
	if depth > 5 {
		kinds = kinds[:3]
	}
	switch rapid.SampledFrom(kinds).Draw(t, "kind") {
	case "string":
		return drawString(t)
	case "number":
		return drawNumber(t)
	case "word":
		return rapid.SampledFrom([]string{"true", "false", "null"}).Draw(t, "word")
	case "object":
		members := []string{}
		for _, key := range rapid.SliceOfNDistinct(rapid.OneOf(
			rapid.StringMatching(`[a-zA-Z_][a-zA-Z0-9_]{0,30}`),
			rapid.StringMatching(`[a-z '"$.:é-]{1,9}x`)), 0, 9, rapid.ID).Draw(t, "keys") {
			quoted, _ := json.Marshal(key)
			members = append(members, string(quoted)+":"+drawJSON(t, depth+1))
		}
		return "{" + strings.Join(members, ",") + "}"
	case "numbers":
		return drawArray(t, 120, func() string { return drawNumber(t) })
	case "strings":
		return drawArray(t, 30, func() string { return drawString(t) })
	}
	return drawArray(t, 9, func() string { return drawJSON(t, depth+1) })
}

func drawArray(t *rapid.T, most int, member func() string) string {
	members := make([]string, rapid.IntRange(0, most).Draw(t, "members"))
	for i := range members {
		members[i] = member()
	}
	return "[" + strings.Join(members, ",") + "]"
}

func drawNumber(t *rapid.T) string {
	var text []byte
	switch rapid.IntRange(0, 2).Draw(t, "size") {
	case 0:
		text, _ = json.Marshal(rapid.IntRange(-9, 100).Draw(t, "small"))
	case 1:
		text, _ = json.Marshal(rapid.Int64Range(-1e15, 1e15).Draw(t, "large"))
	case 2:
		text, _ = json.Marshal(rapid.Float64Range(-1e30, 1e30).Draw(t, "fraction"))
	}
	return string(text)
}

func drawString(t *rapid.T) string {
	s := rapid.OneOf(
		rapid.StringMatching(`[a-z/.-]{0,20}`),
		rapid.StringMatching("[a-c'\"`${}\\\\]{0,12}"),
		rapid.StringMatching(`[a-z \n]{0,120}`),
		rapid.StringOfN(rapid.RuneFrom([]rune("aéö日本語😀\u0000\b\t\v\f\r\u001b\u007f\u009f\u00a0\u2028\ufeff")), 0, 100, -1),
	).Draw(t, "string")
	quoted, _ := json.Marshal(s)
	return string(quoted)
}

func FuzzInspect(f *testing.F) {
	f.Add(`[{"a":["x",1,null]}]`)
	f.Fuzz(func(t *testing.T, text string) {
		value, err := object.Parse([]byte(text))
		if err != nil {
			return
		}
		Inspect(value)
		var b bytes.Buffer
		stringify(&b, value, "\n", "  ")
		again, err := object.Parse(b.Bytes())
		if err != nil {
			t.Fatalf("%s: %v", b.String(), err)
		}
		if Stringify(again) != Stringify(value) {
			t.Errorf("%q became another value once it was written", text)
		}
	})
}

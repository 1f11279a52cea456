package logtext

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/slogtest"
	"time"
)

func TestLines(t *testing.T) {
	for name, c := range map[string]struct {
		options Options
		say     func(l *slog.Logger)
		want    string
	}{
		"what is said":           {say: func(l *slog.Logger) { l.Info("it serves") }, want: "it serves\n"},
		"a warning":              {say: func(l *slog.Logger) { l.Warn("it is old") }, want: "warning: it is old\n"},
		"an error":               {say: func(l *slog.Logger) { l.Error("it broke") }, want: "error: it broke\n"},
		"details":                {say: func(l *slog.Logger) { l.Debug("x") }, want: ""},
		"details that are asked": {options: Options{Level: slog.LevelDebug}, say: func(l *slog.Logger) { l.Debug("x") }, want: "debug: x\n"},
		"less":                   {options: Options{Level: slog.LevelError}, say: func(l *slog.Logger) { l.Warn("x") }, want: ""},
		"the reason": {
			say:  func(l *slog.Logger) { l.Warn("it stays", "request_id", "7", Reason, errors.New("no such file")) },
			want: "warning: it stays: no such file (request_id=7)\n",
		},
		"what to do": {
			say:  func(l *slog.Logger) { l.Error("it broke", Hint, "mend it", "n", 3) },
			want: "error: it broke (n=3)\nhint: mend it\n",
		},
		"nothing to do": {say: func(l *slog.Logger) { l.Error("it broke", Hint, "") }, want: "error: it broke\n"},
		"a stack": {
			say:  func(l *slog.Logger) { l.Error("panic", Reason, "boom", "stack", "a()\n\tb.go:1\n", "request_id", "7") },
			want: "error: panic: boom (request_id=7)\na()\n\tb.go:1\n",
		},
		"what could be taken for something else": {
			say:  func(l *slog.Logger) { l.Info("m", "a", "x y", "b", "", "c", `"`, "d", "k=v", "e", "\x1b[2J") },
			want: `m (a="x y" b="" c="\"" d="k=v" e="\x1b[2J")` + "\n",
		},
		"groups": {
			say: func(l *slog.Logger) {
				l.With("a", 1).WithGroup("g").With("b", 2).Info("m", slog.Group("h", "c", time.Second))
			},
			want: "m (a=1 g.b=2 g.h.c=1s)\n",
		},
		"what the sentence has": {
			options: Options{Name: "neko: "},
			say: func(l *slog.Logger) {
				l.With("slot", Said(0)).Info("api:0 is away", "app", Said("api"), Reason, "gone", "n", 1)
			},
			want: "neko: api:0 is away: gone (n=1)\n",
		},
	} {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			c.say(slog.New(New(&out, c.options)))
			if out.String() != c.want {
				t.Errorf("got:\n%s\nwant:\n%s", out.String(), c.want)
			}
		})
	}
}

// Two who derive from one handler do not write into each other's attributes.
func TestDerivedApart(t *testing.T) {
	var out bytes.Buffer
	l := Logger(&out).With("a", 1)
	one, two := l.With("b", 2), l.With("b", 3)
	one.Info("one")
	two.Info("two", "c", 4)
	one.Info("one")
	if want := "one (a=1 b=2)\ntwo (a=1 b=3 c=4)\none (a=1 b=2)\n"; out.String() != want {
		t.Errorf("got:\n%s", out.String())
	}
}

// Other handlers write it.
func TestSaidElsewhere(t *testing.T) {
	var out bytes.Buffer
	slog.New(slog.NewJSONHandler(&out, nil)).Info("api:0 is away", "slot", Said(0))
	if !strings.Contains(out.String(), `"slot":0`) {
		t.Error(out.String())
	}
}

// It is a handler as log/slog wants one; what it writes is read here as a table of keys.
func TestIsAHandler(t *testing.T) {
	var out bytes.Buffer
	slogtest.Run(t, func(*testing.T) slog.Handler {
		out.Reset()
		return New(&out, Options{Time: time.RFC3339Nano})
	}, func(t *testing.T) map[string]any { return read(t, out.String()) })
}

// read is the one line that was written, as slogtest wants it.
func read(t *testing.T, line string) map[string]any {
	t.Helper()
	all := map[string]any{}
	line = strings.TrimSuffix(line, "\n")
	if head, rest, ok := strings.Cut(line, " "); ok {
		if at, err := time.Parse(time.RFC3339Nano, head); err == nil {
			all[slog.TimeKey], line = at, rest
		}
	}
	message, attrs, _ := strings.Cut(line, " (")
	all[slog.LevelKey], all[slog.MessageKey] = slog.LevelInfo, message
	for _, pair := range strings.Fields(strings.TrimSuffix(attrs, ")")) {
		key, value, _ := strings.Cut(pair, "=")
		in := all
		for {
			group, rest, more := strings.Cut(key, ".")
			if !more {
				in[key] = value
				break
			}
			if in[group] == nil {
				in[group] = map[string]any{}
			}
			in, key = in[group].(map[string]any), rest
		}
	}
	return all
}

func TestPrintable(t *testing.T) {
	for text, want := range map[string]string{
		"":                           "",
		"no table malware":           "no table malware",
		"Größe":                      "Größe",
		"a\nerror: b\t\x1b[2Jc":      "a.error: b..[2Jc",
		"a\u202eb\u200dc\u2028\xffd": "a.b.c..d",
		"a letter of 3 bytes, €":     "a letter of 3 bytes, ",
	} {
		if got := Printable(text, 21); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
	if got := Printable("€", 0); got != "" {
		t.Errorf("nothing: %q", got)
	}
}

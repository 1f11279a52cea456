package monit

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/nekoctl/neko/supervisor/logs"
)

// The log is followed over a rotation, and who has scrolled back stays where he is.
func TestTheLog(t *testing.T) {
	dir := t.TempDir()
	out, errs := filepath.Join(dir, "neko-api-out-0.log"), filepath.Join(dir, "neko-api-error-0.log")
	n := 0
	add := func(path string, lines int) {
		t.Helper()
		f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		for range lines {
			fmt.Fprintf(f, "line %03d.\n", n)
			n++
		}
	}
	add(out, 40)
	x := busy1(t, 80, 24)
	x.options.Logs = func(_ context.Context, app string, slot int) ([]logs.Source, error) {
		if app != "neko-api" {
			return nil, nil
		}
		return []logs.Source{{Name: logs.Name{App: app}, Path: out}, {Name: logs.Name{App: app, Err: true}, Path: errs}}, nil
	}
	look := func() {
		t.Helper()
		x.run(x.log.look(x.model))
		x.tick()
	}
	x.run(x.log.open(x.model))
	x.has("line 039.", "line 033.")
	add(out, 1)
	add(errs, 1)
	look()
	x.has("│ line 040.", "┃ line 041.")

	x.press("tab", "up", "up", "up")
	x.has("line 038.", "3 below, end follows")
	x.lacks("line 039.")
	add(out, 2)
	if err := os.Rename(out, out+".1"); err != nil { // rotated
		t.Fatal(err)
	}
	add(out, 2)
	look()
	x.has("line 038.", "7 below")
	x.lacks("line 039.")
	x.press("end")
	x.has("│ line 045.", "┃ line 041.", "│ line 042.")

	x.press("l", "l") // standard error only
	x.has("┃ line 041.")
	x.lacks("line 045.")
	x.press("l", "/", "L", "i", "n", "e", " ", "0", "0", "[", "7", "8", "]", "enter")
	x.has("›│ line 008.")
	x.press("n")
	x.has("›│ line 007.")
	x.press("n")
	x.has("no more matches")
	x.press("N")
	x.has("›│ line 008.")
	x.press("/", "0", "1", "[", "enter") // no regular expression, so it is a text
	x.lacks("›│ line")

	// Another one's log is another.
	x.press("tab", "tab", "end")
	look()
	x.has("nothing was printed")
}

// Of a log that is longer than what is read at first, the rest comes when it is wanted.
func TestTheBeginningOfALog(t *testing.T) {
	path := filepath.Join(t.TempDir(), "neko-api-out-0.log")
	var text []byte
	for i := range 3 * firstLines {
		text = fmt.Appendf(text, "line %04d.\n", i)
	}
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	x := busy1(t, 80, 24)
	x.options.Logs = func(context.Context, string, int) ([]logs.Source, error) {
		return []logs.Source{{Name: logs.Name{App: "neko-api"}, Path: path}}, nil
	}
	x.run(x.log.open(x.model))
	x.has("line 1499.")
	x.press("tab", "home")
	x.press("home")
	x.has("line 0000.")
	if !x.log.whole {
		t.Error("it is looked for more")
	}
}

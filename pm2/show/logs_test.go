package show

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestTheEndOfAFileIsPrintedAsPM2PrintsIt(t *testing.T) {
	dir := t.TempDir()
	lines := []string{"tick 0", "", "\x1b[31mred\x1b[39m", "日本 | %s"}
	path := filepath.Join(dir, "web-out.log")
	if err := os.WriteFile(path, []byte("not asked for\n"+strings.Join(lines, "\n")+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	empty := filepath.Join(dir, "empty.log")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for form, s := range styles {
		p := startPM2(t, s)
		for _, c := range []struct {
			kind  Kind
			title string
			id    int
			name  string
			raw   bool
			path  string
			lines []string
		}{
			{Out, "0|web", 0, "web", false, path, lines},
			{Err, "12|longer-than-ten", 12, "longer-than-ten", false, path, lines},
			{Err, "0|web", 0, "web", true, path, lines},
			{Out, "0|web", 0, "web", true, path, lines},
			{Daemon, "PM2", 0, "", false, path, lines},
			{Out, "0|web", 0, "web", false, empty, nil},
		} {
			var out, errors bytes.Buffer
			Tail(&out, &errors, c.path, c.kind, c.id, c.name, c.lines, 4, c.raw, s)
			wantOut, wantErrors := p.prints(t, s, request{"what": "tail", "lines": 4, "raw": c.raw,
				"files": []any{map[string]any{"path": c.path, "app_name": c.title, "type": c.kind}}})
			if out.String() != wantOut || errors.String() != wantErrors {
				t.Errorf("%s, %+v: got %q and %q, want %q and %q", form, c, out.String(), errors.String(), wantOut, wantErrors)
			}
		}
	}
}

func TestTailingNamesWhatWasAskedFor(t *testing.T) {
	for form, s := range styles {
		p := startPM2(t, s)
		for _, target := range []string{"all", "web", "0"} {
			var got bytes.Buffer
			Tailing(&got, 15, target, s)
			if want, _ := p.prints(t, s, request{"what": "logs", "id": target, "lines": 15, "list": []any{}}); got.String() != want {
				t.Errorf("%s, %s: got %q, want %q", form, target, got.String(), want)
			}
		}
	}
}

func TestEntriesArePrintedAsPM2PrintsThem(t *testing.T) {
	for form, s := range styles {
		t.Run(form, func(t *testing.T) {
			p := startPM2(t, s)
			rapid.Check(t, func(t *rapid.T) {
				entries, events := drawEntries(t)
				stamp, highlight := "", rapid.SampledFrom([]string{"", "tick", "ä"}).Draw(t, "highlight")
				if rapid.Bool().Draw(t, "stamped") {
					stamp = "[at noon]" // in brackets: text, in PM2's format
				}
				for i := range entries {
					entries[i].Stamp = strings.Trim(stamp, "[]")
				}
				raw := rapid.Bool().Draw(t, "raw")
				for _, what := range []string{"stream", "format", "json"} {
					stream := Stream{Style: s, Highlight: highlight, Raw: raw}
					ask := request{"what": what, "events": events, "raw": raw && what == "stream", "highlight": highlight}
					if stamp != "" {
						ask["stamp"] = stamp
					}
					var out, errors bytes.Buffer
					for _, e := range entries {
						switch what {
						case "format":
							stream.Format(&out, e)
						case "json":
							stream.JSON(&out, e)
						default:
							stream.Line(&out, &errors, e)
						}
					}
					wantOut, wantErrors := p.prints(t, s, ask)
					same(t, out.String(), wantOut)
					same(t, errors.String(), wantErrors)
				}
			})
		})
	}
}

func drawEntries(t *rapid.T) (entries []Entry, events []any) {
	for range rapid.IntRange(0, 6).Draw(t, "entries") {
		e := Entry{
			ID:   rapid.IntRange(0, 120).Draw(t, "id"),
			Name: rapid.StringMatching(`[a-z]{1,12}`).Draw(t, "name"),
			Kind: rapid.SampledFrom([]Kind{Out, Err, Daemon}).Draw(t, "kind"),
			Time: time.UnixMilli(rapid.Int64Range(1.7e12, 1.8e12).Draw(t, "time")),
			Text: rapid.SampledFrom([]string{"", "tick tick", "%s is ä", `"quoted" \`, "\x1b[1mbold"}).Draw(t, "text"),
		}
		process := map[string]any{"pm_id": e.ID, "name": e.Name}
		if e.Kind == Daemon {
			process = map[string]any{"pm_id": "PM2", "name": "PM2"}
		}
		entries = append(entries, e)
		events = append(events, map[string]any{"type": e.Kind, "data": e.Text, "at": e.Time.UnixMilli(), "process": process})
	}
	return entries, events
}

func TestAnEventIsPrintedAmongTheLinesAsJSON(t *testing.T) {
	p := startPM2(t, Style{})
	var got bytes.Buffer
	at := time.UnixMilli(1795435407628)
	(&Stream{}).Event(&got, at, "online", "web")
	want, _ := p.prints(t, Style{}, request{"what": "json", "events": []any{
		map[string]any{"event": "online", "at": at.UnixMilli(), "process": map[string]any{"name": "web"}}}})
	if got.String() != want {
		t.Errorf("got %q, want %q", got.String(), want)
	}
}

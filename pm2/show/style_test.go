package show

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestColoursAreOnWherePM2HasThem(t *testing.T) {
	p := startPM2(t, Style{})
	rapid.Check(t, func(t *rapid.T) {
		env := map[string]string{}
		for name, values := range map[string][]string{
			"FORCE_COLOR": {"", "0", "1", "false", "true", "3"},
			"NO_COLOR":    {"", "1"},
			"COLORTERM":   {"", "truecolor", "ansi", "yes"},
			"CI":          {"", "true"},
			"TERM":        {"dumb", "xterm", "xterm-256color"},
			"PM2_HOME":    {"", "/home/app/.pm2"},
		} {
			if rapid.Bool().Draw(t, name+"?") {
				env[name] = rapid.SampledFrom(values).Draw(t, name)
			}
		}
		args := rapid.SliceOfN(rapid.SampledFrom([]string{"list", "--no-color", "--color", "--color=always", "--color=false", "--colors"}), 0, 2).Draw(t, "args")
		terminal := rapid.Bool().Draw(t, "terminal")
		getenv := func(name string) (string, bool) { v, set := env[name]; return v, set }
		s := NewStyle(getenv, args, terminal, 80)
		want, _ := p.prints(t, Style{}, request{"what": "colour", "local": env, "args": args, "terminal": terminal})
		if got := fmt.Sprintln(s.Color); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
		if s.Frame && !s.Color || s.Width != map[bool]int{true: 80}[terminal] {
			t.Errorf("got %+v", s)
		}
	})
}

func TestAProgramsOwnArgumentsDoNotDecideOnColours(t *testing.T) {
	none := func(string) (string, bool) { return "", false }
	if s := NewStyle(none, []string{"start", "x", "--", "--no-color"}, true, 80); !s.Color || !s.Frame {
		t.Errorf("got %+v", s)
	}
}

// A word that does not fit is cut, and its colour ends with it.
func TestAColourEndsWhereItsWordIsCut(t *testing.T) {
	s := Style{Color: true}
	if got, want := fit(s.status("waiting restart"), 11), " \x1b[31m\x1b[1mwaiting …\x1b[22m\x1b[39m "; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestWhatCommandsSayIsColouredAndCut(t *testing.T) {
	for _, c := range []struct {
		s    Style
		want string
	}{
		{Style{}, "[PM2] [web](0) done\n"},
		{Style{Color: true}, "\x1b[32m[PM2] \x1b[39m[web](0) done\n"},
		{Style{Width: 12}, "[PM2] [web]…\x1b[0m\n"},
		{Style{Color: true, Width: 12}, "\x1b[32m[PM2] \x1b[39m[web]…\x1b[0m\n"},
		{Style{Width: 19}, "[PM2] [web](0) done\n"},
	} {
		var b bytes.Buffer
		c.s.Print(&b, c.s.Green("[PM2] ")+"[web](0) done")
		if b.String() != c.want {
			t.Errorf("%+v: got %q, want %q", c.s, b.String(), c.want)
		}
	}
	all := Style{Color: true}
	text := all.Yellow("y") + all.Red("r") + all.Blue("b") + all.Cyan("c") + all.Bold("B") + all.Gray("g")
	if want := "\x1b[33my|\x1b[31mr|\x1b[34mb|\x1b[36mc|\x1b[1mB|\x1b[90mg|"; strings.NewReplacer("\x1b[39m", "|", "\x1b[22m", "|").Replace(text) != want {
		t.Errorf("got %q", text)
	}
}

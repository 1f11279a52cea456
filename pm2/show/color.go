package show

import (
	"regexp"
	"slices"
	"time"
)

// NewStyle decides on colours as PM2 does. They are on for a terminal, and also in a
// pipe if one of PM2_HOME, COLORTERM and CI is set, which surprises but is what
// scripts get from PM2. NO_COLOR, --no-color and FORCE_COLOR have the last word. What
// follows "--" in args is not ours.
func NewStyle(getenv func(string) (value string, set bool), args []string, terminal bool, width int) Style {
	if i := slices.Index(args, "--"); i >= 0 {
		args = args[:i]
	}
	value := func(name string) string { v, _ := getenv(name); return v }
	force, forced := getenv("FORCE_COLOR")
	forced = forced || slices.ContainsFunc(args, wanted.MatchString)
	dumb := value("TERM") == "dumb"

	s := Style{Now: time.Now()}
	switch {
	case force == "0" || force == "false" || value("NO_COLOR") != "" || slices.ContainsFunc(args, declined.MatchString):
	case forced:
		s.Color, s.Frame = true, true
	default:
		s.Color = slices.Contains([]string{"24bit", "truecolor", "ansi256", "ansi"}, value("COLORTERM")) || value("CI") != "" ||
			(terminal || value("PM2_HOME") != "") && !dumb
		s.Frame = s.Color && terminal && !dumb
	}
	if terminal {
		s.Width = width
	}
	return s
}

var (
	wanted   = regexp.MustCompile(`^--color=?(true|always)?$`)
	declined = regexp.MustCompile(`^--(no-color|color=(false|never))$`)
)

package monit

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/nekoctl/neko/supervisor/control"
)

// none is shown for a figure that is not there.
const none = "–"

func isGone(err error) bool { return errors.Is(err, control.ErrNoDaemon) }

// short is a number in at most five columns.
func short(v float64) string {
	for _, unit := range []string{"", "k", "M", "G", "T"} {
		digits := 0
		if unit != "" && v < 99.95 {
			digits = 1
		}
		if text := strconv.FormatFloat(v, 'f', digits, 64); v < 9999.5 && unit == "" || v < 999.95 {
			return text + unit
		}
		v /= 1000
	}
	return strconv.FormatFloat(v, 'g', 2, 64)
}

// rateOf is how often a second.
func rateOf(v Value) string {
	switch {
	case !v.is:
		return none
	case v.v == 0:
		return "0"
	case v.v < 0.1:
		return "<0.1"
	case v.v < 9.95:
		return strconv.FormatFloat(v.v, 'f', 1, 64)
	}
	return short(v.v)
}

func numberOf(v Value) string {
	if !v.is {
		return none
	}
	return short(v.v)
}

func percentOf(v Value) string {
	if !v.is {
		return none
	}
	return strconv.FormatFloat(v.v, 'f', 1, 64) + "%"
}

func ratioOf(v Value) string {
	if !v.is {
		return none
	}
	return strconv.FormatFloat(100*v.v, 'f', 1, 64) + "%"
}

// bytesOf are bytes as PM2 writes them: 1024 each step.
func bytesOf(v Value) string {
	if !v.is {
		return none
	}
	value, units := v.v, []string{"b", "kb", "mb", "gb", "tb"}
	for value >= 1024 && len(units) > 1 {
		value, units = value/1024, units[1:]
	}
	return strconv.FormatFloat(value, 'f', 1, 64) + units[0]
}

// tookOf is a duration of a request.
func tookOf(v Value) string {
	switch {
	case !v.is:
		return none
	case v.under > 0:
		return "<" + tookOf(some(v.under))
	case v.v < 0.001:
		return strconv.FormatFloat(v.v*1e6, 'f', 0, 64) + "µs"
	case v.v < 0.01:
		return strconv.FormatFloat(v.v*1e3, 'f', 2, 64) + "ms"
	case v.v < 0.1:
		return strconv.FormatFloat(v.v*1e3, 'f', 1, 64) + "ms"
	case v.v < 1:
		return strconv.FormatFloat(v.v*1e3, 'f', 0, 64) + "ms"
	}
	return strconv.FormatFloat(v.v, 'f', 2, 64) + "s"
}

// span1 is a time to the largest unit.
func span1(seconds float64) string {
	s := int64(max(0, seconds))
	switch {
	case s < 60:
		return fmt.Sprintf("%ds", s)
	case s < 3600:
		return fmt.Sprintf("%dm", s/60)
	case s < 48*3600:
		return fmt.Sprintf("%dh", s/3600)
	}
	return fmt.Sprintf("%dd", s/86400)
}

// span2 is a time to the two largest units.
func span2(seconds float64) string {
	s := int64(max(0, seconds))
	switch {
	case s < 60:
		return fmt.Sprintf("%ds", s)
	case s < 3600:
		return fmt.Sprintf("%dm %ds", s/60, s%60)
	case s < 86400:
		return fmt.Sprintf("%dh %dm", s/3600, s/60%60)
	}
	return fmt.Sprintf("%dd %dh", s/86400, s/3600%24)
}

// fit is a printable text cut to a width.
func fit(s string, room int) string {
	s = printable(s)
	if width(s) <= room {
		return s
	}
	var b strings.Builder
	for _, r := range s {
		if room -= runeWidth(r); room < 1 {
			break
		}
		b.WriteRune(r)
	}
	return b.String() + "…"
}

package main

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/nekoctl/neko/supervisor/logs"
)

// lineStyle is how `nekoctl logs` shows a line.
type lineStyle struct {
	out                  terminal
	raw, json, timestamp bool
}

// colors of the apps' names.
var prefixColors = []color{"36", "32", "35", "34", "33", "96", "92", "95"}

// print shows a line that was printed at a time.
func (f *lineStyle) print(l logs.Name, at time.Time, text []byte) error {
	var line []byte
	switch {
	case f.json:
		kind := "out"
		if l.Err {
			kind = "err"
		}
		object, err := json.Marshal(struct {
			Timestamp time.Time `json:"timestamp"`
			Type      string    `json:"type"`
			App       string    `json:"app_name"`
			Slot      int       `json:"slot"`
			Message   string    `json:"message"`
		}{at, kind, l.App, l.Slot, string(text)})
		if err != nil {
			return err
		}
		line = object
	default:
		if f.timestamp {
			line = at.Local().AppendFormat(line, "2006-01-02T15:04:05 ")
		}
		if !f.raw {
			line = append(append(line, f.prefix(l)...), ' ')
		}
		line = append(line, text...)
	}
	_, err := f.out.Write(append(line, '\n'))
	return err
}

func (f *lineStyle) prefix(l logs.Name) string {
	sum := 0
	for _, c := range l.App {
		sum += int(c)
	}
	paint := prefixColors[sum%len(prefixColors)]
	if l.Err {
		paint = red
	}
	name := l.App
	if l.Slot >= 0 { // else it is of all slots
		name += ":" + strconv.Itoa(l.Slot)
	}
	return f.out.paint(paint, name+" |")
}

// since reads a time of day, a date or how long ago: 10m, 2h, 1d.
func since(text string, now time.Time) (time.Time, error) {
	days, isDays := strings.CutSuffix(text, "d")
	if n, err := strconv.Atoi(days); isDays && err == nil && n >= 0 {
		return now.AddDate(0, 0, -n), nil
	}
	if ago, err := time.ParseDuration(text); err == nil && ago >= 0 {
		return now.Add(-ago), nil
	}
	for _, form := range []string{time.RFC3339, "2006-01-02T15:04:05", "2006-01-02 15:04:05", "2006-01-02 15:04", "2006-01-02"} {
		if t, err := time.ParseInLocation(form, text, now.Location()); err == nil {
			return t, nil
		}
	}
	for _, form := range []string{"15:04:05", "15:04"} {
		if t, err := time.ParseInLocation(form, text, now.Location()); err == nil {
			return time.Date(now.Year(), now.Month(), now.Day(), t.Hour(), t.Minute(), t.Second(), 0, now.Location()), nil
		}
	}
	return time.Time{}, fmt.Errorf("expected how long ago (10m, 2h, 1d) or a time (2026-01-31 15:04), not %q", text)
}

// grep is whether a line matches, nil for no pattern.
func grep(pattern string) (func([]byte) bool, error) {
	if pattern == "" {
		return nil, nil
	}
	re, err := regexp.Compile(pattern)
	if err != nil {
		return nil, err
	}
	return re.Match, nil
}

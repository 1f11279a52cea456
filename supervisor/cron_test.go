package supervisor

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func in(t *testing.T, zone, text string) time.Time {
	t.Helper()
	location, err := time.LoadLocation(zone)
	if err != nil {
		t.Fatal(err)
	}
	at, err := time.ParseInLocation("2006-01-02 15:04", text, location)
	if err != nil {
		t.Fatal(err)
	}
	return at
}

func TestCronKnowsNightsWithAnHourMoreOrLess(t *testing.T) {
	for _, x := range []struct {
		about, zone, expression, from string
		want                          []string
	}{
		{"every night", "UTC", "0 3 * * *", "2026-01-01 00:00", []string{"01-01 03:00", "01-02 03:00"}},
		{"a night without 02:30", "Europe/Berlin", "30 2 * * *", "2026-03-28 12:00", []string{"03-29 03:00", "03-30 02:30"}},
		{"a night with two", "Europe/Berlin", "30 2 * * *", "2026-10-24 12:00", []string{"10-25 02:30", "10-26 02:30"}},
		{"all that is missing is due once", "Europe/Berlin", "0,30 2 * * *", "2026-03-28 12:00", []string{"03-29 03:00", "03-30 02:00"}},
		{"every quarter of an hour goes by the time that passes", "Europe/Berlin", "*/30 * * * *", "2026-10-25 01:45",
			[]string{"10-25 02:00", "10-25 02:30", "10-25 02:00", "10-25 02:30", "10-25 03:00"}},
		{"a day that begins at one", "America/Sao_Paulo", "0 0 * * *", "2018-11-03 12:00", []string{"11-04 01:00", "11-05 00:00"}},
		{"a day that is missing", "Pacific/Apia", "0 12 * * *", "2011-12-29 13:00", []string{"12-31 00:00", "12-31 12:00"}},
		{"a leap day", "UTC", "0 0 29 2 *", "2026-01-01 00:00", []string{"02-29 00:00"}},
		{"never", "UTC", "0 0 31 2 *", "2026-01-01 00:00", []string{""}},
	} {
		at := in(t, x.zone, x.from)
		for _, want := range x.want {
			at = nextDue(x.expression, at)
			got := ""
			if !at.IsZero() {
				got = at.Format("01-02 15:04")
			}
			if got != want {
				t.Errorf("%s: %s in %s is due at %s, want %s", x.about, x.expression, x.zone, got, want)
			}
		}
	}
}

// fieldOf is a field of a cron expression, and which values it means.
type fieldOf struct {
	text string
	has  func(int) bool
}

func (f fieldOf) GoString() string { return f.text }

func drawField(rt *rapid.T, name string, least, most int) fieldOf {
	n := rapid.IntRange(least, most).Draw(rt, name)
	to := rapid.IntRange(n, most).Draw(rt, name+" to")
	step := rapid.IntRange(1, most).Draw(rt, name+" step")
	switch rapid.SampledFrom([]string{"all", "step", "one", "one", "range", "list"}).Draw(rt, name+" form") {
	case "step":
		return fieldOf{fmt.Sprintf("*/%d", step), func(v int) bool { return (v-least)%step == 0 }}
	case "one":
		return fieldOf{strconv.Itoa(n), func(v int) bool { return v == n }}
	case "range":
		return fieldOf{fmt.Sprintf("%d-%d", n, to), func(v int) bool { return n <= v && v <= to }}
	case "list":
		return fieldOf{fmt.Sprintf("%d,%d", n, to), func(v int) bool { return v == n || v == to }}
	}
	return fieldOf{"*", func(int) bool { return true }}
}

var zones = []string{"UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "America/Sao_Paulo", "Asia/Beirut", "Pacific/Apia",
	"Asia/Kolkata", "Africa/Cairo", "Antarctica/Troll", "America/St_Johns", "Africa/Casablanca"}

// drawMoment is one in these zones, mostly near a change of the clock.
func drawMoment(rt *rapid.T) time.Time {
	zone, err := time.LoadLocation(rapid.SampledFrom(zones).Draw(rt, "zone"))
	if err != nil {
		rt.Fatal(err)
	}
	at := time.Unix(60*rapid.Int64Range(1_200_000_000/60, 1_900_000_000/60).Draw(rt, "minute"), 0).In(zone)
	if _, change := at.ZoneBounds(); !change.IsZero() && change.Year() < 2038 && rapid.IntRange(0, 3).Draw(rt, "near a change") > 0 {
		at = change.In(zone).Add(-time.Duration(rapid.IntRange(0, 40*60).Draw(rt, "before")) * time.Minute)
	}
	return at
}

// The reference looks at a clock on the wall minute by minute.
func TestCronIsDueWhenAClockOnTheWallSaysSo(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		minute, hour := drawField(rt, "minutes", 0, 59), drawField(rt, "hours", 0, 23)
		day, weekday := drawField(rt, "days", 1, 31), drawField(rt, "weekdays", 0, 6)
		if rapid.Bool().Draw(rt, "every day") {
			day, weekday = fieldOf{"*", func(int) bool { return true }}, fieldOf{"*", func(int) bool { return true }}
		}
		matches := func(shown time.Time) bool {
			d, w := day.has(shown.Day()), weekday.has(int(shown.Weekday()))
			days := d && w
			if !strings.HasPrefix(day.text, "*") && !strings.HasPrefix(weekday.text, "*") {
				days = d || w
			}
			return days && minute.has(shown.Minute()) && hour.has(shown.Hour())
		}
		allDay := strings.HasPrefix(hour.text, "*")
		from := drawMoment(rt)
		seen := map[time.Time]bool{} // on the clock
		for t := from.Add(-3 * time.Hour); !t.After(from); t = t.Add(time.Minute) {
			seen[face(t)] = true
		}
		due := func(t time.Time) bool {
			switch {
			case allDay:
				return matches(face(t))
			case seen[face(t)]:
				return false
			}
			seen[face(t)] = true
			for shown := face(t.Add(-time.Minute)).Add(time.Minute); !shown.After(face(t)); shown = shown.Add(time.Minute) {
				if matches(shown) {
					return true
				}
			}
			return false
		}
		expression := strings.Join([]string{minute.text, hour.text, day.text, "*", weekday.text}, " ")
		end := from.Add(60 * time.Hour)
		at := from
		for t := from.Add(time.Minute); t.Before(end); t = t.Add(time.Minute) {
			if !due(t) {
				continue
			}
			if at = nextDue(expression, at); !at.Equal(t) {
				rt.Fatalf("%s from %v is due at %v, and the next is %v", expression, from, t, at)
			}
		}
		if at = nextDue(expression, at); !at.IsZero() && at.Before(end) {
			rt.Fatalf("%s from %v is not due at %v", expression, from, at)
		}
	})
}

// tick is what happens until the next look: the nap, and to the clock or the
// machine something else.
type tick struct {
	what string
	by   time.Duration
}

// Whatever clock and machine do: nothing is due twice, and nothing is forgotten
// that a look could see.
func TestEachDueTimeIsAnsweredAtMostOnceAndNoneIsForgotten(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		now := drawMoment(rt).UTC()
		minutes := rapid.SampledFrom([]int{1, 2, 5, 30}).Draw(rt, "every")
		s := schedule{expression: fmt.Sprintf("*/%d * * * *", minutes)}
		period := time.Duration(minutes) * time.Minute
		ticks := rapid.SliceOfN(rapid.Custom(func(rt *rapid.T) tick {
			what := rapid.SampledFrom([]string{"nap", "nap", "nap", "late", "suspended", "forward", "back"}).Draw(rt, "what")
			most := map[string]time.Duration{"nap": 0, "late": 3 * time.Second, "suspended": 50 * time.Hour, "forward": 50 * time.Hour, "back": wrongClock}[what]
			return tick{what, time.Duration(rapid.Int64Range(0, int64(most)).Draw(rt, "by"))}
		}), 1, 200).Draw(rt, "ticks")
		due, nap := s.look(now)
		if due {
			rt.Fatal("what is past is made up for")
		}
		dueBetween := func(a, b time.Time) bool { return !b.Truncate(period).Before(a) && b.Truncate(period).After(a) }
		var answered time.Time // the latest, by the clock
		for _, k := range ticks {
			before := now
			if now = now.Add(nap + k.by); k.what == "back" {
				now = before.Add(nap - k.by)
			}
			if answered.Sub(now) > wrongClock { // it was another clock
				answered = time.Time{}
			}
			if due, nap = s.look(now); nap <= 0 || nap > longestNap {
				rt.Fatalf("look again in %v", nap)
			}
			switch {
			case due && !dueBetween(answered, now):
				rt.Fatalf("%s: due at %v, and was answered at %v", k.what, now, answered)
			case !due && dueBetween(slices.MaxFunc([]time.Time{answered, before}, time.Time.Compare), now):
				rt.Fatalf("%s: not due at %v, last looked at %v", k.what, now, before)
			case due:
				answered = now
			}
		}
	})
}

func TestAClockThatWasWrongForALongTimeLosesNothing(t *testing.T) {
	s := schedule{expression: "0 3 * * *"}
	wrong := time.Date(2031, 5, 1, 2, 59, 59, 0, time.UTC)
	s.look(wrong)
	if due, _ := s.look(wrong.Add(time.Second)); !due {
		t.Error("not due at three")
	}
	right := time.Date(2026, 5, 1, 2, 59, 0, 0, time.UTC)
	if due, nap := s.look(right); due || nap != time.Minute {
		t.Errorf("due %v, look again in %v", due, nap)
	}
	if due, _ := s.look(right.Add(time.Minute)); !due {
		t.Error("not due at three by the right clock")
	}
}

package show

import (
	"bytes"
	"regexp"
	"strings"
	"testing"
)

func TestTheReportHasTheFormOfPM2s(t *testing.T) {
	for form, s := range styles {
		s = styled(s)
		p := startPM2(t, s)
		list := fixtures(t)
		daemon := map[string]any{"pm2_version": "7.0.4", "node_version": "20.20.2", "user": "root", "uid": 0, "gid": 0,
			"started_at": s.Now.UnixMilli() - 150_000}
		want, _ := p.prints(t, s, request{"what": "report", "list": list, "daemon": daemon})

		// What is of this machine, and where PM2 would have it sent, are taken from there.
		r := Reported{List: list, Conclusion: "Please read it first."}
		section := &r.Daemon
		for _, line := range strings.Split(escapes.ReplaceAllString(want, ""), "\n") {
			switch name, value, isField := strings.Cut(line, " : "); {
			case strings.HasPrefix(line, "--- CLI"):
				section = &r.CLI
			case strings.HasPrefix(line, "--- System"):
				section = &r.System
			case strings.HasPrefix(line, "Please"):
				r.Conclusion = line
			case isField && !strings.HasPrefix(line, "Date"):
				*section = append(*section, Field{strings.TrimRight(name, " "), value})
			}
		}
		var got bytes.Buffer
		Report(&got, r, s)
		// There is no log of a daemon.
		tail := regexp.MustCompile("(?m)^.* last 20 lines:.*\n")
		t.Run(form, func(t *testing.T) { same(t, tail.ReplaceAllString(got.String(), ""), want) })
	}
}

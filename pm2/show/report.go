package show

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/nekoctl/neko/pm2/object"
)

// Reported is what `pm2 report` is made of. PM2's fields are:
type Reported struct {
	// pm2d version, node version, node path, argv, argv0, user, uid, gid and uptime
	// ("2min"); none: the daemon did not answer.
	Daemon []Field
	// local pm2, and the same from node version to gid.
	CLI []Field
	// arch, platform, type, cpus, cpus nb, freemem, totalmem (in bytes) and home.
	System     []Field
	List       []*object.Object
	DaemonLog  string   // its path
	LastLines  []string // of it, 20 at most
	Conclusion string   // where to send it
}

// Field is a line of a report.
type Field struct{ Name, Value string }

// Report is all that is known, for whoever is to help.
func Report(w io.Writer, r Reported, s Style) {
	heading := func(title string) {
		line := "--- " + title + " "
		fmt.Fprintln(w, line+strings.Repeat("-", max(reportWidth-units(line), 0)))
	}
	field := func(f Field) { fmt.Fprintf(w, "%-20s : %s\n", f.Name, f.Value) }
	section := func(title string, fields []Field) {
		heading(s.paint(title, bold, blue))
		for _, f := range fields {
			field(f)
		}
	}
	end := func() { fmt.Fprintln(w, strings.Repeat("=", reportWidth)) }

	fmt.Fprint(w, "\n\n\n```\n")
	heading("PM2 report")
	field(Field{"Date", date(s.Now)})
	end()
	if len(r.Daemon) > 0 {
		section("Daemon", r.Daemon)
	}
	end()
	section("CLI", r.CLI)
	end()
	section("System info", r.System)
	end()
	section("PM2 list", nil)
	Table(w, r.List, s, "")
	end()
	section("Daemon logs", nil)
	Tail(w, w, r.DaemonLog, Daemon, 0, "", r.LastLines, 20, false, s)
	fmt.Fprint(w, "```\n\n\n")
	fmt.Fprintln(w, s.paint(r.Conclusion, bold, green))
	fmt.Fprint(w, "\n\n")
}

const reportWidth = 79

// date is how JavaScript writes a time that becomes text.
func date(t time.Time) string {
	zone, _ := t.Zone()
	if t.Location() == time.UTC || zone == "UTC" {
		zone = "Coordinated Universal Time"
	}
	return t.Format("Mon Jan 02 2006 15:04:05 GMT-0700") + " (" + zone + ")"
}

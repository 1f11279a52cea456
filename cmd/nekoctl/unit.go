package main

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/nekoctl/neko/configs"
	"github.com/nekoctl/neko/supervisor/home"
)

// unit is a systemd unit that startup writes.
type unit struct {
	name    string // "neko-deploy.service"
	file    string
	user    string // that its daemon runs as
	system  bool   // else it is one of the user's own service manager
	home    home.Dir
	program string
	as      naming
}

// naming is how things are called by whoever is called nekoctl, or pm2.
type naming struct {
	command, variable, folder, unit string
}

var (
	asNeko = naming{"nekoctl", "NEKO_HOME", ".neko", "neko"}
	asPM2  = naming{"pm2", "PM2_HOME", ".pm2", "pm2"}
)

// unitMark begins each unit that startup has written, and no other.
const unitMark = "# Written by nekoctl startup"

// lifeKeys are those by which systemd leads the daemon's life. They are as in
// configs/systemd/neko.service. What that unit takes from apps for safety is not
// taken here: they are to be what they were in the shell that started them.
//
// Its bounds of start and stop are not taken either: they fit apps that are known.
var lifeKeys = []string{"Type", "NotifyAccess", "WatchdogSec", "FileDescriptorStoreMax",
	"KillMode", "Restart", "RestartSec", "OOMPolicy", "LimitNOFILE"}

func (u *unit) text() string {
	var b strings.Builder
	line := func(key, value string) { fmt.Fprintf(&b, "%s=%s\n", key, value) }
	edit := "systemctl edit " + u.name
	if !u.system {
		edit = "systemctl --user edit " + u.name
	}
	fmt.Fprintf(&b, "%s; %s unstartup removes it, and\n# startup writes it anew. Changes of your own: %s\n\n", unitMark, u.as.command, edit)
	line("[Unit]\nDescription", "neko process supervisor of "+strings.ReplaceAll(u.user, "%", "%%"))
	for key, value := range assignments("[Unit]") {
		// A user's manager knows nothing of the network.
		if key != "Description" && (u.system || key != "Wants" && key != "After") {
			line(key, value)
		}
	}
	b.WriteString("\n[Service]\n")
	if u.system {
		line("User", u.user)
	}
	line("Environment", unitWord(u.as.variable+"="+string(u.home)))
	line("ExecStart", unitWord(u.program)+" resurrect --no-daemon")
	line("ExecReload", unitWord(u.program)+" reload all")
	b.WriteString("# Each app has bounds of its own: listen_timeout, drain_timeout, kill_timeout. A\n# task that others wait for may take its time.\n")
	line("TimeoutStartSec", "infinity")
	line("TimeoutStopSec", "5min")
	for key, value := range assignments("[Service]") {
		if slices.Contains(lifeKeys, key) {
			line(key, value)
		}
	}
	target := "multi-user.target"
	if !u.system {
		target = "default.target"
	}
	line("\n[Install]\nWantedBy", target)
	return b.String()
}

// assignments are those of a section of configs/systemd/neko.service.
func assignments(section string) func(yield func(key, value string) bool) {
	return func(yield func(key, value string) bool) {
		in := ""
		for line := range strings.Lines(configs.Unit) {
			line = strings.TrimSpace(line)
			key, value, found := strings.Cut(line, "=")
			switch {
			case strings.HasPrefix(line, "["):
				in = line
			case in == section && found && !strings.HasPrefix(line, "#"):
				if !yield(key, value) {
					return
				}
			}
		}
	}
}

// unitWord is a word of a unit's value, as systemd.syntax(7) has it.
func unitWord(s string) string {
	s = strings.ReplaceAll(s, "%", "%%")
	if !strings.ContainsAny(s, " \t\n\r\"'\\;") {
		return s
	}
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`, "\r", `\r`, "\t", `\t`).Replace(s) + `"`
}

// unrunnable is what systemd takes no path of a program with, however quoted.
const unrunnable = `"'\*?[]`

// serviceName makes a unit's name of what was given.
func serviceName(name string) (string, error) {
	name = strings.TrimSuffix(name, ".service")
	bad := strings.Trim(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789:-_.")
	if name == "" || len(name) > 200 || bad != "" || filepath.Base(name) != name {
		return "", fmt.Errorf("expected a name of letters, digits, dots, dashes, underscores, not %s", quote(name))
	}
	return name + ".service", nil
}

// Package ecosystem reads PM2's process files (ecosystem.config.js and its like),
// the keys of its apps, and its dump, and makes of them what neko runs.
//
// A file may be a program in JavaScript or TypeScript, which a runtime that is there
// evaluates, or JSON as JavaScript allows it, YAML or TOML. What it has for an app is a
// [Config]: PM2's keys under their canonical names, as they were given. [Config.App]
// makes a [spec.App] of it, by PM2's defaults for whoever calls the program pm2, or else
// by neko's. What each key is here says the table in keys.go.
package ecosystem

import (
	"io"
	"strings"
)

// Options are what is known beside the file.
type Options struct {
	// Cwd is the folder of the caller, absolute: what is relative is so to it. Home is
	// $PM2_HOME or $NEKO_HOME, where logs and pids are by default.
	Cwd, Home string
	// Logs and PIDs are the folders of logs and pids; "": those of Home.
	Logs, PIDs string
	// Environ is the environment of the caller, as os.Environ gives it.
	Environ []string
	// Env is the NAME of --env: env_NAME is put over env.
	Env string
	// Only are the names of the apps that count; none: all.
	Only []string
	// Args are the words of the caller's command line, for files that look at
	// process.argv.
	Args []string
	// PM2 says that PM2's defaults hold. Else neko's do, and only what was written
	// counts.
	PM2 bool
	// NamesOnly reads nothing but the file: whether programs and folders are there is not
	// looked at, and nothing is made. For commands that only want to know which apps a
	// file is about.
	NamesOnly bool
	// Node asks a program of Node's for its version, as `node --version` prints it;
	// nil: no version is known.
	Node func(program string) (version string)
	// Note is told what is worth to be known, Warn what will not be as the file has it;
	// nil: nobody.
	Note, Warn func(text string)
	// Output gets what a file prints when it is evaluated; nil: nobody does.
	Output io.Writer
}

func (o *Options) note(text string) {
	if o.Note != nil {
		o.Note(text)
	}
}

func (o *Options) warn(text string) {
	if o.Warn != nil {
		o.Warn(text)
	}
}

// format is the language of a process file.
type format int

const (
	formatNone format = iota
	formatJSON
	formatYAML
	formatTOML
	formatProgram // JavaScript or TypeScript
)

// endings are PM2's, and after them ours. PM2 looks for them anywhere in a name, in
// this order.
var endings = []struct {
	ending string
	format format
	last   bool // only at the end of the name
}{
	{".json", formatJSON, false},
	{".yml", formatYAML, false},
	{".yaml", formatYAML, false},
	{".config.js", formatProgram, false},
	{".config.cjs", formatProgram, false},
	{".config.mjs", formatProgram, false},
	{".toml", formatTOML, true},
	{".config.ts", formatProgram, true},
	{".config.cts", formatProgram, true},
	{".config.mts", formatProgram, true},
}

func formatOf(name string) format {
	for _, e := range endings {
		if e.last && strings.HasSuffix(name, e.ending) || !e.last && strings.Contains(name, e.ending) {
			return e.format
		}
	}
	return formatNone
}

// IsFile says whether a name on the command line is that of a process file, by PM2's
// rule, and not of a program or an app.
func IsFile(name string) bool { return formatOf(name) != formatNone }

// Candidates are the names of the files that are looked for where none is given, in the
// order in which they are.
func Candidates() []string {
	var names []string
	for _, base := range []string{"ecosystem", "pm2"} {
		for _, ending := range []string{".config.js", ".config.cjs", ".config.mjs", ".config.ts", ".config.json", ".config.yaml", ".config.yml"} {
			names = append(names, base+ending)
		}
		if base == "ecosystem" {
			names = append(names, base+".json", base+".yaml", base+".yml", base+".toml")
		}
	}
	return append(names, "process.json", "process.yml", "process.yaml")
}

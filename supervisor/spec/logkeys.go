package spec

import (
	"fmt"
	"path/filepath"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v4"
)

func rotateFields(r *Rotate) []field {
	return []field{
		{"size", "How large a file may get; 0: however large.", "size", func(p *parser, v *yaml.Node) { p.size(v, &r.Size) }},
		{"every", "How old a file may get; 0: however old.", "duration", func(p *parser, v *yaml.Node) { p.duration(v, &r.Every) }},
		{"keep", "How many files are kept beside the one that is written.", "number", func(p *parser, v *yaml.Node) { p.number(v, &r.Keep) }},
		{"gzip", "They are compressed.", "bool", func(p *parser, v *yaml.Node) { p.bool(v, &r.Gzip) }},
	}
}

// logRotate is false, or a mapping.
func (p *parser) logRotate(d *draft, v *yaml.Node) {
	if v.Kind == yaml.ScalarNode {
		rotate := true
		if p.bool(v, &rotate); !rotate {
			d.LogRotate.Size, d.LogRotate.Every = 0, 0
		}
		return
	}
	p.fields(v, rotateFields(&d.LogRotate))
}

// minLogSize keeps a mistake in a size from making a file of each line.
const minLogSize = 4 << 10

func (a *App) checkLogs(add func(key string, err *Error)) {
	for _, f := range []struct{ key, path string }{
		{"out_file", a.OutFile}, {"error_file", a.ErrorFile}, {"log_file", a.AllFile}, {"pid_file", a.PIDFile},
	} {
		if f.path != "" && !filepath.IsAbs(f.path) || strings.ContainsRune(f.path, 0) {
			add(f.key, &Error{Message: expected("an absolute path", f.path)})
		}
	}
	if a.LogType != "raw" && a.LogType != "json" {
		add("log_type", &Error{Message: expected("raw or json", a.LogType)})
	}
	if len(a.LogDateFormat) > 100 || strings.ContainsAny(a.LogDateFormat, "\n\x00") {
		add("log_date_format", &Error{Message: expected("a line of at most 100 bytes", a.LogDateFormat)})
	}
	r := a.LogRotate
	switch {
	case r.Size < 0 || r.Size > 0 && r.Size < minLogSize:
		add("log_rotate", &Error{Message: fmt.Sprintf("size: %d bytes are too few, the least is %d", r.Size, minLogSize)})
	case r.Keep < 0 || r.Keep > 1000:
		add("log_rotate", &Error{Message: "keep: " + expected("a number from 0 to 1000", strconv.Itoa(r.Keep))})
	case r.Every < 0 || r.Every > 0 && r.Every.D().Seconds() < 1:
		add("log_rotate", &Error{Message: "every: " + expected("a time from 1s", r.Every.D().String())})
	}
}

package supervisor

import (
	"context"
	"fmt"
	"log"
	"log/slog"
	"strings"
)

// log writes a line of neko.log. Of what the sentence names, apps, slots, pids and
// errors are told by themselves where the log is JSON, and with what is about an app
// the trace of the command that works on it.
func (m *master) log(format string, args ...any) {
	if m.facts == nil {
		log.Printf(format, args...)
		return
	}
	level := slog.LevelInfo
	if strings.HasPrefix(format, "BUG: ") {
		level = slog.LevelError
	}
	var attrs []slog.Attr
	var about *app
	for _, arg := range args {
		switch v := arg.(type) {
		case *app:
			about = v
		case *slot:
			about = v.app
			attrs = append(attrs, slog.Int("slot", v.index))
		case pid:
			attrs = append(attrs, slog.Int("pid", int(v)))
		case error:
			level = max(level, slog.LevelWarn)
			attrs = append(attrs, slog.String("err", v.Error()))
		}
	}
	if about != nil {
		attrs = append(attrs, slog.String("app", about.name))
		if trace := about.trace.Load(); trace != nil {
			attrs = append(attrs, slog.String("trace_id", trace.Trace), slog.String("span_id", trace.Span))
		}
	}
	m.facts.LogAttrs(context.Background(), level, fmt.Sprintf(format, args...), attrs...)
}

// pid is one in a line of the log.
type pid int

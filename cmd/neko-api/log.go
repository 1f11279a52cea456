package main

import (
	"fmt"
	"io"
	"log/slog"

	"github.com/nekoctl/neko/logtext"
	"github.com/nekoctl/neko/worker/settings"
)

// logging are the settings of what the program says of itself.
type logging struct{ format, level *string }

func newLogging(s *settings.Set) logging {
	return logging{
		format: s.String("log-format", "text", "text|json", "how what neko-api says on standard error is written: lines for people, or JSON with the ids of request and trace"),
		level:  s.String("log-level", "info", "LEVEL", "what is said at all: debug, info, warn or error, and all that is worse"),
	}
}

// logger writes to w what the settings say.
func (l logging) logger(w io.Writer) (*slog.Logger, error) {
	levels := map[string]slog.Level{"debug": slog.LevelDebug, "info": slog.LevelInfo, "warn": slog.LevelWarn, "error": slog.LevelError}
	level, ok := levels[*l.level]
	if !ok {
		return nil, usageError{fmt.Sprintf("--log-level: %q is no level", *l.level), "write debug, info, warn or error"}
	}
	switch *l.format {
	case "text":
		return slog.New(logtext.New(w, logtext.Options{Level: level})), nil
	case "json":
		return slog.New(slog.NewJSONHandler(w, &slog.HandlerOptions{Level: level})), nil
	}
	return nil, usageError{fmt.Sprintf("--log-format: %q is no format", *l.format), "write text or json"}
}

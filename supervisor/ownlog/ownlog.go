// Package ownlog is how keeper and master write neko.log: lines for people, or, with
// NEKO_LOG_FORMAT=json in the environment that the daemon was started in, an object a
// line, for collectors.
package ownlog

import (
	"io"
	"log"
	"log/slog"
	"os"
)

// Variable is where the format is looked up: "json", or anything else for text.
const Variable = "NEKO_LOG_FORMAT"

// Open has package log write to w. Who is "keeper" or "master". What it returns is for
// lines with facts beside the sentence, nil if nobody would read them: the format is text.
func Open(w io.Writer, who string) *slog.Logger {
	if os.Getenv(Variable) == "json" {
		l := slog.New(slog.NewJSONHandler(w, nil)).With("process", who)
		slog.SetDefault(l) // and package log with it
		return l
	}
	log.SetOutput(w)
	log.SetFlags(log.LstdFlags)
	log.SetPrefix(map[string]string{"keeper": "neko keeper: ", "master": "neko: "}[who])
	return nil
}

package main

import (
	"context"
	"log/slog"
	"os"
	"strconv"
	"time"

	"go.opentelemetry.io/otel/attribute"

	"github.com/nekoctl/neko/tracing/otlp"
)

// tracesGoodbye is how long spans are sent after a drain: they must not keep the process
// from ending.
const tracesGoodbye = time.Second

// openTraces makes what spans are sent by, nil if nobody wants any.
func openTraces(endpoint string, logger *slog.Logger) (*otlp.Provider, error) {
	attrs := []attribute.KeyValue{attribute.Int("process.pid", os.Getpid())}
	if app, slot := os.Getenv("NEKO_APP"), os.Getenv("NEKO_SLOT"); app != "" && slot != "" {
		attrs = append(attrs, attribute.String("neko.app", app), attribute.String("neko.worker", slot))
	}
	if host, err := os.Hostname(); err == nil {
		attrs = append(attrs, attribute.String("host.name", host), attribute.String("service.instance.id", host+"/"+strconv.Itoa(os.Getpid())))
	}
	return otlp.Open(otlp.Options{
		Service: "neko-api", Version: programVersion(), Endpoint: endpoint, Attributes: attrs, Log: logger,
	})
}

// endTraces sends what there still is. What cannot be sent in time is lost, and no error.
func endTraces(p *otlp.Provider) {
	ctx, cancel := context.WithTimeout(context.Background(), tracesGoodbye)
	defer cancel()
	_ = p.Shutdown(ctx)
}

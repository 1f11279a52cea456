package main

import (
	"os"
	"strconv"
	"time"

	"github.com/nekoctl/neko/pm2/ecosystem"
	"github.com/nekoctl/neko/supervisor/spec"
)

// app makes an app of what a file or a command line says. PM2's daemon takes some
// defaults from its environment; here they are those of the command that starts an
// app.
func (f *face) app(c *ecosystem.Config) (spec.App, error) {
	app, err := c.App(f.ecosystem())
	if err != nil {
		return app, err
	}
	for _, d := range []struct {
		variable, key string
		value         *spec.Duration
	}{
		{"PM2_KILL_TIMEOUT", "kill_timeout", &app.KillTimeout},
		{"PM2_GRACEFUL_LISTEN_TIMEOUT", "listen_timeout", &app.ListenTimeout},
	} {
		if ms, err := strconv.Atoi(os.Getenv(d.variable)); err == nil && ms > 0 && !c.Has(d.key) {
			*d.value = spec.Duration(time.Duration(ms) * time.Millisecond)
		}
	}
	if signal := os.Getenv("PM2_KILL_SIGNAL"); signal != "" {
		app.StopSignal = signal
	}
	if os.Getenv("PM2_KILL_USE_MESSAGE") != "" && app.Node != spec.NodeNone && !c.Has("shutdown_with_message") {
		app.ShutdownWithMessage = true
	}
	return app, app.CheckValues()
}

// parallel is how many processes are replaced at a time, 0 if nobody has said.
func (f *face) parallel() int {
	for _, text := range []string{f.line.given.last("parallel"), os.Getenv("PM2_CONCURRENT_ACTIONS")} {
		if n, err := strconv.Atoi(text); err == nil && n > 0 {
			return n
		}
	}
	return 0
}

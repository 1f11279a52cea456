// Package monit shows what the apps of a daemon do: live on a terminal, once as text,
// or as JSON. It asks the daemon what anybody can ask by its control socket, once a
// second, and counts itself what has happened in between; of the master's insides it
// knows nothing.
//
// rates.go is how figures are made, state.go what is known at a time, model.go what the
// screen is at and keys.go what changes it, draw.go how it looks.
package monit

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	tea "charm.land/bubbletea/v2"

	"github.com/nekoctl/neko/supervisor/control"
	"github.com/nekoctl/neko/supervisor/logs"
)

// Options are what a screen is begun with.
type Options struct {
	Interval time.Duration // between two looks
	Filter   string        // of the names of apps
	NoColor  bool
	// Logs are the logs of an app, or of one of its workers (slot ≥ 0). They may be asked
	// for while there is no daemon.
	Logs func(ctx context.Context, app string, slot int) ([]logs.Source, error)
}

// frames is how often a second at most the screen is drawn, after keys. The renderer
// wakes up so often even if nothing is to be drawn.
const frames = 20

// Run shows the screen until its user has enough, ctx ends, or the terminal is gone.
// The terminal is then as it was.
func Run(ctx context.Context, d Daemon, o Options, in io.Reader, out io.Writer) error {
	m := newModel(ctx, d, o)
	p := tea.NewProgram(m, tea.WithContext(ctx), tea.WithInput(in), tea.WithOutput(out), tea.WithFPS(frames), tea.WithoutSignalHandler())
	m.send = p.Send
	// The renderer knows two of these, and after SIGINT it closes the terminal's reader without waiting for its end.
	end := make(chan os.Signal, 1)
	signal.Notify(end, syscall.SIGHUP, syscall.SIGINT, syscall.SIGTERM)
	defer signal.Stop(end)
	ended := make(chan struct{})
	defer close(ended)
	go func() {
		select {
		case <-end:
			p.Quit()
		case <-ended:
		}
	}()
	listening, enough := context.WithCancel(ctx)
	defer enough()
	go listen(listening, d, func(e control.Event) { p.Send(eventMsg(e)) })
	_, err := p.Run()
	m.closeLogs()
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// listen tells what happens, until ctx ends. Where a daemon has ended the next one is asked.
func listen(ctx context.Context, d Daemon, tell func(control.Event)) {
	request := control.EventsRequest{Last: pastEvents, Follow: true}
	for ctx.Err() == nil {
		_ = d.Events(ctx, request, func(e control.Event) error { // that there is no daemon says the screen
			request.Last = 0
			tell(e)
			return nil
		}, nil)
		select {
		case <-time.After(2 * time.Second):
		case <-ctx.Done():
		}
	}
}

// matches says whether an app's name has what is looked for in it, however it is
// written.
func matches(a *App, filter string) bool {
	return filter == "" || strings.Contains(strings.ToLower(a.Shown()), strings.ToLower(filter)) ||
		strings.Contains(strings.ToLower(a.Namespace), strings.ToLower(filter))
}

// Text is one frame of plain text: what has happened between two looks.
func Text(ctx context.Context, d Daemon, o Options, columns int) (string, error) {
	st, err := once(ctx, d, o)
	if err != nil {
		return "", err
	}
	return textOf(st, columns), nil
}

// Watch calls show with what is known at each interval, until that fails or ctx ends.
// Without follow it is called once.
func Watch(ctx context.Context, d Daemon, o Options, follow bool, show func(*State) error) error {
	if !follow {
		st, err := once(ctx, d, o)
		if err != nil {
			return err
		}
		return show(st)
	}
	var w watch
	tick := time.NewTicker(o.Interval)
	defer tick.Stop()
	for first := true; ; first = false {
		s, err := take(ctx, d, time.Now)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			return err
		}
		if st := w.state(s); !first {
			if err := show(filtered(st, o.Filter)); err != nil {
				return err
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// once looks twice, for rates are of what happens in between.
func once(ctx context.Context, d Daemon, o Options) (*State, error) {
	var w watch
	s, err := take(ctx, d, time.Now)
	if err != nil {
		return nil, err
	}
	if first := filtered(w.state(s), o.Filter); len(first.Apps) == 0 && o.Filter != "" {
		return nil, &control.Error{Message: fmt.Sprintf("no app has %q in its name or namespace", o.Filter), Hint: "nekoctl list shows all"}
	}
	select {
	case <-time.After(o.Interval):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if s, err = take(ctx, d, time.Now); err != nil {
		return nil, err
	}
	return filtered(w.state(s), o.Filter), nil
}

func filtered(st *State, filter string) *State {
	list := []*App{}
	for _, a := range st.Apps {
		if matches(a, filter) {
			list = append(list, a)
		}
	}
	st.Apps = list
	return st
}

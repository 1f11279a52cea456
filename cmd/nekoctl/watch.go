package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/nekoctl/neko/supervisor/control"
)

// watching is a command that shows what is there again and again.
type watching struct {
	what  string // "nekoctl list"
	every time.Duration
	json  bool
	frame func(ctx context.Context, c *cli) error // shows it once, on c.out
}

const leastEvery, mostEvery = 100 * time.Millisecond, time.Hour

func addWatchFlag(cmd *cobra.Command, every *string) {
	cmd.Flags().StringVar(every, "watch", "", "")
	cmd.Flags().Lookup("watch").NoOptDefVal = "1s"
}

// parseEvery reads a time, or a number of seconds as watch(1) has it; 0 is none.
func parseEvery(command, text string) (time.Duration, error) {
	if text == "" {
		return 0, nil
	}
	return parseInterval(command, "--watch", text, leastEvery, mostEvery)
}

// parseInterval reads a flag that says how often, as a time or a number of seconds.
func parseInterval(command, flag, text string, least, most time.Duration) (time.Duration, error) {
	d, err := time.ParseDuration(text)
	if err != nil {
		d, err = time.ParseDuration(text + "s")
	}
	if err != nil || d < least || d > most {
		return 0, misuse(command, "%s: expected a time from %v to %v, not %s", flag, least, most, quote(text))
	}
	return d, nil
}

// watch shows frames until somebody has seen enough: at the same place of a terminal, and
// else one after the other. That there is no daemon at present, or another, does not end
// it.
func (c *cli) watch(ctx context.Context, client *control.Client, w watching) error {
	// What an earlier daemon has left is taken over now; nothing is begun later.
	if _, err := client.Ping(ctx); err != nil && !errors.Is(err, control.ErrNoDaemon) {
		return err
	}
	client.Revive = nil
	if c.out.live && !w.json {
		return c.watchLive(ctx, w)
	}
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	for first := true; ; first = false {
		if !first && !w.json {
			fmt.Fprintln(c.out)
		}
		if !w.json {
			fmt.Fprintln(c.out, time.Now().Format(time.RFC3339))
		}
		err := w.frame(ctx, c)
		switch {
		case ctx.Err() != nil:
			return nil
		case c.out.Writer.(*checked).err != nil:
			return c.out.Writer.(*checked).err
		case err != nil:
			c.report(err)
		}
		if !wait(ctx, w.every) {
			return nil
		}
	}
}

// wait is false if ctx is over before d is.
func wait(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

const (
	// The other screen, without a cursor; and back.
	enterScreen = "\x1b[?1049h\x1b[?25l"
	leaveScreen = "\x1b[?25h\x1b[?1049l"
	// What is between these is shown at once, by terminals that know them.
	beginFrame = "\x1b[?2026h\x1b[H"
	endFrame   = "\x1b[J\x1b[?2026l"
)

// watchLive shows frames on the other screen of a terminal, and leaves it as it was,
// whatever ends the watching.
func (c *cli) watchLive(ctx context.Context, w watching) error {
	signals := make(chan os.Signal, 4)
	caught := []os.Signal{os.Interrupt, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT, syscall.SIGTSTP, syscall.SIGWINCH}
	signal.Notify(signals, caught...)
	defer signal.Stop(signals)
	keys := newKeys()
	enter := func() {
		keys.take()
		fmt.Fprint(c.out, enterScreen)
	}
	leave := func() {
		fmt.Fprint(c.out, leaveScreen)
		keys.giveBack()
	}
	enter()
	defer leave()
	tick := time.NewTicker(w.every)
	defer tick.Stop()
	for {
		if err := c.drawFrame(ctx, w); err != nil {
			return err
		}
		select {
		case <-tick.C:
		case key := <-keys.pressed:
			if key == 'q' {
				return nil
			}
		case <-ctx.Done():
			return nil
		case s := <-signals:
			switch s {
			case syscall.SIGWINCH: // it is drawn anew
			case os.Interrupt: // that is how it ends
				return nil
			case syscall.SIGTSTP:
				leave()
				signal.Reset(syscall.SIGTSTP)
				_ = unix.Kill(0, unix.SIGTSTP) // and here it goes on after SIGCONT
				signal.Notify(signals, syscall.SIGTSTP)
				enter()
			default:
				return exitCode(128 + int(s.(syscall.Signal)))
			}
		}
	}
}

// drawFrame draws a frame over the one before, so that nothing flickers.
func (c *cli) drawFrame(ctx context.Context, w watching) error {
	var text bytes.Buffer
	frame := *c
	width, height := c.out.size()
	frame.out = terminal{Writer: &checked{Writer: &text}, width: width, color: c.out.color}
	frame.err = frame.out
	if err := w.frame(ctx, &frame); err != nil && ctx.Err() == nil {
		frame.report(err)
	}
	lines := strings.Split(strings.TrimRight(text.String(), "\n"), "\n")
	foot := fmt.Sprintf("%s  every %v: %s; q or Ctrl-C ends it", time.Now().Format(time.TimeOnly), w.every, w.what)
	if room := max(height-2, 1); height > 0 && len(lines) > room {
		foot = fmt.Sprintf("%s; and %d lines more", foot, len(lines)-room)
		lines = lines[:room]
	}
	var b strings.Builder
	b.WriteString(beginFrame)
	for _, line := range lines {
		b.WriteString(fit(line, width) + "\x1b[K\r\n")
	}
	b.WriteString("\x1b[K\r\n" + c.out.paint(dim, fit(foot, width)) + "\x1b[K" + endFrame)
	_, err := c.out.Write([]byte(b.String()))
	return err
}

// keys are those that are pressed at the terminal of standard input, which are not to be
// seen meanwhile.
type keys struct {
	pressed chan byte
	before  *unix.Termios // nil: it is no terminal, or as it was
}

func newKeys() *keys {
	k := &keys{pressed: make(chan byte)}
	if _, err := unix.IoctlGetTermios(unix.Stdin, unix.TCGETS); err != nil {
		return k
	}
	go func() { // as long as the program runs
		buf := make([]byte, 1)
		for {
			if n, err := os.Stdin.Read(buf); n == 0 || err != nil {
				return
			}
			k.pressed <- buf[0]
		}
	}()
	return k
}

func (k *keys) take() {
	now, err := unix.IoctlGetTermios(unix.Stdin, unix.TCGETS)
	if err != nil {
		return
	}
	before := *now
	now.Lflag &^= unix.ECHO | unix.ICANON
	if unix.IoctlSetTermios(unix.Stdin, unix.TCSETS, now) == nil {
		k.before = &before
	}
}

func (k *keys) giveBack() {
	if k.before != nil {
		_ = unix.IoctlSetTermios(unix.Stdin, unix.TCSETS, k.before)
		k.before = nil
	}
}

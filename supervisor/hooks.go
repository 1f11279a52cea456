package supervisor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nekoctl/neko/supervisor/control"
	"github.com/nekoctl/neko/supervisor/events"
	"github.com/nekoctl/neko/supervisor/logs"
	"github.com/nekoctl/neko/supervisor/spec"
)

// The hooks of on_event. Each is a reader of the events whose cursor outlives the master,
// in a goroutine of its own: it deals with one event after the other, and what it has not
// dealt with is dealt with by the next master. So an event may come twice, with one id.

// hook is one that is in use.
type hook struct {
	spec.Hook
	key  string             // of its cursor
	end  context.CancelFunc // at once
	quit chan struct{}      // closed: it begins with nothing more
	idle chan struct{}      // closed: it ends when it has read all
	done chan struct{}
}

// hookPatience is how long a daemon that ends waits for its hooks, and hookGrace how long
// a master that is to be replaced waits for what they have begun.
const (
	hookPatience = 3 * time.Second
	hookGrace    = 2 * time.Second
)

// mostCommands of hooks run at once.
const mostCommands = 4

// checkHooks finds commands that are not there.
func checkHooks(list []spec.Hook) error {
	for i := range list {
		if h := &list[i]; len(h.Run) > 0 {
			if _, err := h.Program(); err != nil {
				return err
			}
		}
	}
	return nil
}

// keepHooks has those of the settings run, and no others. One that is new is told of what
// happens from now on.
func (m *master) keepHooks() {
	wanted := map[string]spec.Hook{}
	for _, h := range m.settings.OnEvent {
		key := h.Key()
		for n := 2; wanted[key].Events != nil; n++ {
			key = h.Key() + " " + strconv.Itoa(n)
		}
		wanted[key] = h
	}
	for key, h := range m.hooks {
		if next, ok := wanted[key]; ok && reflect.DeepEqual(next, h.Hook) {
			delete(wanted, key)
			continue
		}
		h.end()
		delete(m.hooks, key)
		m.warn("hook "+key, "")
	}
	if len(wanted) == 0 && len(m.events.State().Cursors) == len(m.hooks) {
		return
	}
	last := m.events.Last()
	m.events.Update(func(s *events.State) {
		cursors := map[string]int64{}
		for key := range m.hooks {
			cursors[key] = s.Cursors[key]
		}
		for key := range wanted {
			cursors[key] = last
			if at, known := s.Cursors[key]; known {
				cursors[key] = at
			}
		}
		s.Cursors = cursors
		for _, result := range []string{"ok", "retried", "failed", "dropped"} { // what has no 0 before it has no rate
			s.Calls[result] += 0
		}
	})
	for key, h := range wanted {
		ctx, end := context.WithCancel(context.Background())
		running := &hook{Hook: h, key: key, end: end, quit: make(chan struct{}), idle: make(chan struct{}), done: make(chan struct{})}
		m.hooks[key] = running
		go m.runHook(ctx, running)
	}
}

// finishHooks waits for a while for the hooks: for all that has happened if the daemon
// ends, and if only this master does for what they have begun.
func (m *master) finishHooks() {
	patience := hookPatience
	if m.leaves {
		patience = hookGrace
	}
	late := time.After(patience)
	for _, h := range m.hooks {
		if m.leaves {
			close(h.quit)
		} else {
			close(h.idle)
		}
	}
	for _, h := range m.hooks {
		select {
		case <-h.done:
		case <-late:
			late = time.After(0)
			h.end()
			<-h.done
		}
	}
}

// runHook tells a hook of one event after the other.
func (m *master) runHook(ctx context.Context, h *hook) {
	defer close(h.done)
	cursor := m.events.State().Cursors[h.key]
	recorded := cursor
	caller := &webhook{Hook: &h.Hook}
	defer caller.close()
	record := func() {
		if ctx.Err() == nil {
			m.events.Update(func(s *events.State) { s.Cursors[h.key] = cursor })
			recorded = cursor
		}
	}
	for {
		list, next, missed, more := m.events.Read(cursor)
		if missed != nil {
			m.hookMissed(h, *missed)
		}
		for i := range list {
			e := &list[i]
			if h.wants(e) {
				select {
				case <-h.quit:
					return
				default:
				}
				if !m.callHook(ctx, h, caller, e) {
					return
				}
				cursor = e.ID
				record()
			}
		}
		if cursor = next; cursor-recorded > 100 { // or they would be looked at again
			record()
		}
		if more == nil {
			continue
		}
		select {
		case <-h.idle:
			return
		default:
		}
		select {
		case <-more:
		case <-h.idle: // there may be more by now
		case <-h.quit:
			return
		case <-ctx.Done():
			return
		}
	}
}

// wants says whether the hook is to be told. Of a breaker that all workers of an app tell
// of it is told by the first.
func (h *hook) wants(e *control.Event) bool {
	if n := e.Details["workers"]; e.Kind == control.EventBreaker && n != "" && n != "1" {
		return false
	}
	return e.Kind.Is(h.Events) && e.About(h.Apps)
}

func (m *master) hookMissed(h *hook, missed control.Missed) {
	m.countCall("dropped", max(uint64(missed.Events), 1))
	m.post(func() { m.warn("hook "+h.key, fmt.Sprintf("the hook %s is too slow: %s", h, missed)) })
}

func (m *master) countCall(result string, n uint64) {
	m.events.Update(func(s *events.State) { s.Calls[result] += n })
}

// callHook tells a hook of an event until that has come to its end, one way or the other.
// It is false if that is the next master's.
func (m *master) callHook(ctx context.Context, h *hook, caller *webhook, e *control.Event) bool {
	for attempt := 0; ; attempt++ {
		within, cancel := context.WithTimeout(ctx, h.Timeout.D())
		var err error
		if len(h.Run) > 0 {
			err = m.runCommand(within, h, e)
		} else {
			err = caller.call(within, m, e)
		}
		if err != nil && ctx.Err() == nil && within.Err() != nil {
			err = &retryError{fmt.Errorf("no end within %v", h.Timeout.D()), 0}
		}
		cancel()
		if ctx.Err() != nil {
			return err == nil // it has been told all the same
		}
		var again *retryError
		if err == nil {
			m.countCall("ok", 1)
			m.post(func() { m.warn("hook "+h.key, "") })
			return true
		}
		if len(h.Run) > 0 || !errors.As(err, &again) || attempt >= h.Retries {
			m.countCall("failed", 1)
			text := fmt.Sprintf("the hook %s failed for %s of %s (event %d): %v", h, e.Kind, e.Subject(), e.ID, err)
			if attempt > 0 {
				text += fmt.Sprintf("; it was tried %d times", attempt+1)
			}
			m.post(func() { m.warn("hook "+h.key, text) })
			return true
		}
		m.countCall("retried", 1)
		pause := time.NewTimer(max(retryWait(attempt), again.after))
		select {
		case <-pause.C:
		case <-h.quit:
			pause.Stop()
			return false
		case <-ctx.Done():
			pause.Stop()
			return false
		}
	}
}

// A retryError is one after which the same is tried again, not before so long.
type retryError struct {
	error
	after time.Duration
}

func (e *retryError) Unwrap() error { return e.error }

// retryWait grows from a second to a minute, less up to half of it at random.
func retryWait(attempt int) time.Duration {
	d := min(time.Second<<min(attempt, 10), time.Minute)
	return d - time.Duration(rand.Float64()*float64(d)/2)
}

// delivery is what a hook gets: the event, and where it happened.
type delivery struct {
	Host string `json:"host"`
	Text string `json:"text"` // all of it in one line, for programs that show just that
	*control.Event
}

func deliveryOf(e *control.Event) ([]byte, error) {
	host, _ := os.Hostname()
	return json.Marshal(delivery{host, fmt.Sprintf("%s: %s %s: %s", host, e.Subject(), e.Kind, e.Message), e})
}

// runCommand runs a hook's command in a group of its own, and ends all of that with it. It
// inherits no descriptor but its standard ones.
func (m *master) runCommand(ctx context.Context, h *hook, e *control.Event) error {
	select {
	case m.commandSlots <- struct{}{}:
		defer func() { <-m.commandSlots }()
	case <-ctx.Done():
		return ctx.Err()
	}
	path, err := h.Program()
	if err != nil {
		return err
	}
	text, err := deliveryOf(e)
	if err != nil {
		return err
	}
	fd, err := unix.MemfdCreate("neko-event", unix.MFD_CLOEXEC)
	if err != nil {
		return err
	}
	input := os.NewFile(uintptr(fd), "event")
	defer input.Close()
	if _, err = input.Write(append(text, '\n')); err == nil {
		_, err = input.Seek(0, io.SeekStart)
	}
	if err != nil {
		return err
	}
	read, write, err := os.Pipe()
	if err != nil {
		return err
	}
	defer read.Close()
	pidfd := -1
	pid, err := syscall.ForkExec(path, h.Run, &syscall.ProcAttr{
		Dir: h.Cwd, Env: m.hookEnvironment(e), Files: []uintptr{input.Fd(), write.Fd(), write.Fd()},
		Sys: &syscall.SysProcAttr{Setpgid: true, PidFD: &pidfd},
	})
	write.Close()
	if err != nil {
		return fmt.Errorf("run %s: %w", h.Run[0], err)
	}
	said := &logs.Tail{}
	printed := make(chan struct{})
	go func() {
		_, _ = io.Copy(said, read)
		close(printed)
	}()
	err = native{m}.awaitCommand(ctx, pid, pidfd)
	// What has left its group may hold the pipe.
	_ = read.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
	<-printed
	for _, line := range said.Lines() {
		m.log("%s: %s", h, clean(line, longestDetail))
	}
	return err
}

// hookEnvironment is the daemon's, without what is meant for it alone, and the event's.
func (m *master) hookEnvironment(e *control.Event) []string {
	env := map[string]string{}
	for _, entry := range os.Environ() {
		if name, value, ok := strings.Cut(entry, "="); ok && !slices.Contains(spec.Contract, name) && name != "GOMAXPROCS" && !strings.HasPrefix(name, "NEKO_EVENT") {
			env[name] = value
		}
	}
	env[probeVariable] = string(m.home) // it is no worker, and ends with this master
	env["NEKO_HOME"] = string(m.home)
	host, _ := os.Hostname()
	for name, value := range map[string]string{
		"": string(e.Kind), "_ID": strconv.FormatInt(e.ID, 10), "_TIME": e.Time.Format(time.RFC3339Nano),
		"_HOST": host, "_APP": e.Name, "_TITLE": e.Title, "_MESSAGE": e.Message, "_SLOT": "", "_PID": "",
	} {
		env["NEKO_EVENT"+name] = value
	}
	if e.Slot != nil {
		env["NEKO_EVENT_SLOT"] = strconv.Itoa(*e.Slot)
	}
	if e.PID != 0 {
		env["NEKO_EVENT_PID"] = strconv.Itoa(e.PID)
	}
	for key, value := range e.Details {
		env["NEKO_EVENT_DETAIL_"+strings.ToUpper(key)] = value
	}
	list := make([]string, 0, len(env))
	for _, name := range slices.Sorted(maps.Keys(env)) {
		list = append(list, name+"="+env[name])
	}
	return list
}

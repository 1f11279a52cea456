package control

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nekoctl/neko/supervisor/spec"
)

// ErrNoDaemon says that nothing listens on the control socket.
var ErrNoDaemon = errors.New("no daemon runs")

// Client talks to the master behind a control socket. Each call is a connection
// of its own; there is nothing to close.
type Client struct {
	socket string
	// Revive is called where no daemon runs, if it is set. If it returns true there
	// is one now.
	Revive func(context.Context) (bool, error)
	trace  string
}

// NewClient does not connect yet. The path of the socket may be longer than
// what sun_path holds.
// Commands belong to the trace that the environment names (TRACEPARENT), if there is one.
func NewClient(socket string) *Client {
	c := &Client{socket: socket}
	if parent := os.Getenv(TraceVariable); parent != "" {
		if _, ok := ParseTrace(parent); ok {
			c.trace = parent
		}
	}
	return c
}

// Ping asks who is there.
func (c *Client) Ping(ctx context.Context) (Ping, error) {
	var p Ping
	return p, c.get(ctx, "/v1/ping", &p)
}

// Processes are all processes, ordered by id.
func (c *Client) Processes(ctx context.Context) ([]Process, error) {
	var list []Process
	return list, c.get(ctx, "/v1/processes", &list)
}

// App is one app with its processes.
func (c *Client) App(ctx context.Context, name string) (AppDetail, error) {
	var a AppDetail
	return a, c.get(ctx, "/v1/apps/"+url.PathEscape(name), &a)
}

// Describe is App with what it takes a look at all processes of the machine for.
func (c *Client) Describe(ctx context.Context, name string) (AppDetail, error) {
	var a AppDetail
	return a, c.get(ctx, "/v1/apps/"+url.PathEscape(name)+"?connections", &a)
}

// Specs are all apps with what they are started with, in the order of their start.
func (c *Client) Specs(ctx context.Context) ([]Saved, error) {
	var list []Saved
	return list, c.get(ctx, "/v1/specs", &list)
}

// Daemon is what is set of the daemon itself: nothing, of one that is too old for that.
func (c *Client) Daemon(ctx context.Context) (spec.Daemon, error) {
	d, _, err := c.daemon(ctx)
	return d, err
}

func (c *Client) daemon(ctx context.Context) (d spec.Daemon, older bool, err error) {
	err = c.get(ctx, "/v1/daemon", &d)
	if older = errors.As(err, new(*olderError)); older {
		err = nil
	}
	return d, older, err
}

// withDaemon adds a note to a command's if it was to set something of a daemon that is too
// old for that, and has therefore passed over it.
func (c *Client) withDaemon(ctx context.Context, set spec.Daemon, done Done, err error) (Done, error) {
	if err != nil || set.Metrics == "" && set.OnEvent == nil {
		return done, err
	}
	if _, older, err := c.daemon(ctx); err == nil && older {
		done.Notes = append(done.Notes, "metrics and on_event are not set, for the daemon is of an older version: do this again after nekoctl upgrade")
	}
	return done, nil
}

// Metrics are those of all apps, or of those that the targets mean, in Prometheus's text
// format 0.0.4; by worker: what each process says that serves, not summed.
func (c *Client) Metrics(ctx context.Context, targets []string, byWorker bool) ([]byte, error) {
	query := url.Values{"app": targets}
	if byWorker {
		query.Set("by", "worker")
	}
	var text []byte
	return text, c.read(ctx, "/v1/metrics?"+query.Encode(), func(body *bufio.Reader) (err error) {
		text, err = io.ReadAll(body)
		return err
	})
}

// Apps are all apps with all that is known of them, secrets too.
func (c *Client) Apps(ctx context.Context) ([]AppDetail, error) {
	var list []AppDetail
	return list, c.get(ctx, "/v1/apps", &list)
}

// Start starts apps. Like all that follow it calls progress, if that is not
// nil, for each step, and returns when the command has ended; an error that the
// master reports is an [*Error].
func (c *Client) Start(ctx context.Context, r StartRequest, progress func(Progress)) (Done, error) {
	done, err := c.post(ctx, "/v1/start", r, progress)
	return c.withDaemon(ctx, r.Daemon, done, err)
}

// Resurrect brings up apps that were saved.
func (c *Client) Resurrect(ctx context.Context, r ResurrectRequest, progress func(Progress)) (Done, error) {
	done, err := c.post(ctx, "/v1/resurrect", r, progress)
	return c.withDaemon(ctx, r.Daemon, done, err)
}

// Command is one of the commands that take targets: "stop", "restart",
// "reload", "delete", "reset".
func (c *Client) Command(ctx context.Context, command string, r TargetRequest, progress func(Progress)) (Done, error) {
	return c.post(ctx, "/v1/"+command, r, progress)
}

// Scale changes the number of an app's instances.
func (c *Client) Scale(ctx context.Context, r ScaleRequest, progress func(Progress)) (Done, error) {
	return c.post(ctx, "/v1/scale", r, progress)
}

// Signal sends a signal to processes.
func (c *Client) Signal(ctx context.Context, r SignalRequest) (Done, error) {
	return c.post(ctx, "/v1/signal", r, nil)
}

// Send tells processes something.
func (c *Client) Send(ctx context.Context, r SendRequest) error {
	_, err := c.post(ctx, "/v1/send", r, nil)
	return err
}

// Trigger runs an action, and returns what has come even if something went wrong.
func (c *Client) Trigger(ctx context.Context, r TriggerRequest) ([]Reply, error) {
	var replies []Reply
	_, err := c.postFor(ctx, "/v1/trigger", r, func(a Answer) {
		if a.Reply != nil {
			replies = append(replies, *a.Reply)
		}
	})
	return replies, err
}

// Upgrade makes the daemon another program. When it returns, the next master is
// about to answer.
func (c *Client) Upgrade(ctx context.Context, r UpgradeRequest, progress func(Progress)) (Done, error) {
	return c.post(ctx, "/v1/upgrade", r, progress)
}

// Kill stops every app and the daemon.
func (c *Client) Kill(ctx context.Context, progress func(Progress)) (Done, error) {
	return c.post(ctx, "/v1/kill", nil, progress)
}

// answerTimeout is how long a GET may take; a master answers in microseconds.
const answerTimeout = 10 * time.Second

func (c *Client) get(ctx context.Context, path string, answer any) error {
	return c.read(ctx, path, func(body *bufio.Reader) error { return json.NewDecoder(body).Decode(answer) })
}

func (c *Client) read(ctx context.Context, path string, read func(*bufio.Reader) error) error {
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	for {
		err := c.do(ctx, "GET", path, nil, func(body *bufio.Reader) error {
			err := read(body)
			if errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET) {
				err = errors.Join(errBroken, err)
			}
			return err
		})
		if !errors.Is(err, errBroken) || !soon(ctx) {
			return err
		}
	}
}

// olderError says that a daemon does not know what is asked of it.
type olderError struct{ said *Error }

func (e *olderError) Error() string { return e.said.Message }
func (e *olderError) Unwrap() error { return e.said }

// errBroken says that a master was gone before it had answered, or in the middle
// of it. The next one answers the same question.
var errBroken = errors.New("the daemon gave no answer")

// soon waits a moment before a second attempt, false if ctx is over.
func soon(ctx context.Context) bool {
	select {
	case <-time.After(20 * time.Millisecond):
		return true
	case <-ctx.Done():
		return false
	}
}

func (c *Client) post(ctx context.Context, path string, request any, progress func(Progress)) (Done, error) {
	return c.postFor(ctx, path, request, func(a Answer) {
		if a.Progress != nil && progress != nil {
			progress(*a.Progress)
		}
	})
}

// postFor is post for who wants all that comes before the end.
func (c *Client) postFor(ctx context.Context, path string, request any, step func(Answer)) (done Done, err error) {
	var body []byte
	if request != nil {
		if body, err = json.Marshal(request); err != nil {
			return done, err
		}
	}
	replaced := false // and who looks on was told
	answered := func(a Answer) {
		if replaced {
			replaced = false
			step(Answer{Progress: &Progress{Whole: true}})
		}
		step(a)
	}
	for {
		done, err = c.command(ctx, path, body, answered)
		var e *Error
		if !errors.As(err, &e) || !e.Again || !soon(ctx) {
			return done, err
		}
		if !replaced {
			replaced = true
			step(Answer{Progress: &Progress{Whole: true, Message: "waits for the next master: the daemon is being replaced"}})
		}
	}
}

func (c *Client) command(ctx context.Context, path string, body []byte, step func(Answer)) (done Done, err error) {
	err = c.do(ctx, "POST", path, body, func(body *bufio.Reader) error {
		decoder := json.NewDecoder(body)
		for {
			var a Answer
			err := decoder.Decode(&a)
			switch {
			case err != nil && ctx.Err() != nil:
				return ctx.Err()
			case err != nil:
				return &Error{Message: "the daemon broke off before the command had ended",
					Hint: "nekoctl list shows how far it came; neko.log in the home says why"}
			case a.Error != nil:
				return a.Error
			case a.Done != nil:
				done = *a.Done
				return nil
			}
			step(a)
		}
	})
	return done, err
}

// do makes one request. It speaks HTTP over a plain connection: the goroutines
// and the pool of http.Transport cost a short command more than its work.
func (c *Client) do(ctx context.Context, method, path string, body []byte, read func(*bufio.Reader) error, header ...string) error {
	conn, err := c.dial(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })()

	request, err := http.NewRequest(method, "http://neko"+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	request.Close = true
	for i := 0; i+1 < len(header); i += 2 {
		request.Header.Set(header[i], header[i+1])
	}
	if body != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	if c.trace != "" {
		request.Header.Set(TraceHeader, c.trace)
	}
	// A master that refuses the request may close before it has read all of it;
	// what it answered says more than the broken pipe.
	writeErr := request.Write(conn)
	response, err := http.ReadResponse(bufio.NewReader(conn), request)
	if err != nil {
		if ctx.Err() != nil {
			return notInTime(ctx)
		}
		return errors.Join(errBroken, &Error{Message: fmt.Sprintf("the daemon gave no answer: %v", errors.Join(writeErr, err)), Hint: "neko.log in the home may say why"})
	}
	defer response.Body.Close()
	defer conn.SetDeadline(time.Unix(1, 0)) // who has read enough does not wait for the end of a stream
	answer := bufio.NewReader(response.Body)
	if response.StatusCode >= 400 {
		text, _ := io.ReadAll(io.LimitReader(answer, 1<<20))
		e := &Error{}
		if json.Unmarshal(text, e) != nil || e.Message == "" {
			e.Message = "the daemon answered " + response.Status
			e.Hint = "is it of another version? nekoctl ping tells"
			if response.StatusCode == http.StatusNotFound {
				e.Message, e.Hint = "the daemon is of an older version, which does not have this", "nekoctl upgrade makes it one of this version; the apps go on"
				return &olderError{e}
			}
		}
		return e
	}
	if err := read(answer); err != nil && ctx.Err() != nil {
		return notInTime(ctx)
	} else {
		return err
	}
}

func notInTime(ctx context.Context) error {
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return &Error{Message: "the daemon did not answer in time", Hint: "neko.log in the home may say why"}
	}
	return ctx.Err()
}

func (c *Client) dial(ctx context.Context) (net.Conn, error) {
	conn, err := c.connect(ctx)
	if !errors.Is(err, ErrNoDaemon) || c.Revive == nil {
		return conn, err
	}
	revived, reviveErr := c.Revive(ctx)
	switch {
	case reviveErr != nil:
		return nil, reviveErr // not ErrNoDaemon, which some commands take for an answer
	case !revived:
		return nil, err
	}
	return c.connect(ctx)
}

func (c *Client) connect(ctx context.Context) (net.Conn, error) {
	path := c.socket
	if len(path) >= len(unix.RawSockaddrUnix{}.Path) {
		dir, err := unix.Open(filepath.Dir(path), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if errors.Is(err, fs.ErrNotExist) {
			return nil, ErrNoDaemon
		}
		if err != nil {
			return nil, err
		}
		defer unix.Close(dir)
		path = "/proc/self/fd/" + strconv.Itoa(dir) + "/" + filepath.Base(path)
	}
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", path)
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED):
		return nil, ErrNoDaemon
	case errors.Is(err, fs.ErrPermission):
		return nil, &Error{Message: "no access to the daemon's socket " + c.socket, Hint: "the daemon belongs to another user"}
	case err != nil:
		return nil, err
	}
	return conn, nil
}

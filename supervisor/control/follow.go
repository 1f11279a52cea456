package control

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// EventsRequest says which events are wanted.
type EventsRequest struct {
	Apps   []string // names or titles; none: all
	Events []string // kinds, or beginnings of them with a *; none: all
	// Last is how many of the past come first, -1: all that are kept; Since has none come
	// that is older, and all the others if Last is 0.
	Last  int
	Since time.Time
	// Follow goes on with what happens from now on.
	Follow bool
}

// Events calls each for one event after the other, and missed, if that is not nil, if some
// are gone. With Follow it goes on through upgrades and kills of the master, and gives
// each event once; it ends when the daemon has, or with the error of ctx or of each.
func (c *Client) Events(ctx context.Context, r EventsRequest, each func(Event) error, missed func(Missed)) error {
	q := url.Values{"app": r.Apps, "event": r.Events, "last": {strconv.Itoa(r.Last)}}
	if !r.Since.IsZero() {
		q.Set("since", r.Since.Format(time.RFC3339Nano))
		if r.Last == 0 {
			q.Del("last")
		}
	}
	if !r.Follow {
		q.Set("follow", "0")
	}
	s := &eventStream{each: each, missed: missed}
	for {
		err := c.do(ctx, "GET", "/v1/events?"+q.Encode(), nil, s.read, s.header()...)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case s.stopped:
			return nil
		case err == nil && !r.Follow:
			return nil
		case errors.Is(err, ErrNoDaemon) && s.last != 0:
			return &Error{Message: "the daemon has ended", Hint: "nekoctl start begins one"}
		case err != nil && !errors.Is(err, errBroken):
			return err
		}
		if !soon(ctx) {
			return ctx.Err()
		}
	}
}

// eventStream reads server-sent events.
type eventStream struct {
	each    func(Event) error
	missed  func(Missed)
	last    int64 // the id of the last event that has come, or was not wanted
	stopped bool  // the daemon has said that it ends
}

func (s *eventStream) header() []string {
	if s.last == 0 {
		return nil
	}
	return []string{"Last-Event-ID", strconv.FormatInt(s.last, 10)}
}

// longestEvent is more than the master would send.
const longestEvent = 1 << 20

// read is nil when the master ends the stream.
func (s *eventStream) read(body *bufio.Reader) error {
	lines := bufio.NewScanner(body)
	lines.Buffer(nil, longestEvent)
	id, kind, data := int64(0), "", ""
	for lines.Scan() {
		name, value, _ := strings.Cut(lines.Text(), ":")
		value = strings.TrimPrefix(value, " ")
		switch name {
		case "id":
			id, _ = strconv.ParseInt(value, 10, 64)
		case "event":
			kind = value
		case "data":
			data += value
		case "":
			if err := s.come(id, kind, data); err != nil {
				return err
			}
			id, kind, data = 0, "", ""
		}
	}
	if err := lines.Err(); err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
		return errors.Join(errBroken, err)
	}
	return nil
}

// come is what one message has.
func (s *eventStream) come(id int64, kind, data string) error {
	switch {
	case kind == "end":
		s.stopped = true
	case kind == "missed":
		var m Missed
		if err := json.Unmarshal([]byte(data), &m); err != nil {
			return fmt.Errorf("the daemon's answer: %w", err)
		}
		if m.Restarted { // its ids may be smaller
			s.last = 0
		}
		if s.missed != nil {
			s.missed(m)
		}
	case data != "" && id > s.last:
		var e Event
		if err := json.Unmarshal([]byte(data), &e); err != nil {
			return fmt.Errorf("the daemon's answer: %w", err)
		}
		s.last = id
		if err := s.each(e); err != nil {
			return err
		}
	}
	s.last = max(s.last, id)
	return nil
}

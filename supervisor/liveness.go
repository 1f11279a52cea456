package supervisor

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/nekoctl/neko/supervisor/socket"
	"github.com/nekoctl/neko/supervisor/spec"
)

// watchLiveness asks a process that serves again and again whether it does, by way
// of the socket of its slot, until it serves no more.
func (m *master) watchLiveness(p *process) {
	question := p.spec.Liveness
	if question == nil || len(p.slot.app.groups) == 0 {
		return
	}
	way, err := p.slot.app.groups[0].Probe(p.slot.index)
	if err != nil {
		m.warn("liveness of "+p.slot.app.name, fmt.Sprintf("%s cannot be asked whether it lives: %v", p.slot, err))
		return
	}
	go func() {
		tick := time.NewTicker(question.Interval.D())
		defer tick.Stop()
		for failures := 0; ; {
			select {
			case <-tick.C:
			case <-m.ended:
				return
			}
			err := ask(question, way)
			failures++
			if err == nil {
				failures = 0
			}
			serves := false
			m.do(func() {
				serves = p.slot.serving == p
				if serves && failures >= question.Failures {
					m.hung(p, fmt.Sprintf("pid %d does not answer (liveness, %d times in a row): %v", p.PID, failures, err))
				}
			})
			if !serves {
				return
			}
		}
	}()
}

// ask asks once, and says what is wrong. It speaks HTTP over a plain connection,
// as the control client does: the machinery of http.Client costs a master more
// memory than all else of this.
func ask(question *spec.Probe, way socket.Probe) error {
	ctx, cancel := context.WithTimeout(context.Background(), question.Timeout.D())
	defer cancel()
	conn, err := way.Dial(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(question.Timeout.D())); err != nil {
		return err
	}
	request, err := http.NewRequest("GET", "http://localhost"+question.HTTP, nil)
	if err != nil {
		return err
	}
	request.Close = true
	request.Header.Set("User-Agent", "neko-liveness")
	if err := request.Write(conn); err != nil {
		return err
	}
	response, err := http.ReadResponse(bufio.NewReader(conn), request)
	if err != nil {
		return fmt.Errorf("GET %s: %w", question.HTTP, err)
	}
	response.Body.Close()
	if response.StatusCode < 200 || response.StatusCode >= 400 {
		return fmt.Errorf("GET %s: %s", question.HTTP, response.Status)
	}
	return nil
}

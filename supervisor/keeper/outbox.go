package keeper

import "sync"

// An outbox sends packets in order without ever making the keeper wait for a
// master that does not read.
type outbox struct {
	mu     sync.Mutex
	filled *sync.Cond
	queue  []packet // the first is on its way
	closed bool
}

func newOutbox(l *link) *outbox {
	o := &outbox{}
	o.filled = sync.NewCond(&o.mu)
	go o.deliver(l)
	return o
}

func (o *outbox) push(p packet) {
	o.mu.Lock()
	o.queue = append(o.queue, p)
	o.mu.Unlock()
	o.filled.Signal()
}

func (o *outbox) close() {
	o.mu.Lock()
	o.closed = true
	o.mu.Unlock()
	o.filled.Signal()
}

// deliver ends when the outbox is closed or the master is gone. What could not
// be sent then is no loss: the next master inherits it.
func (o *outbox) deliver(l *link) {
	for {
		o.mu.Lock()
		for len(o.queue) == 0 && !o.closed {
			o.filled.Wait()
		}
		if o.closed {
			o.mu.Unlock()
			return
		}
		p := o.queue[0]
		o.mu.Unlock()
		if l.send(p) != nil {
			return
		}
		o.mu.Lock()
		o.queue = o.queue[1:]
		o.mu.Unlock()
	}
}

// empty says that all is sent.
func (o *outbox) empty() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.queue) == 0
}

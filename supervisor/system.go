package supervisor

import (
	"context"
	"syscall"

	"github.com/nekoctl/neko/supervisor/keeper"
	"github.com/nekoctl/neko/supervisor/spec"
)

// system is what the life of slots needs of the operating system: the property
// test of slots lives in one of its own.
type system interface {
	// fork starts a process: it gets a pid, and its end will be told to
	// master.exited.
	fork(p *process) error
	// signal reaches p and nobody else, even if its pid is another's by now.
	signal(p *process, s syscall.Signal) error
	// ask is a probe of p: nil is a pass, an error says what is wrong. It is called
	// outside of the loop, and returns soon after ctx is over.
	ask(ctx context.Context, p *process, question *spec.Probe) error
	// connections is called before p is told to finish. The function that it returns is
	// called outside of the loop, and says whether p has a connection left that it has
	// accepted, or that nobody knows.
	connections(p *process) (left func() bool)
	// endGroup kills what is left of all that p has started.
	endGroup(p *process)
}

// native is the real one.
type native struct{ master *master }

// holder has what must outlive this master: [keeper.Conn].
type holder interface {
	Put(name string, fds ...int) error
	Set(name, record string) error
	Delete(name string) error
	Records() map[string]string
	Revision() int64
	Ack(keeper.Child) error
	Notify(state string) error
	Alive() error
	Ready() error
	Fail(reason string) error
	Stop(code int) error
}

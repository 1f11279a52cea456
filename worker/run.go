package worker

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// Run is a whole worker process: it takes the inherited sockets or listens by
// itself, prepares, serves, and drains at SIGTERM, at SIGINT or when ctx ends. A
// second signal ends it at once, if it is not the echo of the first. It returns
// nil after a clean drain, and after a signal before it was prepared.
//
// Under a supervisor (NOTIFY_SOCKET) it accepts its first connection when its
// checks have passed, and then says READY=1: until then the connections belong
// to its predecessor, or wait. Alone it accepts at once, and /readyz tells. A
// spare (NEKO_SPARE_FD) accepts when it is told to, or returns nil if nobody
// needs it any more.
//
// SIGHUP is ignored, and so is the loss of whoever reads stdout and stderr.
//
// Some errors know what to do about them: those have a method Hint() string.
func Run(ctx context.Context, config Config) error {
	stop := make(chan os.Signal, 2)
	signal.Ignore(syscall.SIGHUP, syscall.SIGPIPE)
	signal.Notify(stop, syscall.SIGTERM, syscall.SIGINT)
	defer signal.Stop(stop)

	if err := config.check(); err != nil {
		return err
	}
	supervisor := notifierFromEnv()
	if config.DrainTimeout == 0 {
		var err error
		if config.DrainTimeout, err = drainTimeoutFromEnv(); err != nil {
			return err
		}
	}
	sockets, err := inheritedSockets()
	if err != nil {
		return err
	}
	spare, err := gateFromEnv()
	if err != nil {
		return err
	}
	if len(sockets) == 0 {
		l, err := listen(config.Address)
		if err != nil {
			return err
		}
		sockets = []socket{{"http", l}}
	}
	metrics := metricsFromEnv()
	starting, cancel := context.WithCancel(ctx)
	defer cancel()
	go supervisor.keepWatchdog(starting)
	config.Log = config.withDefaults().Log
	if config.Prepare != nil {
		if stopped, err := prepare(starting, &config, stop); stopped || err != nil {
			return err
		}
	}
	w, err := New(config)
	if err != nil {
		return err
	}
	defer w.Close()
	if m, err := w.serveMetrics(metrics); err != nil { // it serves all the same
		w.config.Log.Warn(err.Error())
	} else {
		defer m.close()
	}
	served := make(chan error, len(sockets))
	serve := func() {
		for _, s := range sockets {
			go func() { served <- w.Serve(s.Listener) }()
		}
	}
	if !supervisor.present() {
		serve()
		w.config.Log.Info(fmt.Sprintf("%s serves GraphQL on %s", w.config.Name, endpoint(w.scheme(), sockets[0])))
	}
	ready := make(chan bool, 1)
	go func() { ready <- w.waitReady(starting, supervisor) }()
	needed := make(chan bool, 1)

	for {
		select {
		case ok := <-ready:
			if !ok {
				continue // ctx has ended
			}
			if spare.closed() {
				w.warmUp()
				go func() { needed <- spare.wait() }()
				w.tell(supervisor, "READY=1", "STATUS=waiting to take over")
				continue
			}
			if supervisor.present() {
				serve()
			}
			w.tell(supervisor, "READY=1", "STATUS=serving")
		case ok := <-needed:
			if !ok {
				return nil
			}
			serve()
			w.tell(supervisor, "STATUS=serving")
		case err := <-served:
			return fmt.Errorf("cannot accept: %w", errors.Join(err, errors.New("the listener ended")))
		case <-ctx.Done():
			return w.drainOrStop(supervisor, stop)
		case <-stop:
			return w.drainOrStop(supervisor, stop)
		}
	}
}

// prepare runs config.Prepare, and tells whether it was stopped: it has returned
// then and what it opened is its own to close, or it is an error.
func prepare(ctx context.Context, config *Config, stop <-chan os.Signal) (stopped bool, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	prepared := make(chan error, 1)
	go func() { prepared <- config.Prepare(ctx, config) }()
	select {
	case err := <-prepared:
		return false, err
	case <-stop:
	case <-ctx.Done():
	}
	cancel()
	select {
	case <-prepared:
		return true, nil
	case <-time.After(prepareGrace):
		return true, errors.New("stopped at once, as it did not end its preparations")
	}
}

// waitReady returns true as soon as all checks pass, false if ctx ends before.
func (w *Worker) waitReady(ctx context.Context, supervisor notifier) bool {
	pause := 10 * time.Millisecond
	for {
		results, ok := w.check(ctx)
		if ok || ctx.Err() != nil {
			return ok
		}
		for _, r := range results {
			if !r.OK {
				w.tell(supervisor, fmt.Sprintf("STATUS=waiting for %s: %s", r.Name, r.Error))
			}
		}
		select {
		case <-ctx.Done():
			return false
		case <-time.After(pause):
			pause = min(2*pause, 500*time.Millisecond)
		}
	}
}

// prepareGrace is how long Config.Prepare may take to heed its context.
const prepareGrace = 2 * time.Second

// echo is how soon after the first signal another counts as the same: timeout(1)
// and shells send one to the process and one to its group.
const echo = 500 * time.Millisecond

// drainOrStop drains, and gives up at a further signal.
func (w *Worker) drainOrStop(supervisor notifier, stop <-chan os.Signal) error {
	w.tell(supervisor, "STOPPING=1", "STATUS=draining")
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	drained := make(chan error, 1)
	began := time.Now()
	go func() { drained <- w.Drain(ctx) }()
	for {
		select {
		case err := <-drained:
			return err
		case s := <-stop:
			if time.Since(began) >= echo {
				return fmt.Errorf("stopped at once by a second signal (%v)", s)
			}
		}
	}
}

func (w *Worker) tell(supervisor notifier, assignments ...string) {
	w.dependencies.says(supervisor, assignments)
	if err := supervisor.send(assignments...); err != nil {
		w.config.Log.Warn(err.Error())
	}
}

// drainTimeoutFromEnv is what the supervisor grants, 0 if there is none.
func drainTimeoutFromEnv() (time.Duration, error) {
	text := os.Getenv("NEKO_DRAIN_TIMEOUT")
	if text == "" {
		return 0, nil
	}
	d, err := time.ParseDuration(text)
	if err != nil || d < 0 {
		return 0, &adviceError{
			fmt.Errorf("NEKO_DRAIN_TIMEOUT is %q, not a duration", text),
			"write it like 10s or 1m30s",
		}
	}
	return d, nil
}

package poll

import (
	"os"
	"sync"
	"testing"
	"time"
)

func newPoller(t *testing.T) *Poller {
	t.Helper()
	p, err := New()
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func pipe(t *testing.T) (read, write *os.File) {
	t.Helper()
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { read.Close(); write.Close() })
	return read, write
}

func TestEachOfManyIsToldOfOnce(t *testing.T) {
	p := newPoller(t)
	const n = 200
	var told [n]int
	var all sync.WaitGroup
	var writers []*os.File
	for i := range n {
		read, write := pipe(t)
		writers = append(writers, write)
		all.Add(1)
		if _, err := p.Await(int(read.Fd()), func() { told[i]++; all.Done() }); err != nil {
			t.Fatal(err)
		}
	}
	for i, w := range writers {
		if i%2 == 0 {
			w.Close() // the end is told of, too
		} else if _, err := w.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
	}
	all.Wait()
	for i, n := range told {
		if n != 1 {
			t.Errorf("%d was told of %d times", i, n)
		}
	}
}

func TestWhatIsForgottenIsNotToldOfThoughItsNumberIsAnothers(t *testing.T) {
	p := newPoller(t)
	read, write := pipe(t)
	id, err := p.Await(int(read.Fd()), func() { t.Error("it was forgotten") })
	if err != nil {
		t.Fatal(err)
	}
	p.Forget(id)
	if _, err := write.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	again := make(chan bool)
	if _, err := p.Await(int(read.Fd()), func() { again <- true }); err != nil {
		t.Fatal(err)
	}
	select {
	case <-again:
	case <-time.After(10 * time.Second):
		t.Error("it is not told of when it is awaited again")
	}
}

func TestWhatIsWatchedIsToldOfAgain(t *testing.T) {
	p := newPoller(t)
	read, write := pipe(t)
	told := make(chan struct{})
	id, err := p.Watch(int(read.Fd()), func() { told <- struct{}{} })
	if err != nil {
		t.Fatal(err)
	}
	for range 3 { // nobody reads what is in the pipe
		if _, err := write.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
		<-told
	}
	p.Forget(id)
	if _, err := write.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	other, more := pipe(t) // what comes next shows that nothing was told of that
	next := make(chan struct{})
	if _, err := p.Await(int(other.Fd()), func() { close(next) }); err != nil {
		t.Fatal(err)
	}
	more.Close()
	select {
	case <-next:
	case <-told:
		t.Error("told of what was forgotten")
	}
}

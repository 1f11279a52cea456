package limiter

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Several processes charge the same few keys, which are others every phase: so all of them
// make the same buckets at the same time, in entries that have just become idle. They are
// killed, stopped and started again at any time. Each writes down what it was admitted.

const (
	hammerKeys   = 24
	hammerActive = 3 // keys at a time: with those before them less than a window
	hammerPhase  = 3 * int64(time.Millisecond)
)

var hammered = mustPolicy("hammered", 5000, time.Second, 5) // full after a millisecond

// record is what a process writes down, in one write: which keys it has charged, or that a
// bucket was forgotten while it decided, between two times.
type record struct {
	Begun, Done int64
	Keys        [2]int8 // -1: none
	Costs       [2]int8
	Forgotten   bool
	_           [3]byte
}

const recordSize = 24

func hammer(t *testing.T, dir string) {
	h := openHost(t, dir)
	log, err := os.OpenFile(filepath.Join(dir, fmt.Sprint("log-", os.Getpid())), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	names := make([][]byte, hammerKeys)
	for i := range names {
		names[i] = []byte{byte(i)}
	}
	charges := make([]Charge, 0, 2)
	line := make([]byte, 0, recordSize)
	for parent := os.Getppid(); os.Getppid() == parent; { // not longer than the test
		r := record{Begun: h.table.now(), Keys: [2]int8{-1, -1}}
		first := int(r.Begun / hammerPhase * hammerActive % hammerKeys)
		charges = charges[:0]
		for i := range 1 + rand.IntN(2) {
			key, cost := (first+rand.IntN(hammerActive))%hammerKeys, 1+rand.IntN(2)
			r.Keys[i], r.Costs[i] = int8(key), int8(cost)
			charges = append(charges, Charge{Policy: hammered, Key: names[key], Cost: int64(cost)})
		}
		forgotten := h.table.forgotten.Load()
		ok := h.Decide(context.Background(), charges).OK()
		r.Done = h.table.now()
		r.Forgotten = h.table.forgotten.Load() > forgotten
		if !ok {
			r.Keys = [2]int8{-1, -1}
		}
		if ok || r.Forgotten {
			line, err = binary.Append(line[:0], binary.NativeEndian, &r)
			if err == nil {
				_, err = log.Write(line)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
	}
}

func TestProcessesAreKilledAndStoppedWhileTheyCharge(t *testing.T) {
	dir := t.TempDir()
	h := openHost(t, dir) // a table of one window
	lasts := 3 * time.Second
	if s := os.Getenv("NEKO_TEST_HAMMER"); s != "" {
		var err error
		if lasts, err = time.ParseDuration(s); err != nil {
			t.Fatal(err)
		}
	}

	// Who kills a process says when: it may have forgotten a bucket, and not written
	// it down.
	var lost []interval
	start := func() *exec.Cmd {
		self, err := os.Executable()
		if err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command(self, "-test.run", "^TestChild$")
		cmd.Env = append(os.Environ(), hammerEnv+"="+dir)
		cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		return cmd
	}
	processes := make([]*exec.Cmd, 3)
	for i := range processes {
		processes[i] = start()
	}
	killed, stopped := 0, 0
	end := make(chan struct{})
	var watching sync.WaitGroup
	watching.Go(func() {
		for {
			select {
			case <-end:
				return
			default:
			}
			if err := twiceAtOnce(h); err != nil {
				t.Error(err)
				return
			}
		}
	})
	for began := time.Now(); time.Since(began) < lasts; {
		// How long is of no importance: it makes moments different.
		time.Sleep(time.Duration(rand.Int64N(int64(4 * time.Millisecond))))
		i := rand.IntN(len(processes))
		p := processes[i]
		if rand.IntN(10) > 0 {
			if err := p.Process.Signal(syscall.SIGSTOP); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Duration(rand.Int64N(3 * staleAfter)))
			if err := p.Process.Signal(syscall.SIGCONT); err != nil {
				t.Fatal(err)
			}
			stopped++
			continue
		}
		last := lastRecord(t, dir, p.Process.Pid)
		_ = p.Process.Kill()
		_ = p.Wait()
		lost = append(lost, interval{last, h.table.now()})
		killed++
		processes[i] = start()
	}
	for _, p := range processes {
		_ = p.Process.Kill()
		_ = p.Wait()
	}
	close(end)
	watching.Wait()

	records := readRecords(t, dir)
	admitted := make([][]admitted, hammerKeys)
	unsure := lost
	forgotten := 0
	for _, r := range records {
		if r.Forgotten {
			forgotten++
			unsure = append(unsure, interval{r.Begun, r.Done})
		}
		for i, key := range r.Keys {
			if key >= 0 {
				admitted[key] = append(admitted[key], one(r.Begun, r.Done, int64(r.Costs[i])))
			}
		}
	}
	windows := 0
	for key, all := range admitted {
		for _, part := range split(all, unsure) {
			n, err := within(part, hammered)
			windows += n
			if err != nil {
				t.Errorf("key %d: %v", key, err)
			}
		}
	}
	t.Logf("%d decisions, %d processes killed, %d stops, %d buckets forgotten; %d windows looked at", len(records), killed, stopped, forgotten, windows)
	if windows < 1000 {
		t.Error("too little to tell anything")
	}
	// And the table is as good as before.
	time.Sleep(time.Duration(staleAfter))
	for i := range 2 * window {
		if take(h, hammered, taken{fmt.Sprint("new", i): 5}) == nil {
			t.Errorf("new key %d is refused", i)
		}
	}
}

// twiceAtOnce says which key has two live entries at one moment: both are seen, and then
// the first is still the same.
func twiceAtOnce(h *Host) error {
	entries := h.table.entries
	for i := range entries {
		a := &entries[i]
		tag := a.tag.Load()
		if tag&tagKeyMask == 0 || !a.holds(tag) {
			continue
		}
		for j := range entries[:i] {
			b := &entries[j]
			other := b.tag.Load()
			if other&tagKeyMask == tag&tagKeyMask && b.holds(other) && a.holds(tag) {
				return fmt.Errorf("entries %d and %d are of the same key: %x, %x", j, i, other, tag)
			}
		}
	}
	return nil
}

type interval struct{ from, to int64 }

// admitted is an admission, at some time in an interval.
type admitted struct {
	interval
	cost int64
}

func one(from, to, cost int64) admitted { return admitted{interval{from, to}, cost} }

// split leaves out what overlaps an interval in which nobody knows, and does not let a
// window reach over one.
func split(all []admitted, unsure []interval) [][]admitted {
	slices.SortFunc(unsure, func(a, b interval) int { return int(a.from - b.from) })
	slices.SortFunc(all, func(a, b admitted) int { return int(a.from - b.from) })
	var parts [][]admitted
	from := int64(0)
	for _, u := range append(slices.Clone(unsure), interval{1<<63 - 1, 1<<63 - 1}) {
		var part []admitted
		for _, a := range all {
			if a.from >= from && a.to <= u.from {
				part = append(part, a)
			}
		}
		if len(part) > 0 {
			parts = append(parts, part)
		}
		from = max(from, u.to)
	}
	return parts
}

// within says of all windows, from the begin of one admission to the end of another, that
// what was surely admitted in between is within the bound.
func within(all []admitted, p *Policy) (windows int, err error) {
	slices.SortFunc(all, func(a, b admitted) int { return int(a.to - b.to) })
	perNano := float64(p.Limit) / float64(p.Window)
	const clocksDiffer = 2000 // at most, in nanoseconds
	for i, first := range all {
		sum := int64(0)
		for _, a := range all {
			if a.from < first.from {
				continue
			}
			sum += a.cost
			if bound := float64(p.Burst) + perNano*float64(a.to-first.from+clocksDiffer); float64(sum) > bound {
				return windows, fmt.Errorf("%d in %v are more than %.2f", sum, time.Duration(a.to-first.from), bound)
			}
			windows++
			if a.to-first.from > int64(100*time.Millisecond) {
				break // longer ones tell nothing more
			}
		}
		_ = i
	}
	return windows, nil
}

func logs(t *testing.T, dir string) []string {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(dir, "log-*"))
	if err != nil {
		t.Fatal(err)
	}
	return paths
}

// lastRecord is when a process has written the last time; 0 if it has not.
func lastRecord(t *testing.T, dir string, pid int) int64 {
	t.Helper()
	f, err := os.Open(filepath.Join(dir, fmt.Sprint("log-", pid)))
	if os.IsNotExist(err) {
		return 1<<63 - 1 // it has not decided anything, most likely
	}
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	last := make([]byte, recordSize)
	n := info.Size() / recordSize
	if n == 0 {
		return 1<<63 - 1
	}
	if _, err := f.ReadAt(last, (n-1)*recordSize); err != nil {
		t.Fatal(err)
	}
	var r record
	if _, err := binary.Decode(last, binary.NativeEndian, &r); err != nil {
		t.Fatal(err)
	}
	return r.Done
}

func readRecords(t *testing.T, dir string) (all []record) {
	t.Helper()
	for _, path := range logs(t, dir) {
		content, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for ; len(content) >= recordSize; content = content[recordSize:] {
			var r record
			if _, err := binary.Decode(content, binary.NativeEndian, &r); err != nil {
				t.Fatal(err)
			}
			all = append(all, r)
		}
	}
	return all
}

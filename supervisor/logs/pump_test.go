package logs

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

type worker struct {
	out  *os.File
	pump *Pump
}

func newWorker(t *testing.T, file *File) worker {
	t.Helper()
	read, write, err := Pipe()
	if err != nil {
		t.Fatal(err)
	}
	pump, err := Start(read, file, Options{})
	if err != nil {
		t.Fatal(err)
	}
	return worker{os.NewFile(uintptr(write), "worker"), pump}
}

func (w worker) exit(t *testing.T) {
	t.Helper()
	w.out.Close()
	select {
	case <-w.pump.Done():
	case <-time.After(10 * time.Second):
		t.Fatal("the pump does not end")
	}
}

func TestEverythingThatWasPrintedIsInTheFile(t *testing.T) {
	file := NewFile(filepath.Join(t.TempDir(), "out.log"))
	w := newWorker(t, file)
	var want bytes.Buffer
	for i := range 20000 {
		line := fmt.Sprintf("line %d %s\n", i, strings.Repeat("x", i%200))
		want.WriteString(line)
		if _, err := w.out.WriteString(line); err != nil {
			t.Fatal(err)
		}
	}
	long := strings.Repeat("\x00\xff", 3<<20) // binary, longer than any pipe, no newline
	want.WriteString(long)
	if _, err := w.out.WriteString(long); err != nil {
		t.Fatal(err)
	}
	w.exit(t)
	got, err := os.ReadFile(file.Path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want.Bytes()) {
		t.Errorf("the file has %d bytes, want %d, or other ones", len(got), want.Len())
	}
}

func TestTwoProcessesOfASlotDoNotTearEachOthersLines(t *testing.T) {
	file := NewFile(filepath.Join(t.TempDir(), "out.log"))
	old, successor := newWorker(t, file), newWorker(t, file)
	line := func(who byte, i int) string { return fmt.Sprintf("%s %d\n", bytes.Repeat([]byte{who}, 9000), i) }
	writes := make(chan error, 2)
	for who, w := range map[byte]worker{'a': old, 'b': successor} {
		go func() {
			for i := range 200 {
				text := line(who, i) // longer than PIPE_BUF, and in two writes
				if _, err := w.out.WriteString(text[:5000]); err != nil {
					writes <- err
					return
				}
				if _, err := w.out.WriteString(text[5000:]); err != nil {
					writes <- err
					return
				}
			}
			writes <- nil
		}()
	}
	for range 2 {
		if err := <-writes; err != nil {
			t.Fatal(err)
		}
	}
	old.exit(t)
	successor.exit(t)
	text, err := os.ReadFile(file.Path)
	if err != nil {
		t.Fatal(err)
	}
	next := map[byte]int{}
	for _, got := range strings.SplitAfter(strings.TrimSuffix(string(text), "\n"), "\n") {
		who := got[0]
		if want := line(who, next[who]); strings.TrimSuffix(got, "\n")+"\n" != want {
			t.Fatalf("line %d of %c is torn: %d bytes, want %d", next[who], who, len(got), len(want))
		}
		next[who]++
	}
	if next['a'] != 200 || next['b'] != 200 {
		t.Errorf("lines: %v", next)
	}
}

func TestAProcessThatLeavesALineUnfinishedDoesNotBlockTheOther(t *testing.T) {
	file := NewFile(filepath.Join(t.TempDir(), "out.log"))
	old, successor := newWorker(t, file), newWorker(t, file)
	if _, err := old.out.WriteString("no newline"); err != nil {
		t.Fatal(err)
	}
	if _, err := successor.out.WriteString("hello\n"); err != nil {
		t.Fatal(err)
	}
	successor.exit(t)
	old.exit(t)
	text, _ := os.ReadFile(file.Path)
	if !strings.Contains(string(text), "hello\n") || !strings.Contains(string(text), "no newline") {
		t.Errorf("got %q", text)
	}
}

// A bar of dots, say, that never comes to a line's end.
func TestAProcessThatNeverEndsItsLineDoesNotBlockTheOther(t *testing.T) {
	file := NewFile(filepath.Join(t.TempDir(), "out.log"))
	dots, successor := newWorker(t, file), newWorker(t, file)
	end, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for {
			select {
			case <-end:
				return
			case <-time.After(time.Millisecond):
				_, _ = dots.out.WriteString(".")
			}
		}
	}()
	for range 100 {
		if _, err := successor.out.WriteString(strings.Repeat("x", 1<<10) + "\n"); err != nil {
			t.Fatal(err)
		}
	}
	successor.exit(t)
	close(end)
	<-ended
	dots.exit(t)
}

// By hand, or by a logrotate that knows nothing of us.
func TestAFileThatIsRemovedOrTruncatedIsWrittenOnFromItsStart(t *testing.T) {
	file := NewFile(filepath.Join(t.TempDir(), "out.log"))
	w := newWorker(t, file)
	print := func(line string) {
		t.Helper()
		if _, err := w.out.WriteString(line); err != nil {
			t.Fatal(err)
		}
		for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
			text, _ := os.ReadFile(file.Path)
			if string(text) == line {
				return
			}
			if time.Now().After(deadline) {
				t.Fatalf("the file has %q, want %q", text, line)
			}
		}
	}
	print("one\n")
	if err := os.Truncate(file.Path, 0); err != nil {
		t.Fatal(err)
	}
	print("two\n")
	if err := os.Remove(file.Path); err != nil {
		t.Fatal(err)
	}
	print("three\n")
	w.exit(t)
}

func TestWhatIsInThePipeWhenAMasterDiesIsWrittenByTheNext(t *testing.T) {
	path := filepath.Join(t.TempDir(), "out.log")
	if err := os.WriteFile(path, []byte("before\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	read, write, err := Pipe()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := unix.Write(write, []byte("printed while there was no master\n")); err != nil {
		t.Fatal(err)
	}
	unix.Close(write)
	pump, err := Start(read, NewFile(path), Options{})
	if err != nil {
		t.Fatal(err)
	}
	<-pump.Done()
	text, _ := os.ReadFile(path)
	if want := "before\nprinted while there was no master\n"; string(text) != want {
		t.Errorf("got %q, want %q", text, want)
	}
}

func TestALogThatCannotBeWrittenBlocksNobodyAndConfesses(t *testing.T) {
	folder := filepath.Join(t.TempDir(), "missing")
	file := NewFile(filepath.Join(folder, "out.log"))
	w := newWorker(t, file)
	lost := strings.Repeat("y", 5<<20)
	if _, err := w.out.WriteString(lost + "\n"); err != nil { // would block forever on a full pipe
		t.Fatal(err)
	}
	if err := os.Mkdir(folder, 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := w.out.WriteString("found again\n"); err != nil {
		t.Fatal(err)
	}
	w.exit(t)
	text, _ := os.ReadFile(file.Path)
	if !strings.Contains(string(text), "bytes of output were lost here") || !strings.HasSuffix(string(text), "found again\n") {
		if len(text) > 300 {
			text = text[:300]
		}
		t.Errorf("got %q", text)
	}
}

func TestASinkSeesWhatTheFileGets(t *testing.T) {
	file := NewFile(filepath.Join(t.TempDir(), "out.log"))
	read, write, err := Pipe()
	if err != nil {
		t.Fatal(err)
	}
	tail := &Tail{}
	pump, err := Start(read, file, Options{Sink: tail})
	if err != nil {
		t.Fatal(err)
	}
	out := os.NewFile(uintptr(write), "worker")
	for i := range 100 {
		fmt.Fprintf(out, "line %d\n", i)
	}
	out.Close()
	<-pump.Done()
	lines := tail.Lines()
	if len(lines) != tailLines || lines[0] != "line 80" || lines[19] != "line 99" {
		t.Errorf("tail is %q", lines)
	}
	text, _ := os.ReadFile(file.Path)
	if n := bytes.Count(text, []byte("\n")); n != 100 {
		t.Errorf("the file has %d lines, want 100", n)
	}
}

func TestAllPumpsAreDoneWhenTheLastPipeIsAtItsEnd(t *testing.T) {
	var pumps []*Pump
	var writers []*os.File
	for range 3 {
		read, write, err := Pipe()
		if err != nil {
			t.Fatal(err)
		}
		pump, err := Start(read, NewFile(filepath.Join(t.TempDir(), "out.log")), Options{})
		if err != nil {
			t.Fatal(err)
		}
		pumps, writers = append(pumps, pump), append(writers, os.NewFile(uintptr(write), "pipe"))
	}
	done := make(chan struct{})
	AllDone(append(pumps, nil), func() { close(done) })
	for i, w := range writers {
		select {
		case <-done:
			t.Error("done, and there are pipes that are open")
		default:
		}
		w.Close()
		<-pumps[i].Done()
	}
	<-done
	again := make(chan struct{})
	AllDone(pumps, func() { close(again) }) // though they are already
	<-again
}

// Both outputs of a process go to a file more, whatever becomes of lines on the way.
func TestLinesGoToAnotherFileAsWell(t *testing.T) {
	long := strings.Repeat("long ", 300_000) + "line\n"
	for name, c := range map[string]struct {
		form   *Form
		null   bool
		prints []string
		want   string
	}{
		"as they are":     {prints: []string{"one\ntw", "o\n", "end"}, want: "one\ntwo\nend"},
		"of nothing kept": {null: true, prints: []string{"one\ntw", "o\n"}, want: "one\ntwo\n"},
		"long":            {prints: []string{"short\n", long, "short\n"}, want: "short\n" + long + "short\n"},
		"rewritten":       {form: &Form{Date: ParseDate("[at]")}, prints: []string{"one\ntwo\n"}, want: "at: one\nat: two\n"},
		"long, rewritten": {form: &Form{Date: ParseDate("[at]")}, prints: []string{long, "short\n"}, want: "at: " + long + "at: short\n"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, "own.log")
			if c.null {
				path = os.DevNull
			}
			all := NewFile(filepath.Join(dir, "all.log"))
			read, write, err := Pipe()
			if err != nil {
				t.Fatal(err)
			}
			own := NewFile(path)
			p, err := Start(read, own, Options{Form: c.form, All: all})
			if err != nil {
				t.Fatal(err)
			}
			out := os.NewFile(uintptr(write), "out")
			for _, text := range c.prints {
				if _, err := out.WriteString(text); err != nil {
					t.Fatal(err)
				}
			}
			out.Close()
			<-p.Done()
			text, err := os.ReadFile(all.Path)
			if err != nil || string(text) != c.want {
				t.Errorf("got %.80q… (%d bytes), want %.80q… (%d): %v", text, len(text), c.want, len(c.want), err)
			}
			if !c.null {
				if text, err := os.ReadFile(path); err != nil || string(text) != c.want {
					t.Errorf("its own has %.80q… (%d bytes): %v", text, len(text), err)
				}
			}
		})
	}
}

func TestTwoOutputsDoNotMixInTheirFile(t *testing.T) {
	dir := t.TempDir()
	all := NewFile(filepath.Join(dir, "all.log"))
	var outs []*os.File
	var pumps []*Pump
	for _, name := range []string{"out.log", "err.log"} {
		read, write, err := Pipe()
		if err != nil {
			t.Fatal(err)
		}
		p, err := Start(read, NewFile(filepath.Join(dir, name)), Options{All: all})
		if err != nil {
			t.Fatal(err)
		}
		outs, pumps = append(outs, os.NewFile(uintptr(write), name)), append(pumps, p)
	}
	var printing sync.WaitGroup
	for _, out := range outs {
		printing.Go(func() {
			defer out.Close()
			for i := range 2000 {
				fmt.Fprintf(out, "%s %d ", out.Name(), i)
				fmt.Fprintf(out, "%s\n", strings.Repeat("x", i))
			}
		})
	}
	printing.Wait()
	for _, p := range pumps {
		<-p.Done()
	}
	text, err := os.ReadFile(all.Path)
	if err != nil {
		t.Fatal(err)
	}
	next := map[string]int{}
	for line := range strings.Lines(string(text)) {
		name, _, _ := strings.Cut(line, " ")
		i := next[name]
		if line != fmt.Sprintf("%s %d %s\n", name, i, strings.Repeat("x", i)) {
			t.Fatalf("%.100q follows line %d of %s", line, i, name)
		}
		next[name]++
	}
	if next["out.log"] != 2000 || next["err.log"] != 2000 {
		t.Errorf("%v", next)
	}
}

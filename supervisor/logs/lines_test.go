package logs

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// scribe is a process that prints lines which nobody else does.
type scribe struct {
	name  string
	out   *os.File
	lines []string
}

// print writes a line in pieces.
func (s *scribe) print(t *rapid.T, body []byte, cuts []int) {
	line := fmt.Sprintf("%s.%d ", s.name, len(s.lines)) + string(bytes.ReplaceAll(body, []byte("\n"), []byte("_")))
	s.lines = append(s.lines, line)
	text := line + "\n"
	for _, cut := range cuts {
		cut %= len(text)
		if _, err := s.out.WriteString(text[:cut]); err != nil {
			t.Fatal(err)
		}
		text = text[cut:]
	}
	if _, err := s.out.WriteString(text); err != nil {
		t.Fatal(err)
	}
}

// A test master is a process of its own, so that it can be killed. It moves the
// pipes from descriptor 3 on to the log that it is told.
type testMaster struct {
	Path     string
	Rotation Rotation
	Forms    []*Form // of each pipe
}

const masterVariable = "NEKO_TEST_LOGS"

func TestMain(m *testing.M) {
	if text := os.Getenv(masterVariable); text != "" {
		var e testMaster
		if err := json.Unmarshal([]byte(text), &e); err != nil {
			panic(err)
		}
		e.main()
	}
	os.Exit(m.Run())
}

// main obeys a line of standard input at a time until all pipes are at their ends.
func (e *testMaster) main() {
	file := NewFile(e.Path)
	if e.Rotation.Gzip {
		e.Rotation.Compress = Compress
	}
	file.Rotate(e.Rotation)
	file.Tidy()
	var pumps []*Pump
	for i, form := range e.Forms {
		if form != nil && form.Type != JSON {
			form.Date = ParseDate("YYYY")
		}
		p, err := Start(3+i, file, Options{Form: form, Merged: len(e.Forms) > 1})
		if err != nil {
			panic(err)
		}
		pumps = append(pumps, p)
	}
	file.mu.Lock()
	err := file.open() // before anybody gives it another name
	file.mu.Unlock()
	if err != nil {
		panic(err)
	}
	fmt.Println("open")
	go func() {
		for in := bufio.NewScanner(os.Stdin); in.Scan(); {
			if err := file.Reopen(); err != nil {
				panic(err)
			}
			fmt.Println("done")
		}
	}()
	for _, p := range pumps {
		<-p.Done()
	}
	idle()
	os.Exit(0)
}

// idle waits until nothing is compressed any more.
func idle() {
	for runs := true; runs; time.Sleep(time.Millisecond) {
		archive.Lock()
		runs = archive.runs
		archive.Unlock()
	}
}

type running struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
}

func (e *testMaster) start(t *rapid.T, pipes []*os.File) *running {
	text, err := json.Marshal(e)
	if err != nil {
		t.Fatal(err)
	}
	r := &running{cmd: exec.Command("/proc/self/exe")}
	r.cmd.Env = append(os.Environ(), masterVariable+"="+string(text))
	r.cmd.ExtraFiles, r.cmd.Stderr = pipes, os.Stderr
	if r.in, err = r.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := r.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	r.out = bufio.NewReader(out)
	if err := r.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	r.hear(t)
	return r
}

func (r *running) hear(t *rapid.T) {
	if _, err := r.out.ReadString('\n'); err != nil {
		t.Fatal(err)
	}
}

func (r *running) reopen(t *rapid.T) {
	if _, err := r.in.Write([]byte("reopen\n")); err != nil {
		t.Fatal(err)
	}
	r.hear(t)
}

// Whatever happens to a log while several processes print to it, the lines of all
// its files together are those that were printed, whole, and each process's in order.
func TestNoLineIsLostTornOrPrintedTwice(t *testing.T) {
	if !slices.ContainsFunc(os.Args, func(arg string) bool { return strings.HasPrefix(arg, "-rapid.checks") }) {
		flag.Set("rapid.checks", "8") // lines of megabytes take their time
	}
	forms := map[string]*Form{"raw": nil, "dated": {}, "json": {Type: JSON, App: "app"}}
	for name, form := range forms {
		t.Run(name, func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) { oneLife(t, form) })
		})
	}
}

func oneLife(t *rapid.T, form *Form) {
	dir, err := os.MkdirTemp("", "logs")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "app.log")
	rotates := &testMaster{Path: path, Rotation: Rotation{
		Size: int64(rapid.IntRange(4<<10, 1<<20).Draw(t, "size")), Keep: 1 << 20, Gzip: rapid.Bool().Draw(t, "gzip"),
	}}
	var scribes []*scribe
	var pipes []*os.File
	for i := range rapid.IntRange(1, 3).Draw(t, "processes") {
		read, write, err := Pipe()
		if err != nil {
			t.Fatal(err)
		}
		scribes = append(scribes, &scribe{name: fmt.Sprintf("p%d", i), out: os.NewFile(uintptr(write), "process")})
		pipes = append(pipes, os.NewFile(uintptr(read), "pipe"))
		defer pipes[i].Close()
		var own *Form
		if form != nil {
			own = &Form{Type: form.Type, App: "app", Process: i}
		}
		rotates.Forms = append(rotates.Forms, own)
	}
	master := rotates.start(t, pipes)

	longest := 3 << 20
	if form != nil && form.Type == JSON {
		longest = 200_000 // a longer one is several objects, of which one may come twice
	}
	size := rapid.OneOf(rapid.IntRange(0, 200), rapid.IntRange(0, 200), rapid.IntRange(0, 70_000), rapid.IntRange(0, longest))
	content := rapid.SliceOfN(rapid.Byte(), 1, 100)
	type printed struct {
		who  int
		body []byte
		cuts []int
	}
	for round := range rapid.IntRange(1, 8).Draw(t, "rounds") {
		batch := make([][]printed, len(scribes))
		for range rapid.IntRange(0, 30).Draw(t, "lines") {
			who := rapid.IntRange(0, len(scribes)-1).Draw(t, "who")
			some, n := content.Draw(t, "content"), size.Draw(t, "length")
			batch[who] = append(batch[who], printed{
				who, bytes.Repeat(some, n/len(some)+1)[:n],
				rapid.SliceOfN(rapid.IntRange(0, 1<<20), 0, 3).Draw(t, "cuts"),
			})
		}
		var writing sync.WaitGroup
		for _, lines := range batch {
			writing.Go(func() {
				for _, l := range lines {
					scribes[l.who].print(t, l.body, l.cuts)
				}
			})
		}
		switch rapid.SampledFrom([]string{"nothing", "reopen", "rename and reopen", "kill"}).Draw(t, "event") {
		case "reopen":
			master.reopen(t)
		case "rename and reopen": // as logrotate does
			// Rounds may take less than the millisecond that a name says.
			_ = os.Rename(path, fmt.Sprintf("%s-by-hand-%d", asideName(path, time.Now()), round)) // unless nothing has been printed yet
			master.reopen(t)
		case "kill":
			_ = master.cmd.Process.Kill()
			_ = master.cmd.Wait()
			master = rotates.start(t, pipes)
		}
		writing.Wait()
	}
	for _, s := range scribes {
		s.out.Close()
	}
	if err := master.cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	want, came := map[string]bool{}, map[string]bool{}
	for _, s := range scribes {
		for _, line := range s.lines {
			if form != nil && form.Type == JSON {
				line = asJSON(line)
			}
			want[line] = true
		}
	}
	text := allText(t, dir)
	if form != nil && form.Type == JSON {
		text = messages(t, text)
	}
	for _, line := range strings.SplitAfter(text, "\n") {
		if line == "" {
			continue
		}
		if form != nil && form.Type != JSON {
			date, rest, _ := strings.Cut(line, ": ")
			if date != time.Now().Format("2006") {
				t.Fatalf("a line without a date: %.100q", line)
			}
			line = rest
		}
		line, ended := strings.CutSuffix(line, "\n")
		if came[line] && form != nil {
			continue // a master was killed between the file and the pipe
		}
		if !ended || !want[line] {
			t.Fatalf("a line that nobody printed, of %d bytes: %.100q", len(line), line)
		}
		delete(want, line)
		came[line] = true
	}
	for line := range want {
		t.Fatalf("%d lines are missing, such as one of %d bytes: %.100q", len(want), len(line), line)
	}
}

// asJSON is a line after it has been in a JSON string.
func asJSON(line string) string {
	var text string
	_ = json.Unmarshal(appendQuoted(nil, []byte(line)), &text)
	return text
}

// messages are the lines in the objects of a log, the pieces of a long one put
// together again.
func messages(t *rapid.T, text string) string {
	var all strings.Builder
	pieces := map[int]string{}
	for _, line := range strings.Split(strings.TrimSuffix(text, "\n"), "\n") {
		if line == "" {
			continue
		}
		var o struct {
			Message string
			Process int `json:"process_id"`
			Partial bool
		}
		if err := json.Unmarshal([]byte(line), &o); err != nil {
			t.Fatalf("%v: %.100q", err, line)
		}
		if pieces[o.Process] += o.Message; !o.Partial {
			all.WriteString(pieces[o.Process] + "\n")
			delete(pieces, o.Process)
		}
	}
	return all.String()
}

// allText is what is in the files of a folder, in the order of their names.
func allText(t *rapid.T, dir string) string {
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	entries = slices.DeleteFunc(entries, func(e os.DirEntry) bool { return e.Name()[0] == '.' })
	if len(entries) == 0 {
		return ""
	}
	entries = append(entries[1:], entries[0]) // app.log is the youngest
	var all strings.Builder
	for _, e := range entries {
		file, err := os.Open(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		var from io.Reader = file
		if strings.HasSuffix(e.Name(), packedSuffix) {
			if from, err = gzip.NewReader(file); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := io.Copy(&all, from); err != nil {
			t.Fatal(err)
		}
		file.Close()
	}
	return all.String()
}

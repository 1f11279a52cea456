package worker

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// askAt is a request to a worker process.
func askAt(address, query, extensions string) (string, error) {
	body := fmt.Sprintf(`{"extensions":%s}`, extensions)
	if query != "" {
		body = fmt.Sprintf(`{"query":%q,"extensions":%s}`, query, extensions)
	}
	req, err := http.NewRequest("POST", "http://"+address+"/graphql", strings.NewReader(body))
	if err != nil {
		return "", err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := (&http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}).Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	return string(answer), err
}

// What one worker of a host has been told all of them know, whatever becomes of the
// one: also if it is killed while it writes.
func TestPersistedQueriesAmongProcesses(t *testing.T) {
	runDir := t.TempDir()
	// forget closes what this test has of the socket, else nobody is told that the
	// worker is dead.
	startAt := func() (p *process, address string, forget func()) {
		l, f := listenLocal(t)
		return start(t, false, []string{"NEKO_RUN_DIR=" + runDir}, f), l.Addr().String(), func() { l.Close(); f.Close() }
	}
	doc := func(i int) string { return fmt.Sprintf("{hello} # %d", i) }
	const world = `{"data":{"hello":"world"}}`
	_, second, _ := startAt()
	known := 0
	for round := range 3 {
		first, address, forget := startAt()
		if got, err := askAt(second, "", persistedHash(doc(known))); err != nil || !strings.Contains(got, "PersistedQueryNotFound") {
			t.Fatalf("%s, %v", got, err)
		}
		// Each client tells the one, and then the other knows; until the one dies.
		var clients sync.WaitGroup
		told := make(chan int)
		numbers := make(chan int)
		for range 4 {
			clients.Go(func() {
				for i := range numbers {
					if got, err := askAt(address, doc(i), persistedHash(doc(i))); err != nil || got != world {
						continue // it is dead
					}
					if got, err := askAt(second, "", persistedHash(doc(i))); err != nil || got != world {
						t.Errorf("round %d: document %d at the other worker: %s, %v", round, i, got, err)
					}
					told <- i
				}
			})
		}
		go func() {
			defer close(numbers)
			for i := known; ; i++ {
				select {
				case numbers <- i:
				case <-first.done:
					return
				}
			}
		}()
		go func() { clients.Wait(); close(told) }()
		n := 0
		for i := range told {
			if n++; n == 40+round*7 {
				_ = first.Process.Kill()
				forget()
			}
			known = max(known, i+1)
		}
		known += 10 // written and not told
		first.end(t)
	}
	if known < 120 {
		t.Errorf("only %d", known)
	}
	// What lies there is whole.
	dir := filepath.Join(runDir, hostDocumentsName)
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) < 120 {
		t.Fatalf("%d files, %v", len(entries), err)
	}
	for _, e := range entries {
		text, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		if !strings.HasPrefix(e.Name(), aside) && hashOf(string(text)).String() != e.Name() {
			t.Errorf("%s: %q", e.Name(), text)
		}
	}
	// And a process that comes later knows it too.
	_, third, _ := startAt()
	if got, err := askAt(third, "", persistedHash(doc(0))); err != nil || got != world {
		t.Errorf("%s, %v", got, err)
	}
}

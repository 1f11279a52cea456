package logs

import (
	"bytes"
	"io"
	"strings"
	"testing"
	"time"
)

func TestAConsoleThatNobodyReadsBlocksNobodyAndConfesses(t *testing.T) {
	read, write := io.Pipe() // without room: a write waits for its reader
	console := NewShared(write)
	line := []byte("api:0 | " + strings.Repeat("x", 100) + "\n")
	began := time.Now()
	for range 1000 {
		if _, err := console.Write(line); err != nil {
			t.Fatal(err)
		}
	}
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("1000 lines took %s", took)
	}

	var seen bytes.Buffer
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		_, _ = io.Copy(&seen, read)
	}()
	console.Flush()
	if _, err := console.Write([]byte("api:0 | somebody reads again\n")); err != nil {
		t.Fatal(err)
	}
	console.Flush()
	write.Close()
	<-closed
	text := seen.String()
	if !strings.Contains(text, "bytes of output were lost here: nobody read them\n") {
		t.Error("it does not say that something is missing")
	}
	if !strings.HasSuffix(text, "api:0 | somebody reads again\n") {
		t.Errorf("it ends with %q", text[max(0, len(text)-100):])
	}
}

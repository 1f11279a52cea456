package main

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

// terminal is a pseudo terminal: what a person types into, and what a program has.
func terminal(t *testing.T) (person, program *os.File) {
	t.Helper()
	person, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { person.Close() })
	fd := int(person.Fd())
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0)
	}
	if err != nil {
		t.Fatal(err)
	}
	program, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { program.Close() })
	return person, program
}

type lockedBuffer struct {
	mu     sync.Mutex
	b      bytes.Buffer
	before func(p []byte) // what is to be seen; may be nil
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	if l.before != nil {
		l.before(p)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// On a terminal a password is asked for twice, and is not seen.
func TestPasswordOnATerminal(t *testing.T) {
	t.Setenv("NEKO_HOME", filepath.Join(t.TempDir(), "home"))
	for _, c := range []struct {
		name  string
		typed []string
		code  int
		want  string
	}{
		{"mia", []string{"an honest password", "an honest password"}, 0, "password for mia (none: have one made): \nonce more: \nuser mia (viewer) was added\n"},
		{"tom", []string{"an honest password", "another password"}, 1, "password for tom (none: have one made): \nonce more: \nerror: these are two different passwords\n"},
		{"pia", []string{""}, 0, "password for pia (none: have one made): \nuser pia (viewer) was added\nthe password, which is shown this once:\n"},
	} {
		person, program := terminal(t)
		echoes := func() bool {
			state, err := unix.IoctlGetTermios(int(program.Fd()), unix.TCGETS)
			if err != nil {
				t.Error(err)
			}
			return err == nil && state.Lflag&unix.ECHO != 0
		}
		seen := lockedBuffer{before: func(p []byte) {
			if bytes.HasSuffix(p, []byte(": ")) && echoes() {
				t.Errorf("%s: who answers at once is seen", p)
			}
		}}
		ended := make(chan int, 1)
		go func() {
			ended <- run([]string{"user", "add", c.name, "--role", "viewer"}, streams{program, &lockedBuffer{}, &seen})
		}()
		prompts := []string{"have one made): ", "once more: "}
		for i, line := range c.typed {
			for deadline := time.Now().Add(10 * time.Second); !strings.HasSuffix(seen.String(), prompts[i]); time.Sleep(time.Millisecond) {
				if time.Now().After(deadline) {
					t.Fatalf("it does not ask: %s", seen.String())
				}
			}
			if _, err := person.WriteString(line + "\n"); err != nil {
				t.Fatal(err)
			}
		}
		if code := <-ended; code != c.code || seen.String() != c.want {
			t.Errorf("exit code %d\n%q\nwant %d\n%q", code, seen.String(), c.code, c.want)
		}
		if !echoes() {
			t.Error("the terminal does not echo any more")
		}
		// What the terminal shows is what was echoed: the line's end.
		program.Close()
		echoed := make([]byte, 1024)
		if n, _ := person.Read(echoed); strings.Contains(string(echoed[:n]), "password") {
			t.Errorf("echoed: %q", echoed[:n])
		}
	}
}

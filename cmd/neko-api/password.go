package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/sys/unix"
	"golang.org/x/term"

	"github.com/nekoctl/neko/api/auth"
)

// newPassword asks for a new password on a terminal, or reads it, or makes one.
func newPassword(ctx context.Context, o *options, s streams, name string) (password string, made bool, err error) {
	switch terminal, ok := s.in.(*os.File); {
	case o.passwordStdin:
		password, err = readLine(s.in)
		return password, false, err
	case ok && term.IsTerminal(int(terminal.Fd())):
		password, err = askTwice(ctx, s, int(terminal.Fd()), name)
	}
	if password == "" && err == nil {
		return auth.NewPassword(), true, nil
	}
	return password, false, err
}

// readLine reads one line, and nothing that would be lost unseen after it.
func readLine(r io.Reader) (string, error) {
	data, err := io.ReadAll(io.LimitReader(bufio.NewReader(r), 8<<10))
	if err != nil {
		return "", fmt.Errorf("cannot read the password: %w", err)
	}
	line, rest, _ := strings.Cut(string(data), "\n")
	line = strings.TrimSuffix(line, "\r")
	switch {
	case rest != "":
		return "", hinted{"standard input has more than one line", "give the password alone"}
	case line == "":
		return "", hinted{"standard input has no password", "give it in one line: … | neko-api user add NAME --role ROLE --password-stdin"}
	}
	return line, nil
}

// askTwice asks without echo, until ctx ends. Nothing typed means that one is to
// be made.
func askTwice(ctx context.Context, s streams, fd int, name string) (password string, err error) {
	show, err := hide(fd)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, show()) }()
	first, err := ask(ctx, s, fd, "password for "+name+" (none: have one made): ")
	if err != nil || first == "" {
		return "", err
	}
	second, err := ask(ctx, s, fd, "once more: ")
	if err == nil && first != second {
		err = errors.New("these are two different passwords")
	}
	return first, err
}

// hide ends the echo of a terminal, until show is called: before anything is asked
// for, as some type, and programs do, while they read the question.
func hide(fd int) (show func() error, err error) {
	before, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	if err != nil {
		return nil, err
	}
	hidden := *before
	hidden.Lflag &^= unix.ECHO
	return func() error { return unix.IoctlSetTermios(fd, unix.TCSETS, before) }, unix.IoctlSetTermios(fd, unix.TCSETS, &hidden)
}

func ask(ctx context.Context, s streams, fd int, prompt string) (string, error) {
	fmt.Fprint(s.err, prompt)
	defer fmt.Fprintln(s.err)
	type answer struct {
		text []byte
		err  error
	}
	read := make(chan answer, 1)
	go func() {
		text, err := term.ReadPassword(fd)
		read <- answer{text, err}
	}()
	select {
	case a := <-read:
		return string(a.text), a.err
	case <-ctx.Done():
		return "", errors.New("interrupted") // the reader goes with the process
	}
}

// Package freeport chooses ports for programs that tests start, where `:0` does not do: the port is known before
// somebody listens on it, or has to be free again while the program is away.
package freeport

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
	"syscall"
	"testing"
)

// Linux gives clients, and who asks for any port, one from 32,768 on, so that a port of these is taken by nobody who
// does not ask for it. The bus of a Redis Cluster in k8s's tests is below them.
const first, end = 20_000, 32_000

// For is Take for a test, which fails where there is none.
func For(t testing.TB) int {
	t.Helper()
	port, err := Take()
	if err != nil {
		t.Fatal(err)
	}
	return port
}

// Address is one of 127.0.0.1, with a port by For.
func Address(t testing.TB) string {
	t.Helper()
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(For(t)))
}

// Take is a port of TCP that is free on all addresses. Until this process ends nobody else gets it by Take: not here,
// and not in another process of this network namespace, as the tests of several packages run at once.
func Take() (int, error) {
	var errs error
	for range 100 {
		port := first + rand.IntN(end-first)
		err := reserve(port)
		if err == nil {
			return port, nil
		}
		errs = errors.Join(errs, err)
	}
	return 0, fmt.Errorf("no free port: %w", errs)
}

// reserve has an abstract address of a Unix socket stand for the port: it goes with the process, however that ends.
func reserve(port int) error {
	fd, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_DGRAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	if err := syscall.Bind(fd, &syscall.SockaddrUnix{Name: "@neko-test-port-" + strconv.Itoa(port)}); err != nil {
		syscall.Close(fd)
		return fmt.Errorf("port %d is another test's: %w", port, err)
	}
	l, err := net.Listen("tcp", ":"+strconv.Itoa(port))
	if err != nil {
		return err // who listens there may do so for long: it stays reserved
	}
	return l.Close()
}

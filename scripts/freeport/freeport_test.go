package freeport

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
)

const inChild = "NEKO_TEST_FREEPORT"

// A port is given once, to whatever process, and is free again when that has ended.
func TestAPortIsGivenOnce(t *testing.T) {
	switch wanted := os.Getenv(inChild); wanted {
	case "":
	case "any":
		fmt.Printf("port %d.\n", For(t))
		return
	default:
		port, err := strconv.Atoi(wanted)
		if err == nil {
			err = reserve(port)
		}
		if err != nil {
			t.Fatal(err)
		}
		return
	}
	other := func(wanted string) (string, error) {
		child := exec.Command("/proc/self/exe", "-test.run", "^"+t.Name()+"$")
		child.Env = append(os.Environ(), inChild+"="+wanted)
		out, err := child.CombinedOutput()
		return string(out), err
	}
	port := For(t)
	if reserve(port) == nil {
		t.Error("this process gets it again")
	}
	if out, err := other(strconv.Itoa(port)); err == nil || !strings.Contains(out, "is another test's") {
		t.Errorf("another process gets it, too: %v\n%s", err, out)
	}
	out, err := other("any")
	if _, scanErr := fmt.Sscanf(out, "port %d.", &port); err != nil || scanErr != nil {
		t.Fatalf("%v, %v\n%s", err, scanErr, out)
	}
	if err := reserve(port); err != nil {
		t.Errorf("the port of a process that has ended: %v", err)
	}
}

func TestAPortIsFreeOnAllAddresses(t *testing.T) {
	for _, address := range []string{"127.0.0.1", "127.0.0.2", "[::1]", ""} {
		l, err := net.Listen("tcp", address+":0")
		if err != nil {
			t.Logf("%s: %v", address, err) // a machine without IPv6
			continue
		}
		if err := reserve(l.Addr().(*net.TCPAddr).Port); err == nil {
			t.Errorf("a port is free though somebody listens on %s", l.Addr())
		}
		l.Close()
	}
}

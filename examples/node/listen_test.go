package node

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/nekoctl/neko/scripts/freeport"
)

// Programs of testdata/listen print what their servers come to. Under nekoctl that is
// what it is under Node's own primary, with the same codes and texts.
func TestServersListenAndFailAsUnderNodesOwnPrimary(t *testing.T) {
	eachNode(t, func(t *testing.T, n node) {
		programs, err := filepath.Glob("testdata/listen/*.cjs")
		if err != nil {
			t.Fatal(err)
		}
		for _, program := range programs {
			name := strings.TrimSuffix(filepath.Base(program), ".cjs")
			if name == "say" {
				continue
			}
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				want, ok := underPrimary(t, n, program, surroundings(t))
				if !ok { // a second refusal is too much for workers of Node 22.23 (ERR_INTERNAL_ASSERTION)
					want, ok = underPrimary(t, nodeOnPath(t), program, surroundings(t))
				}
				if !ok {
					t.Fatal("a worker of Node's own primary has ended")
				}
				a := prepare(t, n, filepath.Dir(program))
				a.env = append(a.env, surroundings(t)...)
				a.start(filepath.Base(program))
				for slot := range want {
					a.prints("out", slot, "done", 1)
					if got := comparable(a.log("out", slot)); got != want[slot] {
						t.Errorf("worker %d prints\n%sand under Node's primary\n%s", slot, got, want[slot])
					}
				}
			})
		}
	})
}

// surroundings are a port that is taken, one that is free, a folder with a file, and
// one in which nothing can be made.
func surroundings(t *testing.T) []string {
	t.Helper()
	taken, free := freeport.For(t), freeport.For(t)
	at := fmt.Sprintf("127.0.0.1:%d", taken)
	l, err := net.Listen("tcp4", at)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	packets, err := net.ListenPacket("udp4", at)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { packets.Close() })
	folder, err := os.MkdirTemp("", "listen") // short enough for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(folder) })
	if err := os.WriteFile(filepath.Join(folder, "file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	locked := filepath.Join(folder, "locked")
	if os.Getuid() == 0 { // whom rights do not stop
		locked = "/proc"
	} else if err := os.Mkdir(locked, 0o500); err != nil {
		t.Fatal(err)
	}
	return []string{fmt.Sprintf("TAKEN=%d", taken), fmt.Sprintf("FREE=%d", free), "FOLDER=" + folder, "LOCKED=" + locked}
}

// underPrimary is what two workers of Node's own primary print; not ok if one has ended.
func underPrimary(t *testing.T, n node, program string, env []string) (want [2]string, ok bool) {
	t.Helper()
	cmd := exec.Command(n.program(), "testdata/primary.cjs", program)
	cmd.Env = append(os.Environ(), env...)
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Wait()
	defer stdin.Close()
	late := time.AfterFunc(patience, func() { stdin.Close() })
	defer late.Stop()
	var printed [2]string
	done := 0
	for lines := bufio.NewScanner(stdout); done < len(printed) && lines.Scan(); {
		slot, line, _ := strings.Cut(lines.Text(), " ")
		printed[slot[0]-'0'] += line + "\n"
		if line == "done" {
			done++
		}
	}
	return [2]string{comparable(printed[0]), comparable(printed[1])}, done == len(printed)
}

// comparable leaves out numbers that are others each time.
func comparable(printed string) string {
	return regexp.MustCompile(`"port":\d+|:\d{4,5}\b|/tmp/listen\d+`).ReplaceAllStringFunc(printed, func(text string) string {
		return strings.TrimRight(text, "0123456789")
	})
}

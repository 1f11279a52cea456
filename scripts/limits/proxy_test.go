package limits

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/nekoctl/neko/scripts/slowproxy"
)

const proxyTarget = "NEKO_LIMITS_PROXY"

// relay is a bad network between one host and Redis: this binary in a mode of its own, in the
// host's namespace. It is told by lines on standard input.
func relay() error {
	p, err := slowproxy.New(os.Getenv(proxyTarget))
	if err != nil {
		return err
	}
	defer p.Close()
	fmt.Println(p.Addr(), "listens")
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		word, rest, _ := strings.Cut(in.Text(), " ")
		switch word {
		case "delay":
			d, err := time.ParseDuration(rest)
			if err != nil {
				return err
			}
			p.Delay(d)
		case "cut":
			p.Cut()
		case "stall":
			p.Stall()
		case "refuse":
			p.Refuse()
		case "resume":
			if err := p.Resume(); err != nil {
				return err
			}
		default:
			return fmt.Errorf("what is %q?", in.Text())
		}
		fmt.Println("done")
	}
	return nil
}

// path is the way of one host to Redis.
type path struct {
	*process
	commands io.Writer
	address  string
	done     int
}

// throughProxy has the hosts reach Redis by a relay on each of them.
func (s *stage) throughProxy() {
	s.Helper()
	own, err := os.Executable()
	must(s.T, err)
	for _, h := range s.hosts {
		r, w, err := os.Pipe()
		must(s.T, err)
		s.Cleanup(func() { w.Close() })
		p, err := startReading(h.ns, r, "the network of "+h.node, "listens\n", []string{proxyTarget + "=" + s.servers[0].address}, own)
		must(s.T, err)
		must(s.T, r.Close())
		s.Cleanup(p.close)
		must(s.T, p.await(patience))
		address, _, _ := strings.Cut(p.printed.String(), " ")
		h.path = &path{process: p, commands: w, address: address}
		h.redis = "redis://" + address
	}
}

// network does something to the way of all hosts.
func (s *stage) onPaths(command string) {
	s.Helper()
	for _, h := range s.hosts {
		_, err := io.WriteString(h.path.commands, command+"\n")
		must(s.T, err)
		h.path.done++
	}
	for _, h := range s.hosts {
		waitFor(s.T, h.path.name+" has heard "+strconv.Quote(command), patience, func() bool {
			return strings.Count(h.path.printed.String(), "done\n") == h.path.done
		})
	}
}

package worker

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"syscall"
)

// firstFD is where inherited descriptors begin: sd_listen_fds(3).
const firstFD = 3

// socket is a listening socket with the name that LISTEN_FDNAMES gave it.
type socket struct {
	name string
	net.Listener
}

// inheritedSockets returns the sockets that a supervisor passed by LISTEN_FDS,
// none if there are none or if LISTEN_PID says that they are meant for another
// process. It removes the variables from the environment, and the descriptors
// do not reach programs that this one starts.
//
// The sockets are shared with other processes. Closing one closes this process's
// descriptor, and nothing here calls shutdown(2).
func inheritedSockets() ([]socket, error) { return socketsFrom(firstFD) }

func socketsFrom(first int) ([]socket, error) {
	count, pid, names := os.Getenv("LISTEN_FDS"), os.Getenv("LISTEN_PID"), os.Getenv("LISTEN_FDNAMES")
	for _, name := range []string{"LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES"} {
		if err := os.Unsetenv(name); err != nil {
			return nil, err
		}
	}
	if count == "" || pid != "" && pid != strconv.Itoa(os.Getpid()) {
		return nil, nil
	}
	n, err := strconv.Atoi(count)
	if err != nil || n < 0 {
		return nil, fmt.Errorf("LISTEN_FDS is %q, not a number of descriptors", count)
	}
	name := strings.Split(names, ":")
	var sockets []socket
	for i := range n {
		s := socket{name: "unknown"}
		if i < len(name) && name[i] != "" {
			s.name = name[i]
		}
		if s.Listener, err = adopt(first+i, s.name); err != nil {
			for _, s := range sockets {
				s.Close()
			}
			return nil, err
		}
		sockets = append(sockets, s)
	}
	return sockets, nil
}

// adopt makes a listener of descriptor fd, and owns it from then on.
func adopt(fd int, name string) (net.Listener, error) {
	syscall.CloseOnExec(fd)
	accepts, err := syscall.GetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_ACCEPTCONN)
	if err == nil && accepts == 0 {
		err = errors.New("it does not listen")
	}
	var l net.Listener
	if err == nil {
		f := os.NewFile(uintptr(fd), name)
		l, err = net.FileListener(f) // a duplicate with CLOEXEC
		f.Close()
	}
	if err != nil {
		return nil, fmt.Errorf("inherited descriptor %d (%s) is no listening stream socket: %w", fd, name, err)
	}
	return l, nil
}

// listen opens address, or the default if it is "". The backlog is the system's
// greatest (net.core.somaxconn).
func listen(address string) (net.Listener, error) {
	if address == "" {
		address = net.JoinHostPort("127.0.0.1", "4000")
		if port := os.Getenv("PORT"); port != "" {
			address = net.JoinHostPort("127.0.0.1", port)
		}
	}
	network := "tcp"
	if strings.HasPrefix(address, "/") {
		network = "unix"
	}
	l, err := net.Listen(network, address)
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, &adviceError{
			fmt.Errorf("%s is in use by another program", address),
			"stop that program, or choose another address (PORT=… for another port)",
		}
	}
	if err != nil {
		var op *net.OpError
		if errors.As(err, &op) {
			err = op.Err
		}
		return nil, &adviceError{
			fmt.Errorf("cannot listen on %s: %w", address, err),
			"write 127.0.0.1:4000, :4000 for all addresses of the machine, or /PATH for a unix socket",
		}
	}
	return l, nil
}

// endpoint is the URL of GraphQL on l, or the path of a unix socket.
func endpoint(scheme string, l net.Listener) string {
	tcp, ok := l.Addr().(*net.TCPAddr)
	if !ok {
		return "unix:" + l.Addr().String()
	}
	host := tcp.IP.String()
	if tcp.IP == nil || tcp.IP.IsUnspecified() {
		host = "127.0.0.1"
	}
	return scheme + "://" + net.JoinHostPort(host, strconv.Itoa(tcp.Port)) + graphqlPath
}

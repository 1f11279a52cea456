package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"net/netip"
	"os"
	"slices"
	"sort"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// driveCommand makes a load client of this program, which costs as little as one can: a
// thread, epoll, requests that are there already, and of an answer it reads no more than
// its status and its length. (scripts/load looks at all that can go wrong, and is slower
// than what is measured here.)
const driveCommand = "drive"

// driving is what a load client does.
type driving struct {
	Address  string  `json:"address"` // 127.0.0.1:PORT
	Requests string  `json:"requests"`
	Zipf     float64 `json:"zipf"` // the exponent by which requests are chosen; 0: all alike
	Clients  int     `json:"clients"`
	Rate     float64 `json:"rate"` // requests a second, sent when they are due; 0: each client when it has its answer
	Seconds  float64 `json:"seconds"`
	Limit    int     `json:"limit,omitempty"` // of requests; 0: none
	Seed     uint64  `json:"seed"`
	Each     bool    `json:"each,omitempty"` // each request once, in order, and no more
	// From has each client come from an address of its own, 127.0.0.From and those that
	// follow, as clients do: what is counted for one address is not what all of them share.
	From int `json:"from,omitempty"`
	// Aside has the client keep off the machine's last CPU, see serving.alone.
	Aside bool `json:"-"`
}

// driven is what has come of it.
type driven struct {
	Answers   int     `json:"answers"`
	Seconds   float64 `json:"seconds"`
	PerSecond float64 `json:"perSecond"`
	P50       float64 `json:"p50"` // ms, from when a request was due
	P99       float64 `json:"p99"`
	P999      float64 `json:"p999"`
	Bytes     int     `json:"bytes"` // the median length of a body
}

// writeRequests makes the file of requests.
func writeRequests(path string, list [][]byte) error {
	data, err := json.Marshal(list)
	if err == nil {
		err = os.WriteFile(path, data, 0o600)
	}
	return err
}

// zipfian chooses from n, the first most often: the k-th with a weight of 1/k^s.
type zipfian struct{ sums []float64 }

func newZipfian(n int, s float64) zipfian {
	z := zipfian{make([]float64, n)}
	sum := 0.0
	for i := range z.sums {
		sum += math.Pow(float64(i+1), -s)
		z.sums[i] = sum
	}
	return z
}

func (z zipfian) choose(r *rand.Rand) int {
	return min(sort.SearchFloat64s(z.sums, r.Float64()*z.sums[len(z.sums)-1]), len(z.sums)-1)
}

// connection is one client.
type connection struct {
	fd   int
	due  time.Time // when the request that it has sent was to be sent; zero: it is idle
	in   []byte
	want int // bytes of the answer; 0: not known yet
	body int
}

func drive(text string) error {
	var d driving
	if err := json.Unmarshal([]byte(text), &d); err != nil {
		return err
	}
	data, err := os.ReadFile(d.Requests)
	if err != nil {
		return err
	}
	var requests [][]byte
	if err := json.Unmarshal(data, &requests); err != nil {
		return err
	}
	// What comes when is drawn before.
	const drawn = 1 << 18
	r := rand.New(rand.NewPCG(d.Seed, 7))
	sequence := make([]int32, drawn)
	z := newZipfian(len(requests), d.Zipf)
	for i := range sequence {
		sequence[i] = int32(z.choose(r))
	}
	next := 0
	request := func() []byte {
		i := next
		next++
		if d.Each {
			return requests[i%len(requests)]
		}
		return requests[sequence[i%drawn]]
	}
	if d.Each {
		d.Limit = len(requests)
	}
	address, err := netip.ParseAddrPort(d.Address)
	if err != nil {
		return err
	}
	poll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return err
	}
	list := make([]*connection, d.Clients)
	var idle []*connection
	for i := range list {
		c := &connection{in: make([]byte, 0, 256<<10)}
		if c.fd, err = unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0); err != nil {
			return err
		}
		if d.From > 0 {
			if err = unix.Bind(c.fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, byte(d.From + i)}}); err != nil {
				return err
			}
		}
		if err = unix.Connect(c.fd, &unix.SockaddrInet4{Port: int(address.Port()), Addr: address.Addr().As4()}); err == nil {
			err = unix.SetsockoptInt(c.fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
		}
		if err == nil {
			err = unix.SetNonblock(c.fd, true)
		}
		if err == nil {
			err = unix.EpollCtl(poll, unix.EPOLL_CTL_ADD, c.fd, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(i)})
		}
		if err != nil {
			return fmt.Errorf("%s: %w", d.Address, err)
		}
		list[i] = c
		idle = append(idle, c)
	}
	var took, sizes []float64
	began := time.Now()
	end := began.Add(time.Duration(d.Seconds * float64(time.Second)))
	sent, under := 0, 0
	send := func(c *connection, due time.Time) error {
		c.due = due
		sent++
		under++
		b := request()
		n, err := unix.Write(c.fd, b) // it is small, and nothing is on its way
		if err == nil && n < len(b) {
			err = errors.New("a request could not be sent at once")
		}
		return err
	}
	more := func(now time.Time) bool {
		return (d.Limit == 0 || sent < d.Limit) && (d.Each || now.Before(end))
	}
	events := make([]unix.EpollEvent, d.Clients)
	interval := time.Duration(0)
	if d.Rate > 0 {
		interval = time.Duration(float64(time.Second) / d.Rate)
	}
	due, now := began, began
	for {
		for len(idle) > 0 && more(now) && (interval == 0 || !due.After(now)) {
			c := idle[len(idle)-1]
			idle = idle[:len(idle)-1]
			if interval == 0 {
				due = now
			}
			if err := send(c, due); err != nil {
				return err
			}
			due = due.Add(interval)
		}
		if under == 0 && !more(now) {
			break
		}
		wait := 10_000
		if interval > 0 {
			wait = 0 // it has a processor of its own: nothing wakes it as exactly
		}
		n, err := unix.EpollWait(poll, events, wait)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return err
		}
		if now = time.Now(); n == 0 && (interval == 0 || now.Sub(due) > 20*time.Second) {
			return errors.New("no answer for 10 s")
		}
		for _, e := range events[:n] {
			c := list[e.Fd]
			whole, err := c.read()
			if err != nil {
				return err
			}
			if !whole {
				continue
			}
			took = append(took, float64(now.Sub(c.due))/1e6)
			sizes = append(sizes, float64(c.body))
			under--
			if interval == 0 && more(now) {
				if err := send(c, now); err != nil {
					return err
				}
			} else {
				idle = append(idle, c)
			}
		}
	}
	seconds := time.Since(began).Seconds()
	slices.Sort(took)
	at := func(p float64) float64 {
		if len(took) == 0 {
			return 0
		}
		return took[min(int(p*float64(len(took))), len(took)-1)]
	}
	out := driven{len(took), seconds, float64(len(took)) / seconds, at(0.5), at(0.99), at(0.999), 0}
	if len(sizes) > 0 {
		out.Bytes = int(median(sizes))
	}
	fmt.Println(jsonOf(out))
	return nil
}

// read reads what is there, and says whether the answer is whole.
func (c *connection) read() (whole bool, err error) {
	n, err := unix.Read(c.fd, c.in[len(c.in):cap(c.in)])
	switch {
	case err == unix.EAGAIN || err == unix.EINTR:
		return false, nil
	case err != nil:
		return false, err
	case n == 0:
		return false, errors.New("the server has hung up")
	}
	c.in = c.in[:len(c.in)+n]
	if c.want == 0 {
		head := bytes.Index(c.in, []byte("\r\n\r\n"))
		if head < 0 {
			return false, nil
		}
		if !bytes.HasPrefix(c.in, []byte("HTTP/1.1 200 ")) {
			return false, fmt.Errorf("%.400s", c.in)
		}
		length, err := contentLength(c.in[:head])
		if err != nil {
			return false, err
		}
		c.want, c.body = head+4+length, length
		if c.want > cap(c.in) {
			c.in = slices.Grow(c.in, c.want-len(c.in))
		}
	}
	if len(c.in) < c.want {
		return false, nil
	}
	if len(c.in) > c.want {
		return false, fmt.Errorf("after an answer: %.200q", c.in[c.want:])
	}
	if b := c.in[c.want-c.body:]; bytes.HasPrefix(b, []byte(`{"errors"`)) {
		return false, fmt.Errorf("%.400s", b)
	}
	c.in, c.want = c.in[:0], 0
	return true, nil
}

func contentLength(head []byte) (int, error) {
	for _, name := range []string{"\r\nContent-Length: ", "\r\ncontent-length: "} {
		if _, rest, ok := bytes.Cut(head, []byte(name)); ok {
			value, _, _ := bytes.Cut(rest, []byte("\r"))
			return strconv.Atoi(string(value))
		}
	}
	return 0, fmt.Errorf("an answer without a length: %.400s", head)
}

package nodeipc

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"strconv"
	"strings"
	"syscall"
)

// Commands of Node's own; a program sees none of them.
const (
	cluster    = "NODE_CLUSTER"
	handle     = "NODE_HANDLE"
	handleACK  = "NODE_HANDLE_ACK"
	handleNACK = "NODE_HANDLE_NACK"
	neko       = "NODE_NEKO"
)

// Message is what has come: of the program if Command is empty, else of Node's cluster
// module.
type Message struct {
	Command string
	Act     string          // of the cluster module: online, queryServer, listening, close, …
	Seq     int             // to be answered by this
	Text    json.RawMessage // of the program: any JSON value

	Query Query           // of queryServer
	Data  json.RawMessage // of queryServer: what all who listen there are to have in common
	Key   string          // of close and listening: the handle that is meant

	// ACK is what the message answers, 0: nothing; Accepted, that the process takes the
	// connection that it was offered.
	ACK      int64
	Accepted bool
}

// Query is what a program wants to listen on.
type Query struct {
	Address     *string `json:"address"` // nil: all
	Port        int     `json:"port"`    // -1: Address is the path of a unix socket
	AddressType any     `json:"addressType"`
	FD          *int    `json:"fd"`    // of the primary's, instead of an address
	Flags       int     `json:"flags"` // of libuv
	Index       int     `json:"index"` // counts the listens of a process for one address
}

type command struct {
	Command string `json:"cmd"`
}

type handleMessage struct {
	Command string `json:"cmd"`
	Type    string `json:"type"`
	Message any    `json:"msg"`
}

// parse reads a line.
func parse(line []byte) (m Message, err error) {
	line = bytes.TrimSpace(line)
	if !json.Valid(line) {
		return m, fmt.Errorf("a message that is no JSON: %.80q", line)
	}
	var head struct {
		Command any             `json:"cmd"`
		Act     string          `json:"act"`
		Seq     int             `json:"seq"`
		Key     string          `json:"key"`
		Data    json.RawMessage `json:"data"`
		Port    json.RawMessage `json:"port"` // of a datagram socket it may be a string
		ACK     int64           `json:"ack"`

		Accepted bool `json:"accepted"`
		Query
	}
	if bytes.HasPrefix(line, []byte("{")) && bytes.Contains(line, []byte(`"NODE_`)) {
		if json.Unmarshal(line, &head) == nil {
			if name, ok := head.Command.(string); ok && strings.HasPrefix(name, "NODE_") {
				head.Query.Port, _ = strconv.Atoi(strings.Trim(string(head.Port), `"`))
				return Message{Command: name, Act: head.Act, Seq: head.Seq, Key: head.Key, Query: head.Query, Data: bytes.Clone(head.Data),
					ACK: head.ACK, Accepted: head.Accepted}, nil
			}
		}
	}
	return Message{Text: bytes.Clone(line)}, nil
}

// IsCluster says that a message is of Node's cluster module.
func (m Message) IsCluster() bool { return m.Command == cluster }

// Listener says what a query is about, in the words of Go's package net: tcp, tcp6
// (IPv6 and nothing else), unix, or udp and udp6; and an address for it, where no host
// is all of both families, and @ begins the name of a unix socket that has no file. ok is false for what no listener can be made of.
func (q Query) Listener() (network, address string, ok bool) {
	const ipv6Only = 1 // UV_TCP_IPV6ONLY, UV_UDP_IPV6ONLY
	host := ""
	if q.Address != nil {
		host = *q.Address
	}
	folder, name, abstract := strings.Cut(host, "\x00")
	if abstract && q.Port < 0 && strings.HasSuffix(folder, "/") {
		host, abstract = "@"+name, false // Node has taken it for a file's name
	}
	if q.FD != nil && *q.FD >= 0 || q.Port > 65535 || abstract {
		return "", "", false
	}
	if q.Port < 0 {
		return "unix", host, host != ""
	}
	switch kind := fmt.Sprint(q.AddressType); kind {
	case "udp4", "udp6":
		network = "udp"
		if host == "" && kind == "udp4" {
			host = "0.0.0.0"
		} else if host == "" {
			host = "::"
		}
	case "4", "6":
		network = "tcp"
	default:
		return "", "", false
	}
	if host == "::" && q.Flags&ipv6Only != 0 {
		network += "6"
	}
	return network, net.JoinHostPort(host, strconv.Itoa(q.Port)), true
}

// answer is to a message of the cluster module.
type answer struct {
	Command string          `json:"cmd"`
	ACK     int             `json:"ack"`
	Errno   int             `json:"errno"`
	Key     string          `json:"key,omitempty"`
	Data    json.RawMessage `json:"data"`
}

// Grant answers a query with a socket. No two handles that a process has at a time may
// be of the same key. Data is that of the first query for this socket, whoever's: a TLS
// server's has the keys of session tickets, and one that got none back would fail.
func (c *Channel) Grant(seq int, key string, data json.RawMessage, fd int) error {
	return c.SendHandle(answer{Command: cluster, ACK: seq, Key: key, Data: data}, fd)
}

// Refuse answers a query with what listen(2) or bind(2) would have said.
func (c *Channel) Refuse(seq int, key string, data json.RawMessage, why syscall.Errno) error {
	return c.Send(answer{Command: cluster, ACK: seq, Key: key, Data: data, Errno: -int(why)})
}

// offer is a connection for whoever listens by a key.
type offer struct {
	Command string `json:"cmd"`
	Act     string `json:"act"`
	Key     string `json:"key"`
	Seq     int64  `json:"seq"`
}

// Offer offers a connection to who was granted a socket by this key, as Node's primary
// does that accepts for its workers. The answer is a message with seq as its ACK: it was
// accepted, or not (it may not even have arrived), and the caller closes its own descriptor
// or asks another. Seq is not to have been used on this channel by an earlier master.
func (c *Channel) Offer(seq int64, key string, fd int) error {
	return c.sendHandle(offer{Command: cluster, Act: "newconn", Key: key, Seq: seq}, fd, seq)
}

// Acknowledge answers what wants no more than an answer, exitedAfterDisconnect say.
func (c *Channel) Acknowledge(seq int) error {
	return c.Send(answer{Command: cluster, ACK: seq})
}

// DrainOrder tells a program that has loaded drain.cjs to finish what it serves, and to go.
type DrainOrder struct {
	Soft int    `json:"soft"` // ms from now: idle connections are closed
	Hard int    `json:"hard"` // ms from now: what is still open is, too
	End  string `json:"end"`  // EndSignal or EndMessage
}

// How a program that has drained is told to end: as if by SIGINT or else SIGTERM, or by the message
// 'shutdown'. One that heeds neither just exits.
const (
	EndSignal  = "signal"
	EndMessage = "message"
)

// Drain begins the end of a program.
func (c *Channel) Drain(o DrainOrder) error {
	return c.Send(struct {
		command
		Act string `json:"act"`
		DrainOrder
	}{command{neko}, "drain", o})
}

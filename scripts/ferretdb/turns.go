package main

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"sync"
)

// FerretDB 1 updates a document in two steps, to read it and to write it, and two
// at once can both find that their condition holds. MongoDB lets one document be
// changed by one after the other, and a test that of many one wins is to test the
// condition that neko sends, not this. So commands that change what is there go
// through one by one. (Those that change several documents are thereby more than
// with MongoDB: nothing changes between two of them. Reads still come between.)

// inTurns relays connections to the server at address.
func inTurns(front net.Listener, address string) {
	var turn sync.Mutex
	for {
		client, err := front.Accept()
		if err != nil {
			return
		}
		go relay(client, address, &turn)
	}
}

// relay carries requests and answers until either side ends the connection.
func relay(client net.Conn, address string, turn *sync.Mutex) {
	defer client.Close()
	server, err := net.Dial("tcp", address)
	if err != nil {
		return
	}
	defer server.Close()
	for {
		request, err := message(client)
		if err != nil {
			return
		}
		answer, err := ask(server, request, turn)
		if err != nil {
			return
		}
		if _, err := client.Write(answer); err != nil {
			return
		}
	}
}

func ask(server net.Conn, request []byte, turn *sync.Mutex) (answer []byte, err error) {
	switch command(request) {
	case "update", "findAndModify", "delete":
		turn.Lock()
		defer turn.Unlock()
	}
	if _, err := server.Write(request); err != nil || unanswered(request) {
		return nil, err
	}
	return message(server)
}

// The parts of a message: a header with its length first and its kind last, and
// of OP_MSG flags and sections, the first of which is a document whose first key
// is the command's name.
const (
	headerSize = 16
	maxMessage = 48 << 20
	opMsg      = 2013
	moreToCome = 2
)

// message reads one.
func message(from io.Reader) ([]byte, error) {
	header := make([]byte, headerSize)
	if _, err := io.ReadFull(from, header); err != nil {
		return nil, err
	}
	n := binary.LittleEndian.Uint32(header)
	if n < headerSize || n > maxMessage {
		return nil, fmt.Errorf("a message of %d bytes", n)
	}
	m := append(header, make([]byte, n-headerSize)...)
	_, err := io.ReadFull(from, m[headerSize:])
	return m, err
}

func isMsg(m []byte) bool {
	return len(m) > 26 && binary.LittleEndian.Uint32(m[12:]) == opMsg
}

// command is the name of a request's command, "" if it has none.
func command(m []byte) string {
	if !isMsg(m) || m[20] != 0 {
		return ""
	}
	name, _, _ := bytes.Cut(m[26:], []byte{0})
	return string(name)
}

// unanswered tells of a request that no answer comes to it.
func unanswered(m []byte) bool {
	return isMsg(m) && binary.LittleEndian.Uint32(m[16:])&moreToCome != 0
}

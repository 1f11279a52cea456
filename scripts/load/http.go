package load

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
)

// Where a request can fail.
const (
	stageFirst  = "before the first byte"
	stageHeader = "in the header"
	stageBody   = "in the body"
)

const maxHeader = 64 << 10

// Response is a complete answer.
type Response struct {
	Status int
	Body   []byte
	// Reused tells that the connection had brought an answer before.
	Reused bool

	header []byte // the lines, without the status line
	whole  bool   // read to its end
	close  bool   // the connection ends with it
}

// Get is the value of the first header of this name, "" if there is none.
func (r *Response) Get(name string) string {
	v, _ := r.find(name)
	return string(v)
}

func (r *Response) find(name string) ([]byte, bool) {
	for line := range bytes.Lines(r.header) {
		key, value, ok := bytes.Cut(line, []byte(":"))
		if ok && bytes.EqualFold(key, []byte(name)) {
			return bytes.TrimSpace(value), true
		}
	}
	return nil, false
}

func (r *Response) reset() {
	*r = Response{Body: r.Body[:0], header: r.header[:0]}
}

// read reads one answer to a request by method and nothing more. If it fails it
// says at which stage.
func (r *Response) read(in *bufio.Reader, method string, untilEOF bool) (stage string, err error) {
	for {
		if _, err := in.Peek(1); err != nil {
			return stageFirst, err
		}
		if err := r.readHeader(in); err != nil {
			r.Status = 0 // counted are only whole headers
			return stageHeader, err
		}
		if r.Status >= 200 {
			break
		}
		if r.Status == 101 {
			return stageHeader, errors.New("status 101 was not asked for")
		}
	}
	if err := r.readBody(in, method, untilEOF); err != nil {
		return stageBody, err
	}
	if n := in.Buffered(); n > 0 {
		return "after the answer", fmt.Errorf("%d bytes that nothing asked for", n)
	}
	r.whole = true
	return "", nil
}

func (r *Response) readHeader(in *bufio.Reader) error {
	line, err := readLine(in)
	if err != nil {
		return err
	}
	rest, ok := bytes.CutPrefix(line, []byte("HTTP/1."))
	if !ok || len(rest) < 5 || rest[0] != '0' && rest[0] != '1' || rest[1] != ' ' || len(rest) > 5 && rest[5] != ' ' {
		return fmt.Errorf("no HTTP/1 status line: %s", excerpt(line))
	}
	old := rest[0] == '0'
	r.Status, err = strconv.Atoi(string(rest[2:5]))
	if err != nil || r.Status < 100 {
		return fmt.Errorf("no HTTP/1 status line: %s", excerpt(line))
	}
	r.header = r.header[:0]
	for {
		line, err := readLine(in)
		if err != nil {
			return err
		}
		if len(line) == 0 {
			break
		}
		if bytes.IndexByte(line, ':') <= 0 {
			return fmt.Errorf("no header line: %s", excerpt(line))
		}
		r.header = append(append(r.header, line...), '\n')
		if len(r.header) > maxHeader {
			return fmt.Errorf("header longer than %d bytes", maxHeader)
		}
	}
	connection, _ := r.find("Connection")
	r.close = hasToken(connection, "close") || old && !hasToken(connection, "keep-alive")
	return nil
}

func (r *Response) readBody(in *bufio.Reader, method string, untilEOF bool) error {
	if method == "HEAD" || r.Status == 204 || r.Status == 304 {
		return nil
	}
	coding, chunked := r.find("Transfer-Encoding")
	length, sized := r.find("Content-Length")
	switch {
	case chunked && !bytes.EqualFold(coding, []byte("chunked")):
		return fmt.Errorf("transfer encoding %q is not understood", coding)
	case chunked && sized:
		return errors.New("both Content-Length and Transfer-Encoding")
	case chunked:
		return r.readChunks(in)
	case sized:
		n, err := strconv.ParseUint(string(length), 10, 31)
		if err != nil {
			return fmt.Errorf("Content-Length %q", length)
		}
		return r.append(in, int(n))
	case !untilEOF:
		r.close = true
		return errors.New("neither Content-Length nor chunks: nobody can tell whether it is whole")
	}
	r.close = true
	buf := bytes.NewBuffer(r.Body)
	_, err := buf.ReadFrom(in)
	r.Body = buf.Bytes()
	return err
}

func (r *Response) readChunks(in *bufio.Reader) error {
	for {
		line, err := readLine(in)
		if err != nil {
			return err
		}
		size, _, _ := bytes.Cut(line, []byte(";"))
		n, err := strconv.ParseUint(string(bytes.TrimSpace(size)), 16, 31)
		if err != nil {
			return fmt.Errorf("chunk size %q", size)
		}
		if n == 0 {
			break
		}
		if err := r.append(in, int(n)); err != nil {
			return err
		}
		if line, err = readLine(in); err != nil {
			return err
		} else if len(line) > 0 {
			return fmt.Errorf("chunk is longer than its size: %s", excerpt(line))
		}
	}
	for { // trailers
		if line, err := readLine(in); err != nil || len(line) == 0 {
			return err
		}
	}
}

// append reads n bytes onto the body.
func (r *Response) append(in *bufio.Reader, n int) error {
	have := len(r.Body)
	if cap(r.Body)-have < n {
		r.Body = append(make([]byte, 0, have+n), r.Body...)
	}
	r.Body = r.Body[:have+n]
	got, err := io.ReadFull(in, r.Body[have:])
	r.Body = r.Body[:have+got]
	if err != nil {
		return fmt.Errorf("%d of %d bytes: %w", got, n, err)
	}
	return nil
}

// readLine reads a line and takes its end away. The result is valid until the
// next read.
func readLine(in *bufio.Reader) ([]byte, error) {
	line, err := in.ReadSlice('\n')
	if err != nil {
		return nil, err
	}
	line = line[:len(line)-1]
	return bytes.TrimSuffix(line, []byte("\r")), nil
}

func hasToken(list []byte, token string) bool {
	for part := range bytes.SplitSeq(list, []byte(",")) {
		if bytes.EqualFold(bytes.TrimSpace(part), []byte(token)) {
			return true
		}
	}
	return false
}

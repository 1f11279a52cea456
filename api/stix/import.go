package stix

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"

	"github.com/nekoctl/neko/api/store"
)

// maxBytes bounds a bundle, uncompressed: the largest real one has 40 MB, and a
// small file can unpack to anything.
const maxBytes = 4 << 30

// Options say how [Import] is to be done; the zero value is right.
type Options struct {
	// Name of the input in errors, "bundle.json".
	Name string
	// SpoolDir is where input that is no file is kept meanwhile; the system's folder
	// for that if empty.
	SpoolDir string
	// Progress is called now and then: bytes read (of the file as it is), of how
	// many (0 if unknown), and objects.
	Progress func(bytes, total int64, objects int)
	Store    store.ImportOptions
}

// Summary is what an import did.
type Summary struct {
	store.Merged
	Objects int // in the bundle
	Skipped Skipped
	Took    time.Duration
}

// Import reads a bundle, plain or gzip, into the store. The whole bundle is
// checked before anything of it is seen in the store; an error (of the bundle:
// *Error) leaves the store as it was.
//
// Input that is no regular file is spooled first, so that a slow sender holds
// nothing but a temporary file.
func Import(ctx context.Context, st store.Store, in io.Reader, opts Options) (sum Summary, err error) {
	started := time.Now()
	if opts.Name == "" {
		opts.Name = "bundle"
	}
	file, size, done, err := spool(ctx, in, opts.SpoolDir)
	if err != nil {
		return sum, err
	}
	defer done()
	if opts.Progress == nil {
		opts.Progress = func(int64, int64, int) {}
	}
	im, err := st.BeginImport(ctx, opts.Store)
	if err != nil {
		return sum, err
	}
	defer im.Abort()

	counted := &counter{r: file}
	body, err := decompress(counted)
	if err != nil {
		return sum, &Error{Name: opts.Name, Index: -1, Reason: "is no complete gzip file: " + err.Error()}
	}
	r, err := read(body, func(rec store.Record) error { return im.Add(ctx, rec) }, func(objects int) error {
		if objects%64 == 0 {
			opts.Progress(counted.n, size, objects)
			return ctx.Err()
		}
		return nil
	})
	if err != nil {
		return sum, locate(err, file, opts.Name)
	}
	opts.Progress(size, size, r.objects)
	sum.Objects, sum.Skipped = r.objects, r.skipped
	r = nil // the ids: not needed for the merge
	if sum.Merged, err = im.Commit(ctx); err != nil {
		return sum, err
	}
	sum.Took = time.Since(started)
	return sum, nil
}

type counter struct {
	r io.Reader
	n int64
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
}

// errSpool is about the file where input is kept meanwhile.
var errSpool = errors.New("nowhere to keep the input meanwhile")

// spool gives the input as something that can be read twice.
func spool(ctx context.Context, in io.Reader, dir string) (file io.ReadSeeker, size int64, done func(), err error) {
	done = func() {}
	switch in := in.(type) {
	case *os.File:
		if info, err := in.Stat(); err == nil && info.Mode().IsRegular() {
			// From here to the end, as it is with any reader.
			pos, err := in.Seek(0, io.SeekCurrent)
			if err != nil {
				return nil, 0, done, err
			}
			size := info.Size() - pos
			return io.NewSectionReader(in, pos, size), size, done, nil
		} else if err == nil && info.IsDir() {
			return nil, 0, done, &fs.PathError{Op: "read", Path: in.Name(), Err: errors.New("it is a folder")}
		}
	case *bytes.Reader:
		return in, in.Size(), done, nil
	}
	f, err := os.CreateTemp(dir, "neko-import-")
	if err != nil {
		return nil, 0, done, fmt.Errorf("%w: %w", errSpool, err)
	}
	os.Remove(f.Name()) // gone with us, however we end
	type result struct {
		n   int64
		err error
	}
	copied := make(chan result, 1)
	go func() {
		n, err := io.Copy(f, in)
		copied <- result{n, err}
	}()
	select {
	case r := <-copied:
		if size, err = r.n, r.err; err == nil {
			_, err = f.Seek(0, io.SeekStart)
		}
	case <-ctx.Done(): // a sender that says nothing keeps its reader; we do not wait for that
		err = ctx.Err()
	}
	if err != nil {
		f.Close()
		var pe *fs.PathError
		if errors.As(err, &pe) && pe.Path == f.Name() {
			err = fmt.Errorf("%w: %w", errSpool, err)
		}
		return nil, 0, done, err
	}
	return f, size, func() { f.Close() }, nil
}

// decompress gives the bundle itself: unpacked if it is gzip, and without a byte
// order mark.
func decompress(in io.Reader) (io.Reader, error) {
	b := bufio.NewReaderSize(in, 64<<10)
	if magic, _ := b.Peek(2); string(magic) == "\x1f\x8b" {
		z, err := gzip.NewReader(b)
		if err != nil {
			return nil, err
		}
		b = bufio.NewReaderSize(&bounded{z, maxBytes}, 64<<10)
	}
	if mark, _ := b.Peek(3); string(mark) == "\xef\xbb\xbf" {
		b.Discard(3)
	}
	return b, nil
}

type bounded struct {
	r    io.Reader
	left int64
}

func (b *bounded) Read(p []byte) (int, error) {
	if b.left <= 0 {
		return 0, errTooLarge
	}
	if int64(len(p)) > b.left {
		p = p[:b.left]
	}
	n, err := b.r.Read(p)
	b.left -= int64(n)
	return n, err
}

// locate completes an error with the name, line and column. Lines are not counted
// while all is well: they are found by reading once more.
func locate(err error, file io.ReadSeeker, name string) error {
	var e *Error
	var syntax *syntaxError
	switch {
	case errors.As(err, &syntax):
		e = &syntax.at
		if body := reopen(file, e.Offset); body != nil {
			// Skip what stands between values; the value's error is then exact.
			skipped, err := skipToValue(body)
			if err == nil {
				e.Offset += skipped
				var v json.RawMessage
				var s *json.SyntaxError
				if errors.As(json.NewDecoder(io.LimitReader(body, maxObject+1)).Decode(&v), &s) {
					e.Offset += max(s.Offset-1, 0)
				}
			}
		}
	case errors.As(err, &e):
	case errors.Is(err, gzip.ErrChecksum), errors.Is(err, gzip.ErrHeader):
		return &Error{Name: name, Index: -1, Reason: "is a damaged gzip file: " + err.Error()}
	default:
		return err
	}
	out := *e
	out.Name = name
	if body := reopen(file, 0); body != nil {
		line, column := 1, 1
		for i := int64(0); i < out.Offset; i++ {
			c, err := body.ReadByte()
			if err != nil {
				break
			}
			if column++; c == '\n' {
				line, column = line+1, 1
			}
		}
		out.Line, out.Column = line, column
	}
	return &out
}

// reopen reads the bundle again from an offset on; nil if it cannot.
func reopen(file io.ReadSeeker, offset int64) *bufio.Reader {
	if _, err := file.Seek(0, io.SeekStart); err != nil {
		return nil
	}
	r, err := decompress(file)
	if err != nil {
		return nil
	}
	b := bufio.NewReaderSize(r, 64<<10)
	if _, err := io.CopyN(io.Discard, b, offset); err != nil {
		return nil
	}
	return b
}

func skipToValue(b *bufio.Reader) (n int64, err error) {
	for {
		c, err := b.ReadByte()
		if err != nil {
			return n, err
		}
		switch c {
		case ' ', '\t', '\r', '\n', ',', ':':
			n++
		default:
			return n, b.UnreadByte()
		}
	}
}

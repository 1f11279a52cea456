package mongo

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"io"
	"os"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// inMemory is how much of an import is kept in memory: the sample data needs no
// folder that can be written.
const inMemory = 4 << 20

// spool keeps documents until they are all there, and gives them out again, as
// often as is asked for: in memory, or if they are many in a file without a name.
type spool struct {
	mem  []byte
	file *os.File
	w    *bufio.Writer
	n    int
}

func (s *spool) add(doc any) error {
	b, err := bson.Marshal(doc)
	if err != nil {
		return err
	}
	s.n++
	if s.file == nil && len(s.mem)+len(b) <= inMemory {
		s.mem = append(s.mem, b...)
		return nil
	}
	if s.file == nil {
		if s.file, err = os.CreateTemp("", "neko-import-"); err != nil {
			return err
		}
		os.Remove(s.file.Name()) // gone with us, however we end
		s.w = bufio.NewWriterSize(s.file, 1<<16)
		if _, err := s.w.Write(s.mem); err != nil {
			return err
		}
		s.mem = nil
	}
	_, err = s.w.Write(b)
	return err
}

func (s *spool) close() {
	if s.file != nil {
		s.file.Close()
	}
	s.mem, s.file = nil, nil
}

// batchBytes bounds a batch: one object of a bundle may have 8 MiB.
const batchBytes = 16 << 20

// batches hands out the documents, so many at a time at most, of those that are
// wanted.
func batches[T any](s *spool, size int, wanted func(*T) bool, each func([]*T) error) error {
	var in io.Reader = bytes.NewReader(s.mem)
	if s.file != nil {
		if err := s.w.Flush(); err != nil {
			return err
		}
		if _, err := s.file.Seek(0, io.SeekStart); err != nil {
			return err
		}
		in = bufio.NewReaderSize(s.file, 1<<16)
	}
	var some []*T
	held := 0
	for range s.n {
		var head [4]byte
		if _, err := io.ReadFull(in, head[:]); err != nil {
			return err
		}
		b := make([]byte, binary.LittleEndian.Uint32(head[:]))
		copy(b, head[:])
		if _, err := io.ReadFull(in, b[4:]); err != nil {
			return err
		}
		d := new(T)
		if err := bson.Unmarshal(b, d); err != nil {
			return err
		}
		if wanted != nil && !wanted(d) {
			continue
		}
		held += len(b)
		if some = append(some, d); len(some) == size || held >= batchBytes {
			if err := each(some); err != nil {
				return err
			}
			some, held = some[:0], 0
		}
	}
	if len(some) == 0 {
		return nil
	}
	return each(some)
}

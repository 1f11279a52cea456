package worker

import (
	"encoding/binary"
	"encoding/hex"
	"math/rand/v2"
)

// requestIDHeader names a request, in the client's, the proxies' and our own logs.
const requestIDHeader = "X-Request-Id"

// maxRequestID is how long a client's name for a request may be.
const maxRequestID = 128

// appendRequestID appends what the request is called: as the client calls it, if
// that can stand in any log as it is, else a new name of 32 hexadecimal digits.
// That is drawn from ChaCha8 with a seed of the system's: nobody can guess another
// client's, and none comes twice.
func appendRequestID(dst, given []byte) []byte {
	if wellFormedID(given) {
		return append(dst, given...)
	}
	var b [16]byte
	binary.LittleEndian.PutUint64(b[:8], rand.Uint64())
	binary.LittleEndian.PutUint64(b[8:], rand.Uint64())
	return hex.AppendEncode(dst, b[:])
}

func wellFormedID(id []byte) bool {
	if len(id) == 0 || len(id) > maxRequestID {
		return false
	}
	for _, c := range id {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		case c == '-', c == '_', c == '.', c == ':', c == '=', c == '/', c == '+', c == '@':
		default:
			return false
		}
	}
	return true
}

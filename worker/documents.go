package worker

import (
	"crypto/sha256"
	"encoding/hex"
	"unsafe"
)

// documentHash is the SHA-256 of a document's text: what it is known by, in plans
// and to clients, for nobody can find a second text that has it.
type documentHash [sha256.Size]byte

func hashOf(text string) documentHash {
	return sha256.Sum256(unsafe.Slice(unsafe.StringData(text), len(text))) // not a copy of each document
}

// parseHash reads a hash in hexadecimal.
func parseHash(s string) (h documentHash, ok bool) {
	if len(s) != hex.EncodedLen(len(h)) {
		return h, false
	}
	_, err := hex.Decode(h[:], []byte(s))
	return h, err == nil
}

// short is enough of it to tell documents apart in logs.
func (h documentHash) short() string { return hex.EncodeToString(h[:8]) }

func (h documentHash) String() string { return hex.EncodeToString(h[:]) }

// documents keeps the texts that clients name by their hash, the most recently used
// of them, for as many workers as it can. It may forget any at any time: a client
// sends its document again then. It is safe for concurrent use, and never fails:
// what is wrong with it is for the log.
type documents interface {
	// get is the text whose hash this is, "" if it is not there.
	get(hash documentHash) (text string)
	// put keeps text, whose hash this is. It is there for all when put returns.
	put(hash documentHash, text string)
	// used says that a document was asked for by its hash and that its text was not
	// needed, so that it is not the next to be forgotten. It is cheap.
	used(hash documentHash)
}

// ownDocuments keeps them for one process.
type ownDocuments struct {
	texts *lru[documentHash, string]
}

func newOwnDocuments(maxNumber, maxBytes int) ownDocuments {
	return ownDocuments{newLRU[documentHash, string](maxNumber, maxBytes)}
}

func (d ownDocuments) get(hash documentHash) string       { return d.texts.get(hash) }
func (d ownDocuments) put(hash documentHash, text string) { d.texts.put(hash, text, len(text)) }
func (d ownDocuments) used(hash documentHash)             { d.texts.get(hash) }

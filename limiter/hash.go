package limiter

import (
	"crypto/sha256"

	"github.com/dchest/siphash"
)

// hashName tells policies apart in the hashes of keys.
func hashName(name string) uint64 { return siphash.Hash(0, 0, []byte(name)) }

// keyHash is a key's place on this host, which nobody outside can know without the seed:
// keys that meet cannot be made.
func (p *Policy) keyHash(seed [2]uint64, key []byte) uint64 {
	return siphash.Hash(seed[0]^p.hash, seed[1], key)
}

// idOf names a key at the source, where hosts with different seeds meet.
func idOf(key []byte) (id ID) {
	sum := sha256.Sum256(key)
	copy(id[:], sum[:])
	return id
}

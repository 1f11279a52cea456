package worker

import (
	"crypto/sha256"
	"encoding/binary"
	"maps"
	"math"
	"slices"
	"strconv"

	"github.com/nekoctl/neko/cache"
)

// An answer is known by a hash of all that it depends on besides the data: the schema and
// the program, the document and the operation in it, the variables as resolvers get them,
// and who it is for, as far as that makes a difference. Whoever could have two different
// inputs hash to one could read another's answer; so it is SHA-256, and what is hashed can
// be read in one way only: each value begins with what it is, and with its length if it
// has one.

// answersDigest is a hash of what all answers of a worker depend on. A limit is part of
// it because an answer that is found is not measured again.
func answersDigest(c Config) [32]byte {
	b := append([]byte(nil), "neko answer 1"...)
	for _, s := range []string{c.Name, c.Version, c.Schema, c.DefaultRole} {
		b = appendSized(b, s)
	}
	for _, n := range []int{c.MaxCost, c.MaxFields, int(c.CacheDefaultMaxAge), int(c.CacheStaleWhileRevalidate), int(c.CacheStaleIfError)} {
		b = binary.BigEndian.AppendUint64(b, uint64(n))
	}
	for _, name := range slices.Sorted(maps.Keys(c.FieldCosts)) {
		b = strconv.AppendInt(appendSized(b, name), int64(c.FieldCosts[name]), 10)
	}
	return sha256.Sum256(b)
}

// planDigest is a hash of what all answers to an operation depend on.
func planDigest(answers [32]byte, document documentHash, operation string) [32]byte {
	b := append(answers[:], document[:]...)
	return sha256.Sum256(appendSized(b, operation))
}

// key is that of the operation's answer to who asks, whose role has this rank; not ok:
// it has none, and so is not kept.
func (cp *cachePlan) key(in *input, who *Identity, rank int) (key cache.Key, ok bool) {
	var room [512]byte
	b := append(room[:0], cp.digest[:]...)
	switch {
	case !cp.private && !cp.role:
		b = append(b, 'a') // anybody's
	case !cp.private:
		b = binary.AppendUvarint(append(b, 'r'), uint64(rank))
	case who.Subject == "":
		return key, false // nobody in particular: they are not all one
	default:
		b = appendSized(append(b, 'p'), who.Subject)
		b = appendSized(appendSized(b, who.Name), who.Role)
		if who.Scopes == nil {
			b = append(b, 'n')
			break
		}
		b = binary.AppendUvarint(append(b, '['), uint64(len(who.Scopes)))
		for _, s := range who.Scopes {
			b = appendSized(b, s)
		}
	}
	if b, ok = in.appendCanonical(b, cp.variables); !ok {
		return key, false
	}
	sum := sha256.Sum256(b)
	return cache.Key(sum[:len(key)]), true
}

// appendCanonical appends the variables in the order in which the operation declares
// them, each as its state and, if it is set, its value: the same bytes for the same
// meaning, and others for another.
func (in *input) appendCanonical(b []byte, declared []variable) (_ []byte, ok bool) {
	for i := range declared {
		b = append(b, byte(in.states[i]))
		if in.states[i] != varSet {
			continue
		}
		if b, ok = appendValue(b, in.values[declared[i].name]); !ok {
			return b, false
		}
	}
	return b, true
}

// appendValue appends a coerced value. Not ok is one of a type that coercion does not make.
func appendValue(b []byte, v any) (_ []byte, ok bool) {
	switch v := v.(type) {
	case nil:
		return append(b, 'n'), true
	case bool:
		if v {
			return append(b, 't'), true
		}
		return append(b, 'f'), true
	case int32:
		return binary.BigEndian.AppendUint32(append(b, 'i'), uint32(v)), true
	case int64:
		return binary.BigEndian.AppendUint64(append(b, 'l'), uint64(v)), true
	case float64:
		return binary.BigEndian.AppendUint64(append(b, 'd'), math.Float64bits(v)), true
	case string:
		return appendSized(append(b, 's'), v), true
	case []any:
		b = binary.AppendUvarint(append(b, '['), uint64(len(v)))
		for _, e := range v {
			if b, ok = appendValue(b, e); !ok {
				return b, false
			}
		}
		return b, true
	case map[string]any:
		var room [16]string
		names := room[:0]
		for name := range v {
			names = append(names, name)
		}
		slices.Sort(names)
		b = binary.AppendUvarint(append(b, '{'), uint64(len(names)))
		for _, name := range names {
			if b, ok = appendValue(appendSized(b, name), v[name]); !ok {
				return b, false
			}
		}
		return b, true
	}
	return b, false
}

// appendSized appends a text and, before it, its length.
func appendSized(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

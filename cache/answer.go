package cache

import (
	"crypto/sha256"
	"encoding/base64"
	"slices"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"
)

// Answer is what was made for a request. It never changes, and may be sent as it is.
type Answer struct {
	// Body is the whole of it.
	Body []byte
	// Made is when its making began, in Unix milliseconds: what it says was true then.
	Made   int64
	Policy Policy
	Tags   []string
	// ETag is strong for Body, in quotes, and the same wherever the same Body is made.
	// What has another content coding needs another one.
	ETag []byte
	// Negative says that it says that there is nothing.
	Negative bool

	line  string
	key   Key
	home  *memory // which keeps it, or did
	bytes int64   // what it takes, without its codings

	coding sync.Mutex
	coded  [Codings]atomic.Pointer[[]byte]
}

// Codings is how many content codings an answer can be kept in, besides none.
const Codings = 3

// Age is how old the answer is at a time in Unix milliseconds, not less than 0.
func (a *Answer) Age(now int64) time.Duration {
	return time.Duration(max(now-a.Made, 0)) * time.Millisecond
}

// madeLater says whether the answer is of a time that is to come: the clock was set back
// since, and nobody knows how old it is. A clock that is only held to the right time goes
// back by less.
func (a *Answer) madeLater(now int64) bool { return a.Made-now > time.Second.Milliseconds() }

// TagLine is all Tags with a comma between them.
func (a *Answer) TagLine() string { return a.line }

const etagSize = 24 // 16 bytes in base64, in quotes

// newAnswer makes an answer that has nothing in common with what it is made of: it has its own
// copy of all, in one piece whose size is known.
func newAnswer(r *Request, body []byte, made int64, p Policy, negative bool) *Answer {
	size := len(body) + etagSize
	for _, tag := range r.Tags {
		size += len(tag) + 1
	}
	// Unlike make, Grow says how much was really allocated.
	all := slices.Grow([]byte(nil), size)
	a := &Answer{Made: made, Policy: p, Negative: negative, key: r.Key}
	all = append(all, body...)
	a.Body = all[:len(body):len(body)]
	sum := sha256.Sum256(body)
	all = append(all, '"')
	all = base64.RawURLEncoding.AppendEncode(all, sum[:16])
	all = append(all, '"')
	a.ETag = all[len(body):len(all):len(all)]

	line := len(all)
	a.Tags = slices.Grow([]string(nil), len(r.Tags))
	for i, tag := range r.Tags {
		if i > 0 {
			all = append(all, ',')
		}
		at := len(all)
		all = append(all, tag...)
		a.Tags = append(a.Tags, asString(all[at:]))
	}
	a.line = asString(all[line:])
	a.bytes = answerSize + int64(cap(all)) + int64(cap(a.Tags))*int64(unsafe.Sizeof(""))
	return a
}

// asString is b, which nobody changes any more.
func asString(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

var answerSize = allocated(int(unsafe.Sizeof(Answer{})))

// allocated is what n bytes take on the heap.
func allocated(n int) int64 { return int64(cap(slices.Grow([]byte(nil), n))) }

// Coded is Body in a content coding, a number less than [Codings], or nil if that is no shorter.
// It is made once, by encode, which appends src in that coding to dst, or nothing if it
// cannot now; and is kept, and counted, as long as the answer is.
func (a *Answer) Coded(coding int, encode func(dst, src []byte) []byte) []byte {
	if p := a.coded[coding].Load(); p != nil {
		return *p
	}
	a.coding.Lock() // who comes meanwhile would only make the same
	defer a.coding.Unlock()
	if p := a.coded[coding].Load(); p != nil {
		return *p
	}
	made := encode(nil, a.Body)
	if len(made) == 0 {
		return nil
	}
	var kept []byte // nil: it does not pay
	if len(made) < len(a.Body) {
		kept = slices.Grow([]byte(nil), len(made))[:len(made):len(made)]
		copy(kept, made)
	}
	if a.home == nil || !a.home.grow(a, int64(cap(kept))+sliceSize) {
		return kept
	}
	a.coded[coding].Store(&kept)
	return kept
}

const sliceSize = int64(unsafe.Sizeof([]byte(nil)))

package worker

import (
	"bytes"
	"hash/maphash"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/nekoctl/neko/cache"
	"github.com/valyala/fasthttp"
	"github.com/vektah/gqlparser/v2/ast"
)

// Nearly all requests that the response cache answers have come before, to the byte. What
// such a request asks for is found out once: decoded, planned, coerced, and the key of its
// answer. What is left of its way is what depends on who asks, and when: who that is,
// whether they may, and so often, and whether the answer is still good. Whatever is not as
// it usually is goes the whole way, from its beginning, as if nothing had been looked at.
//
// The bytes are a POST's body or a GET's query string. A worker's schema, settings and
// trusted documents never change, so what was found out once holds as long as it is kept.

// known is a request that is known by its bytes. It never changes.
type known struct {
	// What every hit looks at comes first: it is seldom in the processor's cache.
	hash   uint64
	text   []byte
	get    bool
	seen   atomic.Bool  // since the hand has passed
	named  bool         // by a hash that clients have registered
	whose  bool         // as cachePlan has it
	plan   *Plan        // its brief
	keys   []cache.Key  // one for all, or one for each rank; nil: each identity has its own
	one    [1]cache.Key // room for keys
	policy cache.Policy
	heads  [4]*fasthttp.ResponseHeader

	private   *cachePlan // if keys is nil
	cost      int
	input     input // as resolvers have got it; none of them has this one
	document  documentHash
	persisted bool // as outcome has it

	bytes int
}

const (
	// maxKnownText is the length of the longest request that is kept.
	maxKnownText = 4 << 10
	// maxKnownBytes is what all take together, about.
	maxKnownBytes = 24 << 20
	knownBuckets  = 1 << 13
	knownInBucket = 8
	knownDoors    = 1 << 16
)

// knownRequests keeps those that were used last, within their number and their bytes. Who
// looks for one takes no lock, and writes nothing but one bit, once. A request is kept
// when it comes a second time: those that come once would only drive others out.
type knownRequests struct {
	seed  maphash.Seed
	table atomic.Pointer[knownTable] // nil until something has come that could be known

	mu    sync.Mutex // of who adds
	bytes int
	hand  int // the place that is looked at next, when there is no room

	headMu sync.Mutex
	heads  map[headKey]*fasthttp.ResponseHeader
}

// knownTable is more than a megabyte, of which a worker that nobody asks has nothing.
type knownTable struct {
	buckets [knownBuckets]knownBucket
	doors   [knownDoors]atomic.Uint32 // what has come, by a part of the hash; many, so that others seldom come between
}

// knownBucket is two cache lines, of which the first is nearly always enough. That many
// places are more than requests of the usual size find room in bytes: it must hardly ever
// be that more of those that come often have one bucket than there are places in it, or
// they would drive each other out for ever. Two requests of one hash are compared, others
// not.
type knownBucket [knownInBucket]struct {
	hash atomic.Uint64
	of   atomic.Pointer[known]
}

func newKnownRequests() *knownRequests {
	return &knownRequests{seed: maphash.MakeSeed(), heads: map[headKey]*fasthttp.ResponseHeader{}}
}

func (k *knownRequests) hash(text []byte, get bool) uint64 {
	h := maphash.Bytes(k.seed, text)
	if get {
		h = ^h
	}
	return h
}

// find is the request of these bytes, nil if it is not known.
func (k *knownRequests) find(hash uint64, text []byte, get bool) *known {
	t := k.table.Load()
	if t == nil {
		return nil
	}
	b := &t.buckets[hash%knownBuckets]
	for i := range b {
		if b[i].hash.Load() != hash {
			continue
		}
		if r := b[i].of.Load(); r != nil && r.get == get && bytes.Equal(r.text, text) {
			if !r.seen.Load() {
				r.seen.Store(true)
			}
			return r
		}
	}
	return nil
}

// again says whether a request has come before, not long ago.
func (k *knownRequests) again(hash uint64) bool {
	t := k.table.Load()
	for t == nil {
		k.table.CompareAndSwap(nil, new(knownTable))
		t = k.table.Load()
	}
	door, mark := &t.doors[hash>>32%knownDoors], uint32(hash>>16)|1
	return door.Swap(mark) == mark
}

// put keeps r, which has come before.
func (k *knownRequests) put(r *known) {
	k.mu.Lock()
	defer k.mu.Unlock()
	t := k.table.Load()
	b := &t.buckets[r.hash%knownBuckets]
	place := -1
	for i := range b {
		old := b[i].of.Load()
		if old == nil && place < 0 || old != nil && old.hash == r.hash { // two at once, or two of one hash
			place = i
		}
	}
	for i := 0; place < 0; i++ { // the first that was not used since the hand has passed, or it all around
		if old := b[i%knownInBucket].of.Load(); i >= knownInBucket || !old.seen.Swap(false) {
			place = i % knownInBucket
		}
	}
	k.forget(&b[place].of)
	b[place].hash.Store(r.hash)
	b[place].of.Store(r)
	for k.bytes += r.bytes; k.bytes > maxKnownBytes; k.hand = (k.hand + 1) % (knownBuckets * knownInBucket) {
		of := &t.buckets[k.hand/knownInBucket][k.hand%knownInBucket].of
		if old := of.Load(); old != nil && old != r && !old.seen.Swap(false) {
			k.forget(of)
		}
	}
}

func (k *knownRequests) forget(of *atomic.Pointer[known]) {
	if old := of.Swap(nil); old != nil {
		k.bytes -= old.bytes
	}
}

// sight is a request that was looked for by its bytes, and not found.
type sight struct {
	hash  uint64
	again bool // it has come before: if it can be kept, it shall be
}

// remember keeps what x was found to ask for, if it has come before, and its answer is one
// that is kept.
func (w *Worker) remember(ctx *fasthttp.RequestCtx, e *envelope, x *exchange) {
	if !e.sight.again || x.batch {
		return
	}
	op := &x.operations[0]
	if op.plan == nil || op.plan.caching == nil || op.plan.Kind != ast.Query || op.register != "" || len(op.result.errors) > 0 {
		return
	}
	cp, text := op.plan.caching, e.arrival.body
	if op.get {
		text = ctx.URI().QueryString()
	}
	in := w.planner.input(op.plan, op.variables) // resolvers may have kept the one that they got
	if in.err != nil || len(text) > maxKnownText {
		return
	}
	k := &known{
		hash: e.sight.hash, text: bytes.Clone(text), get: op.get,
		plan: op.plan.brief(), input: in, cost: op.plan.Cost(in.values),
		document:  op.document,
		named:     op.query == "" && w.documents != nil && w.trusted.text(op.document) == "",
		persisted: op.query == "",
		policy:    cp.policy, whose: cp.whose,
	}
	ranks := 1
	switch {
	case cp.private:
		k.private, ranks = cp, 0
	case cp.role:
		ranks = max(len(w.planner.roles.names), 1)
	}
	if ranks == 1 {
		k.keys = k.one[:0]
	}
	for rank := range ranks {
		key, ok := cp.key(&in, &Identity{}, rank)
		if !ok {
			return
		}
		k.keys = append(k.keys, key)
	}
	for i := range k.heads {
		k.heads[i] = w.head(cp, i)
	}
	k.bytes = 512 + 4*len(text) + askedBytes(k.plan.asked)
	if k.private != nil {
		k.bytes += cp.bytes() + op.plan.length
	}
	w.known.put(k)
}

// brief is what is asked of a plan when nothing runs: without the tree, and without
// anything that holds the document.
func (p *Plan) brief() *Plan {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.short == nil {
		p.short = &Plan{Kind: p.Kind, Name: strings.Clone(p.Name), roots: p.roots, asked: p.asked, need: p.need, needy: p.needy}
	}
	return p.short
}

package limiter

// Stats are what a limiter of one process has counted since it was made.
type Stats struct {
	// By policy name: charges that were let pass, and decisions that were refused. A refusal
	// counts for the policy that refused, and what it kept others from charging nowhere.
	Allowed, Denied map[string]uint64
	// Remembered are those of the refusals for which no source was asked, because an
	// earlier answer still held.
	Remembered uint64
	// Alone are decisions that a policy's Fail has made.
	Alone uint64

	Calls    uint64 // calls to the source
	Failures uint64 // those that failed, or came too late for who waited
	Leased   uint64 // tokens that were granted
	Expired  uint64 // tokens of those that were lost, because nobody used them in time
	Returned uint64 // tokens that were given back

	// Forgotten are buckets that others took over although they were not full again, as
	// there was no place left, and Forgiven the tokens that they lacked.
	Forgotten, Forgiven uint64

	Hosts int  // that share the source, as last seen; 1 without one
	Away  bool // the source cannot be asked at present, or takes too long to be waited for
}

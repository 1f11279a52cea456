package limiter

// Take, GiveBack and Left are the arithmetic of a source, for the test of its scripts.
func (p *Policy) Take(tat, now, n int64) (after, wait int64) { return p.central.take(tat, now, n) }
func (p *Policy) Left(tat, now int64) int64                  { return p.central.left(tat, now) }
func (p *Policy) At(tat, now int64) int64                    { return p.central.at(tat, now) }
func (p *Policy) GiveBack(tat, now, n, taken int64) int64 {
	return p.central.giveBack(tat, now, n, taken)
}

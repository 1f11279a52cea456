package worker

// planCache holds the plans that were used last.
type planCache = lru[planKey, *Plan]

// planKey is a document, by its hash, and the operation in it.
type planKey struct {
	document documentHash
	name     string
}

func newPlanCache(maxPlans, maxBytes int) *planCache {
	return newLRU[planKey, *Plan](maxPlans, maxBytes)
}

package store

import (
	"cmp"
	"slices"
)

// MaxCounts is how many groups there are at most where the groups are objects.
const MaxCounts = 50

// EveryKind is the answer of [Store.Counts] by kind: what was counted, and the kinds
// of which there is nothing.
func EveryKind(counted []Count) []Count {
	all := make([]Count, len(Kinds))
	for i, k := range Kinds {
		all[i] = Count{Key: string(k), Name: string(k)}
		for _, c := range counted {
			if c.Key == all[i].Key {
				all[i].N = c.N
			}
		}
	}
	return all
}

// SortCounts brings the largest group to the front.
func SortCounts(counts []Count) {
	slices.SortFunc(counts, func(a, b Count) int { return cmp.Or(cmp.Compare(b.N, a.N), cmp.Compare(a.Key, b.Key)) })
}

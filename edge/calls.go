package edge

import (
	"slices"
	"strings"
)

// everything is the tag of all answers, in the log.
const everything = "*"

// maxCalls is how many calls are made for what is purged at once. For more it is said more
// coarsely: what is purged too much has to be fetched once more, while calls are counted.
const maxCalls = 3

// calls are the lists of tags by which tags are purged, one for each call; an empty list is
// everything. Tags are the same in upper and lower case. A tag's type is what it has before
// the colon: every answer that has the tag has that, too.
func calls(tags []string) [][]string {
	tags = few(tags)
	if slices.Equal(tags, []string{everything}) {
		return [][]string{nil}
	}
	return slices.Collect(slices.Chunk(tags, TagsPerCall))
}

// few says the same by no more tags than maxCalls calls have.
func few(tags []string) []string {
	tags = distinct(tags)
	if len(tags) > maxCalls*TagsPerCall {
		for i, t := range tags {
			tags[i], _, _ = strings.Cut(t, ":")
		}
		tags = distinct(tags)
	}
	if len(tags) > maxCalls*TagsPerCall || slices.ContainsFunc(tags, func(t string) bool { return t == everything || !sendable(t) }) {
		return []string{everything}
	}
	return tags
}

// sendable says whether Cloudflare knows an answer by this tag.
func sendable(tag string) bool {
	return tag != "" && len(tag) <= maxTag && !strings.ContainsFunc(tag, func(r rune) bool { return r <= ' ' || r > '~' || r == ',' })
}

func distinct(tags []string) []string {
	all := make([]string, len(tags))
	for i, t := range tags {
		all[i] = strings.ToLower(t)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

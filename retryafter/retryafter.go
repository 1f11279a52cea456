// Package retryafter reads HTTP's header Retry-After (RFC 9110, section 10.2.3), for
// all that calls servers of others': hooks, a CDN, a receiver of spans.
package retryafter

import (
	"errors"
	"net/http"
	"strconv"
	"time"
)

// Longest is the longest time for which a server is believed.
const Longest = 5 * time.Minute

// Parse is how long a server wants to be left alone: seconds, or until a date. 0 is
// that it says nothing, nothing that can be read, or a time that is over.
func Parse(header string, now time.Time) time.Duration {
	if n, err := strconv.ParseUint(header, 10, 64); err == nil || errors.Is(err, strconv.ErrRange) {
		return time.Duration(min(n, uint64(Longest/time.Second))) * time.Second
	}
	if at, err := http.ParseTime(header); err == nil {
		return min(max(at.Sub(now), 0), Longest)
	}
	return 0
}

package pm2diff

import "slices"

// scenarios are all of them.
func scenarios() []scenario {
	return slices.Concat(lifecycle, failures, programs, started(), changed(), restarts, logs, files, keyed(), places)
}

package ecosystem

import "github.com/nekoctl/neko/supervisor/control"

// ReadDump reads the apps of a dump of PM2's.
func ReadDump(text []byte, o Options) ([]control.Saved, error) { return nil, nil }

package nodeipc

import (
	"crypto/sha256"
	_ "embed"
	"fmt"
)

// Drain is a script that Node loads before the program (--require): it lets the
// program end without a client noticing. Its first lines say what it heeds.
//
//go:embed drain.cjs
var Drain []byte

// DrainName is a name for its file, which changes with it.
var DrainName = fmt.Sprintf("drain-%x.cjs", sha256.Sum256(Drain))[:14] + ".cjs"

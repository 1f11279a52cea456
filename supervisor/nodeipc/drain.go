// Package nodeipc speaks to programs of Node.
package nodeipc

import _ "embed"

// Drain is a script that Node loads before the program (--require): it lets the
// program end without a client noticing. Its first lines say what it heeds.
//
//go:embed drain.cjs
var Drain []byte

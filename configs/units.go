// Package configs holds files for people to install. Its tests keep them in step
// with what reads them; nekoctl startup takes the daemon's life from the unit.
package configs

import _ "embed"

// Unit is the systemd unit of a machine that is there for neko.
//
//go:embed systemd/neko.service
var Unit string
